"""Masks as files: small whole numbers on a scan's grid, or a refusal that names the file."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from stylescan.data.masks import read_mask
from stylescan.data.planes import plane_slices
from stylescan.errors import DataError

LABELS = np.random.default_rng(0).integers(0, 4, (6, 5, 4))


def volume(file: Path, values: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(values, np.eye(4)), file)
    return file


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_volumes_of_any_type_are_cut_like_their_scans(dtype: type, tmp_path: Path) -> None:
    found = read_mask(volume(tmp_path / "m.nii.gz", LABELS.astype(dtype)), "volume", "coronal")
    assert found.dtype == np.uint8
    assert np.array_equal(found, plane_slices(LABELS, "coronal"))


def test_left_sides_are_turned_with_their_scans(tmp_path: Path) -> None:
    file = volume(tmp_path / "m.nii.gz", LABELS.astype(np.uint8))
    assert np.array_equal(read_mask(file, "volume", "axial", "left"), plane_slices(LABELS[::-1], "axial"))
    Image.fromarray(LABELS[:, :, 0].astype(np.uint8)).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", "picture", "axial", "left")[0], LABELS[:, ::-1, 0])


@pytest.mark.parametrize("wrong", [0.5, 256.0, -1.0])
def test_values_that_are_no_labels_are_refused(wrong: float, tmp_path: Path) -> None:
    values = np.zeros((6, 5), np.float32)
    values[2, 3] = wrong
    tifffile.imwrite(tmp_path / "m.tif", values)
    with pytest.raises(DataError, match=r"m\.tif: values from .*, expected whole numbers 0 to 255"):
        read_mask(tmp_path / "m.tif", "picture", None)


def test_colour_and_other_kinds_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 9, (6, 5, 3), np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"m\.png: a colour image, expected a grey mask"):
        read_mask(tmp_path / "m.png", "picture", None)
    with pytest.raises(DataError, match=r"m\.nii: a mask of another kind than its scan, a picture"):
        read_mask(volume(tmp_path / "m.nii", LABELS.astype(np.uint8)), "picture", None)
