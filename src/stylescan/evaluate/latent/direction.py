"""A direction in w that leads from one class to another, learned on some subjects and tested on others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.errors import DataError
from stylescan.randomness import numpy_generator

SHRINKAGE = 0.5
MIN_SUBJECTS = 3  # of each class, to learn from; and to test on
BOOTSTRAPS, PERMUTATIONS = 2000, 9999
_MORE = "Project more images (--project), or prepare data with more subjects of this class."

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Validation:
    """How well positions along a direction tell the classes of subjects apart that it was not learned from.

    auc : of subjects' mean positions. low, high : 95 % percentile interval, subjects drawn with replacement.
    p : one-sided, classes dealt anew over subjects. holds : whether the interval lies above .5.
    """

    auc: float
    low: float
    high: float
    p: float
    permutations: int
    images: int
    positive_subjects: int
    negative_subjects: int

    @property
    def holds(self) -> bool:
        return self.low > 0.5

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "holds": self.holds}


def learn_direction(
    w: NDArray[Any], positive: NDArray[np.bool_], subjects: NDArray[Any], *, shrinkage: float = SHRINKAGE
) -> Floats:
    """Unit vector [w_dim] that leads from the other class to the `positive` one, from w [n, w_dim].

    Linear discriminant analysis on subjects' mean w (every subject weighs the same), with the covariance within
    classes shrunk by `shrinkage`, from 0 (none) to 1 (the plain difference of the means), towards a multiple of the
    identity (Friedman 1989, "Regularized Discriminant Analysis"). DataError with fewer than 3 subjects in a class.
    """
    means, of_class, _ = subject_means(np.asarray(w, np.float64), positive, subjects)
    _require_subjects(of_class, "to learn a direction from")
    centres = [means[of_class == k].mean(axis=0) for k in (False, True)]
    residual = means - np.where(of_class[:, None], centres[1], centres[0])
    covariance = residual.T @ residual / max(len(means) - 2, 1)
    d = len(covariance)
    level = float(np.trace(covariance)) / d
    difference = centres[1] - centres[0]
    if level > 0 and shrinkage < 1:
        difference = np.linalg.solve((1 - shrinkage) * covariance + shrinkage * level * np.eye(d), difference)
    length = float(np.linalg.norm(difference))
    if length == 0:
        raise DataError("class direction: both classes have the same mean w", remedy=_MORE)
    axis: Floats = difference / length
    return axis


def validate_direction(
    axis: Floats, w: NDArray[Any], positive: NDArray[np.bool_], subjects: NDArray[Any], *, seed: int = 0
) -> Validation:
    """Test `axis` on w [n, w_dim] of subjects that it was not learned from. DataError with fewer than 3 in a class."""
    from scipy.stats import rankdata

    means, of_class, owners = subject_means(np.asarray(w, np.float64), positive, subjects)
    _require_subjects(of_class, "to test a direction on")
    scores = means @ axis
    low, high = _bootstrap(scores, of_class, owners, seed)
    rng = numpy_generator(seed, "direction_permutations")
    dealt = rng.permuted(np.tile(of_class, (PERMUTATIONS, 1)), axis=1).T  # [units, permutations]
    truth = np.concatenate([of_class[:, None], dealt], axis=1).astype(np.float64)
    count = int(of_class.sum())
    values = (rankdata(scores) @ truth - count * (count + 1) / 2) / (count * (len(scores) - count))
    p = (1 + int((values[1:] >= values[0] - 1e-12).sum())) / (1 + PERMUTATIONS)
    return Validation(float(values[0]), low, high, p, PERMUTATIONS, len(w), count, len(of_class) - count)


def subject_means(
    w: Floats, positive: NDArray[np.bool_], subjects: NDArray[Any]
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """Mean w, class and subject code of every subject; one whose images are of both classes counts once in each."""
    _, codes = np.unique(np.asarray(subjects), return_inverse=True)
    units, place = np.unique(2 * codes.reshape(-1) + positive, return_inverse=True)
    sums = np.zeros((len(units), w.shape[1]))
    np.add.at(sums, place.reshape(-1), w)
    means = sums / np.bincount(place.reshape(-1))[:, None]
    return means, units % 2 == 1, units // 2


def _bootstrap(
    scores: Floats, positive: NDArray[np.bool_], owners: NDArray[np.int64], seed: int
) -> tuple[float, float]:
    above, below = scores[positive], scores[~positive]
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    people = np.unique(owners)
    rng = numpy_generator(seed, "direction_bootstrap")
    times = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), size=BOOTSTRAPS)
    weight = times[:, np.searchsorted(people, owners)].astype(np.float64)  # [draws, units]
    left, right = weight[:, positive], weight[:, ~positive]
    pairs = left.sum(axis=1) * right.sum(axis=1)
    values = (left @ wins * right).sum(axis=1)[pairs > 0] / pairs[pairs > 0]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _require_subjects(positive: NDArray[np.bool_], purpose: str) -> None:
    fewest = min(int(positive.sum()), int((~positive).sum()))
    if fewest < MIN_SUBJECTS:
        raise DataError(
            f"class direction: one class has {fewest} subjects {purpose}, at least {MIN_SUBJECTS} needed", remedy=_MORE
        )
