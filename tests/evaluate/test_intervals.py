"""The jackknife against the closed form for a mean, and its coverage over subjects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stylescan.evaluate.intervals import equal_parts, jackknife_interval, subject_parts


def test_for_a_mean_of_subjects_it_is_the_t_interval() -> None:
    values = np.random.default_rng(0).normal(size=12)
    subjects = np.arange(12)
    found = jackknife_interval(lambda x, y: float(values[y].mean()), float(values.mean()), 24, subjects)
    low, high = stats.t.interval(0.95, 11, values.mean(), values.std(ddof=1) / np.sqrt(12))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.groups == 12


def test_twenty_groups_hold_whole_subjects_of_equal_number() -> None:
    subjects = np.repeat(np.arange(60), 4)
    parts = subject_parts(subjects, 20, seed=3)
    assert all(len(np.unique(parts[subjects == s])) == 1 for s in range(60))
    assert {len(np.unique(subjects[parts == p])) for p in range(20)} == {3}
    sizes = np.bincount(equal_parts(103, 20, seed=3))
    assert len(sizes) == 20
    assert sizes.max() - sizes.min() <= 1


def test_generated_images_are_cut_too() -> None:
    kept: list[int] = []

    def statistic(x: np.ndarray, y: np.ndarray) -> float:
        kept.append(len(x))
        return float(len(x))

    found = jackknife_interval(statistic, 0.0, 103, np.repeat(np.arange(40), 2))
    assert found.groups == 20
    assert len(kept) == 20
    assert sum(103 - k for k in kept) == 103


def test_few_subjects_or_images_give_a_reason_instead() -> None:
    none = jackknife_interval(lambda x, y: 0.0, 0.0, 50, np.repeat(np.arange(4), 9))
    assert (none.low, none.high) == (None, None)
    assert "hold-out has 4" in none.reason
    assert "too few" in jackknife_interval(lambda x, y: 0.0, 0.0, 15, np.arange(10)).reason
    assert "undefined" in jackknife_interval(lambda x, y: float("nan"), 0.0, 50, np.arange(10)).reason


def test_it_covers_when_slices_of_a_subject_are_alike() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    subjects = np.repeat(np.arange(30), 8)
    for trial in range(200):
        values = np.repeat(rng.normal(size=30), 8) + rng.normal(size=240) * 0.2
        found = jackknife_interval(lambda x, y, v=values: float(v[y].mean()), values.mean(), 60, subjects, seed=trial)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.0 <= found.high
    # 95 % +- 3 standard errors of 200 trials; an interval over slices would cover about 45 %.
    assert 0.9 <= inside / 200 <= 0.995
