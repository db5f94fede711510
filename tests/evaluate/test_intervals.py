"""The jackknife, the cluster bootstrap and the variance of pairs: closed forms, order, and coverage over subjects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stylescan.evaluate.intervals import (
    bootstrap_interval,
    equal_parts,
    jackknife_interval,
    pair_interval,
    subject_parts,
)


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


def test_the_bootstrap_of_one_image_a_subject_is_the_normal_interval() -> None:
    values = np.random.default_rng(2).normal(size=400)
    found = bootstrap_interval(values, None, unit="generated images")
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    assert (found.groups, found.method, found.unit) == (400, "bootstrap", "generated images")


def test_the_bootstrap_covers_when_slices_of_a_subject_are_alike() -> None:
    rng = np.random.default_rng(3)
    subjects = np.repeat(np.arange(40), 6)
    inside = plain = 0
    for trial in range(100):
        values = np.repeat(rng.normal(size=40), 6) + rng.normal(size=240) * 0.2
        by_subject = bootstrap_interval(values, subjects, unit="held-out subjects", seed=trial)
        by_slice = bootstrap_interval(values, None, unit="slices", seed=trial)
        inside += by_subject.low <= 0.0 <= by_subject.high
        plain += by_slice.low <= 0.0 <= by_slice.high
    assert 0.88 <= inside / 100 <= 0.99
    assert plain / 100 < 0.75


def test_the_bootstrap_is_blind_to_order_and_names() -> None:
    rng = np.random.default_rng(4)
    values, subjects = (rng.random(90) < 0.3).astype(float), np.repeat(np.arange(30), 3)
    order = rng.permutation(90)
    renamed = np.array([f"x{99 - s}" for s in subjects])
    found = bootstrap_interval(values, subjects, unit="held-out subjects")
    assert bootstrap_interval(values[order], renamed[order], unit="held-out subjects") == found


def test_shares_of_none_and_all_have_the_exact_binomial_bound() -> None:
    none = bootstrap_interval(np.zeros(50), None, unit="generated images", share=True)
    every = bootstrap_interval(np.ones(50), None, unit="generated images", share=True)
    bound = stats.binomtest(0, 50).proportion_ci(0.95, method="exact").high
    assert (none.low, none.high) == pytest.approx((0.0, bound), abs=1e-12)
    assert (every.low, every.high) == pytest.approx((1.0 - bound, 1.0), abs=1e-12)
    flat = bootstrap_interval(np.zeros(50), None, unit="generated images")
    assert (flat.low, flat.high) == (0.0, 0.0)  # no share: decibels, for instance
    few = bootstrap_interval(np.zeros(9), np.arange(9) // 3, unit="held-out subjects", share=True)
    assert few.low is None
    assert "at least 5 held-out subjects, and there are 3" in few.reason


def test_pairs_that_share_no_image_have_the_t_interval() -> None:
    values = np.random.default_rng(5).normal(size=200)
    found = pair_interval(values, np.arange(400).reshape(200, 2), unit="generated images")
    half = stats.t.ppf(0.975, 399) * values.std() / np.sqrt(200)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-9)


def test_the_interval_of_pairs_covers_when_images_have_effects_of_their_own() -> None:
    rng = np.random.default_rng(6)
    inside = plain = 0
    for _ in range(200):
        effect = rng.normal(size=60)
        members = np.stack([rng.integers(0, 60, 500), rng.integers(0, 60, 500)], axis=1)
        members = members[members[:, 0] != members[:, 1]]
        values = effect[members].sum(axis=1) + rng.normal(size=len(members))
        found = pair_interval(values, members, unit="generated images")
        inside += found.low <= 0.0 <= found.high
        plain += abs(values.mean()) < 1.96 * values.std() / np.sqrt(len(values))
    assert 0.89 <= inside / 200 <= 0.99
    assert plain / 200 < 0.6
    few = pair_interval(np.ones(3), np.array([[0, 1], [1, 2], [2, 3]]), unit="generated images")
    assert few.low is None
    assert "there are 4" in few.reason
