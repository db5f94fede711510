"""Things other than the anatomy that tell the class: a model learns them, and a judge of its images is fooled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from stylescan.data.audit.measures import Measures
from stylescan.data.prepared import ImageRecord
from stylescan.randomness import numpy_generator

_BINS = 16
_SAME_FORMAT = {".jpeg": ".jpg", ".tiff": ".tif"}


class Shortcut(BaseModel):
    """How well something other than the anatomy tells the class: subject-wise cross-validated accuracy, in [0, 1].

    `majority`: the accuracy of always naming the most frequent class. `images`: how many had both values. `subjects`:
    of how many people (0 in audits of earlier versions, which did not record it).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracy: float
    majority: float
    images: int
    subjects: int = 0

    @property
    def notable(self) -> bool:
        """Better than guessing the largest class by 5 points, and by two standard errors over subjects."""
        error = (self.majority * (1 - self.majority) / self.subjects) ** 0.5 if self.subjects else 0.0
        return self.accuracy > self.majority + max(0.05, 2 * error)


def find_shortcuts(
    images: Sequence[ImageRecord], measures: Measures | None = None, modes: Sequence[str] = ()
) -> dict[str, Shortcut]:
    """Every shortcut that could be tried, by name: size, format, mode, brightness of the border, brightness.

    modes : kind of each source image ('L', 'RGB', ...), along `images`, or none. What is the same in all is left out.
    """
    if len({image.label for image in images if image.label is not None}) < 2:
        return {}
    named: dict[str, Sequence[str]] = {
        "size": [f"{image.geometry.source_height}x{image.geometry.source_width}" for image in images],
        "file format": [_format(image.source) for image in images],
        "kind of image": modes,
    }
    measured = {} if measures is None else {"border brightness": measures.border, "brightness": measures.mean}
    found = {name: _try(images, _numbers(values)) for name, values in named.items() if len(set(values)) > 1}
    found |= {name: _try(images, quantile_bins(values)) for name, values in measured.items()}
    return {name: shortcut for name, shortcut in found.items() if shortcut is not None}


def depth_shortcut(images: Sequence[ImageRecord]) -> Shortcut | None:
    """Depth alone, in 16 bins of equal counts, against the class."""
    depths, _ = depths_of(images)
    known = [k for k, image in enumerate(images) if not np.isnan(depths[k]) and image.label is not None]
    if len({images[k].label for k in known}) < 2:
        return None
    return table_shortcut(quantile_bins(depths[known]), [images[k] for k in known])


def depths_of(images: Sequence[ImageRecord]) -> tuple[NDArray[np.float64], bool]:
    """Where each image lies in its volume, NaN where that is not known; and whether these are depths from 0 to 1.

    Where any image has none, the numbers of the slices stand for all.
    """
    fractions = all(image.depth is not None for image in images)
    values = [image.depth if fractions else image.slice for image in images]
    return np.array([np.nan if value is None else float(value) for value in values]), fractions


def side_shortcut(images: Sequence[ImageRecord]) -> Shortcut | None:
    """Left or right alone, against the class."""
    known = [image for image in images if image.side is not None and image.label is not None]
    sides = sorted({str(image.side) for image in known})
    if len({image.label for image in known}) < 2 or len(sides) < 2:
        return None
    return table_shortcut(np.array([sides.index(str(image.side)) for image in known]), known)


def quantile_bins(values: NDArray[np.floating]) -> NDArray[np.intp]:
    """Numbers of up to 16 bins of equal counts, one for each value."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.asarray(np.searchsorted(edges, values, side="right"), np.intp)


def _format(source: str) -> str:
    suffix = PurePosixPath(source).suffix.lower()
    return _SAME_FORMAT.get(suffix, suffix)


def _numbers(values: Sequence[str]) -> NDArray[np.intp]:
    return np.asarray(np.unique(values, return_inverse=True)[1], np.intp)


def _try(images: Sequence[ImageRecord], codes: NDArray[np.intp]) -> Shortcut | None:
    known = np.array([image.label is not None for image in images])
    if len(np.unique(codes[known])) < 2:
        return None
    return table_shortcut(codes[known], [image for image in images if image.label is not None])


def table_shortcut(codes: NDArray[np.integer], images: Sequence[ImageRecord], folds: int = 5) -> Shortcut | None:
    """Predict the class by the most frequent one among training subjects with the same code; folds by subject.

    The folds do not depend on what the subjects are called: their names are salted anew for every data set. None where
    fewer than two subjects exist, since nothing could be left out then.
    """
    labels = np.array([int(image.label or 0) for image in images])
    subjects = np.unique([image.subject for image in images], return_inverse=True)[1]
    count = int(subjects.max()) + 1
    if count < 2:
        return None
    folds = min(folds, count)
    fold = _nameless_folds(subjects, labels, codes, folds)
    right = 0
    for number in range(folds):
        table = np.zeros((int(codes.max()) + 1, int(labels.max()) + 1), np.int64)
        np.add.at(table, (codes[fold != number], labels[fold != number]), 1)
        # A code never seen in training falls back to the most frequent class.
        guess = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), table.sum(axis=0).argmax())
        right += int((guess[codes[fold == number]] == labels[fold == number]).sum())
    return Shortcut(accuracy=right / len(labels), majority=float(np.bincount(labels).max() / len(labels)),
                    images=len(labels), subjects=count)  # fmt: skip


def _nameless_folds(
    subjects: NDArray[np.intp], labels: NDArray[np.integer], codes: NDArray[np.integer], folds: int
) -> NDArray[np.intp]:
    """The fold of each image: subjects in the order of their classes and codes, then shuffled, a fold each in turn."""
    order = np.lexsort((codes, labels, subjects))
    starts = np.flatnonzero(np.diff(subjects[order], prepend=-1))
    pairs = np.stack((labels[order], codes[order]), axis=1)
    alike = sorted(range(len(starts)), key=[part.tolist() for part in np.split(pairs, starts[1:])].__getitem__)
    fold_of = np.empty(len(starts), np.intp)
    fold_of[alike] = numpy_generator(0, "audit folds").permutation(len(starts)) % folds
    return fold_of[subjects]
