"""Analyze 7.5 pairs (.hdr and .img), as OASIS-1 has them. The format cannot say for certain where left is.

The one byte `orient` names the plane in which the slices were stored. All its codes count the first axis of a
transverse image from the patient's right to the left (ANALYZE 7.5's own, left-handed axes), which is nibabel's default
as well; SPM's .mat files, which may say otherwise, are never read. So every volume carries a note.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stylescan.data.formats.checks import REPLACE
from stylescan.data.formats.nifti import is_pair_header, read_guarded, read_pair
from stylescan.data.formats.scans import Volume
from stylescan.data.formats.voxels import Grid, check_spacing, read_start
from stylescan.errors import DataError

_HEADER = 348
# Codes of the values, with those that SPM added.
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 130: "i1", 132: "u2", 136: "u4"}
_OTHER_TYPES = {1: "bits", 32: "complex numbers", 128: "colours"}
# To what side the first, second and third axis rise, by `orient`: in the codes 3 to 5 the second axis is flipped.
_AXES = {0: "LAS", 1: "LSA", 2: "ASL", 3: "LPS", 4: "LIA", 5: "AIL"}
_PLANES = {0: "transverse", 1: "coronal", 2: "sagittal", 3: "transverse flipped", 4: "coronal flipped",
           5: "sagittal flipped"}  # fmt: skip
_SIDES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_PARTNERS = {".hdr": (".img", ".img.gz"), ".hdr.gz": (".img.gz", ".img"),
             ".img": (".hdr", ".hdr.gz"), ".img.gz": (".hdr", ".hdr.gz")}  # fmt: skip


def read_analyze(paths: Sequence[Path]) -> Volume:
    """The volume of an Analyze pair, given by both of its files or by either; NIfTI pairs are read as such.

    Raises DataError naming the file where one is missing or damaged, or does not end where the header says.
    """
    header, image = find_pair(paths)
    if is_pair_header(read_header_start(header)):
        return read_pair(header, image)
    return read_guarded([header], lambda: [_grid(header, image)], "Analyze")


def read_header_start(header: Path) -> bytes:
    """The header's bytes; a damaged .gz is a DataError."""
    try:
        return read_start(header, _HEADER + 4)
    except (OSError, EOFError) as problem:
        raise DataError(f"{header}: cannot be read as Analyze ({problem})", remedy=REPLACE) from None


def find_pair(paths: Sequence[Path]) -> tuple[Path, Path]:
    """(header, image) of a pair, given by one or both of its files. Raises DataError where the other is missing."""
    if len(paths) == 2:
        first, second = paths
        return (first, second) if ".hdr" in first.name.lower()[-7:] else (second, first)
    path = paths[0]
    suffix = pair_suffix(path.name)
    stem = path.name[: len(path.name) - len(suffix)]
    upper = suffix.isupper()
    for ending in _PARTNERS[suffix.lower()]:
        other = path.with_name(stem + (ending.upper() if upper else ending))
        if other.is_file():
            return (path, other) if suffix.lower().startswith(".hdr") else (other, path)
    missing = "image (.img)" if suffix.lower().startswith(".hdr") else "header (.hdr)"
    raise DataError(f"{path}: one half of a pair, its {missing} is not beside it",
                    remedy="put both files into one folder, or leave this one out")  # fmt: skip


def pair_suffix(name: str) -> str:
    """`.hdr`, `.img`, `.hdr.gz` or `.img.gz` as `name` spells it. Raises DataError for another name."""
    for suffix in sorted(_PARTNERS, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[len(name) - len(suffix) :]
    raise DataError(f"{name}: not a file of an Analyze pair", remedy="name them .hdr and .img")


def _grid(header: Path, image: Path) -> Grid:
    start = read_start(header, _HEADER)
    if len(start) < _HEADER:
        raise DataError(f"{header}: cannot be read as Analyze (the header is cut short)", remedy=REPLACE)
    order = next((order for order in "<>" if struct.unpack_from(f"{order}i", start)[0] == _HEADER), None)
    if order is None:
        raise DataError(f"{header}: cannot be read as Analyze (no header of 348 bytes)", remedy=REPLACE)
    dims = struct.unpack_from(f"{order}8h", start, 40)
    code, bits = struct.unpack_from(f"{order}2h", start, 70)
    spacing = struct.unpack_from(f"{order}4f", start, 76)[1:]
    offset, scale = struct.unpack_from(f"{order}2f", start, 108)
    if not 1 <= dims[0] <= 7 or any(n < 1 for n in dims[1 : dims[0] + 1]):
        raise DataError(f"{header}: axes of length {dims[1:]} in the header, {dims[0]} of them used", remedy=REPLACE)
    if code not in _TYPES:
        raise DataError(f"{header}: values are {_OTHER_TYPES.get(code, f'of the unknown type {code}')}, expected numbers",
                        remedy="save it as float32 NIfTI")  # fmt: skip
    dtype = np.dtype(order + _TYPES[code])
    if bits != dtype.itemsize * 8:
        raise DataError(f"{header}: {bits} bits a voxel and values of type {dtype} in the header", remedy=REPLACE)
    if not (0 <= offset < 2**31 and offset == int(offset)):
        raise DataError(f"{header}: voxels begin at byte {offset:g} in the header", remedy=REPLACE)
    shape = list(dims[1 : dims[0] + 1])
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    # The field is SPM's; Analyze itself leaves it at zero.
    slope = 1.0 if scale == 0 else float(scale)
    affine, note = _assumed_affine(header, start[252], spacing)
    return Grid(image, tuple(shape), dtype, int(offset), affine, slope, 0.0, (note,))


def _assumed_affine(header: Path, code: int, spacing: Sequence[float]) -> tuple[NDArray[np.float64], str]:
    """The matrix that the byte `orient` stands for, and the note on it."""
    sizes = [abs(float(s)) for s in spacing]  # some writers mark a flip by a sign, which others do not understand
    check_spacing(header, sizes)
    known = code if code in _AXES else 0
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for axis, (letter, size) in enumerate(zip(_AXES[known], sizes)):
        row, sign = _SIDES[letter]
        affine[row, axis] = sign * size
    if known != code:
        return affine, f"Analyze header with the unknown orientation code {code}: transverse is assumed"
    return affine, f"orientation assumed: an Analyze header that says '{_PLANES[code]}' and cannot tell left from right"
