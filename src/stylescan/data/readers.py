"""One picture or one volume from files, as plain arrays; anything unreadable is a DataError that names the file.

`READERS` maps a file's suffix to its reader: a new format is a new row.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from stylescan.data.nifti import Volume, read_nifti
from stylescan.errors import DataError

Kind = Literal["picture", "volume"]
MAX_PIXELS = 2**26  # 67 megapixels: more is a decompression bomb, not a slice
_REPLACE = "replace the file by a good copy, or leave it out with --skip-corrupt"


@dataclass(frozen=True)
class Picture:
    """A 2D image: `pixels` uint8, uint16, int32 or float32 [C, H, W], C = 1 or 3; `mode`: how the file stores it."""

    pixels: NDArray[Any]
    mode: str


@dataclass(frozen=True)
class Reader:
    """`read(paths)` gives the Picture or Volume that the files at `paths` (one, for most formats) make up."""

    kind: Kind
    read: Callable[[Sequence[Path]], Picture | Volume]


def read_pillow(paths: Sequence[Path]) -> Picture:
    """A PNG or JPEG of 8 or 16 bits. Palettes and equal colour channels become grey; EXIF rotation is applied."""
    path = paths[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged file ends as an error or as a picture, not as chatter
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
                _check_size(path, image.size)
                if getattr(image, "n_frames", 1) > 1:
                    raise DataError(f"{path}: holds {getattr(image, 'n_frames', 1)} pages, expected one image",
                                    remedy="save each page as a file of its own")  # fmt: skip
                if "16" in image.mode + _raw_mode(image) and image.mode in ("RGB", "RGBA", "LA"):
                    raise DataError(f"{path}: 16-bit colour PNG, which would lose half of its bits",
                                    remedy="save it as 16-bit grey PNG or as TIFF")  # fmt: skip
                image.load()
                mode = image.mode
                pixels = _pillow_pixels(path, ImageOps.exif_transpose(image))
    except (DataError, MemoryError):
        raise
    except Exception as problem:  # decoders raise almost anything on damaged files
        raise _unreadable(path, problem) from None
    return Picture(_grey_if_equal(_check_values(path, pixels)), mode)


def _raw_mode(image: Image.Image) -> str:
    """How the file packs its values; Pillow's own mode hides that 16-bit colour was cut to 8."""
    tiles = getattr(image, "tile", [])
    return str(tiles[0][3]) if tiles and len(tiles[0]) > 3 else ""


def _pillow_pixels(path: Path, image: Image.Image) -> NDArray[Any]:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            raise DataError(f"{path}: has transparent pixels, expected an opaque image",
                            remedy="save it without an alpha channel")  # fmt: skip
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "CMYK", "YCbCr"):
        image = image.convert("RGB")
    if image.mode == "RGB":
        return np.moveaxis(np.asarray(image), -1, 0)
    if image.mode in ("L", "F", "I") or image.mode.startswith("I;16"):
        array = np.asarray(image)
        return array.astype(array.dtype.newbyteorder("="))[None]
    raise DataError(f"{path}: colour mode {image.mode}, expected grey or RGB", remedy="save it as grey PNG")


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
            _check_size(path, shape)
            if dtype is None or dtype in (np.uint8, np.bool_):
                return read_pillow(paths)
            array = _tiff_values(page, paths)
            inverted = int(page.photometric) == 0  # MinIsWhite
    except (DataError, MemoryError):
        raise
    except Exception as problem:  # decoders raise almost anything on damaged files
        raise _unreadable(path, problem) from None
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
    return Picture(_grey_if_equal(_check_values(path, array)), str(dtype))


def _tiff_values(page: Any, paths: Sequence[Path]) -> NDArray[Any]:
    try:
        return np.asarray(page.asarray())
    except ValueError as problem:
        # LZW and its kin need tifffile's optional codecs; Pillow has its own for grey pages.
        if "imagecodecs" in str(problem) and len(page.shape) == 2:
            grey: NDArray[Any] = read_pillow(paths).pixels[0]
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


def _check_size(path: Path, size: Sequence[int]) -> None:
    if math.prod(size) > MAX_PIXELS:
        raise DataError(f"{path}: {'x'.join(map(str, size))} pixels, more than {MAX_PIXELS} (a decompression bomb?)",
                        remedy="leave it out, or save it smaller")  # fmt: skip


def _check_values(path: Path, pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.size == 0:
        raise DataError(f"{path}: has no pixels", remedy=_REPLACE)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(f"{path}: {int((~np.isfinite(pixels)).sum())} pixels are NaN or infinite",
                        remedy="set them to the background value first")  # fmt: skip
    return pixels


def _grey_if_equal(pixels: NDArray[Any]) -> NDArray[Any]:
    if len(pixels) == 3 and np.array_equal(pixels[0], pixels[1]) and np.array_equal(pixels[0], pixels[2]):
        pixels = pixels[:1]
    return np.ascontiguousarray(pixels)


def _unreadable(path: Path, problem: Exception) -> DataError:
    if isinstance(problem, FileNotFoundError):
        return DataError(f"{path}: no such file", remedy="check the path in the list")
    if isinstance(problem, PermissionError):
        return DataError(f"{path}: may not be read", remedy="change the file's permissions")
    text = str(problem).replace(str(path), "file").strip() or type(problem).__name__
    what = "is empty" if path.stat().st_size == 0 else f"cannot be read as an image ({text})"
    return DataError(f"{path}: {what}", remedy=_REPLACE)


_PILLOW = Reader("picture", read_pillow)
_TIFF = Reader("picture", read_tiff)
_NIFTI = Reader("volume", read_nifti)

READERS: dict[str, Reader] = {
    ".png": _PILLOW,
    ".jpg": _PILLOW,
    ".jpeg": _PILLOW,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".nii": _NIFTI,
    ".nii.gz": _NIFTI,
}


def suffix_of(name: str) -> str | None:
    """The suffix in READERS that `name` ends with, ignoring case, or None."""
    lower = name.lower()
    return max((suffix for suffix in READERS if lower.endswith(suffix)), key=len, default=None)


def stem_of(name: str) -> str:
    """The file's name without its folder and without the suffix that names its format (`.nii.gz` as a whole)."""
    base = name.rsplit("/", 1)[-1]
    return base[: len(base) - len(suffix_of(base) or "")]
