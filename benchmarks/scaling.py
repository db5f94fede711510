"""How the cost of training, sampling and reading grows: with resolution, batch, width, channels, threads, dataset size.

    python benchmarks/scaling.py --out OUT [--preset small] [--repeats 10] [--plot docs/scaling.png] [--quick]

Each row is `stylescan bench` as a library, on images of noise, in a process of its own: one size differs from the base row.
A finished row leaves OUT/rows/NAME.json and is not measured again. Exponents are slopes of straight lines through
logarithms. Where rows are compared, times are scaled by the convolution ceiling of their own run, so that the machine's
drift from row to row does not count; curves of threads and of reading are as measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stylescan.bench.record import BenchRecord, read_record, write_record
from stylescan.bench.rounds import Kind
from stylescan.errors import StylescanError
from stylescan.files import write_json_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POOL_BYTES = 2**30
NETS: tuple[Kind, ...] = ("phase", "step", "sampling")
READING: tuple[Kind, ...] = ("reading",)


@dataclass(frozen=True)
class Row:
    """What one process measures. width: channels of every layer at most; base: channels times resolution at most, None
    for the preset's own of either; images: of the dataset."""

    resolution: int = 64
    channels: int = 1
    batch: int | None = None
    width: int | None = None
    base: int | None = None
    threads: int = 1
    images: int = 2000
    reading: bool = False

    @property
    def name(self) -> str:
        """The numbers that are not the base row's."""
        plain = asdict(Row())
        parts = [f"{key}-{value}" for key, value in asdict(self).items() if value != plain[key]]
        return "_".join(parts) or "base"


@dataclass(frozen=True)
class Curve:
    """Rows along one axis. x: of a row; corrected: by the ceiling of each run; figure: whose time is the cost."""

    title: str
    axis: str
    rows: tuple[Row, ...]
    x: Callable[[Row], float]
    figures: tuple[str, ...] = ("whole step", "sample images")
    corrected: bool = True


def plan(quick: bool) -> list[Curve]:
    """The curves, all through the base row."""
    resolutions = (16, 32, 64) if quick else (32, 64, 128, 256)
    batches = (2, 4, 8) if quick else (2, 4, 8, 16, 32)
    widths = (8, 16, 32) if quick else (16, 32, 64, 128)
    sizes = (1000, 4000) if quick else (1000, 4000, 16000, 64000)
    base = Row()
    equal = tuple(Row(resolution=r, width=16, base=16 * r) for r in resolutions)
    return [
        Curve("resolution, the preset's widths", "pixels", tuple(replace(base, resolution=r) for r in resolutions),
              lambda row: row.resolution**2),
        Curve("resolution, 16 channels throughout", "pixels", equal, lambda row: row.resolution**2),
        Curve("batch", "images a step", tuple(replace(base, batch=n) for n in batches), lambda row: row.batch or 0,
              figures=("whole step",)),
        Curve("width", "channels of every layer", tuple(replace(base, width=w, base=64 * w) for w in widths),
              lambda row: row.width or 0),
        Curve("channels of the images", "channels", tuple(replace(base, channels=c) for c in (1, 2, 3)),
              lambda row: row.channels),
        Curve("threads", "threads", tuple(replace(base, threads=t) for t in (1, 2)), lambda row: row.threads,
              corrected=False),
        Curve("reading", "images of the dataset", tuple(replace(base, images=n, reading=True) for n in sizes),
              lambda row: row.images, figures=("read batches",), corrected=False),
    ]  # fmt: skip


