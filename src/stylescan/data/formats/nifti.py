"""NIfTI volumes: every field of the header that matters is checked before a voxel is read.

NIfTI-1 and NIfTI-2, in either byte order, as one file or as a pair (.hdr and .img), compressed or not. A file must be
exactly as long as its header says: a changed shape or type is refused, not reinterpreted.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.formats.checks import REPLACE
from stylescan.data.formats.scans import Volume
from stylescan.data.formats.voxels import Grid, check_grid, check_spacing, read_grids, read_start
from stylescan.errors import DataError

_SIZES = {348: "Nifti1Header", 540: "Nifti2Header"}
_LONGEST = max(_SIZES)
# Names of the header's magic, and whether the voxels follow in the same file.
_MAGIC = {b"n+1\0": True, b"ni1\0": False, b"n+2\0\r\n\x1a\n": True, b"ni2\0\r\n\x1a\n": False}
_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # not said, metres, millimetres, micrometres


def read_nifti(paths: Sequence[Path]) -> Volume:
    """The volume in a .nii or .nii.gz file, 3D or with up to 8 contrasts along a fourth axis.

    Several paths are the contrasts of one session, each 3D, on one grid (within 0.001 mm). Oblique scans keep their
    grid, turned to the closest axes. Raises DataError naming the file for damage, for a length that differs from what
    the header promises, for NaN or infinite numbers, and for whatever is no volume of real numbers.
    """
    return read_guarded(paths, lambda: [_file_grid(path) for path in paths], "NIfTI")


def read_pair(header: Path, image: Path) -> Volume:
    """The volume of a NIfTI pair: `header` (.hdr) says what `image` (.img) holds. Raises as `read_nifti`."""
    return read_guarded([header], lambda: [_grid(header, image)], "NIfTI")


def is_pair_header(start: bytes) -> bool:
    """Whether the first bytes of a .hdr file are a NIfTI header and not an Analyze one."""
    return _magic(start) is not None


def read_guarded(paths: Sequence[Path], parse: Callable[[], list[Grid]], what: str) -> Volume:
    """`read_grids` of what `parse()` gives; whatever damaged headers and streams raise becomes a DataError."""
    try:
        with np.errstate(all="ignore"):  # numbers that are none are refused by name, not by chatter
            grids = parse()
        for grid in grids:
            check_grid(grid)
        return read_grids(grids)
    except (DataError, MemoryError):
        raise
    except PermissionError as problem:
        raise DataError(f"{problem.filename or paths[0]}: may not be read",
                        remedy="change the file's permissions") from None  # fmt: skip
    except Exception as problem:
        text = " ".join(str(problem).replace(str(paths[0]), "file").split()) or type(problem).__name__
        raise DataError(f"{paths[0]}: cannot be read as {what} ({text})", remedy=REPLACE) from None


def _file_grid(path: Path) -> Grid:
    return _grid(path, path)


def _magic(start: bytes) -> bytes | None:
    found = [magic for magic in _MAGIC if start[344:].startswith(magic) or start[4:].startswith(magic)]
    return found[0] if found else None


def _grid(file: Path, voxels: Path) -> Grid:
    """What the header in `file` says of the voxels in `voxels`, after the checks of single fields."""
    import nibabel as nib

    start = read_start(file, _LONGEST)
    magic = _magic(start)
    if magic is None:
        raise DataError(f"{file}: cannot be read as NIfTI (no NIfTI header)", remedy=REPLACE)
    if _MAGIC[magic] != (file == voxels):
        part = "the header of a pair" if file == voxels else "a whole NIfTI file under the name of a header"
        raise DataError(f"{file}: {part}", remedy="name pairs .hdr and .img, and single files .nii")
    size = 348 if b"1" in magic else 540
    if len(start) < size:
        raise DataError(f"{file}: cannot be read as NIfTI (the header is cut short)", remedy=REPLACE)
    order = next((order for order in "<>" if struct.unpack_from(f"{order}i", start)[0] == size), None)
    if order is None:
        raise DataError(f"{file}: cannot be read as NIfTI (no header of {size} bytes)", remedy=REPLACE)
    # Checked here instead of by nibabel, which mends what it can and says so on the terminal.
    header: Any = getattr(nib, _SIZES[size])(start[:size], order, check=False)
    affine, notes = _affine(file, header)
    slope, intercept = _scaling(header)
    return Grid(voxels, _shape(file, header), _type(file, header), _offset(file, header, size, file == voxels), affine,
                slope, intercept, notes)  # fmt: skip


def _shape(file: Path, header: Any) -> tuple[int, ...]:
    dims = [int(n) for n in header["dim"]]
    if not 1 <= dims[0] <= 7:
        raise DataError(f"{file}: {dims[0]} axes in the header, expected 1 to 7", remedy=REPLACE)
    if any(n < 1 for n in dims[1 : dims[0] + 1]) or any(n > 1 for n in dims[dims[0] + 1 :]):
        raise DataError(f"{file}: axes of length {dims[1:]} in the header, {dims[0]} of them used", remedy=REPLACE)
    shape = dims[1 : dims[0] + 1]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _type(file: Path, header: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = header.get_data_dtype()
    bits = int(header["bitpix"])
    if bits != dtype.itemsize * 8:
        raise DataError(f"{file}: {bits} bits a voxel and values of type {dtype} in the header", remedy=REPLACE)
    return dtype


def _offset(file: Path, header: Any, size: int, single: bool) -> int:
    """Where the voxels begin: after the header and its four bytes on extensions, or anywhere in a file of their own."""
    offset = float(header["vox_offset"])
    least = size + 4 if single else 0
    if not (math.isfinite(offset) and offset == int(offset) and least <= offset < 2**31):
        raise DataError(f"{file}: voxels begin at byte {offset:g} in the header, expected {least} or later",
                        remedy=REPLACE)  # fmt: skip
    return int(offset)


def _scaling(header: Any) -> tuple[float, float]:
    """(slope, intercept); a slope of zero or NaN says that the values are not scaled."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    return (1.0, 0.0) if slope == 0 or math.isnan(slope) else (slope, intercept)


def _affine(file: Path, header: Any) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The matrix from voxels to mm: the sform, else the qform, else the spacing alone; and what is odd about it."""
    check_spacing(file, [float(s) for s in header["pixdim"][1:4]])
    units = int(header["xyzt_units"]) & 7
    if units not in _TO_MM:
        raise DataError(f"{file}: unit of length {units} in the header, expected 0 to 3", remedy=REPLACE)
    if float(header["pixdim"][0]) not in (-1.0, 1.0):
        header["pixdim"][0] = 1.0  # many writers leave a 0 there; the standard says that it means 1
    scale = np.diag([_TO_MM[units]] * 3 + [1.0])
    affine = scale @ np.asarray(header.get_best_affine(), np.float64)
    notes = []
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        notes.append("the header states no orientation: left/right and up/down are assumed")
    elif _disagree(affine, scale @ np.asarray(header.get_qform(), np.float64), header):
        notes.append("the header states two orientations that differ (sform and qform): the sform is used")
    return affine, tuple(notes)


def _disagree(affine: NDArray[np.float64], qform: NDArray[np.float64], header: Any) -> bool:
    """Whether sform and qform are both stated and point the axes to different sides."""
    import nibabel as nib

    if int(header["sform_code"]) == 0 or int(header["qform_code"]) == 0:
        return False
    if not np.isfinite(affine).all() or not np.isfinite(qform).all():
        return False
    tools: Any = nib.orientations
    return not np.array_equal(tools.io_orientation(affine), tools.io_orientation(qform))
