"""Distances between two sets of features: Frechet distance (FD) and kernel distance (KID).

Both take features as rows, float [n, d]; `x` is the generated set and `y` the real one, though both are symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stylescan.evaluate.measures.base import Features, Groups, Resampled, subject_codes


def _factor(x: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [d] and a matrix A [min(n, d), d] with A^T A = the unbiased covariance of `x`."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"features have shape {x.shape}, expected [n, d] with n >= 2")
    mean = x.mean(axis=0)
    centred = (x - mean) / np.sqrt(len(x) - 1)
    if len(x) > x.shape[1]:
        # R of QR keeps A^T A exactly and bounds the size of what follows by d.
        centred = np.asarray(np.linalg.qr(centred, mode="r"))
    return mean, centred


def _frechet_from_factors(
    mean_x: NDArray[np.float64], a: NDArray[np.float64], mean_y: NDArray[np.float64], b: NDArray[np.float64]
) -> float:
    # Polar forms A = U C1^(1/2) and B = V C2^(1/2) give A B^T = U C1^(1/2) C2^(1/2) V^T, and so
    # tr (C1^(1/2) C2 C1^(1/2))^(1/2) = sum of singular values of A B^T: symmetric, no matrix square root,
    # exact for n < d, and as small as the smaller set.
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    difference = mean_x - mean_y
    return float(difference @ difference + (a * a).sum() + (b * b).sum() - 2.0 * cross)


def frechet_distance(x: Features, y: Features) -> float:
    """Frechet distance of the Gaussians fitted to `x` [n, d] and `y` [m, d], n, m >= 2, in float64.

    |mu_x - mu_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) with unbiased covariances (Heusel et al. 2017, arXiv
    1706.08500, eq. 6). Biased upward for small n: compare at equal n only.
    """
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features of {x.shape[1]} and {y.shape[1]} dimensions cannot be compared")
    return _frechet_from_factors(*_factor(x), *_factor(y))


def frechet_distance_of_moments(mean_x: ArrayLike, cov_x: ArrayLike, mean_y: ArrayLike, cov_y: ArrayLike) -> float:
    """The same from means [d] and symmetric covariances [d, d]; rounding's negative eigenvalues count as zero."""

    def root(covariance: ArrayLike) -> NDArray[np.float64]:
        values, vectors = np.linalg.eigh(np.asarray(covariance, dtype=np.float64))
        factor: NDArray[np.float64] = np.sqrt(np.clip(values, 0.0, None))[:, None] * vectors.T
        return factor

    mean_x, mean_y = np.asarray(mean_x, dtype=np.float64), np.asarray(mean_y, dtype=np.float64)
    return _frechet_from_factors(mean_x, root(cov_x), mean_y, root(cov_y))


def polynomial_kernel(x: Features, y: Features) -> NDArray[np.float64]:
    """k(x, y) = (x . y / d + 1)^3 for all pairs, float64 [n, m] (Binkowski et al. 2018, arXiv 1801.01401)."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"features have shapes {x.shape} and {y.shape}, expected [n, d] and [m, d]")
    inner: NDArray[np.float64] = x @ y.T / x.shape[1] + 1.0
    kernel: NDArray[np.float64] = inner * inner * inner  # ten times as fast as a power
    return kernel


@dataclass(frozen=True)
class KernelPairs:
    """Kernel values of all pairs, so that the statistic of any subset costs no new kernel.

    `allowed_x`, `allowed_y`: which pairs of one set count, bool [n, n] and [m, m], symmetric, False on the diagonal.
    """

    k_xx: NDArray[np.float64]
    k_yy: NDArray[np.float64]
    k_xy: NDArray[np.float64]
    allowed_x: NDArray[np.bool_]
    allowed_y: NDArray[np.bool_]

    def mmd2(self, keep_x: NDArray[np.int64], keep_y: NDArray[np.int64]) -> float:
        """Unbiased MMD^2 of the images at `keep_x` and `keep_y`; nan where no pair of two subjects is left."""

        def within(kernel: NDArray[np.float64], allowed: NDArray[np.bool_], keep: NDArray[np.int64]) -> float:
            mask = allowed[np.ix_(keep, keep)]
            pairs = int(mask.sum())
            return float(kernel[np.ix_(keep, keep)].sum(where=mask)) / pairs if pairs else float("nan")

        across = float(self.k_xy[np.ix_(keep_x, keep_y)].mean())
        return within(self.k_xx, self.allowed_x, keep_x) + within(self.k_yy, self.allowed_y, keep_y) - 2.0 * across


def kernel_pairs(x: Features, y: Features, x_groups: Groups | None, y_groups: Groups | None) -> KernelPairs:
    """All kernel values of `x` [n, d] and `y` [m, d]; groups are subjects, None = every image its own."""

    def allowed(groups: Groups | None, n: int) -> NDArray[np.bool_]:
        codes = subject_codes(groups, n)
        differ: NDArray[np.bool_] = codes[:, None] != codes[None, :]
        return differ

    return KernelPairs(
        polynomial_kernel(x, x),
        polynomial_kernel(y, y),
        polynomial_kernel(x, y),
        allowed(x_groups, len(x)),
        allowed(y_groups, len(y)),
    )


def kid(x: Features, y: Features, x_groups: Groups | None = None, y_groups: Groups | None = None) -> float:
    """Kernel distance: the unbiased MMD^2 with k = (x . y / d + 1)^3, the full U-statistic.

    `x_groups`, `y_groups`: subject of each image. Pairs of one subject are left out of the within-set means, for they
    are near-copies and would bias the result upward. No random subsets: equal for every order and batch. May be
    slightly negative. nan where a set has fewer than two subjects. O(n^2) memory.
    """
    pairs = kernel_pairs(x, y, x_groups, y_groups)
    return pairs.mmd2(np.arange(len(x)), np.arange(len(y)))


def fd_of_sets(x: Features, y: Features, x_groups: Groups | None, y_groups: Groups | None) -> float:
    """`frechet_distance` with the arguments of every metric."""
    return frechet_distance(x, y)  # moments know no pairs, so subjects play no part


def fd_resampler(x: Features, y: Features, x_groups: Groups | None, y_groups: Groups | None) -> Resampled:
    """FD of the images kept, for the jackknife."""
    return lambda keep_x, keep_y: frechet_distance(x[keep_x], y[keep_y])


def kid_resampler(x: Features, y: Features, x_groups: Groups | None, y_groups: Groups | None) -> Resampled:
    """KID of the images kept, from kernel values computed once."""
    return kernel_pairs(x, y, x_groups, y_groups).mmd2