def measure(row: Row, preset: str, repeats: int, out: Path) -> None:
    """One row, in this process."""
    import torch

    from stylescan.allocator import tune_allocator

    tune_allocator()
    from stylescan.bench.material import open_material
    from stylescan.bench.measure import run_bench
    from stylescan.runtime import set_threads

    set_threads(row.threads)
    model = {"channel_base": row.base, "channel_max": row.width}
    overrides = {"model": {key: value for key, value in model.items() if value is not None}}
    with open_material(
        preset, device=torch.device("cpu"), resolution=row.resolution, channels=row.channels, batch=row.batch,
        overrides=overrides, count=row.images, pool_bytes=POOL_BYTES,
    ) as material:  # fmt: skip
        record = run_bench(
            material.config, material.source, material.indices, device=torch.device("cpu"), repeats=repeats,
            kinds=READING if row.reading else NETS,
        )  # fmt: skip
    write_record(out, record)


def file_of(row: Row, out: Path) -> Path:
    return out / "rows" / f"{row.name}.json"


def finished(row: Row, asked: argparse.Namespace) -> BenchRecord | None:
    """The row's record, None where it is not there whole, or of another preset or fewer rounds."""
    try:
        record = read_record(file_of(row, asked.out))
    except StylescanError:
        return None
    fits = record.setting.preset == asked.preset and record.repeats >= asked.repeats
    return record if fits else None


def measure_all(rows: Sequence[Row], asked: argparse.Namespace) -> None:
    """Every row that is not finished, one after the other, each in a process of its own."""
    for number, row in enumerate(rows):
        if finished(row, asked) is not None:
            continue
        print(f"{number + 1} of {len(rows)}: {row.name}", file=sys.stderr, flush=True)
        given = [f"--{key}={value}" for key, value in asdict(row).items() if value is not None and key != "reading"]
        command = [sys.executable, __file__, "--row", *given, "--out", str(asked.out), "--preset", asked.preset]
        command += ["--repeats", str(asked.repeats), *(["--reading"] if row.reading else [])]
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"row {row.name} failed; the same command measures what is missing")


@dataclass(frozen=True)
class Line:
    """One figure along a curve: cost in seconds a call, operations a call or None, and the fitted exponents.

    error: standard error of the slope, None for two points; of_work: the slope of cost against operations.
    """

    figure: str
    x: list[float]
    seconds: list[float]
    images_per_s: list[float]
    share: list[float | None]
    slope: float
    error: float | None
    of_work: float | None


def fit(x: Sequence[float], y: Sequence[float]) -> tuple[float, float | None]:
    """Slope of log y against log x by least squares, and its standard error where there are three points or more."""
    a, b = np.log(np.array(x)), np.log(np.array(y))
    da, db = a - a.mean(), b - b.mean()
    slope = float((da * db).sum() / (da * da).sum())
    if len(a) < 3:
        return slope, None
    return slope, float(np.sqrt(((db - slope * da) ** 2).sum() / (len(a) - 2) / (da * da).sum()))


def lines_of(curve: Curve, out: Path) -> list[Line]:
    """The curve's figures from the finished rows."""
    records = [read_record(file_of(row, out)) for row in curve.rows]
    typical = float(np.median([record.ceiling.gflops for record in records]))
    x = [float(curve.x(row)) for row in curve.rows]
    lines = []
    for name in curve.figures:
        figures = [figure for record in records if (figure := record.figure(name)) is not None]
        scale = [record.ceiling.gflops / typical if curve.corrected else 1.0 for record in records]
        # an image's cost along all axes but the batch's, where it is the whole call that grows
        whole = curve.title == "batch" and name == "whole step"
        seconds = [f.median_s * s / (1 if whole else f.images) for f, s in zip(figures, scale, strict=True)]
        work = [(f.flops or 0) / (1 if whole else f.images) for f in figures]
        of_work = fit(work, seconds)[0] if min(work) > 0 and max(work) > 1.2 * min(work) else None
        slope, error = fit(x, seconds)
        rates = [f.images_per_s / s for f, s in zip(figures, scale, strict=True)]
        lines.append(Line(name, x, seconds, rates, [f.ceiling_share for f in figures], slope, error, of_work))
    return lines


