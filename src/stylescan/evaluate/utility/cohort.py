"""Who trains, who decides and who is tested: real images by split and generated ones, with the classes that suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stylescan.data.prepared import UNITS, PreparedDataset
from stylescan.data.symmetry import mirror_is_lawful
from stylescan.data.tensors import to_unit_range
from stylescan.evaluate.cache import Progress
from stylescan.evaluate.material import Material
from stylescan.evaluate.reference import thin_by_subject
from stylescan.evaluate.utility.classifier import Labelled, fitted

MIN_SUBJECTS = 5
MIN_GENERATED = 10
MAX_TRAIN = 6000
MAX_TEST = 5000
MAX_SELECT = 1000
MAX_GENERATED = 2000
_CHUNK = 256


class CannotTellError(Exception):
    """Why a question has no answer on this data, as a sentence for the report."""


@dataclass(frozen=True)
class Cohort:
    """Real images by split, their labels renumbered 0..K-1 in the order of `class_names`.

    classes : the data's class number of each. train_at, test_at : positions in the data. select : None where no
    checkpoint can be chosen on it. unit : 'subjects', or what stands for them. notes : sentences.
    """

    classes: tuple[int, ...]
    class_names: tuple[str, ...]
    train: Labelled
    select: Labelled | None
    test: Labelled
    train_at: NDArray[np.int64]
    test_at: NDArray[np.int64]
    flip: bool
    unit: str
    notes: list[str]

    @property
    def majority(self) -> int:
        """The most frequent training class."""
        return int(np.bincount(self.train.labels).argmax())


def gather_cohort(material: Material) -> Cohort:
    """The real images of `material` for a classifier. CannotTellError: fewer than two classes with enough subjects."""
    dataset = material.dataset
    if dataset.num_classes < 2:
        raise CannotTellError("The data have fewer than two classes, so that there is nothing to tell apart.")
    unit = UNITS[dataset.manifest.claim]
    pools = {
        "train": material.train.indices,
        "select": dataset.indices("select"),
        "holdout": dataset.indices("holdout"),
    }
    kept, notes = _enough(dataset, pools["train"], pools["holdout"], unit)
    limits = {"train": MAX_TRAIN, "select": MAX_SELECT, "holdout": MAX_TEST}
    sets = {}
    for split, pool in pools.items():
        known = pool[np.isin(dataset.labels[pool], kept)]
        sets[split] = known[thin_by_subject(dataset.subjects[known], limits[split], material.seed)]
        if len(sets[split]) < len(known):
            notes.append(f"Of the {len(known):,} slices of {split}, {len(sets[split]):,} are used, spread over {unit}.")
    select: Labelled | None = read_labelled(dataset, sets["select"], kept)
    if select is not None and len(np.unique(select.labels)) < len(kept):
        select = None
        notes.append(
            "No select subjects of every class: each classifier's last state counts, and none was chosen among."
        )
    if dataset.resolution > fitted(torch.zeros(1, 1, dataset.resolution, dataset.resolution)).shape[-1]:
        notes.append(f"The classifier sees the {dataset.resolution} px images at 64 px (means of neighbouring pixels).")
    if unit != "subjects":
        notes.append(
            "The data name no subjects: slices of one person may be on both sides of the split, so that every score "
            "here may be too good."
        )
    return Cohort(
        classes=tuple(kept),
        class_names=tuple(dataset.class_names[k] for k in kept),
        train=read_labelled(dataset, sets["train"], kept),
        select=select,
        test=read_labelled(dataset, sets["holdout"], kept),
        train_at=sets["train"],
        test_at=sets["holdout"],
        flip=mirror_is_lawful(dataset.manifest),
        unit=unit,
        notes=notes,
    )


def _enough(
    dataset: PreparedDataset, train: NDArray[np.int64], held: NDArray[np.int64], unit: str
) -> tuple[list[int], list[str]]:
    """The classes with enough training and held-out subjects, and a sentence for each of the others."""
    kept, said = [], []
    for label, name in enumerate(dataset.class_names):
        counts = [len(np.unique(dataset.subjects[pool[dataset.labels[pool] == label]])) for pool in (train, held)]
        if min(counts) >= MIN_SUBJECTS:
            kept.append(label)
        else:
            said.append(
                f"Class {name} is left out: {counts[0]} training and {counts[1]} held-out {unit}, at least "
                f"{MIN_SUBJECTS} of each are needed."
            )
    if len(kept) < 2:
        raise CannotTellError(" ".join(["Fewer than two classes have enough " + unit + ".", *said]))
    return kept, said


def read_labelled(dataset: PreparedDataset, positions: NDArray[np.int64], kept: Sequence[int]) -> Labelled:
    """Images at `positions` as the classifier sees them; every label must be among `kept`."""
    parts = [
        fitted(to_unit_range(dataset.read(positions[low : low + _CHUNK]))) for low in range(0, len(positions), _CHUNK)
    ]
    images = torch.cat(parts) if parts else torch.empty(0, dataset.channels, 8, 8)
    return Labelled(images, np.searchsorted(kept, dataset.labels[positions]), dataset.subjects[positions])


@dataclass(frozen=True)
class GeneratedSet:
    """Generated images of the cohort's classes; each is a subject of its own. `missing`: classes without any."""

    data: Labelled
    missing: tuple[str, ...]
    notes: list[str]


def judged_images(material: Material, cohort: Cohort) -> GeneratedSet:
    """The images that the whole report judges (2,000 at most)."""
    made = material.generated
    return _generated_set(cohort, made.images[:MAX_GENERATED], made.labels[:MAX_GENERATED])


def images_to_learn_from(material: Material, cohort: Cohort, progress: Progress | None) -> GeneratedSet:
    """As many generated images as there are training slices, within what is available and 2,000."""
    wanted = min(len(cohort.train), MAX_GENERATED)
    if material.target.available is not None:
        wanted = min(wanted, material.target.available)
    made = material.target.images(wanted, material.seed, progress)
    return _generated_set(cohort, made.images, made.labels)


def _generated_set(cohort: Cohort, images: NDArray[np.generic], labels: NDArray[np.int64]) -> GeneratedSet:
    """CannotTellError where the images carry no class, or fewer than 10 one of the cohort's."""
    if (labels < 0).all():
        raise CannotTellError("The generated images carry no class, so that nothing can be said of how they show it.")
    known = np.isin(labels, cohort.classes)
    if known.sum() < MIN_GENERATED:
        raise CannotTellError(
            f"{int(known.sum())} generated images carry one of the classes {', '.join(cohort.class_names)}; at least "
            f"{MIN_GENERATED} are needed."
        )
    notes = []
    if (labels < 0).any():
        notes.append(f"{int((labels < 0).sum()):,} generated images carry no class and are left out.")
    rows = np.flatnonzero(known)
    renumbered = np.searchsorted(cohort.classes, labels[rows])
    parts = [fitted(to_unit_range(images[rows[low : low + _CHUNK]])) for low in range(0, len(rows), _CHUNK)]
    missing = tuple(name for k, name in enumerate(cohort.class_names) if not (renumbered == k).any())
    if missing:
        notes.append(f"No generated image was asked for or carries: {', '.join(missing)}.")
    return GeneratedSet(Labelled(torch.cat(parts), renumbered, np.array([str(row) for row in rows])), missing, notes)
