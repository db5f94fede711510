"""What the benchmarks score fakes by: KID and FD against one split's subjects, and MS-SSIM of pairs of fakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stylescan.data.prepared import PreparedDataset, Split

MAX_REAL = 2000


class Judge:
    """Scores against the subjects of `split`, 'select' or 'holdout'."""

    def __init__(self, dataset: PreparedDataset, split: Split) -> None:
        from stylescan.evaluate.features import get_extractor
        from stylescan.evaluate.reference import thin_by_subject

        self.dataset, self.cache = dataset, dataset.path / "cache"
        self.extractor = get_extractor("efficientnet-lite0")
        held = dataset.indices(split)
        self.held = held[thin_by_subject(dataset.subjects[held], MAX_REAL, seed=0)]
        self.real = self.features(self.held)

    def features(self, positions: np.ndarray) -> np.ndarray:
        """Features of real images."""
        from stylescan.evaluate.cache import cached_features

        return cached_features(self.extractor, self.dataset, positions, self.cache)

    def distances(self, images: np.ndarray) -> dict[str, float]:
        """KID and FD of fakes [n, C, H, W]."""
        return self.distances_of(self.features_of(images))

    def features_of(self, images: np.ndarray) -> np.ndarray:
        """Features of fakes [n, C, H, W]; the same whatever the split."""
        from stylescan.evaluate.cache import extract

        return extract(self.extractor, images)

    def distances_of(self, features: np.ndarray) -> dict[str, float]:
        """KID and FD of fakes by their features."""
        from stylescan.evaluate.metrics import DISTANCES

        subjects = self.dataset.subjects[self.held]
        return {name: metric.compute(features, self.real, None, subjects) for name, metric in DISTANCES.items()}

    def similarity(self, images: np.ndarray, subjects: np.ndarray | None = None) -> float:
        """Mean MS-SSIM of random pairs of images [n, C, H, W]; 1 where all are equal."""
        from stylescan.evaluate.measures.diversity import pair_similarity

        return pair_similarity(lambda positions: images[positions], len(images), subjects).mean

    def floor(self) -> dict[str, float | None]:
        """KID and FD of real images: draws of training subjects like the held ones."""
        from stylescan.evaluate.metrics import DISTANCES
        from stylescan.evaluate.reference import floor_draws, floor_of, thin_by_subject

        subjects, train = self.dataset.subjects, self.dataset.indices("train")
        train = train[thin_by_subject(subjects[train], MAX_REAL, seed=0)]
        draws = floor_draws(subjects[train], subjects[self.held], seed=0)
        features = self.features(train)
        found = {}
        for name, metric in DISTANCES.items():
            floor = floor_of(metric, features, subjects[train], self.real, subjects[self.held], draws)
            found[name] = None if floor is None else floor.value
        return found

    def kid_of_real(self, positions: np.ndarray) -> float:
        """KID of chosen real images."""
        from stylescan.evaluate.metrics import DISTANCES

        subjects = self.dataset.subjects
        return DISTANCES["kid"].compute(self.features(positions), self.real, subjects[positions], subjects[self.held])
