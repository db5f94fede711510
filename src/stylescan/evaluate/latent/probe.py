"""Is a property written in w? Linear probes, cross-validated by subject, with permutation p.

The probe is ridge regression on 0/1 (classes) or on the number itself, which has a closed form that is linear in the
targets: a thousand permutations cost little more than one. Numbers are standardised by the training part of each
fold, and the penalty gives signal and noise the same prior variance; nothing is tuned.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.intervals import subject_parts
from stylescan.randomness import numpy_generator

FOLDS = 5
PERMUTATIONS = 999
MIN_GROUPS = 10
MIN_IMAGES = 5  # of a class, in at least two subjects

Floats = NDArray[np.float64]
Measure = Literal["auc", "r2", "same-subject share"]


@dataclass(frozen=True)
class Probe:
    """What a probe found. `value` and `p` are None where it could not be done, and `reason` says why.

    groups : independent subjects (for generated images, the images themselves). unit : what was ranked.
    smallest_p : 1 / (1 + permutations), the least that p can be. classes : those that took part, by index.
    chance : what `value` is expected to be without any relation; for the share, its mean over the permutations.
    """

    measure: Measure
    value: float | None
    chance: float | None
    p: float | None
    permutations: int
    n: int
    groups: int
    unit: Literal["subject", "image"]
    reason: str = ""
    classes: tuple[int, ...] = ()

    @property
    def smallest_p(self) -> float:
        return 1.0 / (1 + self.permutations)

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "classes": list(self.classes), "smallest_p": self.smallest_p}


def probe_classes(
    w: NDArray[Any],
    labels: NDArray[np.integer[Any]],
    groups: NDArray[Any],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Probe:
    """AUC of a linear probe of `labels` [n] (negative = unknown) in `w` [n, d], folds made of whole `groups` [n].

    More than two classes: the mean over one class against the rest. Only pairs within one fold are compared. Where
    every group has one class, a group's score is the mean of its images' and p deals the classes anew over groups;
    otherwise see `shuffled_sources`. Classes with fewer than 5 images, or in one group alone, are left out.
    """
    labels = np.asarray(labels, np.int64)
    kept = tuple(int(k) for k in np.unique(labels[labels >= 0]) if _enough(labels == k, groups))
    rows = np.flatnonzero(np.isin(labels, kept))
    w, labels, codes = _take(w, labels, groups, rows)
    count = len(np.unique(codes))
    unit: Literal["subject", "image"] = "subject" if _constant(labels, codes) else "image"
    if len(kept) < 2 or count < MIN_GROUPS:
        why = "fewer than two classes have" if len(kept) < 2 else f"{count} subjects are too few:"
        needs = (
            f"at least {MIN_IMAGES} images of two subjects" if len(kept) < 2 else f"at least {MIN_GROUPS} are needed"
        )
        return Probe("auc", None, 0.5, None, permutations, len(rows), count, unit, f"{why} {needs}")
    sources = shuffled_sources(labels, codes, permutations, numpy_generator(seed, "probe_permutations"))
    per_class = np.stack(
        [_fold_auc(w, labels == k, codes, sources, unit, seed) for k in kept[: None if len(kept) > 2 else 1]]
    )
    value, null = _mean_over_classes(per_class)
    return Probe("auc", value, 0.5, _p(value, null), permutations, len(rows), count, unit, "", kept)


def probe_numbers(
    w: NDArray[Any],
    values: NDArray[np.floating[Any]],
    groups: NDArray[Any],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Probe:
    """R2 on held-out groups of a linear probe of `values` [n] (nan = unknown); arguments as in `probe_classes`.

    1 = foretold exactly, 0 = no better than the training mean, negative = worse.
    """
    values = np.asarray(values, np.float64)
    rows = np.flatnonzero(np.isfinite(values))
    w, values, codes = _take(w, values, groups, rows)
    count = len(np.unique(codes))
    unit: Literal["subject", "image"] = "subject" if len(rows) and _constant(values, codes) else "image"
    if count < MIN_GROUPS or np.ptp(values) == 0:
        why = (
            "the column has one value alone"
            if count >= MIN_GROUPS
            else f"{count} subjects, at least {MIN_GROUPS} needed"
        )
        return Probe("r2", None, 0.0, None, permutations, len(rows), count, unit, why)
    sources = shuffled_sources(values, codes, permutations, numpy_generator(seed, "probe_permutations"))
    targets: Floats = values[sources].astype(np.float64)  # [n, 1 + permutations]
    error, spread = np.zeros(permutations + 1), np.zeros(permutations + 1)
    for train, test in folds(codes, seed):
        guess, mean = ridge_predict(w[train], targets[train], w[test], codes[train])
        guess, truth = _by_group(guess, codes[test], unit), _by_group(targets[test], codes[test], unit)
        error += ((truth - guess) ** 2).sum(axis=0)
        spread += ((truth - mean) ** 2).sum(axis=0)
    r2 = 1.0 - error / np.maximum(spread, 1e-300)
    return Probe("r2", float(r2[0]), 0.0, _p(r2[0], r2[1:]), permutations, len(rows), count, unit)


def probe_subjects(w: NDArray[Any], groups: NDArray[Any], *, permutations: int = PERMUTATIONS, seed: int = 0) -> Probe:
    """Share of images whose nearest other image in standardised w is of the same subject, against shuffled subjects.

    A classifier of subjects cannot be cross-validated by subject: none of the held-out ones would have been seen.
    Images that are the only one of their subject are left out.
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    rows = np.flatnonzero(np.bincount(codes, minlength=1)[codes] > 1)
    codes = codes[rows]
    count = len(np.unique(codes))
    if count < 3:
        why = f"{count} subjects have two or more images, at least 3 needed"
        return Probe("same-subject share", None, None, None, permutations, len(rows), count, "image", why)
    points = np.asarray(w, np.float64)[rows]
    points = points / np.maximum(points.std(axis=0), 1e-12)
    squares = (points**2).sum(axis=1)
    distance = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distance, np.inf)
    nearest = distance.argmin(axis=1)
    rng = numpy_generator(seed, "probe_permutations")
    value = float((codes == codes[nearest]).mean())
    null = np.array([float((s == s[nearest]).mean()) for s in (rng.permutation(codes) for _ in range(permutations))])
    chance = float(null.mean())
    return Probe("same-subject share", value, chance, _p(value, null), permutations, len(rows), count, "image")


