"""Scores for choosing among checkpoints and presets: on the `select` split, never on the hold-out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset
from stylescan.errors import DataError
from stylescan.evaluate.cache import cached_features, extract
from stylescan.evaluate.features import Extractor, get_extractor
from stylescan.evaluate.metrics import DISTANCES
from stylescan.evaluate.reference import thin_by_subject

MAX_REAL = 2000


class SelectScorer:
    """Scores generators by KID and FD against the subjects of `select`.

    Parameters
    ----------
    dataset : the prepared data; its `select` split must hold at least two subjects.
    extractor : a name of EXTRACTORS, or an object.
    n_fakes : images asked of the generator each time.
    cache_dir : where features of real images are kept, None = nowhere.

    Real features are computed at the first call and kept. At most 2,000 real slices are used, spread over subjects.
    Scores of the same scorer are comparable with each other, not with those of `evaluate`.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        extractor: str | Extractor = "efficientnet-lite0",
        n_fakes: int = 200,
        cache_dir: Path | None = None,
    ) -> None:
        positions = dataset.indices("select")
        subjects = dataset.subjects[positions]
        count = len(np.unique(subjects))
        if count < 2:
            raise DataError(
                f"subjects in the `select` split: {count}, expected at least 2 to score checkpoints",
                remedy="Prepare more subjects; with fewer, the last checkpoint counts as the best.",
            )
        if n_fakes < 2:
            raise ValueError(f"n_fakes is {n_fakes}, expected at least 2")
        keep = thin_by_subject(subjects, MAX_REAL, seed=0)
        self.n_fakes = n_fakes
        self._dataset = dataset
        self._indices = positions[keep]
        self._subjects = subjects[keep]
        self._extractor_choice = extractor
        self._cache_dir = cache_dir
        self._extractor: Extractor | None = None
        self._real: NDArray[np.float32] | None = None

    def __call__(self, generate: Callable[[int], NDArray[Any]]) -> dict[str, float]:
        """{'kid': ..., 'fd': ...}, lower is better. `generate(n)` gives uint8 or uint16 [n, C, H, W], quantised to the
        data's depth; it should use the same seeds at every call, so that scores differ by the weights alone."""
        if self._extractor is None or self._real is None:
            self._extractor = get_extractor(self._extractor_choice)
            self._real = cached_features(self._extractor, self._dataset, self._indices, self._cache_dir)
        fakes = generate(self.n_fakes)
        expected = (self.n_fakes, self._dataset.channels, self._dataset.resolution, self._dataset.resolution)
        if fakes.shape != expected:
            raise ValueError(f"generate gave images of shape {fakes.shape}, expected {expected}")
        features = extract(self._extractor, fakes)
        return {name: metric.compute(features, self._real, None, self._subjects) for name, metric in DISTANCES.items()}
