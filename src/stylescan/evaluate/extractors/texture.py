"""Texture of one grey image: co-occurrence, runs of equal grey, local binary patterns. Grey values in [0, 1].

Definitions follow the Image Biomarker Standardisation Initiative (Zwanenburg et al., Radiology 2020, reference manual
sections 3.6 and 3.7) over the whole image, features computed by direction and then averaged; where this module takes a
root or a logarithm, so that no feature outgrows the others, it says so. A constant image has finite values everywhere.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float64]
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))  # dy, dx


def levels(image: Grey, count: int) -> NDArray[np.int64]:
    """Grey values of [0, 1] as levels 0..count-1 of equal width; 1 belongs to the highest."""
    found: NDArray[np.int64] = np.minimum((image * count).astype(np.int64), count - 1)
    return found


def entropy_bits(p: Grey) -> Grey:
    """-sum p log2 p over the last axis; 0 log 0 = 0."""
    bits: Grey = -np.sum(p * np.log2(np.where(p > 0, p, 1.0)), axis=-1)
    return bits


def co_occurrence(q: NDArray[np.int64], count: int, dy: int, dx: int) -> Grey:
    """Symmetric, normalised grey-level co-occurrence matrix [count, count] of pixels (dy, dx) apart (Haralick 1973)."""
    h, w = q.shape
    a = q[: h - dy, max(-dx, 0) : w - max(dx, 0)]
    b = q[dy:, max(dx, 0) : w - max(-dx, 0)]
    counts = np.bincount((a * count + b).ravel(), minlength=count * count).reshape(count, count)
    both = (counts + counts.T).astype(np.float64)
    return np.asarray(both / both.sum())


def co_occurrence_features(p: Grey) -> dict[str, Grey]:
    """Features [m] of matrices [m, L, L]; levels count from 0 to 1. Haralick 1973, Unser 1986 for the clusters.

    `contrast` is the root of the mean squared difference; `shade` and `prominence` are the third and fourth root of
    the central moments of the sum, so that all have the unit of grey. `correlation` of a constant image is 1.
    """
    size = p.shape[-1]
    grey = np.arange(size) / (size - 1)
    difference = np.abs(grey[:, None] - grey[None, :])
    total = grey[:, None] + grey[None, :]
    marginal = p.sum(axis=2)
    mean = marginal @ grey
    variance = marginal @ grey**2 - mean**2
    product = np.einsum("mij,i,j->m", p, grey, grey)
    flat = variance < 1e-12
    centred = total[None] - 2 * mean[:, None, None]
    squared = centred * centred
    joint = entropy_bits(p.reshape(len(p), -1))
    independent = 2 * entropy_bits(marginal)
    steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    by_difference: Grey = np.stack([np.bincount(steps.ravel(), one.ravel(), minlength=size) for one in p])
    return {
        "max_probability": p.max(axis=(1, 2)),
        "joint_entropy": joint / np.log2(size * size),
        "energy": np.sqrt(np.einsum("mij,mij->m", p, p)),
        "contrast": np.sqrt(np.einsum("mij,ij->m", p, difference**2)),
        "dissimilarity": np.einsum("mij,ij->m", p, difference),
        "inverse_difference": np.einsum("mij,ij->m", p, 1 / (1 + steps)),
        "correlation": np.where(flat, 1.0, (product - mean**2) / np.where(flat, 1.0, variance)),
        "shade": np.cbrt(np.einsum("mij,mij,mij->m", p, squared, centred)),
        "prominence": np.einsum("mij,mij,mij->m", p, squared, squared) ** 0.25,
        "difference_entropy": entropy_bits(by_difference) / np.log2(size),
        "information": np.sqrt(np.maximum(0.0, 1 - np.exp(-2 * np.maximum(0.0, independent - joint)))),
    }


def glcm(image: Grey, count: int = 32, distances: tuple[int, ...] = (1, 2, 4)) -> dict[str, float]:
    """Co-occurrence at each distance (Chebyshev, px): the mean over four directions, and for contrast and correlation
    the range over them, which tells stripes from grain."""
    q = levels(image, count)
    matrices = [co_occurrence(q, count, dy * d, dx * d) for d in distances for dy, dx in _DIRECTIONS]
    features = co_occurrence_features(np.stack(matrices))
    out: dict[str, float] = {}
    for row, d in enumerate(distances):
        own = slice(row * len(_DIRECTIONS), (row + 1) * len(_DIRECTIONS))
        for name, values in features.items():
            out[f"glcm{d}_{name}"] = float(values[own].mean())
        for name in ("contrast", "correlation"):
            out[f"glcm{d}_{name}_range"] = float(np.ptp(features[name][own]))
    return out


@lru_cache(maxsize=16)
def _lines(shape: tuple[int, int], direction: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Flat positions of all pixels, line after line along the direction, and where a line begins."""
    y, x = np.indices(shape)
    dy, dx = _DIRECTIONS[direction]
    line = (dx * y - dy * x).ravel()  # the same along the direction
    order = np.argsort(line, kind="stable")  # along a line the flat positions already rise
    begins = np.ones(len(order), bool)
    begins[1:] = np.diff(line[order]) != 0
    return order, begins


