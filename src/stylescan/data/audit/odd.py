"""Images unlike the rest: judged by how well other subjects' images resemble them, on 16x16 thumbnails.

The correlation with the k-th most similar of a bounded sample of other subjects' images does not depend on brightness
or contrast; an image is odd where one minus it lies far beyond the set's own spread. An odd image that resembles the
others once it is inverted or turned is said to be so. The cost is linear in the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from stylescan.data.audit.measures import THUMB_SIDE, Measures
from stylescan.randomness import numpy_generator

LISTED = 24
NEIGHBOUR, NEIGHBOUR_SHARE = 3, 0.01  # the k-th nearest: so that a few odd images do not vouch for each other
SPREADS = 5.0  # beyond the median, in standard deviations as the median and the 90th percentile tell them
UNLIKE = 0.1  # and never below: a set of near-equal images has no outliers
MENDED = 0.5  # turned or inverted, an image must come to half of its distance
_REFERENCES, _EACH, _BLOCK = 2000, 16, 512
_ALONE = "no other subject's image looks like it"
_BLANK = 2.0  # standard deviation of a thumbnail in grey values
_ROUGH, _SATURATED, _PLAIN = 0.75, 0.05, 0.9

Floats = NDArray[np.float32]


class OddImage(BaseModel):
    """An image unlike the rest. index: its place in the manifest. unlike: 1 - correlation, 0 for a copy, to 2."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    unlike: float
    reason: str


TURNS: dict[str, Callable[[Floats], Floats]] = {
    "inverted (dark for bright)": lambda t: -t,
    "turned by 90 degrees": lambda t: np.rot90(t, 1, axes=(1, 2)),
    "turned by 180 degrees": lambda t: np.rot90(t, 2, axes=(1, 2)),
    "turned by 270 degrees": lambda t: np.rot90(t, 3, axes=(1, 2)),
    "upside down": lambda t: t[:, ::-1],
}


def find_odd(
    measures: Measures, subjects: Sequence[str] | NDArray[np.str_], listed: int = LISTED
) -> tuple[list[OddImage], int]:
    """The `listed` oddest images, oddest first, each with the reason in words; and how many odd ones there are."""
    codes = np.unique(np.asarray(subjects), return_inverse=True)[1]
    thumbs = measures.thumbs.astype(np.float32)
    kept = np.flatnonzero(thumbs.std(axis=1) >= _BLANK)  # dark and empty images are counted elsewhere
    alike = _by_likeness(thumbs, kept, codes)
    turned = {index: odd for index, odd in alike.items() if odd.reason != _ALONE}  # says more than its surface does
    found = {**alike, **_by_surface(measures, kept), **turned}
    ordered = sorted(found.values(), key=lambda odd: (-odd.unlike, odd.index))
    return ordered[:listed], len(ordered)


def _by_likeness(thumbs: Floats, kept: NDArray[np.intp], codes: NDArray[np.intp]) -> dict[int, OddImage]:
    if len(kept) < 20 or len(set(codes[kept].tolist())) < NEIGHBOUR + 2:
        return {}  # too few to say what is usual
    units = _standardised(thumbs[kept])
    references = _references(codes[kept])
    near = _Near(units[references], codes[kept][references])
    unlike = near.unlike(units, codes[kept])
    middle, deviation = _usual(unlike)
    # The worst tenth is tried in other positions; those beyond the limit are odd in any case.
    worst = np.argsort(-unlike, kind="stable")[: max(LISTED, len(kept) // 10)]
    turned = near.turned(units[worst], codes[kept][worst])
    odd: dict[int, OddImage] = {}
    for place, position in enumerate(worst):
        name, best = min(((name, float(values[place])) for name, values in turned.items()), key=lambda pair: pair[1])
        here, index = float(unlike[position]), int(kept[position])
        if best < MENDED * here and best < middle + deviation:
            odd[index] = OddImage(index=index, unlike=round(here, 4), reason=f"looks like the others when {name}")
        elif here > max(middle + SPREADS * deviation, UNLIKE):
            odd[index] = OddImage(index=index, unlike=round(here, 4), reason=_ALONE)
    return odd


def _usual(values: Floats) -> tuple[float, float]:
    """Median, and the upper standard deviation that a normal distribution of the same median and 90th percentile has."""
    middle, high = np.quantile(values, (0.5, 0.9))
    return float(middle), float(high - middle) / 1.2816


def _standardised(thumbs: Floats) -> Floats:
    """Thumbnails of mean 0 and length 1: their dot products are correlations."""
    centred = thumbs - thumbs.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True), np.float32)


def _references(codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """At most 2,000 positions, at most 16 of a subject, subjects in turn."""
    order = numpy_generator(0, "odd images").permutation(len(codes))
    by_subject = order[np.argsort(codes[order], kind="stable")]
    starts = np.flatnonzero(np.r_[True, np.diff(codes[by_subject]) > 0])
    turn = np.arange(len(codes)) - np.repeat(starts, np.diff(np.r_[starts, len(codes)]))
    few = turn < _EACH
    return np.asarray(by_subject[few][np.argsort(turn[few], kind="stable")][:_REFERENCES])


class _Near:
    """The references, against which images are held."""

    def __init__(self, units: Floats, owners: NDArray[np.intp]) -> None:
        self._units, self._owners = units, owners
        self._nearest = max(NEIGHBOUR, round(NEIGHBOUR_SHARE * len(units)))

    def unlike(self, units: Floats, codes: NDArray[np.intp]) -> Floats:
        """1 - the correlation with the k-th most similar reference of another subject, for each of `units` [m, 256]."""
        out = np.empty(len(units), np.float32)
        for start in range(0, len(units), _BLOCK):
            here = slice(start, start + _BLOCK)
            likeness = units[here] @ self._units.T
            likeness[codes[here, None] == self._owners[None]] = -1.0
            out[here] = 1.0 - np.partition(likeness, -self._nearest, axis=1)[:, -self._nearest]
        return out

    def turned(self, units: Floats, codes: NDArray[np.intp]) -> dict[str, Floats]:
        """The same after each of TURNS."""
        images = units.reshape(-1, THUMB_SIDE, THUMB_SIDE)
        return {
            name: self.unlike(np.ascontiguousarray(turn(images)).reshape(len(units), -1), codes)
            for name, turn in TURNS.items()
        }


def _by_surface(measures: Measures, kept: NDArray[np.intp]) -> dict[int, OddImage]:
    """Noise and blown-out images, against what is usual in the set."""
    odd: dict[int, OddImage] = {}
    if not len(kept):
        return odd
    for values, floor, reason in (
        (measures.saturated, _SATURATED, "{share:.0%} of its pixels are as bright as can be"),
        (measures.roughness, _ROUGH, "mostly noise: neighbouring pixels hardly resemble each other"),
        (measures.histogram.max(axis=1), _PLAIN, "{share:.0%} of it is one grey value: hardly anything is shown"),
    ):
        here = values[kept]
        middle, deviation = _usual(here)
        for position in np.flatnonzero(here > max(floor, middle + SPREADS * deviation)):
            index, share = int(kept[position]), float(here[position])
            odd[index] = OddImage(index=index, unlike=round(min(2.0, 1 + share), 4), reason=reason.format(share=share))
    return odd