def shuffled_sources(
    values: NDArray[Any], codes: NDArray[np.int64], permutations: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Where each image's value is taken from, [n, 1 + permutations]; the first column is the identity.

    Values that are constant within every group are dealt anew over the groups. Others keep their order within the
    group, since neighbouring slices are alike: whole groups swap with groups of the same size, and each is turned
    round (a circular shift by a random number of images).
    """
    n = len(values)
    out = np.empty((n, 1 + permutations), np.int64)
    out[:, 0] = np.arange(n)
    if _constant(values, codes):
        _, first, place = np.unique(codes, return_index=True, return_inverse=True)
        dealt = rng.permuted(np.tile(first, (permutations, 1)), axis=1)  # [permutations, groups]
        out[:, 1:] = dealt[:, place.reshape(-1)].T
        return out
    members = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    by_size: dict[int, list[int]] = {}
    for number, rows in enumerate(members):
        by_size.setdefault(len(rows), []).append(number)
    for column in range(1, 1 + permutations):
        for alike in by_size.values():
            for number, giver in zip(alike, rng.permutation(alike)):
                source = members[giver]
                out[members[number], column] = np.roll(source, int(rng.integers(len(source))))
    return out


def folds(codes: NDArray[np.int64], seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(train, test) positions of each fold, whole groups together, blind to what is probed."""
    parts = min(FOLDS, len(np.unique(codes)))
    part = subject_parts(codes, parts, seed)
    return [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(parts)]


def ridge_predict(
    train: NDArray[Any],
    targets: Floats,
    test: NDArray[Any],
    codes: NDArray[np.int64],
    *,
    penalty: float = 1.0,
    common_scale: bool = False,
) -> tuple[Floats, Floats]:
    """Ridge predictions [m, t] at `test` [m, d], and the mean of the targets [t], learned from `train` [n, d].

    targets : [n, t]. codes : group of each training image; each group weighs as one image, however many it has.
    The penalty is on standardised inputs, per input: 1 gives the whole signal the prior variance of the noise (Hoerl &
    Kennard 1970). common_scale : divide all inputs by one number, the root mean square of their deviations, instead of
    each by its own; an input that is near constant in training then cannot run away at other points.
    """
    weight = 1.0 / np.bincount(codes)[codes]
    x = np.asarray(train, np.float64)
    centre = np.average(x, axis=0, weights=weight)
    scale = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=weight))
    if common_scale:
        scale = np.full_like(scale, np.sqrt((scale**2).mean()))
    scale = np.where(scale > 1e-12 * max(float(scale.max()), 1e-300), scale, np.inf)  # constants count for nothing
    x = (x - centre) / scale
    mean: Floats = np.average(targets, axis=0, weights=weight)
    weighted = x * weight[:, None]
    gram = weighted.T @ x + penalty * x.shape[1] * np.eye(x.shape[1])
    slopes = np.linalg.solve(gram, weighted.T @ (targets - mean))
    return (np.asarray(test, np.float64) - centre) / scale @ slopes + mean, mean


