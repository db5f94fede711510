"""Pictures of w: scatters coloured by a property, checkpoints side by side, strips of images and curves along them."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.latent.columns import Column
from stylescan.evaluate.pictures import to_display

Points = NDArray[np.float64]

# Told apart with the common colour blindnesses as far as ten colours can be; grey is kept for 'other'.
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b2c83", "#8c564b", "#b5bd00", "#111111",
)  # fmt: skip
GREY = "#c4c8cc"
INK = "#33383d"
SUBJECTS_SHOWN = 8
_LINE = 46


@dataclass(frozen=True)
class Panel:
    """One scatter: `points` [n, 2] coloured by `column` over `behind` [m, 2] in grey, with words above and below."""

    title: str
    caption: str
    points: Points
    column: Column | None
    behind: Points


@dataclass(frozen=True)
class Stage:
    """One checkpoint: points on the fixed axes, and what the curves show of it."""

    kimg: float
    points: Points
    variance: float
    share: float
    auc: float | None
    cosine: float


def scatter_sheet(panels: Sequence[Panel], axis_names: tuple[str, str], title: str) -> bytes:
    """PNG of all panels, three a row, on one pair of axes with equal limits."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure(4.3 * columns, 4.7 * rows + 0.5)
    figure.suptitle(title, fontsize=10, color=INK)
    everything = np.concatenate([part for panel in panels for part in (panel.points, panel.behind)])
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, number + 1)
        _draw_panel(figure, axes, panel)
        _limits(axes, everything)
        axes.set_title(panel.title, fontsize=10, color=INK)
        caption = "\n".join(textwrap.wrap(panel.caption, _LINE + 8))
        axes.set_xlabel(f"{axis_names[0]}\n\n{caption}", fontsize=8, color=INK)
        axes.set_ylabel(axis_names[1], fontsize=8, color=INK)
    return _png(figure)