def table(curves: Sequence[tuple[Curve, list[Line]]]) -> list[str]:
    """Every point, and the exponents below each line."""
    rows = []
    for curve, lines in curves:
        for line in lines:
            rows += ["", f"{curve.title}: {line.figure}", f"{curve.axis:>24}{'images/s':>12}{'of ceiling':>12}"]
            rows += [
                f"{x:>24,.0f}{rate:>12,.1f}{'-' if share is None else f'{share:.2f}':>12}"
                for x, rate, share in zip(line.x, line.images_per_s, line.share, strict=True)
            ]
            error = "" if line.error is None else f" +- {line.error:.2f}"
            work = "" if line.of_work is None else f"; of cost against operations: {line.of_work:.2f}"
            rows.append(f"  exponent of cost: {line.slope:.2f}{error}{work}")
    return rows


def draw(curves: Sequence[tuple[Curve, list[Line]]], path: Path) -> None:
    """A panel a curve, logarithmic, with the fitted exponent beside each line."""
    import io

    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    from stylescan.files import write_bytes_atomic

    columns = 4
    figure, axes = plt.subplots(2, columns, figsize=(13, 6), layout="constrained")
    panels = list(axes.flat)
    for panel, (curve, lines) in zip(panels, curves):
        _panel(panel, curve, lines)
    for panel in panels[len(curves) :]:
        panel.set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=80, metadata={"Software": None})
    plt.close(figure)
    write_bytes_atomic(path, stream.getvalue())


def _panel(panel: Axes, curve: Curve, lines: Sequence[Line]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    for line, colour, marker in zip(lines, ("#1f5fa8", "#b3541e"), "os"):
        values = np.array(line.seconds) * 1000
        label = f"{line.figure}: exponent {line.slope:.2f}"
        panel.plot(line.x, values, color=colour, marker=marker, markersize=5, linewidth=1.4, label=label)
    panel.set_xscale("log")
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    panel.set_ylim(low / 1.4, max(high * 2.6, low * 15))  # room for the legend, and no exaggeration of flat lines
    panel.set_xticks(lines[0].x)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.tick_params(labelsize=8)
    panel.set_title(curve.title, fontsize=10)
    panel.set_xlabel(curve.axis, fontsize=9)
    panel.set_ylabel("ms a step" if curve.title == "batch" else "ms an image", fontsize=9)
    panel.grid(True, which="major", linewidth=0.4, alpha=0.6)
    panel.legend(fontsize=7.5, loc="upper left", frameon=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows' records and the results")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--repeats", type=int, default=None, help="rounds a row: 10, or 2 with --quick")
    parser.add_argument("--plot", type=Path, default=None, help="OUT/scaling.png if left out")
    parser.add_argument("--quick", action="store_true", help="few, small rows, to see that it works")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    for field in fields(Row):
        if field.name == "reading":
            parser.add_argument("--reading", action="store_true", help=argparse.SUPPRESS)
        else:
            parser.add_argument(f"--{field.name}", type=int, default=field.default, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.repeats = asked.repeats or (2 if asked.quick else 10)
    return asked


def main() -> None:
    asked = arguments()
    if asked.row:
        row = Row(**{field.name: getattr(asked, field.name) for field in fields(Row)})
        measure(row, asked.preset, asked.repeats, file_of(row, asked.out))
        return
    curves = plan(asked.quick)
    measure_all(list(dict.fromkeys(row for curve in curves for row in curve.rows)), asked)
    found = [(curve, lines_of(curve, asked.out)) for curve in curves]
    print("\n".join(table(found)))
    summary = {curve.title: {"axis": curve.axis, "lines": [asdict(line) for line in lines]} for curve, lines in found}
    write_json_atomic(asked.out / "scaling.json", summary)
    plot = asked.plot or asked.out / "scaling.png"
    draw(found, plot)
    print(f"plot: {plot}")


if __name__ == "__main__":
    main()
