"""Precision, recall, density and coverage: whether generated images lie among the real ones, and the reverse.

Each image is a point of feature space with a ball that reaches its k-th nearest neighbour of *another* subject.
Slices of one person are near-copies: with them, every ball would be tiny and every number too low.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.measures.base import Features, Groups, Terms, subject_codes

K = 5
BLOCK = 512  # rows of a distance table held at once: 40 MB against 10,000 points
# Squared distances that differ by less than this share of the largest squared norm are equal: matrix products round
# differently from block to block, and equal points must count as such for every order and block.
_TIE = 1e-12


@dataclass(frozen=True)
class Neighbourhoods:
    """Points float64 [n, d] and the squared radius of each one's ball [n], or `missing`: why there are no radii."""

    points: NDArray[np.float64]
    squared_radii: NDArray[np.float64]
    k: int
    missing: str = ""


def neighbourhoods(points: Features, groups: Groups | None = None, k: int = K) -> Neighbourhoods:
    """The balls of `points` [n, d]: radius = distance to the k-th nearest point of another subject.

    `groups`: subject of each point, None = every point its own, which gives the radii of the papers. Fewer than k + 1
    subjects have no radii. Memory: n x 512 distances and the points in float64.
    """
    rows: NDArray[np.float64] = np.ascontiguousarray(points, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"features have shape {rows.shape}, expected [n, d]")
    codes = subject_codes(groups, len(rows))
    subjects = len(np.unique(codes))
    if subjects < k + 1:
        return Neighbourhoods(rows, np.empty(0), k, f"{subjects} subjects, at least {k + 1} are needed for k = {k}")
    squared_radii = np.empty(len(rows))
    for low in range(0, len(rows), BLOCK):
        block = slice(low, low + BLOCK)
        distances = _squared_distances(rows[block], rows)
        distances[codes[block, None] == codes[None, :]] = np.inf
        squared_radii[block] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return Neighbourhoods(rows, squared_radii, k)


@dataclass(frozen=True)
class Overlap:
    """One term an image, whose means are the metrics: `precision` and `density` over generated images [n], `recall`
    and `coverage` over real ones [m]; or `missing`: why there are none."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    density: NDArray[np.float64]
    coverage: NDArray[np.float64]
    missing: str = ""

    def terms(self, metric: str) -> Terms:
        """The terms of 'precision', 'recall', 'density' or 'coverage'."""
        over: Literal["generated", "real"] = "generated" if metric in ("precision", "density") else "real"
        return Terms(getattr(self, metric), over, share=metric != "density")


def overlap(generated: Neighbourhoods, real: Neighbourhoods) -> Overlap:
    """How the two sets lie in each other's balls, which are closed.

    Precision: share of generated points in any real ball; recall: share of real points in any generated ball
    (Kynkaanniemi et al. 2019, arXiv 1904.06991, eq. 1-2). Density: real balls that a generated point lies in, over k,
    may exceed 1; coverage: share of real balls that hold a generated point (Naeem et al. 2020, arXiv 2002.09797,
    eq. 3-4). Equal for every order of the points.
    """
    missing = "; ".join(
        f"{name}: {side.missing}" for name, side in (("generated", generated), ("real", real)) if side.missing
    )
    if missing:
        none = np.empty(0)
        return Overlap(none, none, none, none, missing)
    x, y = generated.points, real.points
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features of {x.shape[1]} and {y.shape[1]} dimensions cannot be compared")
    tie = _TIE * max(float((x * x).sum(axis=1).max()), float((y * y).sum(axis=1).max()))
    balls_hit = np.empty(len(x))
    covered, recalled = np.zeros(len(y), bool), np.zeros(len(y), bool)
    for low in range(0, len(x), BLOCK):
        block = slice(low, low + BLOCK)
        distances = _squared_distances(x[block], y)
        in_real = distances <= real.squared_radii[None, :] + tie
        balls_hit[block] = in_real.sum(axis=1)
        covered |= in_real.any(axis=0)
        recalled |= (distances <= generated.squared_radii[block, None] + tie).any(axis=0)
    return Overlap(
        precision=(balls_hit > 0).astype(np.float64),
        recall=recalled.astype(np.float64),
        density=balls_hit / real.k,
        coverage=covered.astype(np.float64),
    )


def overlap_terms(
    metric: str, x: Features, y: Features, x_groups: Groups | None, y_groups: Groups | None, k: int = K
) -> Terms:
    """The terms of one metric from features: generated x [n, d], real y [m, d]. Empty where a set has too few subjects."""
    return overlap(neighbourhoods(x, x_groups, k), neighbourhoods(y, y_groups, k)).terms(metric)


def _squared_distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = x @ y.T
    distances *= -2.0
    distances += (x * x).sum(axis=1)[:, None]
    distances += (y * y).sum(axis=1)[None, :]
    return np.maximum(distances, 0.0, out=distances)
