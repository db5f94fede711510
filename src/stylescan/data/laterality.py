"""One side for all: what shows a left side is mirrored through the body's sagittal plane, so that it shows a right one.

A mirror image of a left knee is a possible right knee, so this is lawful where a mirror image of a whole body is not
(a heart on the right). What it means for a slice depends on the plane:

- axial, coronal: left and right lie in the picture, which is mirrored; the number of the slice stays.
- sagittal: left and right lie across the pictures. Each picture stays as it is (mirroring it would swap front and
  back), but the slices are counted from the other end, so that a number means the same distance from the midline in
  both sides: slice n of N becomes N - 1 - n, depth d becomes 1 - d.
- a volume [X, Y, Z] in RAS is turned round along X; cutting it in any plane then gives exactly the two cases above.

Afterwards every record says side 'right', and `extra["original_side"]` what it was. The side is not dropped: no image
shows a left side any more, so a flip in training would still show the discriminator what the data do not hold, and
`symmetry.mirror_refusal` forbids flips where a side is recorded.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stylescan.data.formats.scans import Picture, Volume
from stylescan.errors import ConfigError, DataError

ORIGINAL_SIDE = "original_side"  # key of ImageRecord.extra
CANONICAL_SIDE = "right"
Scalar = TypeVar("Scalar", bound=np.generic)
_SHOWN = 5


def check_sides(sides: Sequence[str | None], names: Sequence[str]) -> None:
    """DataError naming the sources whose side is neither 'left' nor 'right'; `sides` and `names` run in parallel."""
    unknown = [name for side, name in zip(sides, names, strict=True) if side not in ("left", "right")]
    if unknown:
        more = f", and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise DataError(f"laterality canonicalise: {len(unknown)} of {len(names)} scans have no side, left or right: "
                        f"{', '.join(unknown[:_SHOWN])}{more}",
                        remedy="state it: a column `side` in a CSV list, or (?P<side>...) in --pattern; or use "
                               "--laterality keep")  # fmt: skip


def canonical_voxels(voxels: NDArray[Scalar], side: str | None) -> NDArray[Scalar]:
    """RAS `voxels` [X, Y, Z] or [X, Y, Z, C] of `side`, as a right one: turned round along X, a view, if it is left.

    A mask on the same grid goes through the same call.
    """
    return voxels[::-1] if side == "left" else voxels


def canonical_pixels(pixels: NDArray[Scalar], side: str | None, plane: str | None) -> NDArray[Scalar]:
    """A picture [..., H, W] of `side` in `plane`, as a right one: columns reversed, a view, if left and not sagittal.

    Raises ConfigError where the plane is not known: then nothing says whether left and right lie in the picture.
    """
    if plane is None:
        raise ConfigError("laterality canonicalise: the plane of the pictures is not known",
                          remedy="say what they show with --plane axial, coronal or sagittal")  # fmt: skip
    return pixels[..., ::-1] if side == "left" and plane != "sagittal" else pixels


def canonical_place(
    side: str | None, plane: str | None, number: int | None, depth: float | None, span: tuple[int, int] | None
) -> tuple[int | None, float | None]:
    """(slice number, depth) of one *picture* as in a right side; only sagittal ones of a left side change.

    number : the picture's number in its volume. span : the lowest and highest number of that volume: n becomes
    lowest + highest - n, which is N - 1 - n for numbers from 0. Numbers are taken to run across the body in one direction
    in all volumes, as scanners count. Where `span` is not known, the number of a left side cannot be told: None.

    Not for slices cut from a volume: `canonical_voxels` has turned those round already.
    """
    if side != "left" or plane != "sagittal":
        return number, depth
    turned = sum(span) - number if number is not None and span is not None else None
    return turned, None if depth is None else 1.0 - depth


def slice_spans(volumes: Sequence[Hashable], numbers: Sequence[int | None]) -> dict[Hashable, tuple[int, int]]:
    """(lowest, highest) number of each volume; `volumes`: a key for each picture, such as (subject, series, side)."""
    spans: dict[Hashable, tuple[int, int]] = {}
    for volume, number in zip(volumes, numbers, strict=True):
        if number is not None:
            low, high = spans.get(volume, (number, number))
            spans[volume] = min(low, number), max(high, number)
    return spans


def canonical_record(side: str | None, extra: Mapping[str, float | str]) -> tuple[str, dict[str, float | str]]:
    """(side, extra) for the manifest: every image shows a right side now, and `extra` says what it showed."""
    return CANONICAL_SIDE, {**extra, ORIGINAL_SIDE: str(side)}


def canonical_scan(scan: Picture | Volume, side: str | None, plane: str | None) -> Picture | Volume:
    """`scan` as of a right side: see `canonical_voxels` and `canonical_pixels`."""
    if isinstance(scan, Volume):
        return replace(scan, voxels=canonical_voxels(scan.voxels, side))
    return replace(scan, pixels=canonical_pixels(scan.pixels, side, plane))
