"""One side for all: a left phantom becomes its mirror image, in every plane, and slices keep their anatomical place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylescan.data.laterality import (
    ORIGINAL_SIDE,
    canonical_pixels,
    canonical_place,
    canonical_record,
    canonical_voxels,
    check_sides,
    slice_spans,
)
from stylescan.data.options import PrepareOptions
from stylescan.data.planes import plane_slices
from stylescan.data.prepare import prepare
from stylescan.data.symmetry import mirror_refusal
from stylescan.errors import ConfigError, DataError

RIGHT = (
    np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
)  # RAS: X runs from the patient's left to the right
LEFT = RIGHT[::-1].copy()  # the same joint on the other side of the body


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_both_sides_of_one_body_become_the_same_slices(plane: str) -> None:
    right, left = plane_slices(RIGHT, plane), plane_slices(LEFT, plane)
    assert not np.array_equal(left, right)
    canonical = plane_slices(canonical_voxels(LEFT, "left"), plane)
    np.testing.assert_array_equal(canonical, right)
    np.testing.assert_array_equal(plane_slices(canonical_voxels(RIGHT, "right"), plane), right)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_pictures_are_treated_as_the_slices_of_their_volume_would_be(plane: str) -> None:
    right, left = plane_slices(RIGHT, plane), plane_slices(LEFT, plane)
    for number, picture in enumerate(left):
        span = (0, len(left) - 1)
        turned, depth = canonical_place("left", plane, number, (number + 0.5) / len(left), span)
        assert turned is not None
        assert depth == pytest.approx((turned + 0.5) / len(left))
        np.testing.assert_array_equal(canonical_pixels(picture[None], "left", plane)[0], right[turned])
        assert canonical_place("right", plane, number, 0.25, span) == (number, 0.25)
        np.testing.assert_array_equal(canonical_pixels(right[number], "right", plane), right[number])


def test_contrasts_go_together() -> None:
    both = np.stack([LEFT, 2 * LEFT], axis=-1)
    np.testing.assert_array_equal(canonical_voxels(both, "left"), np.stack([RIGHT, 2 * RIGHT], axis=-1))


def test_numbers_of_each_volume_are_turned_within_its_own_span() -> None:
    volumes = ["a", "a", "a", "b", "b", "c"]
    spans = slice_spans(volumes, [1, 2, 3, 20, 140, None])
    assert spans == {"a": (1, 3), "b": (20, 140)}
    assert canonical_place("left", "sagittal", 1, None, spans["a"]) == (3, None)
    assert canonical_place("left", "sagittal", 40, None, spans["b"]) == (120, None)
    assert canonical_place("left", "sagittal", None, 0.25, None) == (None, 0.75)
    assert canonical_place("left", "sagittal", 7, None, None) == (None, None)  # rather none than a wrong one


def test_unknown_sides_are_named() -> None:
    check_sides(["left", "right"], ["a", "b"])
    with pytest.raises(DataError, match=r"2 of 3 scans have no side.*b\.png, c\.png") as caught:
        check_sides(["left", None, "both"], ["a.png", "b.png", "c.png"])
    assert "--laterality keep" in caught.value.remedy
    with pytest.raises(DataError, match="and 3 more"):
        check_sides([None] * 8, [f"{k}.png" for k in range(8)])


def test_an_unknown_plane_is_refused_for_either_side() -> None:
    for side in ("left", "right"):
        with pytest.raises(ConfigError, match="plane") as caught:
            canonical_pixels(np.zeros((1, 2, 2)), side, None)
        assert "--plane" in caught.value.remedy


def test_afterwards_a_flip_is_still_unlawful() -> None:
    side, extra = canonical_record("left", {"age": 61.0})
    assert (side, extra) == ("right", {"age": 61.0, ORIGINAL_SIDE: "left"})
    assert "side" in str(mirror_refusal("axial", "left-right", side is not None))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_prepared_volumes_of_both_sides_show_one(plane: str, tmp_path: Path, write_nifti: Callable[..., Path]) -> None:
    joint = np.random.default_rng(1).integers(0, 900, (16, 18, 20)).astype(np.int16)
    write_nifti("scans/a.nii.gz", joint)
    write_nifti("scans/b.nii.gz", joint[::-1])
    (tmp_path / "scans" / "list.csv").write_text("path,subject,side\na.nii.gz,1,right\nb.nii.gz,1,left\n")
    options = PrepareOptions(plane=plane, laterality="canonicalise", min_foreground=0, workers=1)
    data, audit = prepare(tmp_path / "scans" / "list.csv", tmp_path / "DATA", options)
    images = data.manifest.images
    half = len(images) // 2
    np.testing.assert_array_equal(data.read(range(half)), data.read(range(half, 2 * half)))
    assert [i.slice for i in images[:half]] == [i.slice for i in images[half:]] == list(range(half))
    assert {(i.side, i.extra["original_side"]) for i in images[:half]} == {("right", "right")}
    assert {(i.side, i.extra["original_side"]) for i in images[half:]} == {("right", "left")}
    assert audit.sides == {"right": 2 * half}


def test_prepared_pictures_of_a_left_side_are_mirrored_or_renumbered(
    tmp_path: Path, picture: Callable[..., np.ndarray]
) -> None:
    (tmp_path / "scans").mkdir()
    for side in ("left", "right"):
        for number in range(3):
            image = picture(number, 16, 16)
            Image.fromarray(image[:, ::-1] if side == "left" else image).save(
                tmp_path / "scans" / f"7_{side}_{number}.png"
            )
    pattern = r"(?P<subject>\d)_(?P<side>left|right)_(?P<slice>\d)"
    sets = {}
    for plane in ("axial", "sagittal"):
        options = PrepareOptions(plane=plane, laterality="canonicalise", pattern=pattern, workers=1, resolution=16)
        sets[plane] = prepare(tmp_path / "scans", tmp_path / plane, options)[0]
    left, right = sets["axial"].read([0, 1, 2]), sets["axial"].read([3, 4, 5])
    np.testing.assert_array_equal(left, right)
    assert [i.slice for i in sets["axial"].manifest.images] == [0, 1, 2, 0, 1, 2]
    assert [i.slice for i in sets["sagittal"].manifest.images] == [2, 1, 0, 0, 1, 2]
    np.testing.assert_array_equal(sets["sagittal"].read([0, 1, 2])[..., ::-1], right)
    unsided = PrepareOptions(plane="axial", laterality="canonicalise", pattern=r"(?P<subject>\d)_", workers=1)
    with pytest.raises(DataError, match=r"6 of 6 scans have no side"):
        prepare(tmp_path / "scans", tmp_path / "no", unsided)
    unknown = PrepareOptions(laterality="canonicalise", pattern=pattern, workers=1)
    with pytest.raises(ConfigError, match="plane"):
        prepare(tmp_path / "scans", tmp_path / "no", unknown)
