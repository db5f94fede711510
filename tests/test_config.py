"""Presets, overrides and the resolved configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.config import DataFingerprint, RunConfig, known_keys, parse_overrides, read_config, write_config
from stylescan.errors import ConfigError
from stylescan.presets import PRESETS, build_config, resolve_name
from stylescan.train.ema import ema_beta
from stylescan.train.run_folder import config_hash


def data(resolution: int = 64, classes: tuple[str, ...] = ("a", "b")) -> DataFingerprint:
    return DataFingerprint(
        content_hash="c", preparation_hash="p", resolution=resolution, channels=1, bits=8, class_names=classes,
        train_images=1000, select_images=100, holdout_images=200,
    )  # fmt: skip


@given(st.sampled_from(sorted(PRESETS)), st.sampled_from([16, 64, 256, 1024]), st.floats(0.01, 1e5))
def test_every_preset_fits_any_data_and_length(name: str, resolution: int, kimg: float) -> None:
    config = build_config(name, data(resolution), kimg=kimg)
    assert config.spec.resolution == resolution
    assert config.spec.num_classes == 2
    assert config.train.total_kimg == kimg
    assert config.train.checkpoint_kimg <= max(kimg, 0.001)


def test_standard_is_the_published_auto_row() -> None:
    config = build_config("standard", data(256))
    assert (config.train.batch, config.train.lr, config.model.channel_base) == (16, 0.0025, 16384)
    assert config.objective.r1_gamma == pytest.approx(0.0002 * 256**2 / 16)
    assert config.train.ema_half_life_kimg == pytest.approx(16 * 10 / 32)


def test_auto_depends_on_the_device() -> None:
    assert (resolve_name("auto", device="cpu"), resolve_name("auto", device="cuda")) == ("small", "standard")
    with pytest.raises(ConfigError, match="smal: unknown preset") as problem:
        resolve_name("smal", device="cpu")
    assert "Did you mean small?" in problem.value.remedy


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
