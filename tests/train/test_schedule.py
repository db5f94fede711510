"""Levels of growing and the burn-in: functions of the images shown, fixed before the first step."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from stylescan.config import DataFingerprint, RunConfig
from stylescan.errors import ConfigError
from stylescan.presets import build_config
from stylescan.train.measure import measure_cost
from stylescan.train.objective import lazy_correction
from stylescan.train.schedule import between, burned_in, level_at, plan_levels, shares
from stylescan.train.state import build_state
from stylescan.train.step import StepStats, build_setup, train_step


def config_of(resolution: int = 64, kimg: float = 20.0, preset: str = "knee-stylegan", **sections: Any) -> RunConfig:
    data = DataFingerprint(
        content_hash="c", preparation_hash="p", resolution=resolution, channels=1, bits=8, train_images=1000,
        select_images=100, holdout_images=200,
    )  # fmt: skip
    return build_config(preset, data, kimg=kimg, overrides=sections)


@given(
    st.sampled_from([16, 32, 64, 256]),
    st.sampled_from([4, 8, 16]),
    st.integers(200, 10**6),
    st.floats(0, 1.5),
    st.integers(0, 10**6),
)
def test_levels_follow_each_other_on_whole_batches(
    resolution: int, start: int, images: int, fade: float, seed: int
) -> None:
    depths = int(math.log2(resolution // start)) + 1
    rng = torch.Generator().manual_seed(seed)
    lengths = (torch.rand(depths, generator=rng) + 0.1).tolist()
    batches = torch.randint(1, 9, (depths,), generator=rng).tolist()
    growth = {"start": start, "images": lengths, "batch": batches, "lr": [0.001] * depths, "fade": fade}
    levels = plan_levels(config_of(resolution, images / 1000, growth=growth))
    assert [4 * 2**level.depth for level in levels] == [start * 2**k for k in range(depths)]
    assert levels[0].first == 0
    assert sum(shares(levels, images)) == pytest.approx(1)
    for number, (level, after) in enumerate(pairwise(levels)):
        assert (after.first - level.first) % level.batch == 0
        # the wanted share, to the next whole batch
        end = images * sum(lengths[: number + 1]) / sum(lengths)
        assert -1e-3 <= after.first - max(end, level.first) <= max(level.batch, sum(batches[: number + 1])) + 1e-3
        assert level_at(levels, after.first) is after
        assert level_at(levels, after.first - 1) is level
    for level in levels:
        assert level.stage(level.first).alpha == (0 if level.fade else 1)
        assert level.stage(level.first + 2 * images).alpha == 1
    assert levels[0].fade == 0 or depths == 1


def test_a_fade_rises_in_equal_steps_over_its_share_of_the_level() -> None:
    growth = {"start": 32, "images": [1, 1], "batch": [10, 10], "lr": [0.1, 0.2], "fade": 0.5}
    _, last = plan_levels(config_of(kimg=2.0, growth=growth))
    assert (last.first, last.fade, last.lr) == (1000, 500, 0.2)
    assert [last.stage(1000 + n).alpha for n in (0, 125, 250, 499, 500, 900)] == [0, 0.25, 0.5, 0.998, 1, 1]


def test_the_light_stylegan2_fades_to_epochs_over_base() -> None:
    for resolution, end in ((64, 0.75), (128, 0.75), (256, 0.5)):
        config = config_of(resolution, 30.0, "oasis-stylegan2-lite")
        (level,) = plan_levels(config)
        assert level.stage(0).alpha == 0
        assert level.stage(15_000).alpha == pytest.approx(end / 2)
        assert level.stage(30_000).alpha == pytest.approx(end)
    plain = {"generator": "plain"}
    with pytest.raises(ConfigError, match=r"only the nets of model.generator=skip"):
        plan_levels(config_of(64, 30.0, "oasis-stylegan2-lite", model=plain))


@given(st.floats(0.01, 1), st.floats(0, 1))
def test_the_burn_in_is_half_a_cosine(share: float, position: float) -> None:
    config = config_of(kimg=10.0, preset="r3gan", burn_in={"share": share})
    found = burned_in(config, int(position * 10_000))
    assert 0 <= found <= 1
    if int(position * 10_000) >= share * 10_000:
        assert found == 1
    half = int(share * 5_000)
    assume(half > 100)
    assert burned_in(config, half) == pytest.approx(0.5, abs=0.02)
    assert burned_in(config, 0) == 0


def test_between_ends_exactly() -> None:
    assert (between(4.0, 0.1, 1), between(4.0, 0.0, 0), between(4.0, 2.0, 0.25)) == (0.1, 4.0, 3.5)


def test_the_burn_in_moves_every_number_that_it_names(make_dataset, family_config, monkeypatch) -> None:
    dataset = make_dataset(resolution=16)
    burn_in = {"share": 0.5, "lr_factor": 4.0, "beta2": 0.9, "gamma_factor": 10.0, "ema_from_zero": True}
    train = {"beta2": 0.99, "lr": 1e-4, "ema_half_life_kimg": 0.5}
    config = family_config("r3gan", dataset, kimg=0.16, burn_in=burn_in, train=train, objective={"r1_gamma": 1.0})
    setup = build_setup(config, dataset, dataset.indices("train"))
    state = build_state(config, setup.phases, device=torch.device("cpu"))
    gammas, betas = [], []
    import stylescan.train.step as step_module

    draw, ema = step_module.draw_phase, step_module.ema_beta
    monkeypatch.setattr(
        step_module, "draw_phase", lambda *a, **k: gammas.append(draw(*a, **k).gamma_factor) or draw(*a, **k)
    )
    monkeypatch.setattr(step_module, "ema_beta", lambda **k: betas.append(k["half_life_kimg"]) or ema(**k))
    c = lazy_correction(setup.phases, "D")
    rates = {}
    while state.nimg < 160:
        nimg = state.nimg
        train_step(state, setup, StepStats())
        group = state.opt_D.param_groups[0]
        rates[nimg] = (group["lr"] / c, group["betas"][1])
    assert rates[0] == pytest.approx((4e-4, 0.9**c))
    assert rates[40] == pytest.approx((2.5e-4, 0.945**c))
    assert rates[80] == rates[156] == pytest.approx((1e-4, 0.99**c))
    assert (gammas[0], gammas[-1]) == (10.0, 1.0)
    assert betas[0] == pytest.approx(0.5 * (1 - math.cos(math.pi * 4 / 80)) / 2)
    assert betas[9] == pytest.approx(0.25)
    assert betas[-1] == 0.5


def test_a_growing_run_is_timed_level_by_level(make_dataset, family_config) -> None:
    dataset = make_dataset(resolution=16)
    config = family_config("stylegan", dataset, kimg=12.0, growth={"images": [1, 1, 1]})
    cost = measure_cost(config, dataset, device=torch.device("cpu"), steps=6)
    assert cost.steps == 6  # two a level
    assert cost.seconds_per_image > 0
