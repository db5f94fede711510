"""Pictures for the report: grids and galleries as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GAP_PX = 1
COLUMNS = 6
ROWS = (4, 3, 2, 1)  # of a grid, from the fullest to the least
MAX_PAGE_VALUES = 2_400_000  # grey values in all grids: about 2 MB of PNG in base64
MIN_SIDE_PX = 64  # no picture is shrunk below


def to_display(images: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 or uint16 [n, C, H, W] -> uint8 [n, H, W, 3]; three channels as colour, else the first one as grey."""
    shown = images if images.dtype == np.uint8 else (images >> 8).astype(np.uint8)
    planes = shown if shown.shape[1] == 3 else np.repeat(shown[:, :1], 3, axis=1)
    return np.ascontiguousarray(np.moveaxis(planes, 1, -1))


@dataclass(frozen=True)
class GridPlan:
    """How grids are shown so that a page stays light: images a grid, and by how much each side is shrunk (1: not)."""

    images: int
    shrink: int


def plan_grids(grids: int, side_px: int, channels: int) -> GridPlan:
    """The fullest grids that fit MAX_PAGE_VALUES: first fewer images, then smaller ones, by means over whole pixels.

    Where even that does not fit, the least: one row of images as small as may be.
    """
    planes = 3 if channels == 3 else 1
    shrinks = [k for k in (1, 2, 4, 8, 16) if k == 1 or (side_px % k == 0 and side_px // k >= MIN_SIDE_PX)]
    plans = [GridPlan(COLUMNS * rows, k) for k in shrinks for rows in ROWS]
    costs = (grids * plan.images * (side_px // plan.shrink) ** 2 * planes for plan in plans)
    return next((plan for plan, cost in zip(plans, costs) if cost <= MAX_PAGE_VALUES), plans[-1])


def shrink(pictures: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """uint8 [n, H, W, 3] with both sides divided by `factor`, which must divide them: means, rounded."""
    if factor == 1:
        return pictures
    n, height, width, planes = pictures.shape
    blocks = pictures.reshape(n, height // factor, factor, width // factor, factor, planes)
    means: NDArray[np.uint8] = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)
    return means


def montage(images: NDArray[Any], columns: int, shrink_by: int = 1) -> NDArray[np.uint8]:
    """Images [n, C, H, W] row by row on a mid-grey ground, uint8 [height, width, 3]; at least one image."""
    tiles = shrink(to_display(images), shrink_by)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    height, width = tiles.shape[1:3]
    sheet = np.full((rows * (height + GAP_PX) - GAP_PX, columns * (width + GAP_PX) - GAP_PX, 3), 127, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * (height + GAP_PX), (number % columns) * (width + GAP_PX)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def png_uri(picture: NDArray[np.uint8]) -> str:
    """A picture uint8 [H, W, 3] as a data URI; stored as grey where it is grey."""
    from PIL import Image

    grey = bool((picture == picture[..., :1]).all())
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if grey else picture).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def spread_over_subjects(subjects: NDArray[Any], k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most `k` random positions, of different subjects as long as there are any."""
    order = rng.permutation(len(subjects))
    seen: dict[str, int] = {}
    rank = []
    for position in order:
        name = str(subjects[position])
        rank.append(seen.get(name, 0))
        seen[name] = rank[-1] + 1
    return order[np.argsort(rank, kind="stable")][:k].astype(np.int64)
