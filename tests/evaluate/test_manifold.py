"""Precision, recall, density and coverage against closed forms, scikit-learn's neighbours, and by subject."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from stylescan.evaluate.measures import manifold
from stylescan.evaluate.measures.manifold import neighbourhoods, overlap

NAMES = ("precision", "recall", "density", "coverage")


def values(
    x: NDArray[np.float64], y: NDArray[np.float64], y_groups: NDArray[np.int64] | None = None, k: int = 5
) -> dict[str, float]:
    found = overlap(neighbourhoods(x, None, k), neighbourhoods(y, y_groups, k))
    return {name: found.terms(name).mean for name in NAMES}


def by_scikit_learn(x: NDArray[np.float64], y: NDArray[np.float64], k: int) -> dict[str, float]:
    """The definitions of the papers, where every image is its own subject, with another library's neighbours."""
    radius = {
        name: NearestNeighbors(n_neighbors=k + 1, algorithm="kd_tree").fit(z).kneighbors(z)[0][:, k]
        for name, z in (("x", x), ("y", y))
    }
    inside_y = np.stack(
        [np.isin(np.arange(len(x)), found) for found in (
            NearestNeighbors().fit(x).radius_neighbors(y[j : j + 1], radius["y"][j])[1][0] for j in range(len(y))
        )], axis=1,
    )  # fmt: skip
    inside_x = np.stack(
        [np.isin(np.arange(len(y)), found) for found in (
            NearestNeighbors().fit(y).radius_neighbors(x[i : i + 1], radius["x"][i])[1][0] for i in range(len(x))
        )], axis=1,
    )  # fmt: skip
    return {
        "precision": inside_y.any(axis=1).mean(),
        "recall": inside_x.any(axis=1).mean(),
        "density": inside_y.sum() / (k * len(x)),
        "coverage": inside_y.any(axis=0).mean(),
    }


@pytest.mark.parametrize(
    ("n", "m", "d", "k", "shift"), [(150, 120, 6, 5, 0.6), (60, 90, 3, 3, 1.0), (80, 80, 20, 5, 0)]
)
def test_equal_to_the_papers_definitions(n: int, m: int, d: int, k: int, shift: float) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, d)) * 0.8 + shift, rng.normal(size=(m, d))
    found = values(x, y, None, k)
    assert found == pytest.approx(by_scikit_learn(x, y, k), abs=1e-12)
    assert 0.0 < found["recall"] < 1.0  # a case that can tell


def test_of_two_far_kinds_one_is_missing() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + 1000.0
    found = values(one, np.concatenate([one, other]))
    assert found["precision"] == 1.0
    assert found["recall"] == 0.5
    assert found["coverage"] == 0.5
    assert values(np.concatenate([one, other]), one)["precision"] == 0.5
    apart = values(one + 5000.0, np.concatenate([one, other]))
    assert set(apart.values()) == {0.0}


def test_closed_forms_of_equal_sets_on_a_line() -> None:
    x = np.arange(100.0)[:, None]
    # Every ball holds its own point and at least 5 others: k-th neighbours of integers, the ends with 5 on one side.
    found = values(x, x)
    assert (found["precision"], found["recall"], found["coverage"]) == (1.0, 1.0, 1.0)
    # Inner radii are 3 (3 on each side are more than 5, at the same distance), so that a ball holds 7 points.
    radii = np.sqrt(neighbourhoods(x).squared_radii)
    assert (radii[5:95] == 3.0).all()
    assert (radii[0], radii[1], radii[2], radii[3]) == (5.0, 4.0, 3.0, 3.0)
    balls = np.abs(x - x.T) <= radii[None, :]
    assert found["density"] == pytest.approx(balls.sum() / 500)


def test_a_collapsed_set_reaches_nothing_but_is_itself_real() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(size=(300, 4))
    found = values(np.repeat(real[:1], 50, axis=0), real)
    assert found["precision"] == 1.0
    assert found["recall"] == pytest.approx(1 / 300)  # balls of no extent hold the one equal point
    assert found["coverage"] < 0.1


def test_equal_points_far_from_the_origin_count_as_equal() -> None:
    rng = np.random.default_rng(2)
    real = rng.normal(size=(64, 1280)) + 300.0
    found = values(np.repeat(real, 6, axis=0), real)
    assert found["recall"] == 1.0  # radius 0 around each, where rounding alone could lose it


def test_radii_leave_out_the_same_subject() -> None:
    rng = np.random.default_rng(3)
    subjects = np.repeat(np.arange(30), 8)
    real = np.repeat(rng.normal(size=(30, 3)), 8, axis=0) + rng.normal(size=(240, 3)) * 1e-3
    distances = np.linalg.norm(real[:, None] - real[None], axis=2)
    distances[subjects[:, None] == subjects[None, :]] = np.inf
    expected = np.sort(distances, axis=1)[:, 4] ** 2
    np.testing.assert_allclose(neighbourhoods(real, subjects).squared_radii, expected, rtol=1e-9)
    other = rng.normal(size=(240, 3))
    assert values(other, real)["precision"] < 0.05  # near-copies make balls that hold nothing else
    assert values(other, real, subjects)["precision"] > 0.6


def test_too_few_subjects_have_no_value_but_a_reason() -> None:
    x, y = np.random.default_rng(4).normal(size=(2, 40, 3))
    found = overlap(neighbourhoods(x), neighbourhoods(y, np.arange(40) % 5))
    assert found.missing == "real: 5 subjects, at least 6 are needed for k = 5"
    assert all(np.isnan(found.terms(name).mean) for name in NAMES)
    assert not overlap(neighbourhoods(x), neighbourhoods(y, np.arange(40) % 6)).missing
    with pytest.raises(ValueError, match="3 and 4 dimensions"):
        overlap(neighbourhoods(x), neighbourhoods(np.zeros((40, 4))))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(6, 40), copies=st.integers(1, 3), block=st.integers(1, 50))
def test_no_order_and_no_block_size_changes_anything(seed: int, n: int, copies: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    # Integers and copies: many exact ties. The offset makes products round.
    x = np.repeat(rng.integers(0, 3, (n, 4)).astype(float), copies, axis=0) + 1e3 / 7
    y = rng.integers(0, 3, (30, 4)).astype(float) + 1e3 / 7
    groups = np.arange(30) // 3
    p, q = rng.permutation(len(x)), rng.permutation(30)
    found = values(x, y, groups)
    assert values(x[p], y[q], groups[q]) == pytest.approx(found, abs=1e-12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifold, "BLOCK", block)
        assert values(x, y, groups) == pytest.approx(found, abs=1e-12)


def test_memory_stays_bounded() -> None:
    import tracemalloc

    points = np.random.default_rng(5).normal(size=(4000, 8))
    tracemalloc.start()
    overlap(neighbourhoods(points), neighbourhoods(points + 0.1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * manifold.BLOCK * 4000 * 8  # a full table would be 8 times one block of it


def test_recall_falls_step_by_step_as_kinds_are_left_out() -> None:
    rng = np.random.default_rng(6)
    kind = np.arange(400) % 4
    real = rng.normal(size=(400, 3)) + 50.0 * kind[:, None]
    recalls = [values(rng.normal(size=(n * 100, 3)) + 50.0 * (np.arange(n * 100) % n)[:, None], real)["recall"]
               for n in (1, 2, 3, 4)]  # fmt: skip
    assert all(low + 0.15 < high for low, high in pairwise(recalls))
