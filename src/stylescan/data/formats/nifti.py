"""NIfTI volumes: header checked before a voxel is read, then turned to the closest RAS orientation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylescan.data.formats.scans import Volume
from stylescan.errors import DataError

MAX_VOXELS = 2**30
MAX_CONTRASTS = 8  # more along the fourth axis is a time series
_DEFLATE_LIMIT = 1100  # gzip cannot shrink data by more than about 1032 to 1
_REPLACE = "replace the file by a good copy, or leave it out with --skip-corrupt"


def read_nifti(paths: Sequence[Path]) -> Volume:
    """The volume in a .nii or .nii.gz file, 3D or with up to 8 contrasts along a fourth axis.

    Oblique scans keep their grid, turned to the closest axes. Raises DataError for damaged files, headers that promise
    what the file cannot hold, NaN or infinite numbers, and for anything else.
    """
    import nibabel as nib

    path = paths[0]
    canonical: Any = nib.as_closest_canonical
    try:
        image: Any = nib.load(path)
        _check_header(path, image)
        notes = []
        if not isinstance(image, nib.Nifti1Pair):
            raise DataError(f"{path}: {type(image).__name__}, expected NIfTI", remedy="save it as .nii.gz")
        if int(image.header["sform_code"]) == 0 and int(image.header["qform_code"]) == 0:
            notes.append("the header states no orientation: left/right and up/down are assumed")
        kept = len(_without_trailing_ones(image.shape))
        image = image.slicer[(slice(None),) * kept + (0,) * (len(image.shape) - kept)]
        image = canonical(image)
        spacing = tuple(float(s) for s in np.sqrt((np.asarray(image.affine)[:3, :3] ** 2).sum(axis=0)))
        voxels = np.asanyarray(image.dataobj)
    except (DataError, MemoryError):
        raise
    except Exception as problem:  # damaged headers and streams raise almost anything
        raise _unreadable(path, problem) from None
    if not np.isfinite(voxels).all():
        raise DataError(f"{path}: {int((~np.isfinite(voxels)).sum())} voxels are NaN or infinite",
                        remedy="set them to the background value first")  # fmt: skip
    return Volume(np.asarray(voxels, np.float32), (spacing[0], spacing[1], spacing[2]), tuple(notes))


def _without_trailing_ones(shape: Sequence[int]) -> tuple[int, ...]:
    kept = tuple(int(n) for n in shape)
    while len(kept) > 3 and kept[-1] == 1:
        kept = kept[:-1]
    return kept


def _check_header(path: Path, image: Any) -> None:
    shape = _without_trailing_ones(image.shape)
    if len(shape) != 3 and not (len(shape) == 4 and 2 <= shape[3] <= MAX_CONTRASTS):
        kind = "a time series or several contrasts" if len(shape) > 3 else "not a volume"
        raise DataError(f"{path}: shape {'x'.join(map(str, image.shape))} ({kind}), expected one 3D volume",
                        remedy="extract one 3D volume, for instance `fslroi in.nii.gz out.nii.gz 0 1`")  # fmt: skip
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        raise DataError(f"{path}: values of type {dtype}, expected real numbers", remedy="save it as float32 NIfTI")
    count = math.prod(shape)
    if min(shape) < 1 or count > MAX_VOXELS:
        raise DataError(f"{path}: the header says {'x'.join(map(str, shape))} voxels", remedy=_REPLACE)
    size, needed = path.stat().st_size, count * dtype.itemsize
    room = size * _DEFLATE_LIMIT if path.name.lower().endswith(".gz") else size
    if needed > room:
        raise DataError(f"{path}: the header promises {needed} bytes of voxels, the file has {size}", remedy=_REPLACE)
    spacing = [float(z) for z in image.header.get_zooms()[:3]]
    if not all(math.isfinite(s) and 1e-4 <= s <= 1e3 for s in spacing):
        raise DataError(f"{path}: voxel spacing {spacing} mm in the header", remedy="correct the header's pixdim")
    affine = np.asarray(image.affine)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise DataError(f"{path}: the header's orientation matrix is not usable",
                        remedy="correct the header's sform/qform")  # fmt: skip


def _unreadable(path: Path, problem: Exception) -> DataError:
    if isinstance(problem, FileNotFoundError):
        return DataError(f"{path}: no such file", remedy="check the path in the list")
    text = " ".join(str(problem).replace(str(path), "file").split()) or type(problem).__name__
    what = "is empty" if path.is_file() and path.stat().st_size == 0 else f"cannot be read as NIfTI ({text})"
    return DataError(f"{path}: {what}", remedy=_REPLACE)
