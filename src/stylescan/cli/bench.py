"""`stylescan bench`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from stylescan.cli.console import bar, note, say
from stylescan.columns import aligned

if TYPE_CHECKING:
    from stylescan.bench.compare import Comparison
    from stylescan.bench.record import BenchRecord, Figure

Measured = Literal["forward", "phase", "step", "reading", "sampling", "evaluation"]


def bench(
    *,
    preset: str = "auto",
    json: Path | None = None,
    compare: Path | None = None,
    data: Path | None = None,
    resolution: int | None = None,
    channels: int | None = None,
    batch: int | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    device: str = "auto",
    threads: int | None = None,
    repeats: int = 10,
    only: Annotated[list[Measured] | None, Parameter(negative="")] = None,
) -> None:
    """Measure a preset on this machine: speed, memory, and how near it comes to what the machine can do.

    Passes of G and D, each phase of a training step, whole steps, reading, sampling and evaluation, in rounds, so that a
    machine that slows down slows all of it. In the same rounds a plain convolution gives the machine's ceiling; a share
    of 0.6 of it means that other code for the same nets could be about 1/0.6 times as fast here at most.
    Times move with the machine; shares, and ratios by --compare, stay.

    Parameters
    ----------
    preset
        Recipe; `stylescan presets` lists them. On `auto`, as in training, the device decides.
    json
        Write the figures to this file. An older result of bench there is replaced.
    compare
        A file written by --json before: print how much faster each part is now, as measured and with the machine's own
        drift taken out.
    data
        Prepared dataset whose images are read and whose size counts. Left out: noise in a temporary file.
    resolution
        Side of the images without --data; 64 if left out.
    channels
        Channels of the images without --data; 1 if left out.
    batch
        Images a step; the preset's own if left out.
    set_
        Override one value of the configuration, for instance --set model.channel_max=32; may be repeated.
    device
        auto, cpu, cuda or cuda:N.
    threads
        CPU threads.
    repeats
        Rounds; medians are over so many.
    only
        Measure this kind of work alone, beside the ceiling; may be repeated. Large nets have many kinds of steps, and
        --only phase is enough for their share of the ceiling.
    """
    from stylescan.bench.compare import compare_records
    from stylescan.bench.material import open_material
    from stylescan.bench.measure import ALL_KINDS, run_bench
    from stylescan.bench.record import read_record, write_record
    from stylescan.config import parse_overrides
    from stylescan.runtime import pick_device, set_threads

    # everything that can be refused is, before a minute is spent
    old = None if compare is None else read_record(compare)
    _check_target(json, compare)
    set_threads(threads)
    place = pick_device(device)
    with open_material(
        preset, device=place, data=data, resolution=resolution, channels=channels, batch=batch,
        overrides=parse_overrides(set_ or []),
    ) as material:  # fmt: skip
        note(f"measuring preset {preset} at {material.config.data.resolution} px, {repeats} rounds")
        with bar() as report:
            record = run_bench(
                material.config, material.source, material.indices, device=place, images=material.images,
                repeats=repeats, kinds=only or ALL_KINDS, progress=report,
            )  # fmt: skip
    for line in [*heading(record), "", *table(record), "", *closing(record)]:
        say(line)
    if old is not None:
        for line in ["", *comparison_lines(compare_records(old, record))]:
            say(line)
    if json is not None:  # after the table: a disk that is full by now takes only the file
        write_record(json, record)
        say(f"figures: {json}")


def _check_target(json: Path | None, compare: Path | None) -> None:
    """Only what bench wrote before may be replaced, and not what is compared with."""
    from stylescan.bench.record import read_record
    from stylescan.errors import ConfigError

    if json is None:
        return
    another = "Give --json another name."
    if json.is_dir():
        raise ConfigError(f"--json {json}: a folder, expected the name of a file", remedy=another)
    above = next((folder for folder in json.absolute().parents if folder.exists()), Path())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ConfigError(f"--json {json}: nothing can be written in {above}", remedy=another)
    if not json.exists():
        return
    if compare is not None and json.samefile(compare):
        raise ConfigError(f"--json {json}: the same file as --compare, which would be lost", remedy=another)
    try:
        read_record(json)
    except ConfigError as problem:
        raise ConfigError(
            f"--json: would replace what bench did not write ({problem.message})", remedy=another
        ) from None


def heading(record: BenchRecord) -> list[str]:
    """What was measured, and where."""
    at, machine = record.setting, record.environment
    keeps = machine["allocator_keeps_blocks"]
    kept = "kept by the process" if keeps is True else "given back at every free" if keeps is False else "as it may be"
    return [
        f"preset {at.preset}: {at.resolution} px, {at.channels} channel{'s' * (at.channels > 1)}, batch {at.batch}, "
        f"G {at.parameters_G / 1e6:.2f} M and D {at.parameters_D / 1e6:.2f} M parameters, {_IMAGES.get(at.images, '')}",
        f"machine: {machine['cpu']}, {machine['device']}, CPU threads: {machine['threads']}, torch {machine['torch']}, "
        f"freed memory {kept}",
        f"ceiling: {record.ceiling.gflops:.0f} GFLOP/s (3x3 convolutions of 128 channels: {record.ceiling.gflops_64:.0f} "
        f"at 64x64, {record.ceiling.gflops_32:.0f} at 32x32, {record.ceiling.dtype})",
    ]


_IMAGES = {"noise": "on images of noise from a temporary file", "prepared": "on the images of --data"}
BUSY = 0.6  # a thread waits a little for the others, and reading for the disk, on an idle machine too
_KINDS = {"forward": "pass of", "phase": "phase", "evaluation": "evaluate:"}


def table(record: BenchRecord) -> list[str]:
    """Every figure as aligned lines."""
    head = ["", "images/s", "s/kimg", "ms a call", "quartiles", "GFLOP/image", "of ceiling", "peak MB", "added MB"]
    return aligned([head, *(_cells(figure) for figure in record.figures)])


def _cells(figure: Figure) -> list[str]:
    every = f", every {figure.every_steps}" if (figure.every_steps or 1) > 1 else ""
    return [
        f"{_KINDS.get(figure.kind, '')} {figure.name}{every}".strip(),
        _digits(figure.images_per_s),
        _digits(figure.s_per_kimg),
        _digits(1000 * figure.median_s),
        f"{_digits(1000 * figure.q1_s)} to {_digits(1000 * figure.q3_s)}",
        *(_digits(value) for value in (figure.gflop_per_image, figure.ceiling_share)),
        *(_digits(value) for value in (figure.peak_memory_mb, figure.added_memory_mb)),
    ]


def closing(record: BenchRecord) -> list[str]:
    """The shares, and what is not in the table."""
    lines = [f"medians of {record.repeats} rounds; s/kimg of a phase: its part of 1,000 training images"]
    shares = record.ceiling_shares
    if shares is not None:
        step = "" if shares.step is None else f", with reading and averaging {shares.step:.2f}"
        lines.append(
            f"share of the ceiling over G + D: {shares.phases:.2f} (phases of every step alone "
            f"{shares.main_phases:.2f}{step})"
        )
    if record.environment["device"] == "cpu" and record.cpu_use < BUSY:
        lines.append(
            f"warning: a thread had {record.cpu_use:.0%} of a core: other programs were at work, so take nothing from these "
            "figures but operations and memory, and measure again when they are done"
        )
    return [*lines, f"peak memory: {record.memory}", *record.notes]


def comparison_lines(found: Comparison) -> list[str]:
    """Ratios new / old."""
    head = ["new / old", "images/s before", "now", "speed", "without drift", "peak memory"]
    rows = [
        [row.name, *(_digits(v) for v in (row.old_images_per_s, row.new_images_per_s)),
         *(_digits(v) for v in (row.speed, row.corrected, row.memory))]
        for row in found.rows
    ]  # fmt: skip
    return [
        *aligned([head, *rows]),
        f"the machine's ceiling is {found.ceiling:.2f} times that of before; 'without drift' divides speed by it",
        *(f"warning: {line}" for line in found.warnings),
    ]


def _digits(value: float | None) -> str:
    """Three digits that count, whole numbers in full."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
