"""What every picture must pass, whatever its format; and the words for a file that cannot be read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.errors import DataError

MAX_PIXELS = 2**26  # 67 megapixels: more is a decompression bomb, not a slice
REPLACE = "replace the file by a good copy, or leave it out with --skip-corrupt"


def check_size(path: Path, size: Sequence[int]) -> None:
    if math.prod(size) > MAX_PIXELS:
        raise DataError(f"{path}: {'x'.join(map(str, size))} pixels, more than {MAX_PIXELS} (a decompression bomb?)",
                        remedy="leave it out, or save it smaller")  # fmt: skip


def check_values(path: Path, pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.size == 0:
        raise DataError(f"{path}: has no pixels", remedy=REPLACE)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(f"{path}: {int((~np.isfinite(pixels)).sum())} pixels are NaN or infinite",
                        remedy="set them to the background value first")  # fmt: skip
    return pixels


def grey_if_equal(pixels: NDArray[Any]) -> NDArray[Any]:
    if len(pixels) == 3 and np.array_equal(pixels[0], pixels[1]) and np.array_equal(pixels[0], pixels[2]):
        pixels = pixels[:1]
    return np.ascontiguousarray(pixels)


def unreadable(path: Path, problem: Exception) -> DataError:
    if isinstance(problem, FileNotFoundError):
        return DataError(f"{path}: no such file", remedy="check the path in the list")
    if isinstance(problem, PermissionError):
        return DataError(f"{path}: may not be read", remedy="change the file's permissions")
    text = re.sub(r"<_io.BytesIO object at 0x[0-9a-f]+>", "file", str(problem).replace(str(path), "file")).strip()
    text = text or type(problem).__name__
    what = "is empty" if path.is_file() and path.stat().st_size == 0 else f"cannot be read as an image ({text})"
    return DataError(f"{path}: {what}", remedy=REPLACE)
