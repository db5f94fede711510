"""Voxels on disk behind a header that nobody vouches for: what NIfTI and Analyze share."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.formats.checks import REPLACE
from stylescan.data.formats.scans import Volume
from stylescan.errors import DataError
from stylescan.files import require_file

MAX_VOXELS = 2**30
MAX_CONTRASTS = 8  # more along the fourth axis is a time series
SAME_GRID = 1e-3  # the largest difference in an entry of two orientation matrices of one grid, in mm a voxel or mm
_DEFLATE_LIMIT = 1100  # gzip cannot shrink data by more than about 1032 to 1
_CHUNK = 2**24


@dataclass(frozen=True)
class Grid:
    """What a header says of its voxels, which lie first axis fastest in `path` from byte `offset` to the end.

    shape: 3 axes, or 4 with the contrasts last. dtype: with its byte order. affine: [4, 4] from voxel to mm (RAS).
    A value is stored * slope + intercept.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    affine: NDArray[np.float64]
    slope: float = 1.0
    intercept: float = 0.0
    notes: tuple[str, ...] = ()


def read_start(path: Path, count: int) -> bytes:
    """The first `count` bytes, unpacked; fewer where the file ends. Raises DataError for a missing or empty file."""
    require_file(path, DataError, remedy="check the path in the list")
    with _open(path) as stream:
        start = stream.read(count)
    if not start:
        raise DataError(f"{path}: is empty", remedy=REPLACE)
    return start


def check_grid(grid: Grid) -> None:
    """Refuse a grid that is no volume, or that the machine or the file cannot hold, before a voxel is read."""
    path, shape, dtype = grid.path, grid.shape, grid.dtype
    text = "x".join(map(str, shape))
    if len(shape) != 3 and not (len(shape) == 4 and 2 <= shape[3] <= MAX_CONTRASTS):
        if len(shape) < 3:
            raise DataError(f"{path}: shape {text} (not a volume), expected one 3D volume",
                            remedy="save a single slice as 16-bit PNG or TIFF, or with a third axis of length 1")  # fmt: skip
        raise DataError(f"{path}: shape {text} (a time series or several contrasts), expected one 3D volume",
                        remedy="extract one 3D volume, for instance `fslroi in.nii.gz out.nii.gz 0 1`")  # fmt: skip
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise DataError(f"{path}: values of type {dtype}, expected real numbers",
                        remedy="save it as float32 NIfTI, colours as three volumes")  # fmt: skip
    count = math.prod(shape)
    if min(shape) < 1 or count > MAX_VOXELS:
        raise DataError(f"{path}: the header says {text} voxels, expected 1 to {MAX_VOXELS}", remedy=REPLACE)
    size, needed = path.stat().st_size, grid.offset + count * dtype.itemsize
    if needed > size and (not is_gzip(path) or needed > size * _DEFLATE_LIMIT):
        raise DataError(f"{path}: the header promises {needed} bytes, the file has {size}", remedy=REPLACE)
    if not math.isfinite(grid.slope) or not math.isfinite(grid.intercept):
        raise DataError(f"{path}: values scaled by {grid.slope} and {grid.intercept} in the header",
                        remedy="correct the header's scl_slope and scl_inter")  # fmt: skip
    if not np.isfinite(grid.affine).all() or abs(np.linalg.det(grid.affine[:3, :3])) < 1e-12:
        raise DataError(f"{path}: the header's orientation matrix is not usable",
                        remedy="correct the header's sform/qform")  # fmt: skip
    check_spacing(path, _spacing(grid.affine))


def check_spacing(path: Path, spacing_mm: Sequence[float]) -> None:
    """Voxels of 0.0001 to 1000 mm."""
    if not all(math.isfinite(s) and 1e-4 <= s <= 1e3 for s in spacing_mm):
        raise DataError(f"{path}: voxel spacing {[float(s) for s in spacing_mm]} mm in the header",
                        remedy="correct the header's pixdim")  # fmt: skip


def read_grids(grids: Sequence[Grid]) -> Volume:
    """The volume of one grid, or the contrasts of several that agree: turned to the closest RAS axes, all finite."""
    turned = [_turn(_read_voxels(grid), grid.affine) for grid in grids]
    voxels, affine = turned[0]
    for grid, (other, its_affine) in zip(grids[1:], turned[1:]):
        if other.shape != voxels.shape or other.ndim != 3:
            raise DataError(f"{grid.path}: shape {_by(other)}, expected {_by(voxels)} as in {grids[0].path.name}",
                            remedy="resample the contrasts of a session to one grid")  # fmt: skip
        if np.abs(its_affine - affine).max() > SAME_GRID:
            raise DataError(f"{grid.path}: lies elsewhere in space than {grids[0].path.name}, expected one grid",
                            remedy="resample the contrasts of a session to one grid")  # fmt: skip
    if len(turned) > 1:
        voxels = np.stack([part for part, _ in turned], axis=-1)
    spacing = _spacing(affine)
    notes = tuple(dict.fromkeys(note for grid in grids for note in grid.notes))
    return Volume(voxels, (spacing[0], spacing[1], spacing[2]), notes)


def _by(voxels: NDArray[Any]) -> str:
    return "x".join(map(str, voxels.shape))


def _spacing(affine: NDArray[np.float64]) -> list[float]:
    return [float(s) for s in np.sqrt((affine[:3, :3] ** 2).sum(axis=0))]


def is_gzip(path: Path) -> bool:
    """Whether the name says that the content is compressed."""
    return path.name.lower().endswith(".gz")


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def _read_voxels(grid: Grid) -> NDArray[np.float32]:
    """float32 voxels [X, Y, Z] or [X, Y, Z, C]; the file must end where they do."""
    count = math.prod(grid.shape) * grid.dtype.itemsize
    raw = bytearray(count)
    with _open(grid.path) as stream:
        skipped = len(stream.read(grid.offset))
        view, done = memoryview(raw), 0
        while done < count and (got := stream.readinto(view[done : done + _CHUNK])):  # type: ignore[attr-defined]
            done += got
        more = len(stream.read(1))  # the end of a .gz is also where its checksum is verified
    if skipped < grid.offset or done < count or more:
        found = "more" if more else str(skipped + done)
        raise DataError(f"{grid.path}: the header promises {grid.offset + count} bytes, the file holds {found}",
                        remedy=REPLACE)  # fmt: skip
    stored = np.frombuffer(raw, grid.dtype).reshape(grid.shape, order="F")
    voxels = np.empty(grid.shape, np.float32, order="F")
    with np.errstate(over="ignore", invalid="ignore"):  # told apart below, by name
        for k in range(grid.shape[-1]):  # a slab at a time, so that float64 is never there as a whole
            slab = stored[..., k]
            voxels[..., k] = slab if (grid.slope, grid.intercept) == (1, 0) else slab * grid.slope + grid.intercept
    bad = sum(int((~np.isfinite(voxels[..., k])).sum()) for k in range(grid.shape[-1]))
    if bad:
        raise DataError(
            f"{grid.path}: {bad} voxels are NaN or infinite", remedy="set them to the background value first"
        )
    return voxels


def _turn(voxels: NDArray[np.float32], affine: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Axes swapped and flipped to rise to the right, the front and the top as closely as the grid allows."""
    import nibabel as nib

    tools: Any = nib.orientations
    orientation = tools.io_orientation(affine)
    turned: NDArray[np.float32] = tools.apply_orientation(voxels, orientation)
    return turned, affine @ tools.inv_ornt_aff(orientation, voxels.shape[:3])
