"""What changes along a strip: numbers read from images by a regression that was tested on held-out subjects.

Ridge regression on an extractor's features, learned on real training subjects, stands in for a measurement that
nobody made on generated images. It draws extremes towards the mean, so that the order along a strip means more than
the size of the change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.latent.probe import auc, folds, ridge_predict

PENALTIES = (0.001, 0.01, 0.1, 1.0)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RealFeatures:
    """Features [n, d] of real slices, targets [n, t] and subject of each."""

    features: NDArray[np.float32]
    targets: Floats
    subjects: NDArray[Any]


@dataclass(frozen=True)
class Reading:
    """One number along the strip.

    r2 : on held-out subjects' slices; auc : the same for a class score, else None. penalty : chosen by cross-validation
        over training subjects.
    mean, low, high : over seeds at each step, with a 95 % t interval. change : last step minus first, a mean over
        seeds. rank_correlation : of `mean` with the steps (Spearman): 1 = it rises at every step. seeds_rising : share
        of seeds whose last step reads higher than the first. random_change : the largest change, up or down, along
        random directions of the same length in sd.
    """

    name: str
    r2: float
    auc: float | None
    penalty: float
    mean: list[float]
    low: list[float]
    high: list[float]
    change: float
    rank_correlation: float
    seeds_rising: float
    random_change: float | None = None
    other_mean: list[float] | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def choose_penalties(train: RealFeatures, seed: int) -> list[float]:
    """For each target the penalty with the smallest error on left-out training subjects."""
    codes = _codes(train.subjects)
    errors = np.zeros((len(PENALTIES), train.targets.shape[1]))
    for fit, left_out in folds(codes, seed):
        for row, penalty in enumerate(PENALTIES):
            guess, _ = ridge_predict(
                train.features[fit],
                train.targets[fit],
                train.features[left_out],
                _codes(codes[fit]),
                penalty=penalty,
                common_scale=True,
            )
            errors[row] += ((guess - train.targets[left_out]) ** 2).sum(axis=0)
    return [PENALTIES[int(k)] for k in errors.argmin(axis=0)]


def predict(train: RealFeatures, penalties: Sequence[float], features: NDArray[Any]) -> Floats:
    """Every target [m, t] at `features` [m, d]."""
    codes = _codes(train.subjects)
    out = np.empty((len(features), len(penalties)))
    for penalty in set(penalties):
        chosen = [k for k, own in enumerate(penalties) if own == penalty]
        guess, _ = ridge_predict(
            train.features, train.targets[:, chosen], features, codes, penalty=penalty, common_scale=True
        )
        out[:, chosen] = guess
    return out


def r_squared(guess: Floats, truth: Floats, train_mean: float) -> float:
    """1 - error / error of the training mean."""
    spread = float(((truth - train_mean) ** 2).sum())
    return 1.0 - float(((truth - guess) ** 2).sum()) / spread if spread > 0 else 0.0


def class_auc(guess: Floats, truth: Floats) -> float | None:
    """AUC of the score `guess` for `truth` 1 against 0, slice by slice; None where one is missing."""
    won, pairs = auc(guess[:, None], truth[:, None] > 0.5)
    return float(won[0] / pairs[0]) if pairs[0] > 0 else None


def read_strip(
    name: str, values: Floats, steps: Sequence[float], *, r2: float, auc: float | None, penalty: float
) -> Reading:
    """Summary of `values` [seeds, steps]."""
    from scipy.stats import rankdata, t

    n = len(values)
    mean = values.mean(axis=0)
    half = t.ppf(0.975, max(n - 1, 1)) * values.std(axis=0, ddof=1 if n > 1 else 0) / np.sqrt(n)
    rising = float((values[:, -1] > values[:, 0]).mean())
    flat = np.ptp(mean) == 0
    order = 0.0 if flat else float(np.corrcoef(rankdata(mean), rankdata(np.asarray(steps)))[0, 1])
    return Reading(
        name=name, r2=r2, auc=auc, penalty=penalty, mean=mean.tolist(), low=(mean - half).tolist(),
        high=(mean + half).tolist(), change=float(mean[-1] - mean[0]), rank_correlation=order, seeds_rising=rising,
    )  # fmt: skip


def _codes(subjects: NDArray[Any]) -> NDArray[np.int64]:
    return np.unique(subjects, return_inverse=True)[1].reshape(-1).astype(np.int64)
