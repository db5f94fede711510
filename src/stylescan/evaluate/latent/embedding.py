"""Two-dimensional pictures of w: principal components, and UMAP where umap-learn is installed."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stylescan.errors import ConfigError
from stylescan.generate.edit import map_styles
from stylescan.generate.snapshot import Snapshot

_BATCH = 1024
UMAP_NEIGHBOURS = 15


@dataclass(frozen=True)
class PCA:
    """Principal axes: `mean` [d], `axes` [k, d] of unit length, `share` [k] of the total variance, `variance` total."""

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    share: NDArray[np.float64]
    variance: float

    def transform(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Coordinates [n, k] of `points` [n, d]."""
        result: NDArray[np.float64] = (points - self.mean) @ self.axes.T
        return result


def fit_pca(points: NDArray[Any], k: int = 2) -> PCA:
    """The first `k` principal axes of `points` [n, d], by singular values of the centred matrix.

    Each axis points to where its largest coefficient is positive, so that equal points give equal pictures.
    """
    data = np.asarray(points, np.float64)
    if len(data) < 2 or k > data.shape[1]:
        raise ConfigError(
            f"PCA: found {len(data)} points of {data.shape[1]} numbers, expected at least 2 points and {k} numbers",
            remedy="Draw more points, or train with a larger w.",
        )
    mean = data.mean(axis=0)
    _, singular, axes = np.linalg.svd(data - mean, full_matrices=False)
    # too few points have fewer axes than numbers: the rest of the picture is flat
    missing = max(k - len(axes), 0)
    axes = np.concatenate([axes, np.zeros((missing, data.shape[1]))])[:k]
    power = np.concatenate([singular**2, np.zeros(missing)])
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.where(axes[np.arange(k), largest] < 0, -1.0, 1.0)[:, None]
    total = float(power.sum())
    share = power[:k] / total if total > 0 else np.zeros(k)
    return PCA(mean, axes, share, total / (len(data) - 1))


def have_umap() -> bool:
    """Whether umap-learn is installed; it is not loaded."""
    return importlib.util.find_spec("umap") is not None


def fit_umap(points: NDArray[Any], *, seed: int = 0) -> NDArray[np.float64]:
    """UMAP coordinates [n, 2] of `points` [n, d] (McInnes 2018), 15 neighbours, equal for equal seeds.

    The first call in a process compiles for about half a minute. ConfigError where umap-learn is not installed.
    """
    if not have_umap():
        raise ConfigError(
            "UMAP: the package umap-learn is not installed",
            remedy="pip install 'stylescan[analysis]', or ask for --method pca",
        )
    umap = importlib.import_module("umap")
    neighbours = min(UMAP_NEIGHBOURS, len(points) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a fixed seed means one thread, which is what we ask for
        model = umap.UMAP(n_neighbors=neighbours, min_dist=0.1, random_state=seed, n_jobs=1)
        return np.asarray(model.fit_transform(np.asarray(points, np.float32)), np.float64)


@torch.no_grad()
def sampled_w(snapshot: Snapshot, seeds: Sequence[int], labels: Sequence[int]) -> NDArray[np.float32]:
    """w [n, w_dim] of `seeds`, each of its class (any number where the model has none), without truncation."""
    rows = [np.empty((0, snapshot.generator.spec.w_dim), np.float32)]
    for start in range(0, len(seeds), _BATCH):
        some, kinds = seeds[start : start + _BATCH], labels[start : start + _BATCH]
        rows.append(map_styles(snapshot, some, kinds)[:, 0].cpu().numpy().astype(np.float32))
    return np.concatenate(rows)
