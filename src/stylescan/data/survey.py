"""The first look at every scan: is it readable, how large, with which values, like which others. Runs in workers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from stylescan.data.formats.scans import Picture, Volume
from stylescan.data.intensity import (
    foreground_shares,
    looks_like_labels,
    percentile_range,
    pooled_range,
    sample_values,
    to_fraction,
)
from stylescan.data.laterality import canonical_scan
from stylescan.data.masks import read_mask
from stylescan.data.options import PrepareOptions
from stylescan.data.planes import DEFAULT_PLANE, plane_slices, plane_spacing
from stylescan.data.sources import Source, read_hashed, read_source
from stylescan.data.spool import Spooled, SpooledShard, SpoolWriter
from stylescan.data.windows import parse_window, window_range
from stylescan.errors import DataError

THUMB_SIDE = 16


class Surveyed(BaseModel):
    """What the first look found in one source; enough to plan without reading it again.

    `wide`: more than 8 bits. `spacing_mm`: (row, column). `low`, `high`: the percentiles of a volume's first contrast,
    `further`: those of the others. `foreground`: the share of each of a volume's slices. `thumb`: 16x16 grey values in
    hexadecimal (the middle slice of a volume). `units`: of the source's values, where the file states them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    stamp: tuple[int, int]  # size in bytes and time of change: tells a later run that the file is the same
    sha256: str
    height: int
    width: int
    channels: int
    wide: bool
    mode: str
    spacing_mm: tuple[float, float] | None = None
    low: float = 0.0
    high: float = 255.0
    further: list[tuple[float, float]] = []
    units: str | None = None
    foreground: list[float] = []
    thumb: str
    notes: list[str] = []


class Failure(BaseModel):
    """A source that cannot be used, and why. `kind`: 'damaged', or 'labels' for a label map."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    reason: str
    kind: str = "damaged"


def stamp_of(paths: Sequence[Path]) -> tuple[int, int]:
    """Total size and latest time of change (ns) of the files; (-1, -1) where one is gone."""
    try:
        stats = [path.stat() for path in paths]
    except OSError:
        return (-1, -1)
    return sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)


@dataclass(frozen=True)
class SurveyTask:
    """Sources that one worker surveys in turn. `spool`: a new file for the pixels of pictures, or None."""

    sources: Sequence[Source]
    options: PrepareOptions
    spool: Path | None = None


@dataclass(frozen=True)
class SurveyAnswer:
    """One row for each source, in order; a bad file is a Failure. `spooled`: by name, where its pixels lie; `shard`: the
    same as a whole, where it may become one."""

    rows: list[Surveyed | Failure]
    spooled: dict[str, Spooled]
    shard: SpooledShard | None = None


def survey_sources(task: SurveyTask) -> SurveyAnswer:
    """Look at every source of the task; a bad file is never an exception."""
    spooled: dict[str, Spooled] = {}
    with ExitStack() as stack:
        spool = stack.enter_context(SpoolWriter(task.spool, len(task.sources))) if task.spool else None
        rows = []
        for source in task.sources:
            row, pixels = _survey_one(source, task.options)
            rows.append(row)
            if spool and pixels is not None:
                spooled[source.name] = spool.add(source.name, pixels)
    return SurveyAnswer(rows, spooled, spool.shard() if spool else None)


def _survey_one(source: Source, options: PrepareOptions) -> tuple[Surveyed | Failure, NDArray[Any] | None]:
    """The row, and a picture's pixels."""
    stamp = stamp_of(source.paths)
    try:
        scan, digest = read_hashed(source)
        if isinstance(scan, Volume) != (source.kind == "volume"):
            held = "a volume" if isinstance(scan, Volume) else "one image"
            return Failure(name=source.name, reason=f"{source.paths[0]}: holds {held}, expected a {source.kind}"), None
        if options.laterality == "canonicalise":
            scan = canonical_scan(scan, source.side, options.plane)
        if source.mask is not None:
            _check_mask(source, scan, options)
        if isinstance(scan, Volume):
            return _survey_volume(source, scan, options, stamp, digest), None
        return _survey_picture(source, scan, options, stamp, digest), scan.pixels
    except (DataError, OSError) as problem:
        reason = problem.message if isinstance(problem, DataError) else f"{source.name}: {problem}"
        return Failure(name=source.name, reason=reason), None
    except MemoryError:
        return Failure(name=source.name, reason=f"{source.name}: too large for this machine's memory"), None


def _check_mask(source: Source, scan: Picture | Volume, options: PrepareOptions) -> None:
    plane = options.plane or DEFAULT_PLANE
    assert source.mask is not None
    found = read_mask(source.mask, source.kind, plane).shape
    expected = plane_slices(scan.contrasts[0], plane).shape if isinstance(scan, Volume) else (1, *scan.pixels.shape[1:])
    if found != expected:
        raise DataError(f"{source.mask}: mask of {'x'.join(map(str, found))}, the scan has {'x'.join(map(str, expected))}",
                        remedy="put masks on the grid of their scans")  # fmt: skip


