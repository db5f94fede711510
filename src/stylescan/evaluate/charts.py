"""Line charts as inline SVG: they take the page's colours, light or dark, and need no other file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 380, 232
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 26, 36  # the plot's margins
MAX_SERIES = 4  # each its own dash, so that colour is never the only difference


@dataclass(frozen=True)
class Series:
    """One line: a name for the legend and points (x, y), in order of x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _Axis:
    """Maps values to pixels: low at `start`, high at `end`; with `log`, by decades."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        at = math.log10(value) if self.log else value
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    x_label: str,
    log_y: bool = False,
    mark: float | None = None,
    dots: bool = False,
) -> str | None:
    """An SVG element; None where no series has two points.

    label : what the picture shows, read to those who cannot see it. log_y : by decades where all values are positive.
    mark : x of a dotted upright line. dots : show each point; a single line of dots needs no legend. At most
    MAX_SERIES lines are drawn.
    """
    shown = [s for s in series if len(s.points) >= 2][:MAX_SERIES]
    if not shown:
        return None
    x, y = _axes(shown, log_y, mark)
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for value in _ticks(y):
        at = y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{at + 4:.1f}">{_text(value)}</text>')
    for value in _ticks(x):
        parts.append(f'<text class="mid" x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 15}">{_text(value)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    parts.append(f'<text class="mid" x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 4}">{escape(x_label)}</text>')
    if mark is not None:
        parts.append(f'<path class="chosen" d="M{x(mark):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
    for place, line in enumerate(shown, 1):
        parts.append(_line(line, place, x, y, dots))
    legend = _legend(shown) if len(shown) > 1 or not dots else ""
    return "".join([*parts, legend, "</svg>"])


def _axes(series: Sequence[Series], log_y: bool, mark: float | None) -> tuple[_Axis, _Axis]:
    xs = [p[0] for s in series for p in s.points] + ([] if mark is None else [mark])
    ys = [p[1] for s in series for p in s.points]
    log = log_y and min(ys) > 0
    low, high = min(ys), max(ys)
    if log:
        low, high = (low / 1.1, high * 1.1) if high / low > 1.001 else (low / 2, high * 2)
    else:
        room = (high - low) * 0.06 or abs(high) * 0.5 or 1.0
        low, high = low - room if low else low, high + room
    first, last = min(xs), max(xs)
    return (
        _Axis(first, last if last > first else first + 1, LEFT, WIDTH - RIGHT, False),
        _Axis(low, high, HEIGHT - BOTTOM, TOP, log),
    )


def _ticks(axis: _Axis) -> list[float]:
    """Round values inside the axis, 3 to 7 of them; 1-2-5 steps."""
    if axis.log:
        decades = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            ticks = [step * 10.0**k for k in decades for step in steps]
            inside = [t for t in ticks if axis.low <= t <= axis.high]
            if len(inside) >= 3:
                return inside[:: math.ceil(len(inside) / 7)]
    span = axis.high - axis.low
    size = 10.0 ** math.floor(math.log10(span / 3))
    step = next(size * k for k in (10, 5, 2, 1) if span / (size * k) >= 3 or k == 1)
    first = math.ceil(axis.low / step - 1e-9)
    return [k * step for k in range(first, math.floor(axis.high / step + 1e-9) + 1)]


def _text(value: float) -> str:
    text = f"{value:.4g}"
    return text.replace("-", "−") if "e" not in text else text


def _line(series: Series, place: int, x: _Axis, y: _Axis, dots: bool) -> str:
    at = [(x(px), y(py)) for px, py in series.points]
    path = "L".join(f"{px:.1f} {py:.1f}" for px, py in at)
    out = f'<path class="line s{place}" d="M{path}"/>'
    if dots:
        out += "".join(f'<circle class="dot s{place}" cx="{px:.1f}" cy="{py:.1f}" r="2.6"/>' for px, py in at)
    return out


def _legend(series: Sequence[Series]) -> str:
    out, left = "", float(LEFT)
    for place, line in enumerate(series, 1):
        out += f'<path class="line s{place}" d="M{left:g} 12h18"/>'
        out += f'<text x="{left + 23:g}" y="16">{escape(line.name)}</text>'
        left += 34 + 6.4 * len(line.name)
    return out
