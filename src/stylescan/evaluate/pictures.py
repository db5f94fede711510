"""Pictures for the report: grids, galleries and curves as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

GAP_PX = 1


def to_display(images: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 or uint16 [n, C, H, W] -> uint8 [n, H, W, 3]; three channels as colour, else the first one as grey."""
    shown = images if images.dtype == np.uint8 else (images >> 8).astype(np.uint8)
    planes = shown if shown.shape[1] == 3 else np.repeat(shown[:, :1], 3, axis=1)
    return np.ascontiguousarray(np.moveaxis(planes, 1, -1))


def montage(images: NDArray[Any], columns: int) -> NDArray[np.uint8]:
    """Images [n, C, H, W] row by row on a mid-grey ground, uint8 [height, width, 3]; at least one image."""
    tiles = to_display(images)
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


def curve_uri(kimg: Sequence[float], values: Sequence[float], best_kimg: float) -> str:
    """KID on `select` over kimg as an SVG data URI, on a transparent ground in greys that read on light and dark."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    grey = "#808890"
    figure = Figure(figsize=(5.0, 2.6), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    axes.plot(kimg, values, color="#3b82c4", marker="o", markersize=3, linewidth=1.5)
    axes.axvline(best_kimg, color=grey, linewidth=1, linestyle=":")
    if min(values) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training images shown (thousands)", color=grey)
    axes.set_ylabel("KID on select", color=grey)
    axes.tick_params(colors=grey, which="both")
    for name, spine in axes.spines.items():
        spine.set_color(grey)
        spine.set_visible(name in ("left", "bottom"))
    buffer = io.BytesIO()
    # No date and no random ids inside, so that equal runs give equal pages.
    with matplotlib.rc_context({"svg.hashsalt": "stylescan"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
