"""C_T, authenticity, DCR and NNDR, with other subjects as the yardstick."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stylescan.evaluate.memorisation.authenticity import likeness
from stylescan.evaluate.memorisation.meehan import RELABELLINGS, copying_test, mann_whitney
from stylescan.evaluate.memorisation.neighbours import SubjectDistances, subject_distances


def test_distances_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    bank, names = rng.normal(5, 1, (20, 7)).astype(np.float32), np.array(["b", "a", "d", "c"] * 5)
    rows, own = rng.normal(5, 1, (6, 7)).astype(np.float32), np.array(["", "a", "", "d", "x", ""])
    found = subject_distances(rows, own, bank, names)
    assert found.names.tolist() == ["a", "b", "c", "d"]
    for i in range(6):
        for j, name in enumerate("abcd"):
            lengths = np.where(names == name, np.linalg.norm(bank - rows[i], axis=1), np.inf)
            if own[i] == name:
                assert np.isinf(found.distances[i, j])
            else:
                assert found.distances[i, j] == pytest.approx(lengths.min(), rel=1e-4)
                assert found.slices[i, j] == lengths.argmin()


def test_mann_whitney_against_scipy() -> None:
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 30, 40).astype(float), rng.integers(5, 40, 25).astype(float)
    z, below = mann_whitney(a, b)
    u = mannwhitneyu(a, b).statistic
    assert below == pytest.approx(1 - u / (40 * 25))
    assert z == pytest.approx((u - 500) / np.sqrt(40 * 25 * 66 / 12))
    assert mann_whitney(a, a) == (pytest.approx(0), pytest.approx(0.5))


def population(rng: np.random.Generator, subjects: int, slices: int, name: str) -> tuple[Any, Any]:
    centres = rng.normal(0, 1, (subjects, 6))
    features = np.repeat(centres, slices, axis=0) + rng.normal(0, 0.15, (subjects * slices, 6))
    return features.astype(np.float32), np.array([f"{name}{i:02d}" for i in np.repeat(np.arange(subjects), slices)])


def c_t(generated: Any, real: Any, subjects: Any, held: int, seed: int = 0) -> Any:
    to_real = subject_distances(real, subjects, real, subjects)
    to_generated = subject_distances(generated, np.full(len(generated), ""), real, subjects)
    train = np.arange(len(to_real.names)) < len(to_real.names) - held
    return copying_test(to_generated, to_real, subjects, train, seed)


def test_c_t_finds_a_copier_and_keeps_its_level_for_real_people() -> None:
    rng = np.random.default_rng(2)
    levels = []
    for draw in range(40):
        real, subjects = population(rng, 24, 8, "r")
        other, _ = population(rng, 8, 8, "g")
        levels.append(c_t(other, real, subjects, held=8, seed=draw).p)
    # Slices of eight people: a null of independent slices fires most of the time here.
    assert sum(p <= 0.1 for p in levels) <= 9
    assert sum(p <= 0.5 for p in levels) >= 10
    copied = real[rng.integers(0, 16 * 8, 64)] + rng.normal(0, 0.05, (64, 6)).astype(np.float32)
    found = c_t(copied, real, subjects, held=8)
    assert found.p == 1 / (RELABELLINGS + 1)
    assert found.z < -3
    assert found.nearer > 0.9


def test_p_of_c_t_is_the_share_among_all_choices_of_subjects() -> None:
    """Six subjects, two of them held out: all 15 choices, by plain loops over slices."""
    from itertools import combinations

    rng = np.random.default_rng(4)
    real, subjects = population(rng, 6, 5, "r")
    generated = population(rng, 4, 5, "g")[0]

    def plain(held: tuple[str, ...]) -> float:
        out = np.isin(subjects, held)

        def to_train(rows: Any) -> Any:
            return np.array([np.linalg.norm(real[~out] - row, axis=1).min() for row in rows])

        return mann_whitney(to_train(generated), to_train(real[out]))[0]

    exact = [plain(choice) for choice in combinations(np.unique(subjects), 2)]
    found = c_t(generated, real, subjects, held=2)
    assert found.z == pytest.approx(exact[-1], abs=1e-6)
    assert found.p == pytest.approx(np.mean(np.array(exact) <= exact[-1] + 1e-9), abs=0.1)


def test_likeness_by_hand() -> None:
    """Subjects at 0, 10 and 30 on a line; images at 1 and at 22."""
    bank = np.array([[0.0], [10.0], [30.0]], np.float32)
    names = np.array(["a", "b", "c"])
    others = subject_distances(bank, names, bank, names).distances.min(axis=1)
    assert others.tolist() == pytest.approx([10, 10, 20])
    found = likeness(subject_distances(np.array([[1.0], [22.0]], np.float32), np.array(["", ""]), bank, names), others)
    # 1 from a, whose next is 10 away: not authentic. 8 from c, whose next is 20 away: neither.
    assert found.authenticity == 0.0
    assert found.dcr_median == pytest.approx(4.5, rel=1e-4)
    assert found.nndr_median == pytest.approx((1 / 9 + 8 / 12) / 2, rel=1e-4)
    far = likeness(subject_distances(np.array([[-50.0]], np.float32), np.array([""]), bank, names), others)
    assert far.authenticity == 1.0


def test_slices_of_the_same_subject_are_no_yardstick() -> None:
    rng = np.random.default_rng(3)
    real, subjects = population(rng, 16, 8, "r")
    copies = real + rng.normal(0, 0.15, real.shape).astype(np.float32)
    to_real = subject_distances(real, subjects, real, subjects)
    to_copies = subject_distances(copies, np.full(len(copies), ""), real, subjects)
    assert likeness(to_copies, to_real.distances.min(axis=1)).authenticity < 0.05
    # The same by slices: each one's nearest neighbour is a slice of the same person, and the copier looks authentic.
    between = np.linalg.norm(real[:, None] - real[None], axis=2)
    np.fill_diagonal(between, np.inf)
    assert likeness(to_copies, between.min(axis=1).astype(np.float32)).authenticity > 0.1


def test_equal_features_give_a_ratio_of_one() -> None:
    distances = SubjectDistances(np.array(["a", "b"]), np.zeros((1, 2), np.float32), np.zeros((1, 2), np.int32))
    assert likeness(distances, np.ones(1, np.float32)).nndr_median == 1.0
