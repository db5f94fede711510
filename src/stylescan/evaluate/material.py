"""Everything that metrics look at, gathered once: real and generated images, their features, subjects and classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset
from stylescan.errors import DataError
from stylescan.evaluate.cache import Progress, cached_extract, cached_features
from stylescan.evaluate.features import Extractor
from stylescan.evaluate.measures.manifold import Neighbourhoods, Overlap, neighbourhoods, overlap
from stylescan.evaluate.reference import blur_sigma_px, blurred, floor_draws, thin_by_subject
from stylescan.evaluate.targets import Generated, Target

MAX_IMAGES = 2000
MAX_TRAIN = 10_000
_AGAIN = "Prepare data with more subjects, so that `stylescan prepare` can set some aside."


@dataclass(frozen=True)
class RealSet:
    """Real slices of one split: positions in the dataset, features [k, d], subject and class of each."""

    indices: NDArray[np.int64]
    features: NDArray[np.float32]
    subjects: NDArray[np.str_]
    labels: NDArray[np.int64]

    @property
    def num_subjects(self) -> int:
        return len(np.unique(self.subjects))


@dataclass(frozen=True)
class Material:
    """What is judged and what it is judged against; n generated and n held-out images, so that FD compares like sizes.

    `draws`: positions in `train` of the ten T*, each with the hold-out's subject and slice counts. `blurred_draw`:
    features of the first T*, blurred. `untrained`: images of an untrained net and their features, None without a net.
    `notes`: what a reader must know, in sentences. `target` makes or reads further images where a part needs them.
    """

    target: Target
    dataset: PreparedDataset
    extractor: Extractor
    seed: int
    holdout: RealSet
    train: RealSet
    generated: Generated
    features: NDArray[np.float32]
    draws: list[NDArray[np.int64]]
    blurred_draw: NDArray[np.float32] | None
    untrained: tuple[NDArray[Any], NDArray[np.float32]] | None
    notes: list[str]

    @property
    def n(self) -> int:
        return len(self.generated.images)

    # Tables of distances, asked for by several scores: each is made once.
    @cached_property
    def balls(self) -> Neighbourhoods:
        """The balls of the held-out images."""
        return neighbourhoods(self.holdout.features, self.holdout.subjects)

    @cached_property
    def overlap(self) -> Overlap:
        """How generated and held-out images lie in each other's balls."""
        return overlap(neighbourhoods(self.features), self.balls)

    @cached_property
    def draw_overlaps(self) -> list[Overlap]:
        """The same of each draw T*."""
        train = self.train
        return [overlap(neighbourhoods(train.features[d], train.subjects[d]), self.balls) for d in self.draws]


def gather(
    target: Target,
    dataset: PreparedDataset,
    extractor: Extractor,
    *,
    n: int | None,
    seed: int,
    full: bool,
    progress: Progress | None,
) -> Material:
    """Make or read the generated images, and compute or recall every feature. Arguments as in `judge.evaluate`."""
    notes = list(target.notes)
    held = holdout_positions(dataset)
    count = _number_of_images(len(held), n, target.available, full, notes)
    held = held[thin_by_subject(dataset.subjects[held], count, seed)]
    pool = dataset.indices("train")
    if len(pool) > MAX_TRAIN:
        pool = pool[thin_by_subject(dataset.subjects[pool], MAX_TRAIN, seed)]
        notes.append(f"{MAX_TRAIN:,} training slices, spread over all training subjects, stand for the whole.")
    cache = dataset.path / "cache"
    holdout = _real_set(dataset, held, extractor, cache, progress, "features of held-out slices")
    train = _real_set(dataset, pool, extractor, cache, progress, "features of training slices")
    draws = floor_draws(train.subjects, holdout.subjects, seed=seed)
    if not draws:
        notes.append("The training split is smaller than the hold-out, so that there is no floor.")
    generated = target.images(count, seed, progress)
    untrained = target.untrained(count, seed, progress)
    return Material(
        target=target,
        dataset=dataset,
        extractor=extractor,
        seed=seed,
        holdout=holdout,
        train=train,
        generated=generated,
        features=cached_extract(
            extractor, generated.images, cache, progress=progress, what="features of generated images"
        ),
        draws=draws,
        blurred_draw=_blurred_draw(dataset, train, draws, extractor, cache, progress),
        untrained=None
        if untrained is None
        else (
            untrained,
            cached_extract(extractor, untrained, cache, progress=progress, what="features of an untrained net"),
        ),
        notes=notes,
    )


def holdout_positions(dataset: PreparedDataset) -> NDArray[np.int64]:
    """Positions of the held-out slices; DataError where there are none, or only one subject's."""
    held = dataset.indices("holdout")
    subjects = len(np.unique(dataset.subjects[held]))
    if subjects < 2:
        found = "no held-out images" if not subjects else "one held-out subject"
        raise DataError(f"{dataset.path}: {found}, expected at least 2 subjects that training never saw", remedy=_AGAIN)
    return held


def _number_of_images(held: int, asked: int | None, available: int | None, full: bool, notes: list[str]) -> int:
    count = held if asked is None else min(asked, held)
    if asked is not None and asked > held:
        notes.append(f"{asked:,} images were asked for; {held:,} are judged, as many as there are held-out slices.")
    if asked is None and not full and count > MAX_IMAGES:
        count = MAX_IMAGES
        notes.append(f"{count:,} of {held:,} held-out slices are used, spread over all held-out subjects.")
    if available is not None and available < count:
        count = available
        notes.append(f"The folder holds {available:,} images, so that {count:,} of {held:,} held-out slices are used.")
    return count


def _real_set(
    dataset: PreparedDataset,
    positions: NDArray[np.int64],
    extractor: Extractor,
    cache: Path,
    progress: Progress | None,
    what: str,
) -> RealSet:
    features = cached_features(extractor, dataset, positions, cache, progress=progress, what=what)
    return RealSet(positions, features, dataset.subjects[positions], dataset.labels[positions])


def _blurred_draw(
    dataset: PreparedDataset,
    train: RealSet,
    draws: list[NDArray[np.int64]],
    extractor: Extractor,
    cache: Path,
    progress: Progress | None,
) -> NDArray[np.float32] | None:
    # Blurred training slices, not blurred hold-out: an image and its own blurred copy share their subject's features,
    # which would put the row below the floor at small n.
    if not draws:
        return None
    images: NDArray[Any] = blurred(dataset.read(train.indices[draws[0]]), blur_sigma_px(dataset.resolution))
    return cached_extract(extractor, images, cache, progress=progress, what="features of blurred real slices")
