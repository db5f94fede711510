"""Presets, overrides and the resolved configuration."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.config import DataFingerprint, RunConfig, known_keys, parse_overrides, read_config, write_config
from stylescan.errors import ConfigError
from stylescan.presets import PRESETS, build_config, resolve_name
from stylescan.recipes.common import Machine
from stylescan.train.ada import check_augment
from stylescan.train.ema import ema_beta
from stylescan.train.run_folder import config_hash
from stylescan.train.schedule import plan_levels


def data(resolution: int = 64, classes: tuple[str, ...] = ("a", "b")) -> DataFingerprint:
    return DataFingerprint(
        content_hash="c", preparation_hash="p", resolution=resolution, channels=1, bits=8, class_names=classes,
        train_images=1000, select_images=100, holdout_images=200,
    )  # fmt: skip


@given(
    st.sampled_from(sorted(PRESETS)),
    st.sampled_from([16, 64, 256, 1024]),
    st.floats(0.01, 1e5),
    st.builds(Machine, st.sampled_from(["cpu", "cuda"]), st.integers(1, 16)),
)
def test_every_preset_fits_any_data_length_and_machine(
    name: str, resolution: int, kimg: float, machine: Machine
) -> None:
    config = build_config(name, data(resolution), kimg=kimg, machine=machine)
    assert config.spec.resolution == resolution
    assert config.spec.num_classes == 2
    assert config.train.total_kimg == kimg
    assert config.train.checkpoint_kimg <= max(kimg, 0.001)
    check_augment(config)
    with contextlib.suppress(ConfigError):  # a run of a few images is too short to grow
        levels = plan_levels(config)
        assert levels[-1].first < kimg * 1000
        assert levels[-1].depth in (None, int(math.log2(resolution)) - 2)


@pytest.mark.parametrize(
    ("resolution", "devices", "batch", "group", "channel_base", "lr"),
    [
        (64, 1, 32, 4, 16384, 0.0025),
        (256, 1, 16, 4, 16384, 0.0025),
        (256, 8, 64, 4, 16384, 0.0025),
        (512, 2, 16, 4, 32768, 0.0025),
        (1024, 1, 4, 4, 32768, 0.002),
        (1024, 64, 64, 1, 32768, 0.002),
    ],
)
def test_auto_on_gpus_is_the_published_row(
    resolution: int, devices: int, batch: int, group: int, channel_base: int, lr: float
) -> None:
    config = build_config("auto", data(resolution), machine=Machine("cuda", devices))
    assert (config.train.batch, config.model.mbstd_group) == (batch, group)
    assert (config.model.channel_base, config.train.lr) == (channel_base, lr)
    assert config.objective.r1_gamma == pytest.approx(0.0002 * resolution**2 / batch)
    assert config.train.ema_half_life_kimg == pytest.approx(batch * 10 / 32)
    assert config.augment.mode == "ada"


def test_auto_on_a_cpu_is_small_by_another_name() -> None:
    auto, small = (build_config(name, data(128)) for name in ("auto", "small"))
    assert auto == small.model_copy(update={"preset": "auto"})
    with pytest.raises(ConfigError, match="smal: unknown preset") as problem:
        resolve_name("smal")
    assert "Did you mean small?" in problem.value.remedy


def test_auto_trains_longer_on_larger_sets_within_bounds() -> None:
    lengths = [
        build_config("auto", data().model_copy(update={"train_images": n}), machine=Machine("cuda")).train.total_kimg
        for n in (10, 300, 1000, 4000, 10**6)
    ]
    assert lengths == [1000, 1500, 5000, 20000, 25000]


@pytest.mark.parametrize(("size", "gamma", "channel_base"), [(256, 1.0, 16384), (512, 0.5, 32768)])
def test_paper_rows_keep_their_numbers_and_say_what_they_scale(size: int, gamma: float, channel_base: int) -> None:
    name = f"paper{size}"
    config = build_config(name, data(size), machine=Machine("cuda", 8))
    assert (config.train.batch, config.model.mbstd_group, config.model.mapping_layers) == (64, 8, 8)
    assert (config.train.ema_half_life_kimg, config.train.ema_rampup) == (20.0, None)
    assert (config.objective.r1_gamma, config.model.channel_base) == (gamma, channel_base)
    assert PRESETS[name].remarks(data(size), Machine("cuda")) == []
    assert build_config(name, data(size // 2)).objective.r1_gamma == pytest.approx(gamma / 4)
    (remark,) = PRESETS[name].remarks(data(size // 2), Machine("cuda"))
    assert f"the images have {size // 2}" in remark


def test_small_augments_small_sets() -> None:
    modes = [
        build_config("small", data().model_copy(update={"train_images": n})).augment.mode
        for n in (10, 999, 1000, 10**5)
    ]
    assert modes == ["ada", "ada", "none", "none"]


def test_few_images_and_scarce_classes_are_named() -> None:
    poor = data().model_copy(update={"train_images": 300, "class_images": (280, 20)})
    for name in PRESETS.keys() - {"demo"}:
        words = " ".join(PRESETS[name].remarks(poor, Machine()))
        assert "300 training images are few" in words
        assert "b (20)" in words
        assert "a (280)" not in words


def test_overrides_win_and_survive_the_file(tmp_path: Path) -> None:
    overrides = parse_overrides(["train.lr=1e-3", "train.score_kimg=null", "model.z_dim=7", "seed=5"])
    config = build_config("small", data(), overrides=overrides)
    assert (config.train.lr, config.train.score_kimg, config.model.z_dim, config.seed) == (0.001, None, 7, 5)
    write_config(tmp_path / "config.yaml", config)
    again = read_config(tmp_path / "config.yaml")
    assert again == config
    assert config_hash(again) == config_hash(config)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("train.lrr=1", "Did you mean train.lr?"),
        ("lr=1", "Did you mean train.lr?"),
        ("train.lr", "expected KEY=VALUE"),
        ("data.resolution=32", "unknown key"),
        ("train.lr=[1", "not valid YAML"),
    ],
)
def test_a_wrong_override_says_what_was_meant(item: str, words: str) -> None:
    with pytest.raises(ConfigError) as problem:
        parse_overrides([item])
    assert words in str(problem.value)


@pytest.mark.parametrize(
    ("item", "words"),
    [("train.lr=fast", "train.lr"), ("train.batch=0", "train.batch"), ("objective.loss=mse", "objective.loss"),
     ("train.lr=.nan", "train.lr"), ("model.z_dim=2.5", "model.z_dim")],
)  # fmt: skip
def test_a_wrong_value_names_its_key(item: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_config("small", data(), overrides=parse_overrides([item]))


@given(st.text(alphabet="abcdelrtin._", min_size=1, max_size=20))
def test_any_unknown_key_is_refused(key: str) -> None:
    if key not in known_keys(RunConfig):
        with pytest.raises(ConfigError):
            parse_overrides([f"{key}=1"])


def test_ema_halves_at_its_half_life_and_ramps_up() -> None:
    beta = ema_beta(batch=8, nimg=10**9, half_life_kimg=1.0, rampup=0.05)
    assert beta ** (1000 / 8) == pytest.approx(0.5)
    early = ema_beta(batch=8, nimg=160, half_life_kimg=1.0, rampup=0.05)
    assert early == pytest.approx(0.5)  # half-life 8 images: one batch
