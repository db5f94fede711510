"""Error maps: where a reconstruction differs from the image, in colours whose scale is fixed and written beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.pictures import to_display

ERROR_SCALE = 0.25  # the share of the full intensity range at which the colours end, for every model and image
SCALE_WORDS = "|image - reconstruction|, share of the full intensity range"

_GROUND, _INK = (24, 28, 32), (225, 230, 235)
_TILE_PX, _GAP_PX, _TEXT_PX, _BAR_PX = 128, 4, 14, 12

Column = tuple[str, NDArray[np.uint8]]
"""A title and its pictures, uint8 [n, H, W, 3]."""


def error_fraction(real: NDArray[Any], made: NDArray[Any]) -> NDArray[np.float32]:
    """|real - made| as a share of the full integer range, mean over the channels: [n, C, H, W] twice to [n, H, W]."""
    difference = np.abs(real.astype(np.float64) - made.astype(np.float64)) / np.iinfo(real.dtype).max
    return np.asarray(difference.mean(axis=1), np.float32)


def coloured(errors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Errors [n, H, W] as colours uint8 [n, H, W, 3]: black at 0, pale yellow at ERROR_SCALE and beyond."""
    from matplotlib import colormaps

    rgba = colormaps["inferno"](np.clip(errors / ERROR_SCALE, 0, 1), bytes=True)
    return np.ascontiguousarray(rgba[..., :3])


def columns(real: NDArray[Any], made: Sequence[tuple[str, NDArray[Any]]]) -> list[Column]:
    """The images, and each of the named reconstructions `made` [n, C, H, W] with its error map."""
    found = [("image", to_display(real))]
    for title, images in made:
        found += [(title, to_display(images)), (f"{title} error", coloured(error_fraction(real, images)))]
    return found


def sheet(shown: Sequence[Column]) -> NDArray[np.uint8]:
    """The columns side by side, an image a row, titles above and the colour bar below: uint8 [height, width, 3]."""
    from PIL import Image, ImageDraw, ImageFont

    n, side = len(shown[0][1]), shown[0][1].shape[1]
    factor = max(1, _TILE_PX // side)
    cell = side * factor + _GAP_PX
    top = _TEXT_PX + 2 * _GAP_PX
    height, width = top + n * cell + _BAR_PX + 3 * _TEXT_PX + 3 * _GAP_PX, max(len(shown) * cell + _GAP_PX, 420)
    picture = Image.new("RGB", (width, height), _GROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_TEXT_PX)
    for number, (title, tiles) in enumerate(shown):
        left = _GAP_PX + number * cell
        draw.text((left, _GAP_PX), title, _INK, font)
        for row, tile in enumerate(tiles):
            large = np.repeat(np.repeat(tile, factor, axis=0), factor, axis=1)
            picture.paste(Image.fromarray(large), (left, top + row * cell))
    _draw_bar(picture, draw, font, top + n * cell + _GAP_PX, width - 2 * _GAP_PX)
    return np.asarray(picture)


def _draw_bar(picture: Any, draw: Any, font: Any, top: int, width: int) -> None:
    """The colour bar with its ends in per cent, and what it measures."""
    from PIL import Image

    length = min(width, 420)
    ramp = coloured(np.linspace(0, ERROR_SCALE, length, dtype=np.float32)[None, None])[0]
    picture.paste(Image.fromarray(np.repeat(ramp, _BAR_PX, axis=0)), (_GAP_PX, top))
    below = top + _BAR_PX + _GAP_PX
    marks = (
        (0.0, "0 %", "la"),
        (0.5, f"{ERROR_SCALE * 50:g} %", "ma"),
        (1.0, f"{ERROR_SCALE * 100:g} % and more", "ra"),
    )
    for share, text, anchor in marks:
        draw.text((_GAP_PX + share * length, below), text, _INK, font, anchor=anchor)
    draw.text((_GAP_PX, below + _TEXT_PX + _GAP_PX), SCALE_WORDS, _INK, font)
