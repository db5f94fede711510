"""Images as readers get them: nothing but the pixels may tell real from generated."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.geometry import Geometry, undo
from stylescan.randomness import numpy_generator

STORED_LIMIT_BYTES = 48 << 20
GAP_PX = 2


def display_pixels(images: NDArray[Any], geometry: Geometry | None) -> NDArray[np.uint8]:
    """uint8 or uint16 [n, C, R, R] -> uint8 [n, H, W] grey or [n, H, W, 3] colour, without padding.

    Three channels of 8 bits are colour; other channels stand side by side in grey. Screens show 8 bits: of 16, the
    upper ones are kept.
    """
    colour = images.shape[1] == 3 and images.dtype == np.uint8
    shown = images if images.dtype == np.uint8 else (images >> 8).astype(np.uint8)
    if geometry is not None:
        shown = undo(shown, geometry)
    if colour:
        return np.ascontiguousarray(np.moveaxis(shown, 1, -1))
    n, channels, height, width = shown.shape
    sheet = np.full((n, height, channels * (width + GAP_PX) - GAP_PX), 127, np.uint8)
    for k in range(channels):
        sheet[:, :, k * (width + GAP_PX) : k * (width + GAP_PX) + width] = shown[:, k]
    return sheet


def encode_alike(pixels: NDArray[np.uint8]) -> list[bytes]:
    """Each image as PNG by the same settings, without text.

    Stored uncompressed as long as all fit 48 MB: then all files have the same length too, and a length, which
    follows the noise in an image, tells nothing.
    """
    from PIL import Image

    level = 0 if pixels.nbytes <= STORED_LIMIT_BYTES else 9
    files = []
    for picture in pixels:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG", compress_level=level)
        files.append(buffer.getvalue())
    return files


def opaque_ids(n: int, seed: int) -> list[str]:
    """`n` different names of 8 hex digits."""
    rng = numpy_generator(seed, "reader_study_ids")
    ids: dict[str, None] = {}
    while len(ids) < n:
        ids[rng.bytes(4).hex()] = None
    return list(ids)


def reading_order(n: int, seed: int, reader: int) -> NDArray[np.int64]:
    """The order in which `reader` (1, 2, ...) sees the images."""
    return numpy_generator(seed, "reader_study_order", reader).permutation(n).astype(np.int64)