def _survey_picture(
    source: Source, scan: Picture, options: PrepareOptions, stamp: tuple[int, int], digest: str
) -> Surveyed:
    channels, height, width = scan.pixels.shape
    wide = scan.pixels.dtype != np.uint8
    if options.window is not None and not wide:
        raise DataError(f"{source.paths[0]}: 8-bit values, and --window was asked for, which is of the scanner's values",
                        remedy="leave --window out: 8-bit images are kept as they are")  # fmt: skip
    if channels == 1 and not wide:
        low, high, thumb = 0.0, 255.0, _thumb_of_bytes(scan.pixels[0])
    else:
        grey = scan.pixels[0].astype(np.float32) if channels == 1 else scan.pixels.mean(axis=0, dtype=np.float32)
        low, high = (float(grey.min()), float(grey.max())) if wide else (0.0, 255.0)
        if options.window is not None:
            low, high = _window_range(source, scan, options.window)
        thumb = _thumb(to_fraction(grey, low, high))
    return Surveyed(
        name=source.name, stamp=stamp, sha256=digest, height=height, width=width, channels=channels, wide=wide,
        mode=scan.mode, low=low, high=high, thumb=thumb, units=scan.units, notes=list(scan.notes),
        spacing_mm=scan.spacing_mm,
    )  # fmt: skip


def _window_range(source: Source, scan: Picture | Volume, window: str) -> tuple[float, float]:
    return window_range(parse_window(window), scan.window, source=str(source.paths[0]), units=scan.units)


def _survey_volume(
    source: Source, volume: Volume, options: PrepareOptions, stamp: tuple[int, int], digest: str
) -> Surveyed | Failure:
    if not options.allow_label_volumes and looks_like_labels(volume.voxels):
        values = np.unique(volume.voxels)
        text = f"{source.paths[0]}: holds only {len(values)} whole numbers, a label map and not a scan"
        return Failure(name=source.name, reason=text, kind="labels")
    if len(volume.contrasts) > 1 and not options.contrasts:
        text = (f"{source.paths[0]}: shape {'x'.join(map(str, volume.voxels.shape))} (a time series or several contrasts), "
                "expected one 3D volume, or --contrasts to take each as a channel")  # fmt: skip
        return Failure(name=source.name, reason=text)
    if options.window is not None:
        ranges = [_window_range(source, volume, options.window)] * len(volume.contrasts)
    else:
        ranges = [percentile_range(contrast, options.percentiles) for contrast in volume.contrasts]
    if not all(high > low for low, high in ranges):
        return Failure(name=source.name, reason=f"{source.paths[0]}: all voxels are equal")
    plane = options.plane or DEFAULT_PLANE
    each = [to_fraction(plane_slices(c, plane), *limits) for c, limits in zip(volume.contrasts, ranges)]
    fractions: NDArray[np.float32] = each[0] if len(each) == 1 else np.stack(each).mean(axis=0)
    return Surveyed(
        name=source.name, stamp=stamp, sha256=digest, height=fractions.shape[1], width=fractions.shape[2],
        channels=len(each), wide=True, mode="volume" if len(each) == 1 else f"volume of {len(each)} contrasts",
        spacing_mm=plane_spacing(volume.spacing_mm, plane), low=ranges[0][0], high=ranges[0][1], further=ranges[1:],
        foreground=foreground_shares(fractions), units=volume.units,
        thumb=_thumb(fractions[len(fractions) // 2]), notes=list(volume.notes),
    )  # fmt: skip


def _thumb(fractions: NDArray[np.float32]) -> str:
    small = Image.fromarray(np.ascontiguousarray(fractions)).resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BOX)
    values: NDArray[np.float32] = np.rint(np.asarray(small, np.float32) * 255).clip(0, 255)
    return values.astype(np.uint8).tobytes().hex()


def _thumb_of_bytes(grey: NDArray[np.uint8]) -> str:
    """`_thumb` of 8-bit values [H, W], without floats in between: the same to a grey value."""
    picture = Image.fromarray(grey)
    if picture.width % THUMB_SIDE == picture.height % THUMB_SIDE == 0:  # whole blocks have a faster way
        small = picture.reduce((picture.width // THUMB_SIDE, picture.height // THUMB_SIDE))
    else:
        small = picture.resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BOX)
    return small.tobytes().hex()


def thumbs_of(rows: Sequence[Surveyed]) -> NDArray[np.float32]:
    """The thumbnails as float32 [n, 256] in 0..255."""
    joined = b"".join(bytes.fromhex(row.thumb) for row in rows)
    return np.frombuffer(joined, np.uint8).reshape(len(rows), THUMB_SIDE * THUMB_SIDE).astype(np.float32)


def group_range(task: tuple[Sequence[Source], tuple[float, float]]) -> tuple[float, float]:
    """The percentiles over all pictures of one group (a subject's), or of one picture alone."""
    sources, percentiles = task

    def samples() -> Any:
        for source in sources:
            scan = read_source(source)
            yield sample_values(scan.pixels if isinstance(scan, Picture) else scan.voxels)

    return pooled_range(samples(), percentiles)


def choose_slices(row: Surveyed, options: PrepareOptions) -> list[int]:
    """Numbers of the slices of a volume to keep: within `slices`, with enough foreground, each `every`-th of these."""
    count = len(row.foreground)
    first, last = options.slices
    inside = [k for k in range(count) if first <= (k + 0.5) / count <= last]
    return [k for k in inside if row.foreground[k] >= options.min_foreground][:: options.every]
