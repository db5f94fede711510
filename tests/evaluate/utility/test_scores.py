"""Scores against pairs counted one by one and against images repeated; the bootstrap against its closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, t

from stylescan.evaluate.utility.scores import (
    DRAWS,
    SCORES,
    Score,
    interval,
    paired_difference,
    plain_auc,
    resample,
    score,
    score_json,
    seed_interval,
)


def example(seeds: int, subjects: int, slices: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(subjects), slices)
    labels = (people % classes) if classes == 2 else rng.integers(0, classes, len(people))
    raw = rng.gamma(1.0, size=(seeds, len(people), classes)) + 0.7 * np.eye(classes)[labels]
    raw = np.round(raw, 1) + 0.1  # ties
    return raw / raw.sum(axis=2, keepdims=True), labels, people


def area_by_pairs(scores: np.ndarray, positive: np.ndarray) -> float:
    wins = [(p > q) + (p == q) / 2 for p in scores[positive] for q in scores[~positive]]
    return float(np.mean(wins))


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_equal_counting(classes: int) -> None:
    probabilities, labels, people = example(2, 12, 4, classes)
    found = score(probabilities, labels, people, resample(12, 0, "test"))
    for seed in range(2):
        one = probabilities[seed]
        guess = one.argmax(axis=1)
        areas = [area_by_pairs(one[:, k], labels == k) for k in range(classes)]
        assert found["auc"].by_seed[seed] == pytest.approx(areas[1] if classes == 2 else np.mean(areas), abs=1e-12)
        assert plain_auc(one, labels) == found["auc"].by_seed[seed]
        assert found["accuracy"].by_seed[seed] == pytest.approx((guess == labels).mean())
        recalls = [(guess[labels == k] == k).mean() for k in range(classes)]
        assert found["balanced_accuracy"].by_seed[seed] == pytest.approx(np.mean(recalls))
        units = sorted(set(zip(people.tolist(), labels.tolist())))
        right = [one[(people == p) & (labels == k)].mean(axis=0).argmax() == k for p, k in units]
        assert found["subject_accuracy"].by_seed[seed] == pytest.approx(np.mean(right))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_draw_is_the_score_of_the_subjects_repeated(classes: int) -> None:
    probabilities, labels, people = example(2, 10, 3, classes)
    counts = resample(10, 5, "test")
    found = score(probabilities, labels, people, counts)
    for draw in range(8):
        chosen = [s for s in range(10) for _ in range(int(counts[draw, s]))]
        rows = np.concatenate([np.flatnonzero(people == s) for s in chosen])
        owner = np.repeat(np.arange(len(chosen)), 3)
        again = score(probabilities[:, rows], labels[rows], owner, np.ones((1, len(chosen))))
        for name in SCORES:
            assert found[name].draws[draw] == pytest.approx(again[name].value, abs=1e-12, nan_ok=True), name


def test_the_bootstrap_agrees_with_its_closed_form() -> None:
    rng = np.random.default_rng(0)
    m, slices = 30, 10
    people = np.repeat(np.arange(m), slices)
    labels = people % 2
    # Whole subjects are hard or easy, so that slices are anything but independent.
    right = rng.random(m * slices) < np.repeat(rng.beta(2, 1, m), slices)
    guess = np.where(right, labels, 1 - labels)
    accuracy = score(np.eye(2)[guess][None], labels, people, resample(m, 0, "test"))["accuracy"]
    share = right.reshape(m, slices).mean(axis=1)
    sd = math.sqrt(((share - share.mean()) ** 2).sum()) / m
    assert accuracy.draws.std() == pytest.approx(sd, rel=0.08)
    by_slices = math.sqrt(share.mean() * (1 - share.mean()) / (m * slices))
    assert accuracy.draws.std() > 1.5 * by_slices
    found = interval(accuracy.draws, m)
    half = t.ppf(0.975, m - 1) * sd * math.sqrt(m / (m - 1))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.12)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    m, covered = 10, 0
    counts = resample(m, 0, "test")
    for _ in range(300):
        share = rng.normal(0.7, 0.1, m)
        found = interval(counts @ share / m, m)
        covered += found.low <= 0.7 <= found.high
    assert 0.91 <= covered / 300 <= 0.985  # plain percentiles of 10 subjects: 0.90


@pytest.mark.parametrize("m", [5, 10, 40])
def test_normal_draws_give_the_t_interval_of_a_mean(m: int) -> None:
    # The bootstrap's spread is sqrt((m - 1) / m) of the standard error: draws of spread 1 stand for one of this size.
    found = interval(norm.ppf((np.arange(200_000) + 0.5) / 200_000), m)
    assert found.high == pytest.approx(math.sqrt(m / (m - 1)) * t.ppf(0.975, m - 1), rel=0.01)
    assert found.low == pytest.approx(-found.high, rel=0.01)


def test_too_few_subjects_or_classes_give_no_interval() -> None:
    assert interval(np.ones(DRAWS), 4).low is None
    assert "at least 5" in interval(np.ones(DRAWS), 4).reason
    some = np.r_[np.full(DRAWS // 10, np.nan), np.ones(DRAWS - DRAWS // 10)]
    assert interval(some, 30).low is None
    assert interval(np.r_[np.nan, np.ones(DRAWS - 1)], 30).low == 1.0


def test_differences_are_paired() -> None:
    probabilities, labels, people = example(3, 12, 4, 2)
    counts = resample(12, 0, "test")
    one = score(probabilities, labels, people, counts)["auc"]
    gap = paired_difference(one, one)
    assert gap.value == 0
    assert (gap.draws[np.isfinite(gap.draws)] == 0).all()


def test_values_are_json_without_nan() -> None:
    values = score_json(Score(np.array([math.nan, 0.5]), np.full(DRAWS, math.nan), 20))
    assert values["value"] is None
    assert values["seeds"] == [None, 0.5]
    assert values["interval"] is None
    assert values["interval_missing"]


def test_the_interval_over_seeds_is_that_of_a_mean() -> None:
    found = seed_interval(np.array([1.0, 2.0, 3.0]))
    assert found.high - 2 == pytest.approx(t.ppf(0.975, 2) / math.sqrt(3))
    assert seed_interval(np.array([1.0])).low is None
