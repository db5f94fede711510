"""Linear probes: planted and absent signals, p under the null, and that folds are made of whole subjects."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_score

from stylescan.evaluate.latent.probe import (
    auc,
    folds,
    probe_classes,
    probe_numbers,
    probe_subjects,
    ridge_predict,
    shuffled_sources,
)


def test_ridge_equals_an_independent_one_on_standardised_inputs() -> None:
    rng = np.random.default_rng(0)
    x, y, new = rng.normal(2, 3, (40, 5)), rng.normal(size=(40, 2)), rng.normal(2, 3, (7, 5))
    guess, mean = ridge_predict(x, y, new, np.arange(40), penalty=0.7)
    scaled = (x - x.mean(0)) / x.std(0)
    reference = Ridge(alpha=0.7 * 5).fit(scaled, y).predict((new - x.mean(0)) / x.std(0))
    np.testing.assert_allclose(guess, reference, atol=1e-10)
    np.testing.assert_allclose(mean, y.mean(0))


def test_a_subject_weighs_the_same_however_many_images_it_has() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 1))
    again = np.concatenate([np.arange(12), np.repeat([0, 1], 9)])
    plain, _ = ridge_predict(x, y, x, np.arange(12))
    repeated, _ = ridge_predict(x[again], y[again], x, again)
    np.testing.assert_allclose(plain, repeated, atol=1e-10)


def test_auc_equals_an_independent_one_with_ties() -> None:
    rng = np.random.default_rng(2)
    scores, truth = rng.integers(0, 6, (50, 3)).astype(float), rng.uniform(size=(50, 3)) < 0.4
    won, pairs = auc(scores, truth)
    np.testing.assert_allclose(won / pairs, [roc_auc_score(truth[:, k], scores[:, k]) for k in range(3)])


def test_a_planted_class_is_found_and_an_absent_one_is_not() -> None:
    rng = np.random.default_rng(3)
    w, labels, own = rng.normal(size=(300, 6)), np.arange(300) % 2, np.arange(300)
    nothing = probe_classes(w, labels, own)
    assert nothing.value == pytest.approx(0.5, abs=0.08)
    assert nothing.p is not None
    assert nothing.p > 0.05
    w[:, 2] += 6 * labels
    found = probe_classes(w, labels, own)
    assert found.value is not None
    assert found.value > 0.999
    assert found.p == found.smallest_p == 1 / 1000


def test_several_classes_give_the_mean_over_one_against_the_rest() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1, 2], 60)
    w = rng.normal(size=(180, 5))
    w[labels == 0, 0] += 8  # one class of three stands apart: its AUC is 1, those of the others about .75
    probe = probe_classes(w, labels, np.arange(180), permutations=99)
    assert probe.classes == (0, 1, 2)
    assert probe.value == pytest.approx((1 + 0.75 + 0.75) / 3, abs=0.05)


def test_random_labels_of_subjects_are_not_found_although_slices_of_one_are_near_copies() -> None:
    """Folds of slices would give an AUC near 1: the neighbour of every held-out slice was seen with its label."""
    rng = np.random.default_rng(5)
    subjects = np.repeat(np.arange(30), 10)
    w = rng.normal(size=(30, 40))[subjects] + 0.1 * rng.normal(size=(300, 40))
    labels = rng.permutation(np.arange(30) % 2)[subjects]
    leaking = cross_val_score(RidgeClassifier(), w, labels, cv=GroupKFold(5), groups=np.arange(300), scoring="roc_auc")
    assert leaking.mean() > 0.95
    probe = probe_classes(w, labels, subjects)
    assert probe.unit == "subject"
    assert probe.groups == 30
    assert probe.value is not None
    assert 0.2 < probe.value < 0.8
    assert probe.p is not None
    assert probe.p > 0.05


def test_folds_never_split_a_subject() -> None:
    codes = np.random.default_rng(6).integers(0, 17, 200)
    tested = []
    for train, test in folds(codes, 0):
        assert not set(codes[train]) & set(codes[test])
        tested += test.tolist()
    assert sorted(tested) == list(range(200))


@pytest.mark.parametrize("kind", ["class of the subject", "number that varies within the subject"])
def test_p_is_uniform_under_the_null(kind: str) -> None:
    """Share of 120 null data sets with p <= .1 and <= .5, in which w and the property both cluster by subject."""
    p = []
    for draw in range(120):
        rng = np.random.default_rng([7, draw])
        subjects = np.repeat(np.arange(16), 3)
        w = rng.normal(size=(16, 4))[subjects] + 0.2 * rng.normal(size=(48, 4))
        if kind == "class of the subject":
            probe = probe_classes(w, rng.permutation(np.arange(16) % 2)[subjects], subjects, permutations=39, seed=draw)
        else:
            values = rng.normal(size=16)[subjects] + 0.2 * rng.normal(size=48)
            probe = probe_numbers(w, values, subjects, permutations=39, seed=draw)
        p.append(probe.p)
    small, half = np.mean(np.array(p) <= 0.1), np.mean(np.array(p) <= 0.5)
    assert 0.02 <= small <= 0.19  # 12 of 120 are expected, standard deviation 3.3
    assert 0.36 <= half <= 0.64


def test_a_number_is_foretold_on_new_subjects() -> None:
    rng = np.random.default_rng(8)
    subjects = np.repeat(np.arange(40), 4)
    w = rng.normal(size=(160, 8))
    values = 3 * w[:, 0] - w[:, 5] + 0.1 * rng.normal(size=160)
    values[::9] = np.nan
    probe = probe_numbers(w, values, subjects, permutations=199)
    assert probe.value is not None
    assert probe.value > 0.9
    assert probe.p == 1 / 200
    assert probe.n == int(np.isfinite(values).sum())
    nothing = probe_numbers(w, rng.normal(size=160), subjects, permutations=199)
    assert nothing.value is not None
    assert nothing.value < 0.05


def test_shuffles_keep_subjects_together() -> None:
    rng = np.random.default_rng(9)
    codes = np.repeat(np.arange(8), [2, 2, 2, 2, 3, 3, 3, 3])
    constant = codes % 2
    dealt = constant[shuffled_sources(constant, codes, 50, rng)]
    for code in range(8):
        assert (dealt[codes == code] == dealt[codes == code][0]).all()
    # between subjects of 2 and of 3 images as well: the number of ones among the former changes
    assert len(set(dealt[[0, 2, 4, 6], 1:].sum(axis=0))) > 1
    varied = np.arange(20)
    sources = shuffled_sources(varied, codes, 50, rng)
    assert (sources[:, 0] == varied).all()
    for column in sources.T:
        assert sorted(column) == list(range(20))
        for code in range(4, 8):  # three in a row, turned round, all of one subject
            block = column[codes == code]
            assert len(set(codes[block])) == 1
            assert tuple((block - block.min()).tolist()) in {(0, 1, 2), (1, 2, 0), (2, 0, 1)}


def test_subjects_are_judged_by_nearest_neighbours() -> None:
    rng = np.random.default_rng(10)
    subjects = np.repeat(np.arange(20), 3)
    apart = probe_subjects(rng.normal(size=(20, 6))[subjects] + 0.01 * rng.normal(size=(60, 6)), subjects)
    assert apart.value == 1.0
    assert apart.p == apart.smallest_p
    assert apart.chance == pytest.approx(2 / 59, abs=0.01)
    mixed = probe_subjects(rng.normal(size=(60, 6)), subjects)
    assert mixed.p is not None
    assert mixed.p > 0.05
    alone = probe_subjects(rng.normal(size=(20, 6)), np.arange(20))
    assert alone.value is None
    assert "two or more" in alone.reason


def test_too_little_gives_a_reason_and_no_number() -> None:
    w = np.random.default_rng(11).normal(size=(40, 3))
    few = probe_classes(w, np.arange(40) % 2, np.repeat(np.arange(4), 10))
    assert few.value is None
    assert "4 subjects" in few.reason
    one = probe_classes(w, np.where(np.arange(40) < 3, 1, 0), np.arange(40))  # three images are no class
    assert one.value is None
    assert "fewer than two classes" in one.reason
    assert probe_numbers(w, np.ones(40), np.arange(40)).value is None
