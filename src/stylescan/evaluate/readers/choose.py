"""Which images readers see: generated ones as they come, and held-out real ones matched to them.

Real images come from as many held-out subjects as there are, with the classes of the generated ones. A generated image
has no depth of its own, but should follow the training slices: so the real ones are drawn at depths spread as those are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylescan.data.geometry import Geometry
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError, DataError
from stylescan.evaluate.cache import Progress
from stylescan.evaluate.material import holdout_positions
from stylescan.evaluate.targets import Generated, Target
from stylescan.randomness import numpy_generator

MIN_COUNT, MAX_COUNT = 20, 1000
ADVISED_COUNT = 100


@dataclass(frozen=True)
class Choice:
    """`real`: positions in the dataset, as many as there are `generated` images. `geometry`: the padding to cut off
    both kinds, None where it must stay. `notes`: what whoever reads the result must know."""

    real: NDArray[np.int64]
    generated: Generated
    geometry: Geometry | None
    notes: list[str]


def choose_images(
    target: Target, dataset: PreparedDataset, count: int, seed: int, progress: Progress | None = None
) -> Choice:
    """`count` images, half of them generated and half real.

    Raises ConfigError for an odd count or one outside 20..1000, DataError where the hold-out, a class in it or the
    folder of images holds too few.
    """
    if count % 2 or not MIN_COUNT <= count <= MAX_COUNT:
        raise ConfigError(
            f"count is {count} (--count), expected an even number from {MIN_COUNT} to {MAX_COUNT}",
            remedy=f"Half of the images are real and half generated: give for instance --count {ADVISED_COUNT}.",
        )
    half = count // 2
    held = holdout_positions(dataset)
    _require(len(held), half, "held-out real images", 2 * len(held))
    if target.available is not None:
        _require(target.available, half, "generated images in the folder", 2 * target.available)
    generated = target.images(half, seed, progress)
    notes = list(target.notes)
    if count < ADVISED_COUNT:
        notes.append(f"{count} images a reader are few: only great skill at telling them apart would be noticed.")
    if len(np.unique(dataset.subjects[held])) < half:
        notes.append(
            f"{half} real images come from {len(np.unique(dataset.subjects[held]))} held-out subjects: some subjects "
            "show more than one slice."
        )
    wanted = _wanted_by_class(generated, dataset)
    if dataset.num_classes and None in wanted:
        notes.append("The generated images carry no class, so that the real ones were not matched by class.")
    common = dataset.output_geometry()
    records = dataset.manifest.images
    alike = held[[_padding(records[i].geometry) == _padding(common) for i in held.tolist()]]
    geometry: Geometry | None = common
    if any(len(_of_class(dataset, alike, label)) < k for label, k in wanted.items()):
        # Cutting one plan's padding from images of another plan would cut anatomy, or leave a tell-tale rim.
        alike, geometry = held, None
        notes.append("The data's images have different paddings, so that the padding is shown.")
    real = [_draw(dataset, _of_class(dataset, alike, label), label, k, seed) for label, k in wanted.items()]
    return Choice(np.concatenate(real), generated, geometry, notes)


def _require(found: int, needed: int, what: str, possible: int) -> None:
    if found < needed:
        raise DataError(
            f"{found} {what}, expected at least {needed}: half of the images that readers see",
            remedy=f"Ask for fewer, --count {possible - possible % 2}."
            if possible >= MIN_COUNT
            else "Prepare data with more held-out subjects, or generate more images.",
        )


def _wanted_by_class(generated: Generated, dataset: PreparedDataset) -> dict[int | None, int]:
    """Real images wanted of each class; under None where classes play no part."""
    if not dataset.num_classes or (generated.labels < 0).any():
        return {None: len(generated.labels)}
    held = dataset.labels[dataset.indices("holdout")]
    wanted = sorted(Counter(generated.labels.tolist()).items())
    have = {label: int((held == label).sum()) for label, _ in wanted}
    # A count that all classes allow is named, so that the second attempt succeeds.
    possible = min(2 * int(len(generated.labels) * have[label] / k) for label, k in wanted) - 2 * len(wanted)
    for label, k in wanted:
        _require(have[label], k, f"held-out real images of class {dataset.class_names[label]}", possible)
    return dict(wanted)


def _of_class(dataset: PreparedDataset, positions: NDArray[np.int64], label: int | None) -> NDArray[np.int64]:
    return positions if label is None else positions[dataset.labels[positions] == label]


def _padding(geometry: Geometry) -> tuple[int, int, int, int]:
    return geometry.pad_top, geometry.pad_bottom, geometry.pad_left, geometry.pad_right


def _draw(dataset: PreparedDataset, pool: NDArray[np.int64], label: int | None, k: int, seed: int) -> NDArray[np.int64]:
    """`k` positions of `pool`, spread over its subjects, at the depths of the training slices of the class."""
    rng = numpy_generator(seed, "reader_study_real", -1 if label is None else label)
    train = _depths(dataset, _of_class(dataset, dataset.indices("train"), label))
    depths = _depths(dataset, pool)
    known = len(train) > 0 and np.isfinite(train).all() and np.isfinite(depths).all()
    wanted = np.quantile(train, (np.arange(k) + 0.5) / k) if known else np.full(k, np.nan)
    return pool[spread_at_depths(dataset.subjects[pool], depths, wanted, rng)]


def _depths(dataset: PreparedDataset, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    records = dataset.manifest.images
    return np.array([np.nan if records[i].depth is None else records[i].depth for i in positions.tolist()], float)


def spread_at_depths(
    subjects: NDArray[np.str_],
    depths: NDArray[np.float64],
    wanted: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Different positions, one for each wanted depth: of a random least used subject, its slice nearest to that depth.

    A wanted depth of nan takes any of the subject's slices. `wanted` is not longer than `subjects`.
    """
    free = {str(name): set(np.flatnonzero(subjects == name).tolist()) for name in np.unique(subjects)}
    used = dict.fromkeys(free, 0)
    chosen: list[int] = []
    for depth in rng.permutation(wanted):
        least = min(used[name] for name, left in free.items() if left)
        names = [name for name, left in free.items() if left and used[name] == least]
        name = names[int(rng.integers(len(names)))]
        left = rng.permutation(sorted(free[name]))
        position = int(left[0] if np.isnan(depth) else left[np.argmin(np.abs(depths[left] - depth))])
        free[name].remove(position)
        used[name] += 1
        chosen.append(position)
    return np.array(chosen, np.int64)
