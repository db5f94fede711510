"""The aligned distance: closed forms, poses found exactly, and no dependence on order or company."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import rotate

from stylescan.evaluate.memorisation.distance import Matches, nearest_subjects, restrict, search_bank
from stylescan.evaluate.memorisation.poses import (
    aligned_to_query,
    reduced,
    search_for,
    smoothing_matrix,
)


def search(bank: Any, images: Any, **options: Any) -> Any:
    return search_bank(bank, reduced(images, bank.search.side), **options)


def test_equal_image_has_distance_and_ratio_zero(people: Any, as_bank: Any) -> None:
    images, subjects = people(12, 3, 1)
    found = search(as_bank(images, subjects), images)
    near = nearest_subjects(found)
    assert near.ratios.max() < 1e-6
    assert found.distances.min(axis=1).max() < 1e-7
    assert (found.slices[np.arange(len(images)), near.first] == np.arange(len(images))).all()
    assert (found.poses[np.arange(len(images)), near.first] == 0).all()


def test_gain_and_offset_drop_out(people: Any, as_bank: Any) -> None:
    images, subjects = people(12, 3, 1)
    other = np.rint(40 + 0.5 * (images.astype(float) // 2 * 2)).astype(np.uint8)
    near = nearest_subjects(search(as_bank((images // 2 * 2).astype(np.uint8), subjects), other))
    assert near.ratios.max() < 0.03  # only rounding is left


@pytest.mark.parametrize("shift", [(0, 1), (2, -2), (-1, 2)])
def test_whole_shifts_are_found_exactly(shift: tuple[int, int], people: Any, as_bank: Any) -> None:
    """On a torus nothing enters at the edges, so that the middle of a rolled image equals the other at that shift."""
    images, subjects = people(12, 3, 2)
    bank = as_bank(images, subjects)
    assert bank.search.shift == 2
    moved = np.roll(images, shift, axis=(2, 3))
    found = search(bank, moved)
    near = nearest_subjects(found)
    rows = np.arange(len(images))
    hit = found.slices[rows, near.first] == rows
    assert hit.mean() > 0.9
    # What was moved by +shift is found at -shift. Smoothing repeats edges, hence not exactly 0.
    assert (found.poses[rows, near.first][hit][:, 1:] == -np.array(shift)).all()
    assert near.ratios[hit].max() < 0.12
    beyond = nearest_subjects(search(bank, np.roll(images, 6, axis=3)))
    assert np.median(beyond.ratios) > 0.5


def test_small_turns_are_found(people: Any, as_bank: Any) -> None:
    images, subjects = people(12, 3, 3, side=64)
    turned = np.stack([rotate(i[0].astype(float), 3.0, reshape=False, order=3, mode="nearest") for i in images])
    found = search(as_bank(images, subjects), np.clip(np.rint(turned), 0, 255).astype(np.uint8)[:, None])
    near = nearest_subjects(found)
    variants = found.poses[np.arange(len(images)), near.first, 0]
    assert near.ratios.max() < 0.15
    assert len(set(variants.tolist())) == 1
    assert abs(as_bank(images, subjects).search.variants[variants[0]][1]) == 3.0


def test_mirror_images_match_only_where_lawful(people: Any, as_bank: Any) -> None:
    images, subjects = people(12, 3, 4)
    mirrored = np.ascontiguousarray(images[..., ::-1])
    lawful = nearest_subjects(search(as_bank(images, subjects, mirror=True), mirrored))
    unlawful = nearest_subjects(search(as_bank(images, subjects), mirrored))
    assert lawful.ratios.max() < 1e-6
    assert unlawful.ratios.min() > 0.4


def test_exhaustive_reference(people: Any, as_bank: Any) -> None:
    """With every subject on the shortlist and one slice each, the distances are those of a plain double loop."""
    images, subjects = people(8, 1, 5)
    queries, _ = people(3, 1, 6)
    bank = as_bank(images, subjects)
    found = search(bank, queries, subjects=8)
    kernel = smoothing_matrix(32, 0.5).astype(float)

    def smooth(image: Any) -> Any:
        return kernel @ (image / 255.0) @ kernel.T

    for row, query in enumerate(queries):
        window = smooth(query[0])[2:-2, 2:-2]
        for column in range(8):
            other = smooth(images[found.slices[row, column], 0])
            best = max(
                np.corrcoef(window.ravel(), other[2 + y : 30 + y, 2 + x : 30 + x].ravel())[0, 1]
                for y in range(-2, 3)
                for x in range(-2, 3)
            )
            # The search may turn the query besides, so it is never farther away.
            assert found.distances[row, column] <= np.sqrt(2 - 2 * best) + 1e-5
            if found.poses[row, column, 0] == 0:
                assert found.distances[row, column] == pytest.approx(np.sqrt(2 - 2 * best), abs=1e-4)
    assert (found.poses[..., 0] == 0).any()


def test_own_subject_is_left_out(people: Any, as_bank: Any) -> None:
    images, subjects = people(12, 3, 7)
    bank = as_bank(images, subjects)
    own = np.searchsorted(bank.names, subjects)
    found = search(bank, images, own=own)
    assert not (found.subjects == own[:, None]).any()
    assert nearest_subjects(found).ratios.min() > 0.3


def test_order_and_company_change_nothing(people: Any, as_bank: Any) -> None:
    images, subjects = people(14, 3, 8)
    queries, _ = people(9, 2, 9)
    plain = nearest_subjects(search(as_bank(images, subjects), queries))
    shuffle, deal = np.random.default_rng(0).permutation(42), np.random.default_rng(1).permutation(18)
    other = nearest_subjects(search(as_bank(images[shuffle], subjects[shuffle]), queries[deal]))
    np.testing.assert_allclose(other.ratios, plain.ratios[deal], atol=1e-9)
    assert (other.who == plain.who[deal]).all()
    alone = nearest_subjects(search(as_bank(images, subjects), queries[3:4]))
    np.testing.assert_allclose(alone.ratios, plain.ratios[3:4], atol=1e-9)


def test_restricting_equals_searching_a_smaller_bank(people: Any, as_bank: Any) -> None:
    images, subjects = people(24, 3, 10)
    queries, _ = people(6, 2, 11)
    whole = as_bank(images, subjects)
    keep = np.random.default_rng(0).permutation(24) < 15
    small = search(
        as_bank(images[keep[np.repeat(np.arange(24), 3)]], subjects[keep[np.repeat(np.arange(24), 3)]]), queries
    )
    cut = restrict(search(whole, queries, subjects=24), keep)
    np.testing.assert_allclose(cut.distances, small.distances, atol=1e-9)
    with pytest.raises(ValueError, match="fewer than 10"):
        restrict(search(whole, queries, subjects=10), keep)


def test_flat_images_are_nobodys(people: Any, as_bank: Any) -> None:
    images, subjects = people(12, 3, 12)
    images[:3] = 0
    bank = as_bank(images, subjects)
    near = nearest_subjects(search(bank, np.stack([np.zeros_like(images[0]), images[5]])))
    assert near.ratios[0] == 1.0
    assert near.ratios[1] < 1e-6


def test_image_shared_by_two_subjects_identifies_neither(people: Any, as_bank: Any) -> None:
    images, subjects = people(12, 1, 13)
    images[1] = images[0]
    assert nearest_subjects(search(as_bank(images, subjects), images[:1])).ratios[0] == 1.0


def test_what_is_nobodys_has_a_ratio_of_one() -> None:
    def ratio(distances: list[float], flat: bool = False) -> float:
        columns = np.zeros((1, 3), int)
        matches = Matches(columns, columns, np.array([distances]), np.zeros((1, 3, 3), int), np.array([flat]))
        return float(nearest_subjects(matches).ratios[0])

    assert ratio([0.4, 0.1, 0.2]) == pytest.approx(0.5)
    assert ratio([0.4, 0.0, 0.2]) == 0.0
    assert ratio([0.4, 0.0, 0.0]) == 1.0
    assert ratio([0.4, 0.0, 1e-12]) == 1.0  # rounding
    assert ratio([0.4, 0.1, 0.2], flat=True) == 1.0


def test_large_and_deep_images_are_reduced() -> None:
    small = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64)).astype(np.uint8)
    large = np.repeat(np.repeat(small, 4, axis=2), 4, axis=3)
    assert (reduced(large, 64) == reduced(small, 64)).all()
    assert (reduced(small.astype(np.uint16) * 257, 64) == reduced(small, 64)).all()
    assert reduced(np.full((1, 1, 64, 64), 255, np.uint8), 64).max() == 65535
    assert search_for(256, mirror=False) == search_for(64, mirror=False)
    assert [search_for(size, mirror=False).shift for size in (4, 16, 32, 64)] == [1, 1, 2, 4]


@pytest.mark.parametrize("mirror", [False, True])
def test_alignment_brings_the_training_image_onto_the_query(mirror: bool, people: Any, as_bank: Any) -> None:
    images, subjects = people(12, 3, 14, side=64)
    image = images[4, 0].astype(float)
    query = np.roll(rotate(image, 3.0, reshape=False, order=3, mode="nearest"), (3, -2), axis=(0, 1))
    query = query[:, ::-1] if mirror else query
    bank = as_bank(images, subjects, mirror=mirror)
    pixels = np.clip(np.rint(query), 0, 255).astype(np.uint8)[None, None]
    found = search(bank, pixels)
    near = nearest_subjects(found)
    assert found.slices[0, near.first[0]] == 4
    pose = found.poses[0, near.first[0]].tolist()
    inside = slice(8, -8)
    aligned = aligned_to_query(images[4], bank.search, *pose)[0, inside, inside].ravel()
    target = pixels[0, 0, inside, inside].ravel()
    assert np.corrcoef(aligned, target)[0, 1] > 0.98
    assert np.corrcoef(images[4, 0, inside, inside].ravel(), target)[0, 1] < 0.95