def runs(q: NDArray[np.int64], direction: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Level and length of every run of equal levels along one of four directions (0 = rows, 1 = columns, diagonals)."""
    order, begins = _lines((q.shape[0], q.shape[1]), direction)
    line = q.ravel()[order]
    starts = begins.copy()
    starts[1:] |= line[1:] != line[:-1]
    first = np.flatnonzero(starts)
    return line[first], np.diff(first, append=len(line))


def run_lengths(image: Grey, count: int = 16) -> dict[str, float]:
    """Run-length features (Galloway 1975; grey-weighted ones Chu 1990), the mean over four directions.

    `long_runs` is log2 of the root mean squared length; grey levels count 1..count, divided by count.
    """
    q = levels(image, count)
    rows = []
    for direction in range(len(_DIRECTIONS)):
        level, length = runs(q, direction)
        size = length.astype(np.float64)
        grey = (level + 1) / count
        size2, grey2 = size * size, grey * grey
        by_level = np.bincount(level, minlength=count) / len(level)
        by_length = np.bincount(length) / len(length)
        joint = np.bincount(level * (length.max() + 1) + length) / len(level)
        rows.append(
            {
                "short_runs": np.mean(1 / size2),
                "long_runs": 0.5 * np.log2(np.mean(size2)),
                "grey_nonuniformity": np.sum(by_level**2),
                "run_nonuniformity": np.sum(by_length**2),
                "run_percentage": len(level) / q.size,
                "low_grey_runs": np.mean(1 / grey2) / count**2,
                "high_grey_runs": np.mean(grey2),
                "run_entropy": entropy_bits(joint) / 8.0,
            }
        )
    out = {f"glrlm_{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]}
    out["glrlm_run_percentage_range"] = float(np.ptp([row["run_percentage"] for row in rows]))
    return out


_RING = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))


def local_patterns(image: Grey, count: int = 64) -> NDArray[np.float64]:
    """Shares [10] of rotation-invariant uniform local binary patterns of the 8 neighbours (Ojala 2002, riu2).

    Bin k of 0..8: k neighbours in one arc are at least as bright as the centre; bin 9: they lie in several arcs.
    """
    q = levels(image, count)
    h, w = q.shape
    centre = q[1:-1, 1:-1]
    bits = np.stack([q[dy : dy + h - 2, dx : dx + w - 2] >= centre for dy, dx in _RING])
    changes = np.count_nonzero(bits != np.roll(bits, 1, axis=0), axis=0)
    pattern = np.where(changes <= 2, np.count_nonzero(bits, axis=0), 9)
    return np.bincount(pattern.ravel(), minlength=10) / pattern.size


def halved(image: Grey) -> Grey:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    h, w = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    even = image[:h, :w]
    return (even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2]) / 4.0


def binary_patterns(image: Grey) -> dict[str, float]:
    """`local_patterns` at full and at half resolution. Root of the shares (Hellinger), so that rare patterns count."""
    return {
        f"lbp{scale}_{k}": float(np.sqrt(share))
        for scale, at in ((1, image), (2, halved(image)))
        for k, share in enumerate(local_patterns(at))
    }
