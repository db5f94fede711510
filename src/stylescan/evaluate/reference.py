"""What a number is read against: real training subjects (the floor), blurred real images, an untrained net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.metrics import Features, Groups, Metric
from stylescan.randomness import numpy_generator

FLOOR_DRAWS = 10


@dataclass(frozen=True)
class Floor:
    """Mean of a metric over the draws T*, and the least and the greatest of them."""

    value: float
    low: float
    high: float
    draws: int


def thin_by_subject(subjects: Groups, n: int, seed: int) -> NDArray[np.int64]:
    """`n` positions spread as evenly over the subjects as their slices allow, ascending; all where n is not less."""
    if n >= len(subjects):
        return np.arange(len(subjects))
    rng = numpy_generator(seed, "thin_by_subject")
    shuffled = rng.permutation(len(subjects))
    codes = np.unique(np.asarray(subjects), return_inverse=True)[1].reshape(-1)[shuffled]
    # How many slices of the same subject came before: 0 for a subject's first, so every subject gives one first.
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    rank = np.empty(len(codes), np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(np.r_[starts, len(codes)]))
    return np.sort(shuffled[np.argsort(rank, kind="stable")[:n]])


def draw_like(train_subjects: Groups, holdout_subjects: Groups, rng: np.random.Generator) -> NDArray[np.int64] | None:
    """Positions in train with the hold-out's number of subjects and of slices a subject, without replacement.

    A drawn subject with too few slices is made up for by further slices of the drawn ones, then by further subjects.
    None where train has fewer slices than the hold-out.
    """
    if len(train_subjects) < len(holdout_subjects):
        return None
    names, codes = np.unique(np.asarray(train_subjects), return_inverse=True)
    codes = codes.reshape(-1)
    counts = np.unique(np.asarray(holdout_subjects), return_counts=True)[1]
    order = rng.permutation(len(names))
    taken: list[NDArray[np.int64]] = []
    spare: list[NDArray[np.int64]] = []
    wanted = rng.permutation(counts)
    for number, subject in enumerate(order):
        slices = rng.permutation(np.flatnonzero(codes == subject))
        quota = int(wanted[number]) if number < len(wanted) else 0
        taken.append(slices[:quota])
        spare.append(slices[quota:])
    missing = len(holdout_subjects) - sum(len(part) for part in taken)
    return np.sort(np.concatenate([*taken, np.concatenate(spare)[:missing]]))


def floor_draws(
    train_subjects: Groups, holdout_subjects: Groups, *, seed: int, draws: int = FLOOR_DRAWS
) -> list[NDArray[np.int64]]:
    """The draws T*: lists of positions in train; empty where train is smaller than the hold-out."""
    found = [
        draw_like(train_subjects, holdout_subjects, numpy_generator(seed, "floor", number)) for number in range(draws)
    ]
    return [positions for positions in found if positions is not None]


def floor_of(
    metric: Metric,
    train: NDArray[Any],
    train_subjects: NDArray[Any],
    holdout: NDArray[Any],
    holdout_subjects: NDArray[Any],
    draws: Sequence[NDArray[np.int64]],
) -> Floor | None:
    """metric(T*, H), mean over `draws`: what other real subjects score. None where no draw was possible."""
    return floor_of_values([metric.compute(train[d], holdout, train_subjects[d], holdout_subjects) for d in draws])


def floor_of_values(values: Sequence[float]) -> Floor | None:
    """The floor from the metric's value for each draw; None where there is no draw, or one has no value."""
    if not values or not np.isfinite(values).all():
        return None
    return Floor(float(np.mean(values)), float(np.min(values)), float(np.max(values)), len(values))


def blur_sigma_px(resolution: int) -> float:
    """The blurred row's Gaussian: 1 px at 64, in proportion elsewhere, but enough to show after rounding."""
    return max(0.5, resolution / 64.0)


def blurred(images: NDArray[Any], sigma_px: float) -> NDArray[Any]:
    """Images uint8 or uint16 [N, C, H, W], each plane blurred by a Gaussian and rounded; same type."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(images.astype(np.float32), sigma=(0, 0, sigma_px, sigma_px), mode="nearest")
    rounded: NDArray[Any] = np.rint(smooth).astype(images.dtype)
    return rounded


def nearest(queries: Features, pool: Features, k: int) -> NDArray[np.int64]:
    """Positions [q, k] in `pool` of the `k` nearest features of each query, nearest first (Euclidean)."""
    queries, pool = queries.astype(np.float64), pool.astype(np.float64)
    distances = (pool * pool).sum(axis=1)[None, :] - 2.0 * queries @ pool.T  # + |q|^2, the same along a row
    return np.argsort(distances, axis=1, kind="stable")[:, :k]
