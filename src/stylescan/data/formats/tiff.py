"""TIFF of 16 bits, 32 bits and floats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.formats.checks import check_size, check_values, grey_if_equal, unreadable
from stylescan.data.formats.pictures import read_picture
from stylescan.data.formats.scans import Picture
from stylescan.errors import DataError


def read_tiff(paths: Sequence[Path]) -> Picture:
    """A TIFF of one page: through Pillow for 8-bit values, tifffile for 16-bit, 32-bit and float, grey or RGB."""
    import tifffile

    path = paths[0]
    try:
        with tifffile.TiffFile(path) as file:
            if len(file.pages) != 1:
                raise DataError(f"{path}: holds {len(file.pages)} pages, expected one image",
                                remedy="save each page as a file of its own, or the stack as NIfTI")  # fmt: skip
            page = file.pages.first
            shape, dtype = tuple(page.shape), page.dtype
            check_size(path, shape)
            if dtype is None or dtype in (np.uint8, np.bool_):
                return read_picture(paths)
            array = _tiff_values(page, paths)
            inverted = int(page.photometric) == 0  # MinIsWhite
    except (DataError, MemoryError):
        raise
    except Exception as problem:  # decoders raise almost anything on damaged files
        raise unreadable(path, problem) from None
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 3 and array.shape[-1] == 3:
        array = np.moveaxis(array, -1, 0)
    elif array.ndim != 3 or array.shape[0] != 3:
        raise DataError(f"{path}: TIFF of shape {array.shape}, expected grey or RGB", remedy="save it as grey TIFF")
    array = _narrow(path, array)
    if inverted:
        top: Any = np.iinfo(array.dtype).max if array.dtype == np.uint16 else array.max() + array.min()
        array = (top - array).astype(array.dtype)
    return Picture(grey_if_equal(check_values(path, array)), str(dtype))


def _tiff_values(page: Any, paths: Sequence[Path]) -> NDArray[Any]:
    try:
        return np.asarray(page.asarray())
    except ValueError as problem:
        # LZW and its kin need tifffile's optional codecs; Pillow has its own for grey pages.
        if "imagecodecs" in str(problem) and len(page.shape) == 2:
            grey: NDArray[Any] = read_picture(paths).pixels[0]
            return grey
        raise


def _narrow(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """One of the four value types of a Picture."""
    if array.dtype == np.uint16:
        return array
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind in "iu" and abs(int(array.max())) < 2**31 and int(array.min()) >= -(2**31):
        return array.astype(np.int32)
    raise DataError(f"{path}: values of type {array.dtype}, expected integers or floats of up to 32 bits",
                    remedy="save it as 16-bit or 32-bit float TIFF")  # fmt: skip
