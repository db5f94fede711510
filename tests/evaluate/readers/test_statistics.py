"""The statistics against closed forms, textbook examples and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from stylescan.evaluate.readers.statistics import (
    area_under_roc,
    clopper_pearson,
    cluster_weights,
    detectable_accuracy,
    detection,
    fleiss_kappa,
    percentiles,
)


def test_exact_interval_at_the_ends_has_a_closed_form() -> None:
    assert clopper_pearson(0, 30) == pytest.approx((0.0, 1 - 0.025 ** (1 / 30)))
    assert clopper_pearson(30, 30) == pytest.approx((0.025 ** (1 / 30), 1.0))


@pytest.mark.parametrize(("right", "n"), [(1, 6), (10, 20), (57, 100), (99, 100)])
def test_exact_interval_inverts_the_binomial_tails(right: int, n: int) -> None:
    low, high = clopper_pearson(right, n)
    assert binom.sf(right - 1, n, low) == pytest.approx(0.025)
    assert binom.cdf(right, n, high) == pytest.approx(0.025)


def test_exact_interval_of_ten_in_twenty_as_tabled() -> None:
    assert clopper_pearson(10, 20) == pytest.approx((0.272, 0.728), abs=5e-4)


@pytest.mark.parametrize("n", [6, 20, 99, 100, 250])
def test_detectable_accuracy_has_the_power_it_claims(n: int) -> None:
    accuracy = detectable_accuracy(n)
    assert accuracy is not None
    noticed = [k for k in range(n + 1) if clopper_pearson(k, n)[0] > 0.5]
    assert binom.sf(min(noticed) - 1, n, accuracy) == pytest.approx(0.8)


def test_five_answers_can_show_nothing() -> None:
    assert detectable_accuracy(5) is None
    assert detectable_accuracy(0) is None


def test_dprime_against_the_normal_table() -> None:
    # 34.5 / 50 = .69 and 15.5 / 50 = .31, whose z in tables are .496 and -.496.
    found = detection(34, 49, 15, 49)
    assert found.dprime == pytest.approx(0.992, abs=1e-3)
    assert found.criterion == pytest.approx(0.0, abs=1e-12)


def test_dprime_and_criterion_have_their_signs() -> None:
    timid = detection(20, 50, 5, 50)
    assert timid.dprime == pytest.approx(norm.ppf(20.5 / 51) - norm.ppf(5.5 / 51))
    assert timid.criterion > 0  # leans towards 'real'
    assert detection(5, 50, 20, 50).dprime == pytest.approx(-timid.dprime)
    assert detection(0, 0, 0, 0).dprime == 0.0


def test_dprime_of_a_perfect_reader_is_finite() -> None:
    assert detection(50, 50, 0, 50).dprime == pytest.approx(2 * norm.ppf(50.5 / 51))


def test_area_under_roc_against_all_pairs() -> None:
    rng = np.random.default_rng(3)
    signal, noise = rng.integers(0, 6, 23), rng.integers(0, 4, 31)
    wins = [(s > n) + 0.5 * (s == n) for s in signal for n in noise]
    area = area_under_roc(np.bincount(signal, minlength=6), np.bincount(noise, minlength=6))
    assert float(area) == pytest.approx(np.mean(wins))
    assert np.isnan(area_under_roc(np.zeros(6), np.ones(6)))


# Fourteen raters, ten subjects, five categories: the worked example of the literature, kappa .210.
RATINGS = np.array(
    [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]
)  # fmt: skip


def test_fleiss_kappa_of_the_worked_example() -> None:
    assert float(fleiss_kappa(RATINGS)) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_at_its_ends() -> None:
    assert float(fleiss_kappa(np.array([[3, 0], [0, 3]]))) == pytest.approx(1.0)
    assert float(fleiss_kappa(np.array([[1, 1], [1, 1]]))) == pytest.approx(-1.0)
    assert np.isnan(fleiss_kappa(np.array([[2, 0], [2, 0]])))


def test_weights_of_kappa_count_images_as_often() -> None:
    weights = np.array([[2, 1, 0, 1, 1, 3, 1, 0, 1, 1], np.ones(10)])
    found = fleiss_kappa(RATINGS, weights)
    assert found[0] == pytest.approx(float(fleiss_kappa(np.repeat(RATINGS, weights[0].astype(int), axis=0))))
    assert found[1] == pytest.approx(float(fleiss_kappa(RATINGS)))


def test_kappa_refuses_unequal_numbers_of_readers() -> None:
    with pytest.raises(ValueError, match="same two or more"):
        fleiss_kappa(np.array([[2, 0], [2, 1]]))


def test_images_of_a_subject_are_resampled_together() -> None:
    clusters = np.array(["a", "b", "a", "c"])
    weights = cluster_weights(clusters, 500, np.random.default_rng(0))
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights.mean() == pytest.approx(1.0, abs=0.1)


def test_percentiles_of_mostly_undefined_draws_are_none() -> None:
    draws = np.arange(100.0)
    assert percentiles(draws) == pytest.approx((2.475, 96.525))
    draws[:11] = np.nan
    assert percentiles(draws) is None