def auc(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Won pairs and pairs of each column of `scores` [n, t]: positive against negative; ties count half."""
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    count = positive.sum(axis=0).astype(np.float64)
    won: Floats = (ranks * positive).sum(axis=0) - count * (count + 1) / 2
    return won, count * (len(scores) - count)


def _fold_auc(
    w: Floats, positive: NDArray[np.bool_], codes: NDArray[np.int64], sources: NDArray[np.int64], unit: str, seed: int
) -> Floats:
    won, pairs = np.zeros(sources.shape[1]), np.zeros(sources.shape[1])
    for train, test in folds(codes, seed):
        targets = positive[sources]
        guess, _ = ridge_predict(w[train], targets[train].astype(np.float64), w[test], codes[train])
        truth = _by_group(targets[test].astype(np.float64), codes[test], unit) > 0.5
        more_won, more = auc(_by_group(guess, codes[test], unit), truth)
        won, pairs = won + more_won, pairs + more
    return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)


def _mean_over_classes(per_class: Floats) -> tuple[float, Floats]:
    # a class without a pair in any fold says nothing, and .5 is what nothing is worth
    mean = np.where(np.isnan(per_class), 0.5, per_class).mean(axis=0)
    return float(mean[0]), mean[1:]


def _by_group(values: Floats, codes: NDArray[np.int64], unit: str) -> Floats:
    """Means over the rows of each group, or the rows themselves."""
    if unit == "image":
        return values
    _, place, count = np.unique(codes, return_inverse=True, return_counts=True)
    sums = np.zeros((len(count), values.shape[1]))
    np.add.at(sums, place.reshape(-1), values)
    return sums / count[:, None]


def _constant(values: NDArray[Any], codes: NDArray[np.int64]) -> bool:
    _, first, place = np.unique(codes, return_index=True, return_inverse=True)
    return bool((values == values[first][place.reshape(-1)]).all())


def _enough(of_class: NDArray[np.bool_], groups: NDArray[Any]) -> bool:
    return int(of_class.sum()) >= MIN_IMAGES and len(np.unique(np.asarray(groups)[of_class])) > 1


def _take(
    w: NDArray[Any], values: NDArray[Any], groups: NDArray[Any], rows: NDArray[np.int64]
) -> tuple[Floats, NDArray[Any], NDArray[np.int64]]:
    codes = np.unique(np.asarray(groups)[rows], return_inverse=True)[1].reshape(-1).astype(np.int64)
    return np.asarray(w, np.float64)[rows], values[rows], codes


def _p(value: float, null: Floats) -> float:
    return float(1 + (null >= value - 1e-12).sum()) / (1 + len(null))
