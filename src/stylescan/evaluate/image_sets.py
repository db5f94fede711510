"""The sets of images that metrics compare, each as features, subjects, descriptors and pixels on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset
from stylescan.evaluate.cache import Progress
from stylescan.evaluate.material import Material
from stylescan.evaluate.measures.diversity import ReadImages
from stylescan.evaluate.metrics import METRICS
from stylescan.evaluate.reference import blur_sigma_px, blurred

_CHUNK = 64


@dataclass(frozen=True)
class ImageSet:
    """`features` float [n, d]; `subjects` of the images, None = each its own; `descriptors` [n, k] by the name of the
    metric that asks for them; `read` gives pixels at positions, uint8 or uint16 [k, C, R, R]."""

    features: NDArray[np.float32]
    subjects: NDArray[np.str_] | None
    descriptors: dict[str, NDArray[Any]]
    read: ReadImages

    def __len__(self) -> int:
        return len(self.features)

    def seen_by(self, metric: str) -> NDArray[Any]:
        """What the metric's functions take: its descriptors, or the extractor's features."""
        return self.descriptors.get(metric, self.features)

    def take(self, positions: NDArray[np.int64]) -> ImageSet:
        """The images at `positions`."""
        return ImageSet(
            self.features[positions],
            None if self.subjects is None else self.subjects[positions],
            {name: values[positions] for name, values in self.descriptors.items()},
            lambda among: self.read(positions[among]),
        )


def describe(
    read: ReadImages, n: int, progress: Progress | None = None, what: str = "pixels"
) -> dict[str, NDArray[Any]]:
    """Descriptors of `n` images for every metric that has its own, a few images at a time."""
    wanted = {name: metric.describe for name, metric in METRICS.items() if metric.describe is not None}
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
    for low in range(0, n, _CHUNK):
        high = min(low + _CHUNK, n)
        images = read(np.arange(low, high))
        for name, function in wanted.items():
            found[name].append(function(images))
        if progress is not None:
            progress(high, n, what)
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}


def _set(
    features: NDArray[np.float32],
    subjects: NDArray[np.str_] | None,
    read: ReadImages,
    progress: Progress | None = None,
    what: str = "pixels",
) -> ImageSet:
    return ImageSet(features, subjects, describe(read, len(features), progress, what), read)


def generated_set(material: Material) -> ImageSet:
    """The images judged; each is its own subject."""
    images = material.generated.images
    return _set(material.features, None, lambda positions: images[positions])


def holdout_set(material: Material) -> ImageSet:
    """The held-out slices."""
    held, data = material.holdout, material.dataset
    return _set(held.features, held.subjects, lambda positions: data.read(held.indices[positions]))


def draw_sets(material: Material, progress: Progress | None = None) -> list[ImageSet]:
    """The draws T*. Slices that several of them hold are read once."""
    if not material.draws:
        return []
    train, data = material.train, material.dataset
    used = np.unique(np.concatenate(material.draws))
    pool = _set(
        train.features[used],
        train.subjects[used],
        lambda positions: data.read(train.indices[used[positions]]),
        progress,
        "pixels of training slices",
    )
    return [pool.take(np.searchsorted(used, draw)) for draw in material.draws]


def blurred_set(material: Material) -> ImageSet | None:
    """The first T*, blurred; None without draws."""
    if material.blurred_draw is None:
        return None
    draw, data, train = material.draws[0], material.dataset, material.train
    sigma_px = blur_sigma_px(data.resolution)

    def read(positions: NDArray[np.int64]) -> NDArray[Any]:
        return blurred(data.read(train.indices[draw[positions]]), sigma_px)

    return _set(material.blurred_draw, train.subjects[draw], read)


def untrained_set(material: Material) -> ImageSet | None:
    """Images of the same network before training; None where there is no network."""
    if material.untrained is None:
        return None
    images, features = material.untrained
    return _set(features, None, lambda positions: images[positions])


def depth_of(dataset: PreparedDataset, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Where each slice lies in its volume: as a fraction, else by its number; None where some slice has neither."""
    records = [dataset.manifest.images[int(i)] for i in indices]
    for values in ([r.depth for r in records], [r.slice for r in records]):
        known = [float(value) for value in values if value is not None]
        if len(known) == len(records):
            return np.array(known)
    return None
