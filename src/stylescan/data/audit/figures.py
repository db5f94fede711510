"""Small pictures and charts for the audit's page, all inside it: JPEG tiles as data URIs, charts as inline SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SERIES = 4  # each its own dash, so that colour is never the only difference
_QUALITY = 82
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 380, 210, 12, 12, 28, 34


def tile_uri(image: NDArray[Any], side_px: int) -> str:
    """[C, R, R] integers as a JPEG of `side_px`; small images are enlarged by whole factors, so that pixels show."""
    shown = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(shown, 0, -1)) if len(shown) == 3 else shown[0])
    if picture.width < side_px:
        factor = side_px // picture.width
        picture = picture.resize((picture.width * factor,) * 2, Image.Resampling.NEAREST)
    else:
        picture = picture.resize((side_px, side_px), Image.Resampling.BOX)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def line_chart(series: Mapping[str, Sequence[float]], *, label: str, x_label: str, ends: tuple[str, str]) -> str | None:
    """Shares in bins of equal width, a line a series; None without values. ends : words for both ends of the x axis.

    At most MAX_SERIES lines are drawn. Heights are shares of the largest value: the y axis has no numbers.
    """
    shown = {name: values for name, values in list(series.items())[:MAX_SERIES] if len(values) > 1 and max(values) > 0}
    if not shown:
        return None
    top = max(max(values) for values in shown.values())
    floor = _HEIGHT - _BOTTOM
    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">',
             f'<path class="axis" d="M{_LEFT} {floor}H{_WIDTH - _RIGHT}"/>',
             f'<text x="{_LEFT}" y="{floor + 15}">{escape(ends[0])}</text>',
             f'<text class="end" x="{_WIDTH - _RIGHT}" y="{floor + 15}">{escape(ends[1])}</text>',
             f'<text class="mid" x="{_WIDTH / 2:g}" y="{_HEIGHT - 4}">{escape(x_label)}</text>']  # fmt: skip
    left = float(_LEFT)
    for number, (name, values) in enumerate(shown.items(), 1):
        step = (_WIDTH - _LEFT - _RIGHT) / len(values)
        points = "L".join(f"{_LEFT + (k + 0.5) * step:.1f} {floor - v / top * (floor - _TOP):.1f}"
                          for k, v in enumerate(values))  # fmt: skip
        word = name if len(name) <= 18 else name[:17] + "…"
        parts.append(f'<path class="line s{number}" d="M{points}"/><path class="line s{number}" d="M{left:g} 12h18"/>'
                     f'<text x="{left + 23:g}" y="16">{escape(word)}</text>')  # fmt: skip
        left += 34 + 6.6 * len(word)
    return "".join([*parts, "</svg>"])
