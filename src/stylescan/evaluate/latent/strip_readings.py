"""Images and readings along a direction in w."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset, Split
from stylescan.data.tensors import to_integers
from stylescan.errors import DataError
from stylescan.evaluate.cache import cached_features, extract
from stylescan.evaluate.features import Extractor
from stylescan.evaluate.latent.columns import numeric_columns, read_column
from stylescan.evaluate.latent.direction import Validation
from stylescan.evaluate.latent.embedding import sampled_w
from stylescan.evaluate.latent.readout import (
    Reading,
    RealFeatures,
    choose_penalties,
    class_auc,
    predict,
    r_squared,
    read_strip,
)
from stylescan.evaluate.reference import thin_by_subject
from stylescan.generate.sample import draw_labels, synthesise
from stylescan.generate.snapshot import Snapshot
from stylescan.randomness import numpy_generator

Progress = Callable[[int, int, str], None]
Floats = NDArray[np.float64]
STEPS = 7
CLOUD = 4000  # generated w for standard deviations and class means
RANDOM, RANDOM_SEEDS = 8, 16
_SLICES = 2000  # real slices of a split for the readings, at most
_COLUMNS = 6


@dataclass(frozen=True)
class DirectionOptions:
    """positive, negative : classes by name or number; of two classes the first and the second if left out.

    project : real slices a split, half of each class. columns : numeric ones to read; up to six if empty.
    reach : ends of the strip in standard deviations of w. read_seeds : images to read the columns from, at each step.
    """

    positive: str | None = None
    negative: str | None = None
    project: int = 160
    per_subject: int = 2
    columns: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    reach: float = 3.0
    read_seeds: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Axis:
    """A direction: unit vector, standard deviation of generated w along it, and its test on held-out subjects."""

    vector: Floats
    sd: float
    validation: Validation


@torch.inference_mode()
def images_along(
    snapshot: Snapshot,
    seeds: Sequence[int],
    vector: Floats,
    offsets: Sequence[float],
    *,
    progress: Progress | None = None,
    what: str = "images of the strip",
) -> NDArray[Any]:
    """Images [seeds, offsets, C, R, R]: each seed's own w, moved by every offset (in units of w) along `vector`.

    Classes are drawn and noise is that of the seed, so that offset 0 is the image that the seed gives.
    """
    device = next(snapshot.generator.parameters()).device
    base = torch.from_numpy(sampled_w(snapshot, seeds, draw_labels(seeds, snapshot.meta))).to(device)
    way = torch.outer(torch.tensor(list(offsets)), torch.from_numpy(vector)).to(base)  # [K, w_dim]
    rows = []
    for number, seed in enumerate(seeds):
        ws = (base[number] + way)[:, None].expand(-1, snapshot.generator.num_ws, -1)
        rows.append(to_integers(synthesise(snapshot.generator, ws, [seed] * len(way), "random"), snapshot.meta.bits))
        if progress is not None:
            progress(number + 1, len(seeds), what)
    return np.stack(rows)


def strip_steps(reach: float) -> list[float]:
    """The steps of the strip in standard deviations, the middle one exactly 0."""
    half = STEPS // 2
    return [reach * k / half for k in range(-half, half + 1)]


def read_along(
    snapshot: Snapshot,
    dataset: PreparedDataset,
    classes: tuple[int, int],
    learned: Axis,
    other: Axis | None,
    options: DirectionOptions,
    extractor: Extractor,
    progress: Progress | None,
) -> list[Reading]:
    names = list(options.columns) or numeric_columns(dataset)[:_COLUMNS]
    train = _real_features(dataset, "train", classes, names, extractor, options.seed, progress)
    held = _real_features(dataset, "holdout", classes, names, extractor, options.seed, progress)
    penalties = choose_penalties(train, options.seed)
    mean = train.targets.mean(axis=0)
    steps, seeds = strip_steps(options.reach), range(options.read_seeds)

    def along(axis: Axis, offsets: Sequence[float], some: Sequence[int], what: str) -> NDArray[np.float32]:
        made = images_along(snapshot, some, axis.vector, [x * axis.sd for x in offsets], progress=progress, what=what)
        return extract(extractor, made.reshape(-1, *made.shape[2:]), progress=progress, what=f"features of {what}")

    ends, few = [-options.reach, options.reach], list(seeds)[:RANDOM_SEEDS]
    compared = [] if other is None else [along(other, steps, seeds, "images along the class means")]
    drawn = random_axes(snapshot, learned, options)
    chance_features = [along(axis, ends, few, "images along random directions") for axis in drawn]
    parts = [held.features, along(learned, steps, seeds, "images along the direction"), *compared, *chance_features]
    # in one call: learning the regression anew for each part would take longer than all images
    read = np.split(predict(train, penalties, np.concatenate(parts)), np.cumsum([len(part) for part in parts])[:-1])
    guess, chance = read[0], [block.reshape(len(few), 2, -1) for block in read[2 + len(compared) :]]
    values, *more = (block.reshape(len(seeds), len(steps), -1) for block in read[1 : 2 + len(compared)])
    change = np.abs([(v[:, 1] - v[:, 0]).mean(axis=0) for v in chance]).max(axis=0)
    readings = []
    for k, name in enumerate(["class score", *names]):
        reading = read_strip(
            name, values[:, :, k], steps, penalty=penalties[k],
            r2=r_squared(guess[:, k], held.targets[:, k], float(mean[k])),
            auc=class_auc(guess[:, k], held.targets[:, k]) if k == 0 else None,
        )  # fmt: skip
        others = more[0][:, :, k].mean(axis=0).tolist() if more else None
        readings.append(replace(reading, random_change=float(change[k]), other_mean=others))
    return readings


def random_axes(snapshot: Snapshot, learned: Axis, options: DirectionOptions) -> list[Axis]:
    """Directions from one random w to another: such as the model's own w lie along."""
    rng = numpy_generator(options.seed, "random_directions")
    seeds = rng.choice(CLOUD, size=2 * RANDOM, replace=False).tolist()
    w = sampled_w(snapshot, seeds, draw_labels(seeds, snapshot.meta)).astype(np.float64)
    cloud = sampled_w(snapshot, range(CLOUD), draw_labels(range(CLOUD), snapshot.meta))
    difference = w[::2] - w[1::2]
    vectors = difference / np.maximum(np.linalg.norm(difference, axis=1, keepdims=True), 1e-300)
    return [Axis(v, float((cloud @ v).std(ddof=1)), learned.validation) for v in vectors]


def _real_features(
    dataset: PreparedDataset,
    split: Split,
    classes: tuple[int, int],
    names: Sequence[str],
    extractor: Extractor,
    seed: int,
    progress: Progress | None,
) -> RealFeatures:
    """Features of at most 2,000 slices of the two classes; targets are the class score, 1 or 0, and the columns."""
    rows = dataset.indices(split)
    rows = rows[np.isin(dataset.labels[rows], classes)]
    columns = [read_column(dataset, name, rows).values for name in names]
    targets = np.stack([(dataset.labels[rows] == classes[0]).astype(np.float64), *columns], axis=1)
    known = np.flatnonzero(np.isfinite(targets).all(axis=1))
    if len(known) < 10:
        raise DataError(
            f"{dataset.path}: {len(known)} images of split {split} have all of {', '.join(names) or 'a class'}",
            remedy="Name columns that are filled in (--column).",
        )
    if len(known) > _SLICES:
        known = known[thin_by_subject(dataset.subjects[rows[known]], _SLICES, seed)]
    features = cached_features(
        extractor, dataset, rows[known], dataset.path / "cache", progress=progress, what=f"features of {split} slices"
    )
    return RealFeatures(features, targets[known], dataset.subjects[rows[known]])
