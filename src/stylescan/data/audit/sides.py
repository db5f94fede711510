"""Laterality: which sides the records name, whether that fits what was declared, and how the two sides are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from stylescan.data.audit.measures import THUMB_SIDE, Measures
from stylescan.data.prepared import ImageRecord, Manifest

_LEAST, _CLEAR = 10, 0.05

Stored = Literal["alike", "mirrored", "unclear"]


class Sides(BaseModel):
    """Subjects by the sides that they have, and by class; how left and right images relate.

    one_side : subjects with images of one side only, by class ('all' without classes). stored : 'mirrored' where the
    mean left image resembles the mirrored mean right one more than the right one as it is; 'alike' the other way round.
    as_is, mirrored : the two correlations. contradiction : mirroring was declared lawful although sides are recorded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    both_sides: int
    one_side: dict[str, int]
    stored: Stored = "unclear"
    as_is: float | None = None
    mirrored: float | None = None
    contradiction: bool = False


def look_at_sides(manifest: Manifest, measures: Measures | None = None) -> Sides | None:
    """None where no image names a side."""
    images = manifest.images
    if not any(image.side for image in images):
        return None
    sides: dict[str, set[str]] = {}
    label: dict[str, str] = {}
    for image in images:
        if image.side:
            sides.setdefault(image.subject, set()).add(image.side)
            label[image.subject] = "all" if image.label is None else manifest.class_names[image.label]
    single = [subject for subject, found in sides.items() if len(found) == 1]
    one = {name: sum(label[subject] == name for subject in single) for name in sorted({label[s] for s in single})}
    stored, as_is, mirrored = _stored(images, measures)
    return Sides(both_sides=len(sides) - len(single), one_side=one, stored=stored, as_is=as_is, mirrored=mirrored,
                 contradiction=manifest.symmetry == "left-right")  # fmt: skip


def _stored(images: Sequence[ImageRecord], measures: Measures | None) -> tuple[Stored, float | None, float | None]:
    of = {side: [k for k, image in enumerate(images) if image.side == side] for side in ("left", "right")}
    if measures is None or min(len(places) for places in of.values()) < _LEAST:
        return "unclear", None, None
    left, right = (measures.thumbs[of[side]].mean(axis=0, dtype=np.float64).reshape(THUMB_SIDE, THUMB_SIDE)
                   for side in ("left", "right"))  # fmt: skip
    if min(left.std(), right.std()) < 1:
        return "unclear", None, None
    as_is, mirrored = (float(np.corrcoef(left.ravel(), other.ravel())[0, 1]) for other in (right, right[:, ::-1]))
    if abs(as_is - mirrored) < _CLEAR:
        return "unclear", round(as_is, 3), round(mirrored, 3)
    return "mirrored" if mirrored > as_is else "alike", round(as_is, 3), round(mirrored, 3)
