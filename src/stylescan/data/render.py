"""The second look: read sources again, cut, scale and write them as one shard. Runs in worker processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from stylescan.data.audit.annotation import LETTERS_SIDE, find_writing
from stylescan.data.formats.scans import Picture, Volume
from stylescan.data.geometry import Geometry, apply, apply_nearest, place
from stylescan.data.intensity import from_fraction, to_fraction
from stylescan.data.laterality import canonical_scan
from stylescan.data.masks import read_mask
from stylescan.data.planes import plane_slices
from stylescan.data.sources import Source, read_source
from stylescan.data.spool import Spooled, SpooledShard, array_header, look_of
from stylescan.errors import DataError


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
    """Write `items` to `target` ([n, channels, resolution, resolution]), by way of `temporary` on the same disk.

    masks: whether the masks go to `masks_name(target)` ([n, 1, resolution, resolution]), 0 where an item has none.
    canonical: whether left sides are turned into right ones (laterality.py).
    """

    items: tuple[RenderItem, ...]
    target: Path
    temporary: Path
    resolution: int
    channels: int
    bits: int
    plane: str
    masks: bool = False
    canonical: bool = False

    @property
    def count(self) -> int:
        """Images in the shard."""
        return sum(len(item.slices) for item in self.items)


class ShardResult(BaseModel):
    """What was written. Per image: SHA-256 of its bytes, and `looks`: 'ok', 'dark' or 'empty'.

    `masks_sha256`: of the file of masks, None where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    count: int
    sha256: str
    pixel_hashes: list[str]
    looks: list[str]
    masks_sha256: str | None = None


def masks_name(target: Path) -> Path:
    """The file of masks beside the shard `target`."""
    return target.with_name(target.name.replace("images-", "masks-"))


def adopt_shard(job: ShardJob, spool: SpooledShard) -> ShardResult | None:
    """Take the survey's spool for the shard of `job`, by a rename; None where anything is left to be done to its pictures."""
    untouched = all(
        item.geometry.keeps_pixels
        and (item.geometry.source_height, item.geometry.source_width) == (job.resolution, job.resolution)
        and (item.low, item.high) == (0.0, 255.0)
        for item in job.items
    )
    same = tuple(item.source.name for item in job.items) == spool.names
    if not (untouched and same) or job.bits != 8 or job.masks or spool.shape[0] != job.channels:
        return None
    os.replace(spool.file, job.target)
    return ShardResult(
        file=job.target.name, count=job.count, sha256=spool.sha256, pixel_hashes=spool.pixel_hashes, looks=spool.looks
    )


def write_shard(job: ShardJob) -> ShardResult:
    """Render and write one shard; under its final name it is always whole. Raises DataError naming a bad source.

    The disk may still hold it back: who says that it is finished must sync it first (files.fsync_file).
    """
    hashes, looks = [], []

    def images() -> Iterator[NDArray[Any]]:
        for item in job.items:
            for image in _render(item, job):
                hashes.append(hashlib.sha256(image.data).hexdigest())
                looks.append(look_of(image, job.bits))
                yield image

    digest = _write_array(job, job.target, job.channels, np.dtype("<u2" if job.bits == 16 else "u1"), images())
    masks = None
    if job.masks:
        drawn = (mask for item in job.items for mask in _render_masks(item, job))
        masks = _write_array(job, masks_name(job.target), 1, np.dtype("u1"), drawn)
    return ShardResult(
        file=job.target.name, count=job.count, sha256=digest, pixel_hashes=hashes, looks=looks, masks_sha256=masks
    )


def _write_array(
    job: ShardJob, target: Path, channels: int, dtype: np.dtype[Any], images: Iterator[NDArray[Any]]
) -> str:
    """Write the images one after the other as one .npy file; its SHA-256. One source in memory at a time."""
    digest = hashlib.sha256()
    try:
        with job.temporary.open("wb") as stream:
            header = array_header((job.count, channels, job.resolution, job.resolution), dtype)
            stream.write(header)
            digest.update(header)
            for image in images:
                stream.write(image.data)
                digest.update(image.data)
        os.replace(job.temporary, target)
    except BaseException:
        job.temporary.unlink(missing_ok=True)
        raise
    return digest.hexdigest()


def _render(item: RenderItem, job: ShardJob) -> list[NDArray[Any]]:
    images = _slices(item, job)
    expected = (item.geometry.source_height, item.geometry.source_width)
    if len(images) != len(item.slices) or images[0].shape[1:] != expected:
        raise DataError(f"{item.source.paths[0]}: changed while it was being prepared", remedy="run prepare again")
    return [_finish(image, item, job) for image in images]


def _render_masks(item: RenderItem, job: ShardJob) -> list[NDArray[np.uint8]]:
    """The masks [R, R] of the item's images."""
    if item.source.mask is None:
        return [np.zeros((job.resolution, job.resolution), np.uint8) for _ in item.slices]
    side = item.source.side if job.canonical else None
    masks = read_mask(item.source.mask, item.source.kind, job.plane, side)
    return [np.ascontiguousarray(apply_nearest(masks[number], item.geometry)) for number in item.slices]


def _slices(item: RenderItem, job: ShardJob) -> list[NDArray[Any]]:
    """The source's images [C, H, W] in its own values."""
    if item.spooled is not None:
        return [item.spooled.read()]
    scan = read_source(item.source)
    if job.canonical:
        scan = canonical_scan(scan, item.source.side, job.plane)
    if not isinstance(scan, Volume):
        return [scan.pixels]
    stacks = np.stack([plane_slices(contrast, job.plane) for contrast in scan.contrasts], axis=1)  # [n, C, H, W]
    return [stacks[number] for number in item.slices if number < len(stacks)]


def shows_writing(item: RenderItem) -> bool:
    """Whether a picture seems to show words, looked for in its own pixels."""
    scan = read_source(item.source)
    if not isinstance(scan, Picture):
        return False
    values = from_fraction(to_fraction(scan.pixels.mean(axis=0, dtype=np.float32), item.low, item.high), 8)
    return bool(find_writing(values, min(LETTERS_SIDE, max(values.shape))))


def _finish(image: NDArray[Any], item: RenderItem, job: ShardJob) -> NDArray[Any]:
    square = _square(image, item, job.bits)
    full = np.repeat(square, job.channels, axis=0) if len(square) < job.channels else square
    return np.ascontiguousarray(full)


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
