"""What a user may ask of `prepare`, in one frozen model; worker processes get it too, so it imports nothing heavy."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

# These say how to work, not what to make, or must not be shared: they stay out of the manifest.
_NOT_RECORDED = {"workers", "overwrite", "salt"}
# These came after the first sets: recorded only where they are used, so that those sets keep their hash.
_LATER = {"contrasts", "only_classes", "ignore_classes", "window", "folds", "fold", "balance", "laterality", "modality",
          "label_column"}  # fmt: skip
MIN_RESOLUTION, MAX_RESOLUTION = 16, 1024


class PrepareOptions(BaseModel):
    """Settings of `prepare`. Defaults suit a folder of slices or of brain volumes.

    resolution: side of the prepared squares, a power of two in 16..1024; None chooses one (geometry.choose_resolution).
    layout: a name in layouts.LAYOUTS, or 'auto'.
    pattern: regular expression searched in each relative path; named groups subject, slice, side, label are understood,
        any other is carried along in `extra`.
    plane: how volumes are cut (None: axial); for pictures, the plane that they show, for the record.
    symmetry: 'left-right' declares that a mirrored image shows an equally possible subject; training may then flip.
        None: as the layout says, else 'none'.
    laterality: 'canonicalise' mirrors what shows a left side, so that all images show a right one (laterality.py).
    slices: (first, last) as fractions of the volume, for a slice's centre. every: keep each n-th slice of these.
    min_foreground: least share of a slice above the volume's Otsu threshold; 0 keeps all.
    field_of_view_mm: side of the square cut from every volume; None takes the largest extent in the set.
    contrasts: take the fourth axis of volumes as contrasts, each a channel with percentiles of its own.
    percentiles: source values that become 0 and the largest integer, for more than 8 bits; per volume (or subject).
    window: range of source values instead of percentiles: a name (windows.py), 'LEVEL/WIDTH', or 'header'.
    bits: 8 or 16 a value in the prepared set.
    modality: which images of a session are taken, by the layout's own names (BIDS: T1w, ..., several become channels;
        DICOM: the Modality tag, then words of the series' description).
    label_column: column of the layout's own table (participants.tsv, ...) that holds the class.
    balance: 'depth' keeps as many images of each class at each depth, so that depth does not tell the class.
    only_classes: keep the images of these classes alone; one class makes a set without classes. ignore_classes: keep
        all images and drop their classes.
    holdout, select: shares of the subjects (at least 5 each, see split.py). seed: draws the split.
    folds, fold: hold out part `fold` (0 ... folds - 1) of `folds` equal parts of the subjects, instead of `holdout`.
    keep_ids: leave subject names and file names readable. salt: hides them otherwise; drawn once per dataset if None.
    repair: split anew by subject where a given split leaks. skip_corrupt: leave unreadable files out instead of
        refusing. allow_label_volumes: take volumes of a few integers as images.
    overwrite: replace a dataset that stands in the destination. workers: processes; None means up to 8.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: int | None = Field(default=None, ge=MIN_RESOLUTION, le=MAX_RESOLUTION)
    layout: str = "auto"
    pattern: str | None = None
    plane: Literal["axial", "coronal", "sagittal"] | None = None
    symmetry: Literal["none", "left-right"] | None = None
    slices: tuple[Fraction, Fraction] = (0.0, 1.0)
    every: int = Field(default=1, ge=1)
    min_foreground: Fraction = 0.05
    field_of_view_mm: float | None = Field(default=None, gt=0.0, le=2000.0)
    contrasts: bool = False
    percentiles: tuple[float, float] = (0.5, 99.5)
    window: str | None = Field(default=None, min_length=1)
    modality: tuple[str, ...] = ()
    label_column: str | None = Field(default=None, min_length=1)
    laterality: Literal["canonicalise"] | None = None
    balance: Literal["depth"] | None = None
    folds: int | None = Field(default=None, ge=2, le=20)
    fold: int = Field(default=0, ge=0)
    bits: Literal[8, 16] = 8
    only_classes: tuple[str, ...] = ()
    ignore_classes: bool = False
    holdout: float = Field(default=0.2, ge=0.0, le=0.8)
    select: float = Field(default=0.1, ge=0.0, le=0.8)
    seed: int = Field(default=0, ge=0)
    keep_ids: bool = False
    salt: str | None = Field(default=None, min_length=8)
    repair: bool = False
    skip_corrupt: bool = False
    allow_label_volumes: bool = False
    overwrite: bool = False
    workers: int | None = Field(default=None, ge=1, le=256)

    @field_validator("resolution")
    @classmethod
    def _power_of_two(cls, value: int | None) -> int | None:
        if value is not None and value & (value - 1):
            raise ValueError(f"{value} is not a power of two (16, 32, 64, ... 1024)")
        return value

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groupindex
        except re.error as problem:
            raise ValueError(f"not a regular expression: {problem}") from None
        if not groups:
            raise ValueError(r"has no named group such as (?P<subject>\d+)")
        return value

    @field_validator("only_classes")
    @classmethod
    def _in_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(value)))  # the same classes in another order are the same dataset

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if not self.slices[0] < self.slices[1]:
            raise ValueError(f"slices {self.slices}: the first fraction must lie below the last")
        if not 0.0 <= self.percentiles[0] < self.percentiles[1] <= 100.0:
            raise ValueError(f"percentiles {self.percentiles}: expected 0 <= low < high <= 100")
        if self.symmetry == "left-right" and self.plane == "sagittal":
            raise ValueError("symmetry left-right: a sagittal image shows front and back, mirroring it is never lawful")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds} folds: they count from 0 to {self.folds - 1}")
        if self.folds is None and self.fold:
            raise ValueError(f"fold {self.fold} without folds: say how many there are, for instance --folds 5")
        if self.only_classes and self.ignore_classes:
            raise ValueError("only-class keeps classes and ignore-classes drops them all: give one of the two")
        if self.holdout + self.select > 0.9:
            raise ValueError(f"holdout {self.holdout} + select {self.select} leave less than a tenth to train on")
        return self

    def recorded(self) -> dict[str, object]:
        """The settings that decide what comes out, as JSON values."""
        unused = {name for name in _LATER if not getattr(self, name)}
        unused = unused - {"fold"} if self.folds else unused | {"fold"}
        return {**self.model_dump(mode="json", exclude=_NOT_RECORDED | unused), "symmetry": self.symmetry or "none"}
