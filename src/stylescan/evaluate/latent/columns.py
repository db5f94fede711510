"""Properties of real slices, as the manifest records them: what a picture of w can be coloured by and probed for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import ImageRecord, PreparedDataset
from stylescan.errors import ConfigError

FIXED = ("class", "depth", "slice", "side", "subject")
MAX_CATEGORIES = 10
_MAPPING = ("value_low_", "value_high_")  # of intensities, channel by channel: no property of a subject


@dataclass(frozen=True)
class Column:
    """A property of n images.

    values : for a category int64 codes, -1 where unknown or left out; for a number float64, nan where unknown; for
        `subject` int64 codes. names : of the codes. left_out : rarer categories beyond the ten most frequent.
    """

    name: str
    kind: Literal["category", "number", "subject"]
    values: NDArray[Any]
    names: tuple[str, ...] = ()
    left_out: int = 0

    def take(self, rows: NDArray[np.int64]) -> Column:
        """The same of the images at `rows`."""
        return Column(self.name, self.kind, self.values[rows], self.names, self.left_out)


def column_names(dataset: PreparedDataset) -> list[str]:
    """The columns that hold anything, the fixed ones first."""
    images = dataset.manifest.images
    found = {
        "class": dataset.num_classes > 0,
        "depth": any(i.depth is not None for i in images),
        "slice": any(i.slice is not None for i in images),
        "side": any(i.side is not None for i in images),
        "subject": True,
    }
    extra = sorted({key for i in images for key in i.extra if not key.startswith(_MAPPING)})
    return [name for name in FIXED if found[name]] + extra


def numeric_columns(dataset: PreparedDataset) -> list[str]:
    """Those of `column_names` that are the user's own and hold numbers."""
    rows = np.arange(len(dataset))
    names = [name for name in column_names(dataset) if name not in FIXED]
    return [name for name in names if read_column(dataset, name, rows).kind == "number"]


def read_column(dataset: PreparedDataset, name: str, positions: NDArray[np.int64]) -> Column:
    """The column `name` of the images at `positions`. ConfigError, with the columns there are, for an unknown one."""
    known = column_names(dataset)
    if name not in known:
        raise ConfigError(f"column {name!r}: the data has none of that name", remedy=f"Choose from {', '.join(known)}.")
    if name == "class":
        return Column(name, "category", dataset.labels[positions], dataset.class_names)
    if name == "subject":
        subjects, codes = np.unique(dataset.subjects[positions], return_inverse=True)
        return Column(name, "subject", codes.reshape(-1).astype(np.int64), tuple(map(str, subjects)))
    # kind and names come from all images, so that one split or another gives the same colours
    everything = [_value(image, name) for image in dataset.manifest.images]
    values = [everything[i] for i in positions]
    if all(value is None or isinstance(value, int | float) for value in everything):
        return Column(name, "number", np.array([np.nan if v is None else float(v) for v in values], np.float64))
    return _categories(name, everything, values)


def _value(image: ImageRecord, name: str) -> float | str | None:
    if name == "depth":
        return image.depth
    if name == "slice":
        return image.slice
    return image.side if name == "side" else image.extra.get(name)


def _categories(name: str, everything: Sequence[float | str | None], values: Sequence[float | str | None]) -> Column:
    counts = Counter(str(value) for value in everything if value not in (None, ""))
    frequent = sorted(word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_CATEGORIES])
    codes = {word: number for number, word in enumerate(frequent)}
    found = np.array([codes.get(str(value), -1) for value in values], np.int64)
    return Column(name, "category", found, tuple(frequent), len(counts) - len(frequent))
