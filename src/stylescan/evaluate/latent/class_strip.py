"""`stylescan direction`: learn a class direction, test it on held-out subjects, show and measure what it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset, Split
from stylescan.errors import ConfigError, DataError
from stylescan.evaluate.features import Extractor
from stylescan.evaluate.latent.columns import numeric_columns, read_column
from stylescan.evaluate.latent.direction import learn_direction, validate_direction
from stylescan.evaluate.latent.embed_record import Written
from stylescan.evaluate.latent.embedding import sampled_w
from stylescan.evaluate.latent.projected import Projector, RealW, projected_w, spread_positions
from stylescan.evaluate.latent.strip_readings import CLOUD, Axis, DirectionOptions, read_along
from stylescan.evaluate.latent.strip_record import sentences_of, values_of, write_all
from stylescan.generate.sample import draw_labels, parse_class
from stylescan.generate.snapshot import Snapshot

Progress = Callable[[int, int, str], None]
Floats = NDArray[np.float64]


def find_direction(
    snapshot: Snapshot,
    dataset: PreparedDataset,
    out: Path,
    options: DirectionOptions,
    projector: Projector,
    extractor: Extractor,
    progress: Progress | None = None,
) -> Written:
    """Write direction.safetensors, direction.json, strip.png and curves.png to `out`.

    Real slices of two classes are projected into w without their class, at matched heights; the direction is learned
    on training subjects and tested on held-out ones. Raises ConfigError for options that do not fit, DataError where
    a split or a class has too few subjects.
    """
    positive, negative = _classes(dataset, options)
    _check(dataset, options)
    real = {
        split: _project(snapshot, dataset, split, (positive, negative), out, options, projector, progress)
        for split in ("train", "holdout")
    }
    learned = _learned(snapshot, dataset, real, positive, options)
    other = _class_means(snapshot, dataset, real["holdout"], (positive, negative), learned, options)
    readings = read_along(snapshot, dataset, (positive, negative), learned, other, options, extractor, progress)
    names = (dataset.class_names[positive], dataset.class_names[negative])
    values = values_of(snapshot, dataset, names, real, learned, other, readings, options, projector, extractor)
    sentences = sentences_of(values, names, readings)
    values["sentences"] = sentences
    files = write_all(out, snapshot, learned, other, readings, names, values, sentences, options)
    return Written(files, sentences, values)


def _classes(dataset: PreparedDataset, options: DirectionOptions) -> tuple[int, int]:
    names = dataset.class_names
    if len(names) < 2:
        raise DataError(
            f"{dataset.path}: {len(names)} classes, expected at least 2", remedy="Prepare data with classes."
        )
    if len(names) > 2 and (options.positive is None or options.negative is None):
        raise ConfigError(
            f"--class and --from: {len(names)} classes, both must be named", remedy=f"Choose from {', '.join(names)}."
        )
    positive = None if options.positive is None else parse_class(options.positive, names)
    negative = None if options.negative is None else parse_class(options.negative, names)
    if positive is None:
        positive = 0 if negative is None else 1 - negative
    negative = 1 - positive if negative is None else negative
    if positive == negative:
        raise ConfigError(f"--class and --from: both are {names[positive]}", remedy="Name two classes.")
    return positive, negative


def _check(dataset: PreparedDataset, options: DirectionOptions) -> None:
    if not options.seeds or options.reach <= 0 or options.read_seeds < 2 or options.project < 12:
        raise ConfigError(
            f"direction: found {len(options.seeds)} seeds, reach {options.reach}, {options.read_seeds} images to read, "
            f"{options.project} to project; expected at least 1, more than 0, 2 and 12",
            remedy="Give larger numbers.",
        )
    numeric = numeric_columns(dataset)
    for name in options.columns:
        if (
            name not in [*numeric, "depth", "slice"]
            or read_column(dataset, name, np.empty(0, np.int64)).kind != "number"
        ):
            raise ConfigError(
                f"--column {name!r}: no numeric column of the data",
                remedy=f"Choose from {', '.join(numeric) or 'none'}.",
            )


def _project(
    snapshot: Snapshot,
    dataset: PreparedDataset,
    split: Split,
    classes: tuple[int, int],
    out: Path,
    options: DirectionOptions,
    projector: Projector,
    progress: Progress | None,
) -> RealW:
    rows = dataset.indices(split)
    chosen = [
        spread_positions(
            dataset,
            rows[dataset.labels[rows] == kind],
            options.project // 2,
            per_subject=options.per_subject,
            seed=options.seed,
            matched=True,
        )
        for kind in classes
    ]
    positions = np.sort(np.concatenate(chosen))
    return projected_w(projector, snapshot, dataset, positions, out / "projections", progress)


def _learned(
    snapshot: Snapshot, dataset: PreparedDataset, real: dict[str, RealW], positive: int, options: DirectionOptions
) -> Axis:
    train = real["train"]
    vector = learn_direction(train.w, dataset.labels[train.positions] == positive, dataset.subjects[train.positions])
    return _axis(snapshot, dataset, vector, real["holdout"], positive, options)


def _axis(
    snapshot: Snapshot,
    dataset: PreparedDataset,
    vector: Floats,
    held: RealW,
    positive: int,
    options: DirectionOptions,
) -> Axis:
    seeds = range(CLOUD)
    cloud = sampled_w(snapshot, seeds, draw_labels(seeds, snapshot.meta))
    of_class = dataset.labels[held.positions] == positive
    validation = validate_direction(vector, held.w, of_class, dataset.subjects[held.positions], seed=options.seed)
    return Axis(vector, float((cloud @ vector).std(ddof=1)), validation)


def _class_means(
    snapshot: Snapshot,
    dataset: PreparedDataset,
    held: RealW,
    classes: tuple[int, int],
    learned: Axis,
    options: DirectionOptions,
) -> Axis | None:
    """For a conditional model: the difference between the classes' mean w of the same z."""
    if not snapshot.meta.class_names or any(snapshot.meta.class_frequencies[kind] == 0 for kind in classes):
        return None
    means = [sampled_w(snapshot, range(CLOUD), [kind] * CLOUD).mean(axis=0, dtype=np.float64) for kind in classes]
    difference = means[0] - means[1]
    length = float(np.linalg.norm(difference))
    if length == 0:
        return None
    return _axis(snapshot, dataset, difference / length, held, classes[0], options)
