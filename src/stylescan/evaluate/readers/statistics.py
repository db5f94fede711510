"""The statistics of reader studies: exact intervals, signal detection, agreement. Pure functions of counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
POWER = 0.8


def clopper_pearson(right: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share `right` of `n` (Clopper & Pearson 1934), by quantiles of the beta distribution."""
    from scipy.stats import beta

    if not 0 <= right <= n or n < 1:
        raise ValueError(f"{right} of {n} is no share")
    tail = (1.0 - level) / 2.0
    low = 0.0 if right == 0 else float(beta.ppf(tail, right, n - right + 1))
    high = 1.0 if right == n else float(beta.ppf(1.0 - tail, right + 1, n - right))
    return low, high


def detectable_accuracy(n: int, level: float = LEVEL, power: float = POWER) -> float | None:
    """The least true accuracy that `n` answers tell from guessing (1/2) with this power, by the exact two-sided test.

    None where no result could: fewer than 6 answers at 95 %.
    """
    from scipy.special import betaincinv
    from scipy.stats import binom

    # The least number right whose upper tail under guessing is within half the error rate.
    critical = int(binom.isf((1.0 - level) / 2.0, n, 0.5)) + 1
    if critical > n:
        return None
    # P(X >= k | p) is the regularised incomplete beta function I_p(k, n - k + 1).
    return float(betaincinv(critical, n - critical + 1, power))


@dataclass(frozen=True)
class Detection:
    """`dprime`: how far apart the two kinds are for the reader, in standard deviations; 0 = not told apart.
    `criterion`: above 0 a bias to say 'real', below 0 one to say 'synthetic'."""

    dprime: float
    criterion: float


def detection(hits: int, generated: int, false_alarms: int, real: int) -> Detection:
    """d' and c for finding generated images (Green & Swets 1966), rates by the log-linear rule (Hautus 1995).

    The rule adds 1/2 to each count and 1 to each total, so that 0 and 100 % stay finite.
    """
    normal = NormalDist()
    hit = normal.inv_cdf((hits + 0.5) / (generated + 1.0))
    alarm = normal.inv_cdf((false_alarms + 0.5) / (real + 1.0))
    return Detection(hit - alarm, -(hit + alarm) / 2.0)


def area_under_roc(signal: NDArray[Any], noise: NDArray[Any]) -> NDArray[np.float64]:
    """P(signal level > noise level) + P(equal) / 2, from weights a level [..., levels] (Hanley & McNeil 1982).

    nan where either kind has no weight.
    """
    below = np.cumsum(noise, axis=-1) - noise
    wins = (signal * (below + 0.5 * noise)).sum(axis=-1)
    pairs = np.asarray(signal.sum(axis=-1) * noise.sum(axis=-1), np.float64)
    areas: NDArray[np.float64] = np.divide(wins, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)
    return areas


def fleiss_kappa(counts: NDArray[Any], weights: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Fleiss' kappa (Fleiss 1971) from the number of readers that chose each category, [images, categories].

    weights : of images, [..., images], for resampling; all 1 by default. Every image has the same number of readers,
    two or more. nan where all readers chose one category throughout: agreement by chance is then certain.
    """
    readers = counts.sum(axis=1)
    if len(counts) == 0 or readers[0] < 2 or (readers != readers[0]).any():
        raise ValueError("Fleiss' kappa needs the same two or more readers for every image")
    r = float(readers[0])
    w = np.ones(len(counts)) if weights is None else np.asarray(weights, np.float64)
    total = w.sum(axis=-1)
    agreement = (counts * (counts - 1.0)).sum(axis=1) / (r * (r - 1.0))
    observed = w @ agreement / total
    shares = w @ counts / (total[..., None] * r)
    chance = (shares**2).sum(axis=-1)
    spread = np.asarray(1.0 - chance, np.float64)
    kappa: NDArray[np.float64] = np.full(spread.shape, np.nan)
    np.divide(observed - chance, spread, out=kappa, where=spread > 1e-12)
    return kappa


def percentiles(draws: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float] | None:
    """The percentile interval of bootstrap draws; None where more than a tenth of them are undefined."""
    whole = draws[np.isfinite(draws)]
    if len(whole) < 0.9 * len(draws):
        return None
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(whole, [tail, 1.0 - tail])
    return float(low), float(high)


def cluster_weights(clusters: NDArray[Any], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each image is drawn when whole clusters are resampled with replacement, [draws, images]."""
    codes = np.unique(clusters, return_inverse=True)[1].reshape(-1)
    k = int(codes.max()) + 1
    times = rng.multinomial(k, np.full(k, 1.0 / k), size=draws)
    return times[:, codes].astype(np.float64)


def finite_or_none(value: float) -> float | None:
    """JSON knows no nan."""
    return float(value) if math.isfinite(value) else None
