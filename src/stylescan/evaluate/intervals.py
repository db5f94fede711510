"""How far a metric would move with other subjects and other generated images.

Three ways: the delete-a-group jackknife for distances of sets, the cluster bootstrap for means over images, and the
dyadic variance for means over pairs of images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.measures.base import Groups, subject_codes
from stylescan.randomness import numpy_generator

MAX_GROUPS = 20
MIN_SUBJECTS = 5
LEVEL = 0.95
RESAMPLES = 1000
_MOST_DRAWS = 500_000  # drawn at once, so that memory does not grow with the number of images
CAVEAT = "The interval does not cover training seeds."

Statistic = Callable[[NDArray[np.int64], NDArray[np.int64]], float]


@dataclass(frozen=True)
class Interval:
    """A confidence interval, or the reason why there is none (`low` and `high` are None then).

    `groups`: how many independent units it rests on, and `unit` what these are. `left_out`: the jackknife's values, one
    a group, from which two reports on the same held-out subjects give an interval of their difference.
    """

    low: float | None
    high: float | None
    level: float
    groups: int
    reason: str = ""
    method: str = "jackknife"
    unit: str = "groups of held-out subjects"
    left_out: tuple[float, ...] = ()


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
    return Interval(value - half, value + half, LEVEL, groups, left_out=tuple(left_out.tolist()))


def bootstrap_interval(
    terms: NDArray[np.float64], groups: Groups | None, *, unit: str, share: bool = False, seed: int = 0
) -> Interval:
    """95 % percentile interval of the mean of `terms` [n], by drawing whole subjects with replacement, 1,000 times.

    groups : subject of each term; None = each its own. Equal for every order of the terms (with their groups).
    share : terms are 0 or 1. Where all are equal no draw could differ: then the exact binomial bound for that many
        subjects stands.

    The set on the other side of the metric is held fixed. Fewer than 5 subjects give no interval but a reason.
    Source: Davison & Hinkley 1997, sec. 3.8 (resampling of clusters).
    """
    codes = subject_codes(groups, len(terms))
    count = int(codes.max()) + 1 if len(codes) else 0
    if count < MIN_SUBJECTS:
        return _none(
            count, f"an interval needs at least {MIN_SUBJECTS} {unit}, and there are {count}", "bootstrap", unit
        )
    if share and (terms == terms[0]).all():
        reach = 1.0 - ((1.0 - LEVEL) / 2.0) ** (1.0 / count)
        low, high = (1.0 - reach, 1.0) if terms[0] else (0.0, reach)
        return Interval(low, high, LEVEL, count, "", "bootstrap", unit)
    sizes = np.bincount(codes).astype(np.float64)
    sums = np.bincount(codes, terms)
    # Subjects with equal size and sum are interchangeable, so that sorting makes the draws blind to names and order.
    order = np.lexsort((sums, sizes))
    sizes, sums = sizes[order], sums[order]
    rng = numpy_generator(seed, "bootstrap")
    rows = max(1, _MOST_DRAWS // count)
    means = np.empty(RESAMPLES)
    for begin in range(0, RESAMPLES, rows):
        drawn = rng.integers(0, count, (min(rows, RESAMPLES - begin), count))
        means[begin : begin + rows] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), LEVEL, count, "", "bootstrap", unit)


def pair_interval(values: NDArray[np.float64], members: NDArray[np.int64], *, unit: str) -> Interval:
    """95 % interval of the mean of `values` [p] of pairs, `members` [p, 2] saying which two units each pair joins.

    Pairs that share a unit are dependent. The variance sums the products of deviations over all pairs of pairs that
    share one: each unit's summed deviation squared, less what a pair counts twice (Aronow, Samii & Assenova 2015,
    Political Analysis 23, eq. 5); at least that of independent pairs. A bootstrap of the units would count each
    pair's own noise three times. Fewer than 5 units give no interval but a reason.
    """
    count = len(np.unique(members))
    if count < MIN_SUBJECTS:
        return _none(count, f"an interval needs at least {MIN_SUBJECTS} {unit}, and there are {count}", "pairs", unit)
    deviation = values - values.mean()
    codes = np.unique(members, return_inverse=True)[1].reshape(-1, 2)
    of_unit = np.bincount(codes.reshape(-1), np.repeat(deviation, 2), minlength=count)
    independent = float((deviation**2).sum())
    variance = max(float((of_unit**2).sum()) - independent, independent) / len(values) ** 2
    from scipy.stats import t

    half = float(t.ppf(0.5 + LEVEL / 2.0, count - 1)) * math.sqrt(variance)
    return Interval(float(values.mean()) - half, float(values.mean()) + half, LEVEL, count, "", "pairs", unit)


def _none(groups: int, reason: str, method: str = "jackknife", unit: str = "groups of held-out subjects") -> Interval:
    return Interval(None, None, LEVEL, groups, reason, method, unit)
