"""How well class probabilities name the class, and how far that would move with other subjects.

Four scores. `auc`: mean over classes of the one-against-the-rest area under the ROC curve, chance 0.5 for any number
of classes. `balanced_accuracy`: mean over classes of the share named right, chance 1 / classes. `accuracy`: share of
images named right. `subject_accuracy`: the same after probabilities are averaged over a subject's images of one class.

Intervals resample whole subjects (cluster bootstrap, Davison & Hinkley 1997, section 3.8). All four are sums over
subjects, or over pairs of subjects, so that a resampled value costs one product with the drawn counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.intervals import LEVEL, MIN_SUBJECTS
from stylescan.randomness import numpy_generator

SCORES = {
    "auc": "AUC",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "subject_accuracy": "Accuracy, whole subjects",
}
DRAWS = 1000
MAX_UNDEFINED = 0.05

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """A score of each seed, [seeds], and its seed-mean on each bootstrap draw of subjects, [draws] (nan: undefined).

    `subjects`: how many were resampled.
    """

    by_seed: Floats
    draws: Floats
    subjects: int

    @property
    def value(self) -> float:
        return float(self.by_seed.mean())


@dataclass(frozen=True)
class Interval:
    """`low` and `high`, or the `reason` why there are none."""

    low: float | None
    high: float | None
    reason: str | None = None

    def above(self, value: float) -> bool:
        return self.low is not None and self.low > value

    def below(self, value: float) -> bool:
        return self.high is not None and self.high < value


def resample(subjects: int, seed: int, stream: str) -> Floats:
    """How often each subject is drawn, [DRAWS, subjects]: whole numbers, each row sums to `subjects`."""
    return numpy_generator(seed, stream).multinomial(subjects, np.full(subjects, 1 / subjects), DRAWS).astype(float)


def score(
    probabilities: Floats, labels: NDArray[np.int64], subjects: NDArray[np.int64], counts: Floats
) -> dict[str, Score]:
    """Every score of SCORES.

    probabilities : [seeds, n, classes]. labels : class of each image. subjects : 0..m-1 of each image.
    counts : [draws, m], from `resample`. Classes without an image are left out of `auc` and `balanced_accuracy`.
    """
    many = counts.shape[1]
    right = (probabilities.argmax(axis=2) == labels).astype(float)
    sizes = np.bincount(subjects, minlength=many).astype(float)
    hits = _summed(right, subjects, many)
    unit_hits, unit_sizes = _units(probabilities, labels, subjects, many)
    per_class = []
    for label in np.unique(labels):
        here = labels == label
        found = _summed(right[:, here], subjects[here], many)
        per_class.append(_share(found, np.bincount(subjects[here], minlength=many).astype(float), counts))
    aucs = [
        _auc(probabilities[:, :, label], labels == label, subjects, counts)
        # With two classes both areas are the same.
        for label in np.unique(labels)[: 1 if probabilities.shape[2] == 2 else None]
    ]
    return {
        "auc": _mean(aucs, many),
        "balanced_accuracy": _mean(per_class, many),
        "accuracy": Score(*_share(hits, sizes, counts), many),
        "subject_accuracy": Score(*_share(unit_hits, unit_sizes, counts), many),
    }


def _summed(rows: Floats, subjects: NDArray[np.int64], many: int) -> Floats:
    """Rows [seeds, n] summed by subject, [seeds, m]."""
    return np.stack([np.bincount(subjects, row, minlength=many) for row in rows]).astype(float)


def _mean(parts: list[tuple[Floats, Floats]], many: int) -> Score:
    return Score(np.mean([one[0] for one in parts], axis=0), np.mean([one[1] for one in parts], axis=0), many)


def _share(hits: Floats, sizes: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Summed hits [seeds, m] over summed sizes [m]: by seed, and the seed-mean by draw."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return hits.sum(axis=1) / sizes.sum(), (counts @ hits.mean(axis=0)) / (counts @ sizes)


def _units(
    probabilities: Floats, labels: NDArray[np.int64], subjects: NDArray[np.int64], many: int
) -> tuple[Floats, Floats]:
    """A subject's images of one class are one unit: units named right [seeds, m] and their numbers [m]."""
    classes = probabilities.shape[2]
    units, unit = np.unique(subjects * classes + labels, return_inverse=True)
    owner, truth = units // classes, units % classes
    hits = []
    for one in probabilities:
        total = np.stack([np.bincount(unit, one[:, k], minlength=len(units)) for k in range(classes)], axis=1)
        hits.append(np.bincount(owner, total.argmax(axis=1) == truth, minlength=many))
    return np.stack(hits).astype(float), np.bincount(owner, minlength=many).astype(float)


