"""The second look: read sources again, cut, scale and write them as one shard. Runs in worker processes."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from stylescan.data.formats.scans import Volume
from stylescan.data.geometry import Geometry, apply, place
from stylescan.data.intensity import from_fraction, to_fraction
from stylescan.data.planes import plane_slices
from stylescan.data.sources import Source, read_source
from stylescan.data.spool import Spooled
from stylescan.errors import DataError
from stylescan.files import fsync_folder

DARK, DARK_SHARE = 0.02, 0.01  # dark: less than 1 % of the pixels reach 2 % of the range
EMPTY = 0.004  # and one whose values span less than this (one step of 8 bits) is empty


@dataclass(frozen=True)
class RenderItem:
    """One source with all that was decided about it. `slices`: numbers of a volume's slices, (0,) for a picture.

    `low`, `high`: the source values that become 0 and the largest integer; `further`: those of a volume's contrasts
    beyond the first. `spooled`: a picture's pixels, where the survey kept them.
    """

    source: Source
    slices: tuple[int, ...]
    geometry: Geometry
    low: float
    high: float
    further: tuple[tuple[float, float], ...] = ()
    spooled: Spooled | None = None


@dataclass(frozen=True)
class ShardJob:
    """Write `items` to `target` ([n, channels, resolution, resolution]), by way of `temporary` on the same disk."""

    items: tuple[RenderItem, ...]
    target: Path
    temporary: Path
    resolution: int
    channels: int
    bits: int
    plane: str

    @property
    def count(self) -> int:
        """Images in the shard."""
        return sum(len(item.slices) for item in self.items)


class ShardResult(BaseModel):
    """What was written. Per image: SHA-256 of its bytes, and `looks`: 'ok', 'dark' or 'empty'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    count: int
    sha256: str
    pixel_hashes: list[str]
    looks: list[str]


def write_shard(job: ShardJob) -> ShardResult:
    """Render and write one shard; under its final name it is always whole. Raises DataError naming a bad source."""
    hashes, looks = [], []
    shard = hashlib.sha256()
    try:
        with job.temporary.open("wb") as stream:
            header = _header(job)
            stream.write(header)
            shard.update(header)
            # One source in memory at a time, whatever the shard's size.
            for item in job.items:
                for image in _render(item, job):
                    data = np.ascontiguousarray(image)
                    stream.write(data.data)
                    shard.update(data.data)
                    hashes.append(hashlib.sha256(data.data).hexdigest())
                    looks.append(_look(image, job.bits))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(job.temporary, job.target)
    except BaseException:
        job.temporary.unlink(missing_ok=True)
        raise
    fsync_folder(job.target.parent)
    return ShardResult(
        file=job.target.name, count=job.count, sha256=shard.hexdigest(), pixel_hashes=hashes, looks=looks
    )


def _header(job: ShardJob) -> bytes:
    """The first bytes of the shard's .npy file."""
    stream = io.BytesIO()
    shape = (job.count, job.channels, job.resolution, job.resolution)
    dtype = np.dtype("<u2" if job.bits == 16 else "u1")
    np.lib.format.write_array_header_1_0(
        stream, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


def _render(item: RenderItem, job: ShardJob) -> list[NDArray[Any]]:
    images = _slices(item, job.plane)
    expected = (item.geometry.source_height, item.geometry.source_width)
    if len(images) != len(item.slices) or images[0].shape[1:] != expected:
        raise DataError(f"{item.source.paths[0]}: changed while it was being prepared", remedy="run prepare again")
    return [_finish(image, item, job) for image in images]


def _slices(item: RenderItem, plane: str) -> list[NDArray[Any]]:
    """The source's images [C, H, W] in its own values."""
    if item.spooled is not None:
        return [item.spooled.read()]
    scan = read_source(item.source)
    if not isinstance(scan, Volume):
        return [scan.pixels]
    stacks = np.stack([plane_slices(contrast, plane) for contrast in scan.contrasts], axis=1)  # [n, C, H, W]
    return [stacks[number] for number in item.slices if number < len(stacks)]


def _finish(image: NDArray[Any], item: RenderItem, job: ShardJob) -> NDArray[Any]:
    square = _square(image, item, job.bits)
    return np.repeat(square, job.channels, axis=0) if len(square) < job.channels else square


def _square(image: NDArray[Any], item: RenderItem, bits: int) -> NDArray[Any]:
    as_is = image.dtype == np.uint8 and bits == 8 and (item.low, item.high) == (0.0, 255.0)
    if as_is and item.geometry.keeps_pixels:
        return place(image, item.geometry)  # what the floats below would come back to
    limits = [(item.low, item.high), *item.further]
    if len(limits) > 1:
        fractions = np.stack(
            [to_fraction(channel, low, high) for channel, (low, high) in zip(image, limits, strict=True)]
        )
    else:
        fractions = to_fraction(image, item.low, item.high)
    return from_fraction(apply(fractions, item.geometry), bits)


def _look(image: NDArray[Any], bits: int) -> str:
    largest = 2**bits - 1
    span = (float(image.max()) - float(image.min())) / largest
    if span < EMPTY:
        return "empty"
    bright = np.count_nonzero(image >= int(np.ceil(DARK * largest))) / image.size
    return "dark" if bright < DARK_SHARE else "ok"
