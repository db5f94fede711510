"""The list of metrics: distances, variety, sharpness and artefacts. A further metric is one more row of `METRICS`.

The definitions are in `measures`. Here x is the generated set and y the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stylescan.evaluate.measures.artefacts import (
    checkerboard_peaks,
    checkerboard_terms,
    dot_height,
    dot_terms,
)
from stylescan.evaluate.measures.base import Features, Groups, Metric, Terms
from stylescan.evaluate.measures.distances import (
    KernelPairs,
    fd_of_sets,
    fd_resampler,
    frechet_distance,
    frechet_distance_of_moments,
    kernel_pairs,
    kid,
    kid_resampler,
    polynomial_kernel,
)
from stylescan.evaluate.measures.diversity import mean_similarity
from stylescan.evaluate.measures.manifold import overlap_terms
from stylescan.evaluate.measures.spectrum import radial_profile, spectrum_distance, spectrum_resampler

__all__ = [
    "DISTANCES",
    "MANIFOLD",
    "METRICS",
    "Features",
    "Groups",
    "KernelPairs",
    "Metric",
    "Terms",
    "frechet_distance",
    "frechet_distance_of_moments",
    "kernel_pairs",
    "kid",
    "polynomial_kernel",
]

TermsOf = Callable[[Any, Any, Groups | None, Groups | None], Terms]


def _mean_of(terms: TermsOf) -> Callable[[Any, Any, Groups | None, Groups | None], float]:
    return lambda x, y, x_groups, y_groups: terms(x, y, x_groups, y_groups).mean


def _manifold(name: str) -> TermsOf:
    return lambda x, y, x_groups, y_groups: overlap_terms(name, x, y, x_groups, y_groups)


def _of_terms(title: str, meaning: str, better: Any, terms: TermsOf, describe: Any = None) -> Metric:
    return Metric(title, meaning, better, _mean_of(terms), describe=describe, terms=terms)


# What checkpoints are chosen by: how far the features of two sets lie apart.
DISTANCES: dict[str, Metric] = {
    "kid": Metric(
        "KID",
        "distance of the two sets in feature space, without the bias that small sets bring",
        "lower",
        kid,
        resampler=kid_resampler,
        has_ratio=True,
    ),
    "fd": Metric(
        "FD",
        "Frechet distance: how far means and covariances of features lie apart",
        "lower",
        fd_of_sets,
        resampler=fd_resampler,
        needs_full_rank=True,
        has_ratio=True,
    ),
}

# Computed together, from one table of distances.
MANIFOLD: dict[str, Metric] = {
    name: _of_terms(title, meaning, "higher", _manifold(name))
    for name, title, meaning in (
        ("precision", "Precision", "share of generated images that lie among real ones"),
        ("recall", "Recall", "share of real images that lie among generated ones"),
        ("density", "Density", "how densely real images surround generated ones (each other: about 1)"),
        ("coverage", "Coverage", "share of real images that have a generated one for a close neighbour"),
    )
}

IMAGES: dict[str, Metric] = {
    "ms_ssim": Metric(
        "MS-SSIM of pairs",
        "how alike two random images are (1 = equal)",
        "near real",
        mean_similarity,
    ),
    "spectrum": Metric(
        "Spectrum, dB",
        "difference in strength of detail, over all sizes from coarse to fine",
        "lower",
        spectrum_distance,
        describe=radial_profile,
        resampler=spectrum_resampler,
        has_ratio=True,
    ),
    "white_dots": _of_terms(
        "White dots",
        "share of images with a bright spot more isolated than in 99 % of held-out real images",
        "lower",
        dot_terms,
        dot_height,
    ),
    "checkerboard": _of_terms(
        "Checkerboard, dB",
        "how far patterns with periods of 2 and 4 pixels stand out of the spectrum",
        "near real",
        checkerboard_terms,
        checkerboard_peaks,
    ),
}

METRICS: dict[str, Metric] = DISTANCES | MANIFOLD | IMAGES
