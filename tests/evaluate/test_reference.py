"""The floor's draws, thinning, blur, neighbours and apportioned classes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylescan.data.prepared import PreparedDataset
from stylescan.errors import DataError
from stylescan.evaluate.metrics import METRICS
from stylescan.evaluate.reference import (
    blurred,
    draw_like,
    floor_draws,
    floor_of,
    nearest,
    thin_by_subject,
)
from stylescan.evaluate.selection import SelectScorer
from stylescan.generate.sample import apportion

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=12)


def subjects_of(counts: list[int]) -> np.ndarray:
    return np.repeat([f"s{i}" for i in range(len(counts))], counts)


@settings(max_examples=80, deadline=None)
@given(train=sizes, held=sizes, seed=st.integers(0, 1000))
def test_a_draw_has_the_holdouts_number_of_slices(train: list[int], held: list[int], seed: int) -> None:
    found = draw_like(subjects_of(train), subjects_of(held), np.random.default_rng(seed))
    if sum(train) < sum(held):
        assert found is None
    else:
        assert found is not None
        assert len(np.unique(found)) == len(found) == sum(held)


def test_a_draw_has_the_holdouts_counts_of_each_subject_where_train_allows() -> None:
    train, held = subjects_of([9] * 20), subjects_of([2, 5, 5, 9])
    for positions in floor_draws(train, held, seed=1):
        assert sorted(Counter(train[positions]).values()) == [2, 5, 5, 9]
    different = {tuple(p) for p in floor_draws(train, held, seed=1)}
    assert len(different) == 10
    assert different == {tuple(p) for p in floor_draws(train, held, seed=1)}


def test_floor_is_the_mean_over_the_draws() -> None:
    rng = np.random.default_rng(0)
    train, held = rng.normal(size=(60, 4)), rng.normal(size=(20, 4))
    train_subjects, held_subjects = subjects_of([3] * 20), subjects_of([4] * 5)
    draws = floor_draws(train_subjects, held_subjects, seed=0)
    floor = floor_of(METRICS["fd"], train, train_subjects, held, held_subjects, draws)
    values = [METRICS["fd"].compute(train[d], held, None, None) for d in draws]
    assert floor is not None
    assert (floor.value, floor.low, floor.high, floor.draws) == (np.mean(values), min(values), max(values), 10)
    assert floor_of(METRICS["fd"], train, train_subjects, held, held_subjects, []) is None


@settings(max_examples=60, deadline=None)
@given(counts=sizes, n=st.integers(1, 80), seed=st.integers(0, 100))
def test_thinning_spreads_over_subjects(counts: list[int], n: int, seed: int) -> None:
    subjects = subjects_of(counts)
    kept = thin_by_subject(subjects, n, seed)
    assert len(kept) == min(n, len(subjects))
    assert (np.diff(kept) > 0).all()
    left = Counter(subjects[kept].tolist())
    most = max(left.values())
    # A subject with fewer kept slices than another, by more than one, has none left to give.
    assert all(left[f"s{i}"] >= min(count, most - 1) for i, count in enumerate(counts))


def test_blur_keeps_type_flat_images_and_the_mean_but_not_detail() -> None:
    flat = np.full((1, 1, 16, 16), 77, np.uint8)
    np.testing.assert_array_equal(blurred(flat, 1.0), flat)
    point = np.zeros((1, 1, 33, 33), np.uint16)
    point[0, 0, 16, 16] = 60000
    soft = blurred(point, 1.0)
    assert soft.dtype == np.uint16
    assert soft[0, 0, 16, 16] == pytest.approx(60000 / (2 * np.pi), rel=0.01)  # the peak of a unit Gaussian
    assert soft.sum() == pytest.approx(60000, rel=0.01)


def test_nearest_is_brute_force() -> None:
    rng = np.random.default_rng(2)
    queries, pool = rng.normal(size=(5, 3)), rng.normal(size=(30, 3))
    expected = np.argsort(((queries[:, None] - pool[None]) ** 2).sum(-1), axis=1)[:, :4]
    np.testing.assert_array_equal(nearest(queries, pool, 4), expected)


@settings(max_examples=50, deadline=None)
@given(shares=st.lists(st.floats(0.01, 10.0), min_size=1, max_size=6), n=st.integers(1, 200))
def test_classes_follow_the_frequencies_to_within_one(shares: list[float], n: int) -> None:
    counts = np.bincount(apportion(shares, n), minlength=len(shares))
    assert counts.sum() == n
    assert (np.abs(counts - np.array(shares) / sum(shares) * n) < 1.0 + 1e-9).all()


class Watched:
    """A dataset that remembers which images were read."""

    def __init__(self, dataset: PreparedDataset) -> None:
        self.dataset, self.read_indices = dataset, set[int]()
        original = dataset.read

        def read(indices: np.ndarray) -> np.ndarray:
            self.read_indices.update(np.asarray(indices).tolist())
            return original(indices)

        dataset.read = read  # type: ignore[method-assign, assignment]


def test_selection_reads_select_alone_and_ranks_generators(shapes: PreparedDataset, pooled, more_shapes) -> None:  # type: ignore[no-untyped-def]
    watched = Watched(shapes)
    scorer = SelectScorer(shapes, pooled, 60, cache_dir=None)
    good = scorer(lambda n: more_shapes(n)[0])
    seen = pooled.seen
    bad = scorer(lambda n: np.random.default_rng(0).integers(0, 256, (n, 1, 16, 16), dtype=np.uint8))
    assert watched.read_indices == set(shapes.indices("select").tolist())
    assert pooled.seen == seen + 60  # real features were kept
    assert set(good) == {"kid", "fd"}
    assert good["kid"] < bad["kid"] / 10
    assert good["fd"] < bad["fd"] / 10
    assert scorer(lambda n: more_shapes(n)[0]) == good
    with pytest.raises(ValueError, match="expected \\(60, 1, 16, 16\\)"):
        scorer(lambda n: more_shapes(n - 1)[0])


def test_selection_needs_two_subjects(tmp_path, make_dataset, pooled) -> None:  # type: ignore[no-untyped-def]
    data = make_dataset(tmp_path / "d", np.zeros((4, 1, 16, 16), np.uint8), ["a", "a", "b", "c"],
                        ["select", "select", "train", "holdout"])  # fmt: skip
    with pytest.raises(DataError, match="subjects in the `select` split: 1, expected at least 2"):
        SelectScorer(data, pooled, 10)
