"""The course of p: fixed, scheduled, and ADA's, which stays within its bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stylescan.config import AugmentConfig, DataFingerprint, RunConfig
from stylescan.errors import ConfigError
from stylescan.presets import build_config
from stylescan.train import ada
from stylescan.train.ada import Ada, adjust, check_augment, new_buffers, ramp_kimg, scheduled_p
from stylescan.train.lawful import OPERATIONS

CPU = torch.device("cpu")


def course(config: AugmentConfig, *, total_kimg: float, batch: int, steps: int, sign: Callable[[int], float]) -> list:
    """p after each step, the mean sign of D given by `sign(step)`."""
    made = Ada(config, total_kimg, new_buffers(config, device=CPU))
    seen = []
    for step in range(1, steps + 1):
        made.observe(torch.tensor(sign(step) * batch), batch)
        made.update(step, step * batch, batch)
        seen.append(made.p)
    return seen


def test_the_ramp_is_a_fifth_of_the_run_and_at_most_500_kimg() -> None:
    assert ramp_kimg(AugmentConfig(), 100.0) == 20.0
    assert ramp_kimg(AugmentConfig(), 25000.0) == 500.0
    assert ramp_kimg(AugmentConfig(ramp_kimg=7.0), 25000.0) == 7.0


def test_a_constant_sign_moves_p_in_a_straight_line_to_its_bound_and_no_further() -> None:
    config = AugmentConfig(mode="ada", p_max=0.8)
    ps = course(config, total_kimg=1.0, batch=4, steps=100, sign=lambda _: 1.0)
    # ramp 0.2 kimg, every 4 steps of 4 images: 16 / 200 = 0.08 an adjustment
    for step, p in enumerate(ps, start=1):
        assert p == pytest.approx(min(0.08 * (step // 4), 0.8), abs=1e-12)
    assert ps[-1] == 0.8
    down = course(config.model_copy(update={"p": 0.3}), total_kimg=1.0, batch=4, steps=24, sign=lambda _: 0.0)
    assert down[3] == pytest.approx(0.22)
    assert down[-1] == 0.0


def test_p_goes_from_0_to_1_in_exactly_the_ramp() -> None:
    config = AugmentConfig(mode="ada", p_max=1.0)
    ps = course(config, total_kimg=2.0, batch=10, steps=40, sign=lambda _: 0.9)
    assert ps[35] < 1
    assert ps[39] == pytest.approx(1.0)  # after 400 images


def test_the_mean_is_over_the_whole_interval_and_forgotten_after_it() -> None:
    config = AugmentConfig(mode="ada", target=0.5, interval=4, p=0.4)
    signs = [1.0, 1.0, 1.0, 0.0, -1.0, -1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]
    ps = course(config, total_kimg=1.0, batch=4, steps=12, sign=lambda step: signs[step - 1])
    assert ps[3] == pytest.approx(0.48)  # mean .75
    assert ps[7] == pytest.approx(0.40)  # mean 0, for itself
    assert ps[11] == ps[7]  # at the target


def test_a_mean_that_is_not_finite_moves_nothing() -> None:
    assert adjust(0.3, math.nan, AugmentConfig(mode="ada"), 64, 1.0) == 0.3


@given(
    p=st.floats(0, 1), sign=st.floats(-1, 1), p_max=st.floats(0, 1), images=st.integers(1, 10**7), kimg=st.floats(0.01, 1e5)
)  # fmt: skip
def test_adjusted_p_is_bounded(p: float, sign: float, p_max: float, images: int, kimg: float) -> None:
    assert 0 <= adjust(p, sign, AugmentConfig(mode="ada", p_max=p_max), images, kimg) <= p_max


def test_fixed_and_scheduled_p() -> None:
    fixed = course(AugmentConfig(mode="fixed", p=0.3), total_kimg=1.0, batch=4, steps=9, sign=lambda _: 1.0)
    assert fixed == [0.3] * 9
    config = AugmentConfig(mode="scheduled", p=0.6)
    for nimg, p in [(0, 0.0), (50, 0.15), (100, 0.3), (200, 0.6), (900, 0.6)]:
        assert scheduled_p(config, nimg, total_kimg=1.0) == pytest.approx(p)
    ps = course(config, total_kimg=1.0, batch=50, steps=6, sign=lambda _: 1.0)
    assert ps == pytest.approx([0.15, 0.3, 0.45, 0.6, 0.6, 0.6])
    assert course(AugmentConfig(), total_kimg=1.0, batch=4, steps=5, sign=lambda _: 1.0) == [0.0] * 5


def test_the_whole_state_is_in_the_buffers() -> None:
    config = AugmentConfig(mode="ada", p=0.2)
    whole = Ada(config, 1.0, new_buffers(config, device=CPU))
    assert set(whole.buffers) == {"augment_p", "augment_sign_sum", "augment_sign_count"}
    for step in range(1, 7):
        whole.observe(torch.tensor(3.0), 4)
        whole.update(step, 4 * step, 4)
    resumed = Ada(config, 1.0, new_buffers(config, device=CPU))
    for name, value in whole.buffers.items():
        assert value != new_buffers(config, device=CPU)[name]  # every part has moved
        resumed.buffers[name].copy_(value)
    for step in range(7, 13):
        for one in (whole, resumed):
            one.observe(torch.tensor(-1.0), 4)
            one.update(step, 4 * step, 4)
    assert resumed.p == whole.p == pytest.approx(0.2 + 0.08 + 0.0 * 0 - 0.08 - 0.08, abs=1e-12)


def config_of(loss: str = "logistic", **augment: Any) -> RunConfig:
    data = DataFingerprint(
        content_hash="c", preparation_hash="p", resolution=16, channels=1, bits=8, train_images=9, select_images=1,
        holdout_images=2,
    )  # fmt: skip
    config = build_config("small", data, overrides={"augment": augment})
    return config.model_copy(update={"objective": config.objective.model_copy(update={"loss": loss})})


def test_ada_is_refused_where_the_loss_leaves_zero_free() -> None:
    for loss in sorted(ada.ZERO_FIXING_LOSSES):
        check_augment(config_of(loss, mode="ada"))
    for loss in ("wasserstein", "relativistic"):
        with pytest.raises(ConfigError, match=f"the {loss} loss does not fix D's zero") as caught:
            check_augment(config_of(loss, mode="ada"))
        assert "augment.mode=fixed" in caught.value.remedy
        check_augment(config_of(loss, mode="fixed", p=0.3))
        check_augment(config_of(loss, mode="scheduled", p=0.3))


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"mode": "fixed"}, "augment.p is 0"),
        ({"mode": "scheduled"}, "augment.p is 0"),
        ({"mode": "ada", "p": 0.9}, "expected at most augment.p_max, 0.8"),
        ({"mode": "ada", "leave_out": tuple(OPERATIONS)}, "leaves no operation"),
        ({"mode": "none", "leave_out": ("nonsense",)}, "'nonsense'"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_remedy(augment: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_augment(config_of(**augment))
    assert caught.value.remedy


def test_sensible_settings_pass() -> None:
    check_augment(config_of(mode="none"))
    check_augment(config_of(mode="ada", p=0.8))
    check_augment(config_of(mode="fixed", p=1.0, leave_out=("gamma",)))
