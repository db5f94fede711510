"""Source values to integers: one linear map a volume (never a slice), recorded so that it can be undone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LABEL_VALUES = 16  # a volume with no more distinct values than this, all integers, is a label map
_SAMPLE = 2**18  # values taken from one picture for the percentiles of its group


def percentile_range(values: NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    """The values at two percentiles; widened to the extremes where they coincide (mostly background).

    Returns (low, high) with low <= high; equal only where all values are equal.
    """
    low, high = (float(v) for v in np.percentile(values, percentiles))
    if not low < high:
        low, high = float(values.min()), float(values.max())
    return low, high


def sample_values(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """At most 2^18 values at a constant stride: the same ones at every call."""
    flat = pixels.reshape(-1)
    return flat[:: -(-flat.size // _SAMPLE)].astype(np.float32)


def pooled_range(samples: Iterable[NDArray[np.float32]], percentiles: tuple[float, float]) -> tuple[float, float]:
    """`percentile_range` over several pictures of one subject or series."""
    return percentile_range(np.concatenate(list(samples)), percentiles)


def to_fraction(values: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Linear from [low, high] to [0, 1], clipped, float32. A constant input (low == high) gives 0."""
    if not high > low:
        return np.zeros(values.shape, np.float32)
    fractions: NDArray[np.float32] = (values.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return fractions.clip(0.0, 1.0)


def from_fraction(fractions: NDArray[np.float32], bits: int) -> NDArray[Any]:
    """[0, 1] to uint8 or uint16 over the full range, rounded."""
    largest = 2**bits - 1
    integers: NDArray[Any] = np.rint(fractions * np.float32(largest)).clip(0, largest)
    return integers.astype("<u2" if bits == 16 else "u1")


def otsu_threshold(fractions: NDArray[np.float32]) -> float:
    """The threshold that best separates two classes of values in [0, 1] (Otsu 1979), from a 256-bin histogram."""
    counts, edges = np.histogram(fractions, bins=256, range=(0.0, 1.0))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    between = np.nan_to_num(between)
    if between.max() <= 0:
        return 0.5
    # The middle of the plateau: with an empty valley, every threshold in it separates equally well.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(edges[1:][best].mean())


def foreground_shares(slices: NDArray[np.float32]) -> list[float]:
    """For each slice of `slices` [n, H, W] in [0, 1], the share of pixels above the volume's Otsu threshold."""
    threshold = otsu_threshold(slices)
    return [float(share) for share in (slices > threshold).mean(axis=(1, 2))]


def looks_like_labels(voxels: NDArray[Any]) -> bool:
    """True for a few small whole numbers and nothing else: a segmentation, not a scan."""
    sample = sample_values(voxels)
    if len(np.unique(sample)) > LABEL_VALUES:
        return False
    values = np.unique(voxels)
    return len(values) <= LABEL_VALUES and bool(np.all(values == np.round(values))) and abs(values).max() < 2**16
