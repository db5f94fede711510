"""Duplicates: the tree finds exactly the pairs that brute force finds, and groups are what they should be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stylescan.data.duplicates import (
    COPY_RMS,
    NEIGHBOUR_RMS,
    RELATIVE,
    Groups,
    find_copies,
    near_pairs,
    neighbour_groups,
    split_groups,
)


def brute_force(thumbs: NDArray[np.float32], rms: float) -> set[tuple[int, int]]:
    found = set()
    for a, b in itertools.combinations(range(len(thumbs)), 2):
        limit = min(rms, RELATIVE * thumbs[a].std(), RELATIVE * thumbs[b].std())
        if np.sqrt(np.mean((thumbs[a] - thumbs[b]) ** 2)) <= limit:
            found.add((a, b))
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([COPY_RMS, NEIGHBOUR_RMS]), st.floats(0.5, 12.0))
def test_pairs_agree_with_brute_force(seed: int, rms: float, noise: float) -> None:
    generator = np.random.default_rng(seed)
    bases = generator.uniform(0, 255, (6, 256))
    thumbs = (bases[generator.integers(0, 6, 40)] + generator.normal(0, noise, (40, 256))).astype(np.float32)
    assert set(near_pairs(thumbs, rms)) == brute_force(thumbs, rms)


def test_equal_thumbs_pair_with_the_first_only_and_blanks_with_nothing() -> None:
    thumbs = np.zeros((5, 256), np.float32)
    thumbs[[0, 2, 4]] = np.linspace(0, 255, 256)
    assert sorted(near_pairs(thumbs, COPY_RMS)) == [(0, 2), (0, 4)]
    assert list(near_pairs(thumbs[:1], COPY_RMS)) == []


def test_groups_are_numbered_by_first_member() -> None:
    groups = Groups(6)
    groups.join(4, 1)
    groups.join(5, 4)
    groups.join(3, 2)
    assert groups.labels() == [0, 1, 2, 2, 1, 1]


def ramp(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0, 255, 256).astype(np.float32)


def test_neighbours_and_byte_copies_form_groups() -> None:
    slices = [ramp(0), ramp(0) + 3, ramp(0) + 6, ramp(1), ramp(2)]
    assert neighbour_groups(np.stack(slices), ["a", "b", "c", "d", "d"]) == [0, 0, 0, 1, 1]


def test_subjects_that_share_an_image_go_together() -> None:
    thumbs = np.stack([ramp(k) for k in (0, 1, 2, 3, 4, 2, 5, 1)])
    thumbs[7] += 1.0  # a near copy of image 1
    copies = find_copies(thumbs, ["h0", "h1", "h2", "h3", "h4", "h2", "h5", "h7"])
    assert copies.equal == [[2, 5]]
    assert copies.near == [(1, 7)]
    subjects = ["a", "b", "c", "d", "e", "f", "g", "h"]
    groups, believed = split_groups(subjects, copies)
    assert believed
    assert groups == {"a": "a", "b": "b", "c": "c", "d": "d", "e": "e", "f": "c", "g": "g", "h": "b"}


def test_near_copies_that_would_merge_everybody_are_not_believed() -> None:
    thumbs = np.stack([ramp(0) + 0.1 * k for k in range(6)])
    groups, believed = split_groups([*"abcdef"], find_copies(thumbs, [*"123455"]))
    assert not believed
    assert groups == {"a": "a", "b": "b", "c": "c", "d": "d", "e": "e", "f": "e"}


@pytest.mark.slow
def test_twenty_thousand_thumbs_take_seconds() -> None:
    import time

    thumbs = np.random.default_rng(0).uniform(0, 255, (20_000, 256)).astype(np.float32)
    start = time.perf_counter()
    assert list(near_pairs(thumbs, NEIGHBOUR_RMS)) == []
    assert time.perf_counter() - start < 60