def _auc(
    scores: Floats, positive: NDArray[np.bool_], subjects: NDArray[np.int64], counts: Floats
) -> tuple[Floats, Floats]:
    """Area under the ROC curve of scores [seeds, n]: by seed, and the seed-mean by draw.

    wins[s, t]: pairs of a positive image of subject s and a negative one of t that are ordered rightly, ties half. A
    draw's area is then a quadratic form in its counts, and the mean over seeds is that of the mean matrix.
    """
    many = counts.shape[1]
    yes = np.bincount(subjects[positive], minlength=many).astype(float)
    no = np.bincount(subjects[~positive], minlength=many).astype(float)
    rivals = [np.flatnonzero(~positive & (subjects == t)) for t in np.flatnonzero(no)]
    by_seed, mean = [], np.zeros((many, many))
    for one in scores:
        wins = np.zeros((many, many))
        for t, rows in zip(np.flatnonzero(no), rivals):
            beaten = np.sort(one[rows])
            left = np.searchsorted(beaten, one[positive], "left") + np.searchsorted(beaten, one[positive], "right")
            wins[:, t] = np.bincount(subjects[positive], left / 2, minlength=many)
        by_seed.append(wins.sum() / (yes.sum() * no.sum()) if yes.any() and no.any() else math.nan)
        mean += wins / len(scores)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = ((counts @ mean) * counts).sum(axis=1) / ((counts @ yes) * (counts @ no))
    return np.array(by_seed), draws


def plain_auc(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """`auc` of one set of probabilities [n, classes]; nan where fewer than two classes are present."""
    alone = np.zeros(len(labels), np.int64)
    return score(probabilities[None], labels, alone, np.ones((1, 1)))["auc"].value


def interval(draws: Floats, subjects: int) -> Interval:
    """95 % interval of a bootstrap distribution [draws]: percentiles, drawn further apart for few subjects.

    Plain percentiles are too narrow by sqrt((m - 1) / m) and by normal instead of t quantiles; the 'expanded
    percentile' interval mends both (Hesterberg 2015, The American Statistician 69:371).
    """
    if subjects < MIN_SUBJECTS:
        return Interval(None, None, f"an interval needs at least {MIN_SUBJECTS} subjects, here are {subjects}")
    known = draws[np.isfinite(draws)]
    if len(known) < (1 - MAX_UNDEFINED) * len(draws):
        return Interval(None, None, "too few of a class: many resamples lack one")
    from scipy.stats import norm, t

    tail = norm.cdf(-math.sqrt(subjects / (subjects - 1)) * t.ppf(0.5 + LEVEL / 2, subjects - 1))
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(float(low), float(high))


def seed_interval(by_seed: Floats) -> Interval:
    """95 % t interval of a mean over training seeds."""
    if len(by_seed) < 2:
        return Interval(None, None, "one seed")
    from scipy.stats import t

    half = float(t.ppf(0.5 + LEVEL / 2, len(by_seed) - 1)) * float(by_seed.std(ddof=1)) / math.sqrt(len(by_seed))
    return Interval(float(by_seed.mean()) - half, float(by_seed.mean()) + half)


def paired_difference(first: Score, second: Score) -> Score:
    """`first` minus `second`, which share held-out subjects, draws and seeds."""
    return Score(first.by_seed - second.by_seed, first.draws - second.draws, first.subjects)


def finite(value: float) -> float | None:
    """JSON knows no nan: None in its place."""
    return float(value) if math.isfinite(value) else None


def score_json(one: Score) -> dict[str, object]:
    """`value` (mean over seeds), `seeds`, `seed_sd`, `interval` or `interval_missing`, as JSON values."""
    found = interval(one.draws, one.subjects)
    return {
        "value": finite(one.value),
        "seeds": [finite(value) for value in one.by_seed],
        "seed_sd": finite(float(one.by_seed.std(ddof=1))) if len(one.by_seed) > 1 else None,
        "interval": None if found.low is None else {"low": found.low, "high": found.high},
        "interval_missing": found.reason,
    }
