"""Marks that look like writing in the pixels: names and dates that a scanner or a workstation burned in.

Letters are thin strokes, brighter than what lies on both sides, and a word is a row of them: a box wider than high in
which every line is crossed by several strokes. A single letter (R, L) is no word and is not looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP = 0.45  # how much brighter a stroke is than both sides, as a share of the image's brightest pixel
_BRIGHT = 0.6  # and how bright itself
_LEAST_STROKES = 2.4  # crossings of a line of the box, on average
_WIDER = 1.8  # than high
_FILLED = (0.08, 0.75)  # share of the box that is stroke
_LEAST_PIXELS = 14
LETTERS_SIDE = 256  # writing on larger scans is as small as on scans of this side


@dataclass(frozen=True)
class Box:
    """A place in an image: rows top to bottom, columns left to right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


def find_writing(image: NDArray[np.uint8], side: int | None = None) -> list[Box]:
    """Boxes of what looks like words in `image` (uint8 [H, W]).

    side : of the image for which letters are sized, from a fiftieth to an eighth of it; the image's own if None.
    """
    from scipy.ndimage import find_objects, label

    side = side or max(image.shape)
    strokes = _strokes(image, side)
    if int(strokes.sum()) < _LEAST_PIXELS:
        return []
    reach = max(2, side // 64)
    joined = strokes.copy()  # letters that stand close become one part
    for k in range(1, reach + 1):
        joined[:, k:] |= strokes[:, :-k]
        joined[:, :-k] |= strokes[:, k:]
    parts, _ = label(joined, np.ones((3, 3)))
    found = []
    for rows, columns in find_objects(parts):
        box = Box(rows.start, rows.stop, columns.start + reach, columns.stop - reach)
        if _is_word(strokes[box.top : box.bottom, box.left : box.right], side):
            found.append(box)
    return found


def _strokes(image: NDArray[np.uint8], side: int) -> NDArray[np.bool_]:
    """Bright pixels with a fall on both sides, left and right or above and below, within the width of a stroke."""
    values = image.astype(np.int16)
    brightest = int(values.max())
    bright = values >= max(40, _BRIGHT * brightest)
    out = np.zeros(image.shape, np.bool_)
    if not bright.any():
        return out
    reach = max(2, round(side / 85))
    low = values - int(STEP * brightest)
    rows, columns = image.shape
    padded = np.pad(values, reach)
    fall = [np.full(image.shape, 255, np.int16) for _ in range(4)]
    for k in range(1, reach + 1):
        for place, (down, right) in enumerate(((0, -k), (0, k), (-k, 0), (k, 0))):
            beside = padded[reach + down : reach + down + rows, reach + right : reach + right + columns]
            np.minimum(fall[place], beside, out=fall[place])
    across = (fall[0] <= low) & (fall[1] <= low)
    along = (fall[2] <= low) & (fall[3] <= low)
    return np.asarray(bright & (across | along))


def _is_word(strokes: NDArray[np.bool_], side: int) -> bool:
    height, width = strokes.shape
    if not max(4, side // 50) <= height <= side // 8 or width < _WIDER * height or strokes.sum() < _LEAST_PIXELS:
        return False
    filled = float(strokes.mean())
    starts = np.diff(np.pad(strokes, ((0, 0), (1, 0))).astype(np.int8), axis=1) == 1
    return _FILLED[0] <= filled <= _FILLED[1] and float(starts.sum(axis=1).mean()) >= _LEAST_STROKES