def stages_sheet(stages: Sequence[Stage], column: Column | None, axis_names: tuple[str, str], title: str) -> bytes:
    """PNG of all checkpoints on the same axes, and below them what changes from one to the next."""
    columns = min(max(len(stages), 3), 5)
    rows = -(-len(stages) // columns)
    figure = _figure(2.6 * columns, 2.7 * rows + 3.2)
    figure.suptitle(title, fontsize=10, color=INK)
    upper, lower = figure.subfigures(2, 1, height_ratios=[2.7 * rows, 2.7])
    everything = np.concatenate([stage.points for stage in stages])
    for number, stage in enumerate(stages):
        axes = upper.add_subplot(rows, columns, number + 1)
        _draw_panel(upper, axes, Panel("", "", stage.points, column, np.empty((0, 2))), legend=number == 0)
        _limits(axes, everything)
        axes.set_title(f"{stage.kimg:g} thousand images", fontsize=9, color=INK)
        if number % columns == 0:
            axes.set_ylabel(axis_names[1], fontsize=8, color=INK)
        if number >= len(stages) - columns:
            axes.set_xlabel(axis_names[0], fontsize=8, color=INK)
    _draw_curves(lower, stages)
    return _png(figure)


def _draw_curves(figure: Any, stages: Sequence[Stage]) -> None:
    kimg = [stage.kimg for stage in stages]
    curves: list[tuple[str, list[float], tuple[float, float] | None]] = [
        ("total variance of w", [stage.variance for stage in stages], None),
        ("share of it on these two axes", [stage.share for stage in stages], (0.0, 1.05)),
        ("cosine with the last, same z", [stage.cosine for stage in stages], (-0.1, 1.05)),
    ]
    if all(stage.auc is not None for stage in stages):
        curves.append(("AUC of class in w", [float(stage.auc or 0) for stage in stages], (0.4, 1.03)))
    for number, (name, values, limits) in enumerate(curves):
        axes = figure.add_subplot(1, len(curves), number + 1)
        axes.plot(kimg, values, color=PALETTE[0], marker="o", markersize=4, linewidth=1.5)
        axes.set_ylim(*(limits or (0.0, max(values) * 1.1 or 1.0)))
        axes.set_title(name, fontsize=9, color=INK)
        axes.set_xlabel("thousand images shown", fontsize=8, color=INK)
        _tidy(axes)


def strip_sheet(
    images: NDArray[Any], steps: Sequence[float], row_names: Sequence[str], title: str, words: str
) -> bytes:
    """PNG of images [rows, steps, C, H, W], a seed a row, with the step above each column and `words` below."""
    rows, columns = images.shape[:2]
    tiles = to_display(images.reshape(-1, *images.shape[2:])).reshape(rows, columns, *images.shape[3:], 3)
    figure = _figure(max(1.15 * columns + 0.6, 7.0), 1.15 * rows + 1.5)
    figure.suptitle(title, fontsize=10, color=INK)
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    for row in range(rows):
        for column in range(columns):
            axes = grid[row][column]
            axes.imshow(tiles[row, column], interpolation="nearest", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title("seed" if steps[column] == 0 else f"{steps[column]:+.2g} sd", fontsize=8, color=INK)
            if column == 0:
                axes.set_ylabel(row_names[row], fontsize=7, color=INK)
    figure.supxlabel("\n".join(textwrap.wrap(words, 110)), fontsize=8, color=INK)
    return _png(figure)


@dataclass(frozen=True)
class Curve:
    """A reading along the strip: mean over seeds [k] with a 95 % interval, and perhaps one of another direction."""

    name: str
    caption: str
    mean: Points
    low: Points
    high: Points
    other: Points | None = None


def curves_sheet(curves: Sequence[Curve], steps: Sequence[float], names: tuple[str, str], title: str) -> bytes:
    """PNG of all readings along the strip. names : of the direction drawn in full, and of the dashed one."""
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = _figure(max(4.2 * columns, 6.5), 4.1 * rows + 0.5)
    figure.suptitle(title, fontsize=10, color=INK)
    for number, curve in enumerate(curves):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.fill_between(steps, curve.low, curve.high, color=PALETTE[0], alpha=0.2, linewidth=0)
        axes.plot(steps, curve.mean, color=PALETTE[0], marker="o", markersize=4, label=names[0])
        if curve.other is not None:
            axes.plot(steps, curve.other, color=PALETTE[1], linestyle="--", label=names[1])
        axes.set_title(curve.name, fontsize=10, color=INK)
        caption = "\n".join(textwrap.wrap(curve.caption, _LINE + 8))
        axes.set_xlabel(f"step along the direction (sd of w)\n\n{caption}", fontsize=8, color=INK)
        axes.legend(fontsize=7, frameon=False)
        _tidy(axes)
    return _png(figure)


def _draw_panel(figure: Any, axes: Any, panel: Panel, *, legend: bool = True) -> None:
    size = 9 if len(panel.points) > 400 else 16
    if len(panel.behind):
        axes.scatter(*panel.behind.T, s=4, color=GREY, alpha=0.5, linewidths=0)
    column = panel.column
    if column is None:
        axes.scatter(*panel.points.T, s=size, color=PALETTE[0], alpha=0.7, linewidths=0)
    elif column.kind == "number":
        known = np.isfinite(column.values)
        axes.scatter(*panel.points[~known].T, s=size, color=GREY, linewidths=0)
        drawn = axes.scatter(*panel.points[known].T, s=size, c=column.values[known], cmap="viridis", linewidths=0)
        figure.colorbar(drawn, ax=axes, fraction=0.045, pad=0.02).ax.tick_params(labelsize=7)
    else:
        _draw_categories(axes, panel.points, column, size, legend)
    _tidy(axes)


def _draw_categories(axes: Any, points: Points, column: Column, size: int, legend: bool) -> None:
    shown = list(range(len(column.names)))
    if column.kind == "subject":
        counts = np.bincount(column.values, minlength=len(column.names))
        shown = np.argsort(-counts, kind="stable")[:SUBJECTS_SHOWN].tolist()
        size *= 2
    rest = ~np.isin(column.values, shown)
    if rest.any():
        axes.scatter(*points[rest].T, s=size / 2, color="#8a9096", alpha=0.6, linewidths=0, label="other or unknown")
    # in one call and in mixed order, so that the class drawn last does not hide the others
    order = np.random.default_rng(0).permutation(np.flatnonzero(~rest))
    paint = {code: PALETTE[k % len(PALETTE)] for k, code in enumerate(shown)}
    axes.scatter(*points[order].T, s=size, c=[paint[int(c)] for c in column.values[order]], alpha=0.75, linewidths=0)
    for code in shown:
        axes.scatter([], [], s=20, color=paint[code], label=_short(column.names[code]))
    if legend:
        axes.legend(fontsize=6.5, frameon=False, markerscale=1.0, loc="best")


def _short(text: str) -> str:
    return text if len(text) <= 18 else text[:16] + "…"


def _limits(axes: Any, points: Points) -> None:
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum((high - low) * 0.04, 1e-9)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])


def _tidy(axes: Any) -> None:
    axes.tick_params(labelsize=7, colors=INK)
    for name, spine in axes.spines.items():
        spine.set_color("#9aa0a6")
        spine.set_visible(name in ("left", "bottom"))


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
