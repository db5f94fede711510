"""The three planes in which a volume is cut, and how a slice is hung."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from numpy.typing import NDArray

# RAS axis that numbers the slices, then (rows, columns) of the picture; the display follows radiological convention.
Plane = Literal["axial", "coronal", "sagittal"]
DEFAULT_PLANE: Plane = "axial"
_PLANES = {"sagittal": (0, 2, 1), "coronal": (1, 2, 0), "axial": (2, 1, 0)}


def plane_slices(voxels: NDArray[Any], plane: str) -> NDArray[Any]:
    """Slices [n, H, W] of RAS `voxels` [X, Y, Z], a view, as radiologists hang them.

    Axial: front up. Coronal: head up. Both show the patient's right on the picture's left. Sagittal: head up, face to
    the left. Slices count from left to right, back to front, bottom to top.
    """
    axis, rows, columns = _PLANES[plane]
    return voxels.transpose(axis, rows, columns)[:, ::-1, ::-1]


def plane_spacing(spacing_mm: Sequence[float], plane: str) -> tuple[float, float]:
    """(row, column) spacing in mm of `plane_slices`."""
    _, rows, columns = _PLANES[plane]
    return float(spacing_mm[rows]), float(spacing_mm[columns])
