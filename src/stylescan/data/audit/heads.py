"""Heads that still have skin and skull: a face can be rebuilt from such volumes, so a warning names them.

In most MR contrasts a ray from the outside of a head into it meets a bright rim (the fat of the scalp), a dark gap (bone)
and brightness again (brain, marrow). A stripped brain has gaps (sulci) on some rays, but not all round. Heads in CT, whose
bone is bright, are not recognised; nor are slabs of which most of the outline lies outside the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEAD_SCORE = 0.6  # share of rays above which an image looks like a head with its skull
_SIDE, _RAYS, _SEEN = 128, 48, 0.4
_RIM, _GAP, _INNER = 0.16, 0.32, 0.55  # where on a ray (from the outside, as a share) rim, gap and inside may lie
_DEPTH = 0.6  # the gap is darker than this share of the lesser of rim and inside
_LEAST_STEP, _LEAST_RADIUS, _LEAST_AREA = 10.0, 16, 0.02


def skull_score(image: NDArray[np.uint8]) -> float:
    """The share of rays, in [0, 1], on which `image` (uint8 [R, R]) shows rim, gap and inside; 0 where no outline is."""
    from scipy.ndimage import find_objects, label

    how = Image.Resampling.BOX if len(image) > _SIDE else Image.Resampling.BILINEAR
    small = Image.fromarray(image).resize((_SIDE, _SIDE), how)
    values = np.asarray(small, np.float32)
    parts, count = label(values > 0.5 * _otsu(values))
    if count == 0:
        return 0.0
    # The widest part, not the fullest: a closed dark gap parts the scalp from the brain.
    extents = [(box[0].stop - box[0].start) * (box[1].stop - box[1].start) for box in find_objects(parts)]
    body = parts == 1 + int(np.argmax(extents))
    if body.mean() < _LEAST_AREA:
        return 0.0
    rays, length = _rays(values, body)
    return float(_crossings(rays, length)) if len(rays) >= _SEEN * _RAYS else 0.0


def _otsu(values: NDArray[np.float32]) -> float:
    """The threshold that splits the grey values best into two groups (Otsu 1979), in steps of 4."""
    counts = np.bincount((values / 4).astype(np.int64).ravel(), minlength=64)[:64] / values.size
    centres = np.arange(64) * 4.0 + 2
    below, moment = np.cumsum(counts), np.cumsum(counts * centres)
    between = (moment[-1] * below - moment) ** 2 / np.maximum(below * (1 - below), 1e-9)
    return float(centres[int(np.argmax(between))] + 2)


def _rays(values: NDArray[np.float32], body: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Profiles from the outline inward [k, length], and the outline's radius [k], where the outline lies in the image."""
    y, x = np.nonzero(body)
    angle = np.linspace(0, 2 * np.pi, _RAYS, endpoint=False)
    radius = np.arange(_SIDE)
    rows = np.rint((y.min() + y.max()) / 2 + np.sin(angle)[:, None] * radius).astype(np.int64)
    columns = np.rint((x.min() + x.max()) / 2 + np.cos(angle)[:, None] * radius).astype(np.int64)
    inside = (rows >= 0) & (rows < _SIDE) & (columns >= 0) & (columns < _SIDE)
    rows, columns = rows.clip(0, _SIDE - 1), columns.clip(0, _SIDE - 1)
    on = body[rows, columns] & inside
    edge = np.where(on.any(axis=1), _SIDE - 1 - np.argmax(on[:, ::-1], axis=1), 0)
    seen = inside[np.arange(_RAYS), np.minimum(edge + 2, _SIDE - 1)] & (edge >= _LEAST_RADIUS)
    back = (edge[:, None] - radius).clip(0)
    profiles = values[rows[np.arange(_RAYS)[:, None], back], columns[np.arange(_RAYS)[:, None], back]]
    return profiles[seen], edge[seen]


def _crossings(rays: NDArray[np.float32], length: NDArray[np.int64]) -> Any:
    """Share of profiles that go bright, dark, bright within the outer half."""
    place = np.arange(rays.shape[1])[None]
    n = length[:, None]
    rim_at = np.argmax(np.where(place < np.maximum(3, _RIM * n), rays, -1), axis=1)[:, None]
    rim = np.take_along_axis(rays, rim_at, axis=1)
    in_gap = (place >= rim_at) & (place < np.maximum(5, _GAP * n))
    gap_at = np.argmin(np.where(in_gap, rays, np.inf), axis=1)[:, None]
    gap = np.take_along_axis(rays, gap_at, axis=1)
    inner = np.where((place >= gap_at) & (place < _INNER * n), rays, 0).max(axis=1, keepdims=True)
    lesser = np.minimum(rim, inner)
    return ((gap < _DEPTH * lesser) & (lesser - gap > _LEAST_STEP)).mean()
