"""How far a metric would move with other subjects: the delete-a-group jackknife."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.metrics import Groups
from stylescan.randomness import numpy_generator

MAX_GROUPS = 20
MIN_SUBJECTS = 5
LEVEL = 0.95
CAVEAT = "The interval does not cover training seeds."

Statistic = Callable[[NDArray[np.int64], NDArray[np.int64]], float]


@dataclass(frozen=True)
class Interval:
    """A confidence interval, or the reason why there is none (`low` and `high` are None then)."""

    low: float | None
    high: float | None
    level: float
    groups: int
    reason: str = ""


def subject_parts(subjects: Groups, parts: int, seed: int) -> NDArray[np.int64]:
    """Part 0..parts-1 of each image, int64 [n]: subjects dealt out at random, each whole into one part."""
    names, codes = np.unique(np.asarray(subjects), return_inverse=True)
    order = numpy_generator(seed, "jackknife_subjects").permutation(len(names))
    part_of_subject = np.empty(len(names), np.int64)
    part_of_subject[order] = np.arange(len(names)) % parts
    return part_of_subject[codes.reshape(-1)]


def equal_parts(n: int, parts: int, seed: int) -> NDArray[np.int64]:
    """Part 0..parts-1 of each of `n` independent images, sizes differing by one at most."""
    part = np.empty(n, np.int64)
    part[numpy_generator(seed, "jackknife_images").permutation(n)] = np.arange(n) % parts
    return part


def jackknife_interval(
    statistic: Statistic, value: float, n_generated: int, real_subjects: Groups, *, seed: int = 0
) -> Interval:
    """95 % interval of `statistic` by deleting groups of real subjects in turn, generated images cut equally.

    Parameters
    ----------
    statistic : function of the kept positions of the generated and of the real images.
    value : the statistic of all images, the interval's centre.
    n_generated : number of generated images.
    real_subjects : subject of each real image; g = min(20, subjects) groups are formed.

    The variance is (g-1)/g times the summed squares about the mean of the g values, and the interval is
    value +- t(g-1) * its root (Efron & Tibshirani 1993, ch. 11; Wolter 2007, ch. 4). Fewer than 5 subjects, or fewer
    generated images than groups, give no interval but a reason.
    """
    count = len(np.unique(np.asarray(real_subjects)))
    groups = min(MAX_GROUPS, count)
    if count < MIN_SUBJECTS:
        return _none(
            groups, f"an interval over subjects needs at least {MIN_SUBJECTS} of them, and the hold-out has {count}"
        )
    if n_generated < 2 * groups:
        return _none(groups, f"{n_generated} generated images are too few to be cut into {groups} groups")
    real_part = subject_parts(real_subjects, groups, seed)
    generated_part = equal_parts(n_generated, groups, seed)
    left_out = np.array(
        [statistic(np.flatnonzero(generated_part != g), np.flatnonzero(real_part != g)) for g in range(groups)]
    )
    if not np.isfinite(left_out).all():
        return _none(groups, "the statistic is undefined when a group of subjects is left out")
    spread = math.sqrt((groups - 1) / groups * float(((left_out - left_out.mean()) ** 2).sum()))
    from scipy.stats import t

    half = float(t.ppf(0.5 + LEVEL / 2.0, groups - 1)) * spread
    return Interval(value - half, value + half, LEVEL, groups)


def _none(groups: int, reason: str) -> Interval:
    return Interval(None, None, LEVEL, groups, reason)
