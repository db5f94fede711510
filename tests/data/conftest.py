"""Small look-alikes of real sources, drawn from arithmetic so that every test knows what it should find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.generic]


def smooth(seed: int, height: int, width: int) -> NDArray[np.float64]:
    """A smooth random picture in [0, 1]: another seed looks clearly different."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.random((6, 6)).astype(np.float32))
    fine = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return (fine - fine.min()) / (fine.max() - fine.min())


@pytest.fixture
def picture() -> Callable[..., Array]:
    """picture(seed, height, width) -> uint8 [height, width]."""

    def make(seed: int, height: int = 32, width: int = 32) -> Array:
        return np.rint(smooth(seed, height, width) * 255).astype(np.uint8)

    return make


@pytest.fixture
def subject_folder(tmp_path: Path, picture: Callable[..., Array]) -> Callable[..., Path]:
    """subject_folder(subjects, slices, classes): `scans/<class>/<subject>_<slice>.png`, 32x24 pixels."""

    def make(subjects: int = 20, slices: int = 3, classes: tuple[str, ...] = ("ill", "well")) -> Path:
        root = tmp_path / "scans"
        for subject in range(subjects):
            folder = root / classes[subject % len(classes)] if classes else root
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(slices):
                image = Image.fromarray(picture(100 * subject + number, 32, 24))
                image.save(folder / f"{subject:03d}_{number}.png")
        return root

    return make


@pytest.fixture
def write_nifti(tmp_path: Path) -> Callable[..., Path]:
    """write_nifti(name, voxels, affine) -> path below tmp_path."""

    def make(name: str, voxels: Array, affine: NDArray[np.float64] | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)
        return path

    return make
