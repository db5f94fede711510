"""Orientation: a phantom with another mark on each of its six faces hangs right, however the file stores it."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from stylescan.data.formats.analyze import read_analyze
from stylescan.data.formats.nifti import read_nifti
from stylescan.data.planes import plane_slices, plane_spacing

SHAPE = (10, 14, 18)  # right-left, back-front, bottom-top: no two alike
SPACING = (1.0, 1.5, 2.0)
BODY = 10.0
MARKS = {"L": 20.0, "R": 30.0, "P": 40.0, "A": 50.0, "I": 60.0, "S": 70.0}


def phantom() -> NDArray[np.float32]:
    """A body with one bright block in the middle of each face, [X, Y, Z] rising to the right, the front and the top."""
    voxels = np.full(SHAPE, BODY, np.float32)
    middle = [slice(n // 2 - 2, n // 2 + 2) for n in SHAPE]
    for axis, (low, high) in enumerate(("LR", "PA", "IS")):
        for face, place in ((low, slice(0, 2)), (high, slice(SHAPE[axis] - 2, None))):
            where = list(middle)
            where[axis] = place
            voxels[tuple(where)] = MARKS[face]
    return voxels


PHANTOM = phantom()
ORDERS = [(p, f) for p in itertools.permutations(range(3)) for f in itertools.product((1, -1), repeat=3)]


def stored(order: Sequence[int], flips: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The phantom as an array whose axis k runs along anatomical axis order[k], backwards where flips[k] is -1; its affine."""
    array = PHANTOM.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for axis, (along, flip) in enumerate(zip(order, flips)):
        affine[along, axis] = flip * SPACING[along]
        affine[along, 3] = 0.0 if flip == 1 else SPACING[along] * (SHAPE[along] - 1)
    return np.ascontiguousarray(array), affine


def marks_of(picture: NDArray[np.float32]) -> dict[str, str]:
    """The face whose mark lies at the top, bottom, left and right edge of `picture` [H, W]."""
    names = {value: face for face, value in MARKS.items()}
    edges = {"top": picture[0], "bottom": picture[-1], "left": picture[:, 0], "right": picture[:, -1]}
    found = {}
    for place, values in edges.items():
        [bright] = set(values.tolist()) - {BODY}
        found[place] = names[bright]
    return found


EXPECTED = {
    "axial": {"top": "A", "bottom": "P", "left": "R", "right": "L"},
    "coronal": {"top": "S", "bottom": "I", "left": "R", "right": "L"},
    "sagittal": {"top": "S", "bottom": "I", "left": "A", "right": "P"},
}
SLICES = {"axial": ("I", "S"), "coronal": ("P", "A"), "sagittal": ("L", "R")}


def check_hanging(voxels: NDArray[np.float32]) -> None:
    """The marks lie where a radiologist expects them, in all planes, and the slices count the right way."""
    for plane, expected in EXPECTED.items():
        pictures = plane_slices(voxels, plane)
        assert marks_of(pictures[len(pictures) // 2]) == expected, plane
        first, last = SLICES[plane]
        assert set(np.unique(pictures[0])) == {BODY, MARKS[first]}
        assert set(np.unique(pictures[-1])) == {BODY, MARKS[last]}


def test_the_phantom_itself_hangs_as_in_radiology() -> None:
    check_hanging(PHANTOM)
    assert plane_spacing(SPACING, "axial") == (1.5, 1.0)
    assert plane_spacing(SPACING, "coronal") == (2.0, 1.0)
    assert plane_spacing(SPACING, "sagittal") == (2.0, 1.5)


def test_there_are_48_ways_to_store_a_volume() -> None:
    assert len({stored(*order)[1].tobytes() for order in ORDERS}) == 48


@pytest.mark.parametrize("kind", ["sform", "qform"])
def test_all_48_axis_orders_and_flips_give_equal_pictures(tmp_path: Path, kind: str) -> None:
    for order, flips in ORDERS:
        array, affine = stored(order, flips)
        image = nib.Nifti1Image(array, affine)
        image.set_sform(affine, code=int(kind == "sform"))
        image.set_qform(affine, code=int(kind == "qform"))
        nib.save(image, tmp_path / "phantom.nii")
        volume = read_nifti([tmp_path / "phantom.nii"])
        np.testing.assert_array_equal(volume.voxels, PHANTOM, err_msg=f"{order} {flips}")
        assert volume.spacing_mm == pytest.approx(SPACING)
        assert volume.notes == ()
        check_hanging(volume.voxels)


def rotation(axis: Sequence[float], degrees: float) -> NDArray[np.float64]:
    """Rodrigues' formula."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@pytest.mark.parametrize("degrees", [-20.0, -7.5, 7.5, 20.0])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (1, -2, 0.5)])
def test_oblique_scans_keep_their_grid_on_the_closest_axes(
    write_nifti: Callable[..., Path], axis: tuple[float, ...], degrees: float
) -> None:
    for order, flips in ORDERS[:: 7 if degrees > 0 else 5]:
        array, affine = stored(order, flips)
        tilted = affine.copy()
        tilted[:3] = rotation(axis, degrees) @ affine[:3]
        volume = read_nifti([write_nifti("oblique.nii", array, tilted)])
        np.testing.assert_array_equal(volume.voxels, PHANTOM)
        assert volume.spacing_mm == pytest.approx(SPACING, rel=1e-5)


# What the manuals say of each code: to which side the three stored axes run.
ANALYZE_CODES = {0: "LAS", 1: "LSA", 2: "ASL", 3: "LPS", 4: "LIA", 5: "AIL"}
SIDES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


@pytest.mark.parametrize("code", ANALYZE_CODES)
def test_analyze_codes(tmp_path: Path, code: int) -> None:
    order, flips = zip(*(SIDES[letter] for letter in ANALYZE_CODES[code]))
    array, _ = stored(order, flips)
    image = nib.AnalyzeImage(array, None)
    image.header.set_zooms([SPACING[k] for k in order])
    nib.save(image, tmp_path / "phantom.img")
    header = bytearray((tmp_path / "phantom.hdr").read_bytes())
    struct.pack_into("B", header, 252, code)
    (tmp_path / "phantom.hdr").write_bytes(bytes(header))
    volume = read_analyze([tmp_path / "phantom.img"])
    check_hanging(volume.voxels)
    assert volume.spacing_mm == pytest.approx(SPACING)
    assert "assumed" in volume.notes[0]
