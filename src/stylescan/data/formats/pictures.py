"""PNG and JPEG, and TIFF of 8-bit values: plain PNG through libpng, the rest through Pillow."""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from stylescan.data.formats import jpeg
from stylescan.data.formats.checks import REPLACE, check_size, check_values, grey_if_equal, unreadable
from stylescan.data.formats.png import SIGNATURE, decode_plain, read_chunks
from stylescan.data.formats.scans import Picture
from stylescan.errors import DataError

MAX_BYTES = 2**30
_QUIET = threading.Lock()


def read_picture(paths: Sequence[Path]) -> Picture:
    """A PNG or JPEG of 8 or 16 bits. Palettes and equal colour channels become grey; EXIF rotation is applied."""
    return decode_picture(read_bytes(paths[0]), paths[0])


def read_bytes(path: Path) -> bytes:
    """The whole file. Raises DataError where it cannot be read, is no plain file, or larger than any picture can be."""
    try:
        # Not waiting: a pipe would never answer. One descriptor and no second look: the file cannot change in between.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb", buffering=0) as stream:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise DataError(
                    f"{path}: a pipe or device, expected a file", remedy="leave it out, or replace it by a file"
                )
            if state.st_size > MAX_BYTES:
                raise DataError(f"{path}: {state.st_size} bytes, more than a picture can have", remedy=REPLACE)
            return stream.readall()
    except OSError as problem:
        raise unreadable(path, problem) from None


def decode_picture(data: bytes, name: str | Path) -> Picture:
    """`read_picture` of bytes that were read already; `name` stands in errors."""
    path = Path(name)
    try:
        if data.startswith(SIGNATURE):
            header = read_chunks(data)
            check_size(path, (header.height, header.width))
            if header.plain:
                pixels = decode_plain(data, header)
                mode = "RGB" if len(pixels) == 3 else "L" if header.bits == 8 else "I;16"
                return Picture(grey_if_equal(check_values(path, pixels)), mode)
        pixels, mode = _decode_pillow(data, path)
    except (DataError, MemoryError):
        raise
    except Exception as problem:  # decoders raise almost anything on damaged files
        raise unreadable(path, problem) from None
    return Picture(grey_if_equal(check_values(path, pixels)), mode)


def _decode_pillow(data: bytes, path: Path) -> tuple[NDArray[Any], str]:
    # One thread at a time: which warnings are silent is a setting of the whole process.
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged file ends as an error or as a picture, not as chatter
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "TIFF")) as image:
            check_size(path, image.size)
            if getattr(image, "n_frames", 1) > 1:
                raise DataError(f"{path}: holds {getattr(image, 'n_frames', 1)} pages, expected one image",
                                remedy="save each page as a file of its own")  # fmt: skip
            if "16" in image.mode + _raw_mode(image) and image.mode in ("RGB", "RGBA", "LA"):
                raise DataError(f"{path}: 16-bit colour PNG, which would lose half of its bits",
                                remedy="save it as 16-bit grey PNG or as TIFF")  # fmt: skip
            mode = image.mode
            if image.format == "JPEG" and mode in jpeg.MODES:
                decoded = _with_pixels(image, jpeg.decode_jpeg(data, mode))
                return _pillow_pixels(path, ImageOps.exif_transpose(decoded)), mode
            image.load()
            return _pillow_pixels(path, ImageOps.exif_transpose(image)), mode


def _with_pixels(image: Image.Image, pixels: NDArray[np.uint8]) -> Image.Image:
    """The decoded `pixels` [H, W] or [H, W, 3] with what the file says of their rotation."""
    if pixels.shape[:2] != (image.height, image.width):
        raise ValueError(
            f"decodes to {pixels.shape[1]}x{pixels.shape[0]}, its header says {image.width}x{image.height}"
        )
    decoded = Image.fromarray(pixels)
    decoded.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
    return decoded


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
