"""Images that are the same, or nearly: found by 16x16 grey thumbnails, grouped so that copies never part.

Two thumbnails are compared by their root-mean-square difference in grey values (0..255). A k-d tree over the lowest
16 coefficients of an orthonormal cosine transform finds the candidates: distances there never exceed the true ones,
so no pair is missed, and no loop runs over all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COPY_RMS = 2.0  # the same picture saved twice differs by less (different people: 7 and more on real brain slices)
NEIGHBOUR_RMS = 6.0  # and adjacent slices of one volume often by less than this
RELATIVE = 0.25  # and never by more than this share of the image's own contrast
BLANK = 1.0  # standard deviation in grey values
_SIDE, _KEPT, _BLOCK = 16, 4, 2048
_PAIRS = 2**16  # compared at a time: 64 MB


class Groups:
    """Union-find over 0..n-1: `join` pairs, then `labels` numbers the groups by their first member."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, item: int) -> int:
        """The group's first member."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, a: int, b: int) -> None:
        """Put the groups of `a` and `b` together."""
        first, second = sorted((self.find(a), self.find(b)))
        self._parent[second] = first

    def labels(self) -> list[int]:
        """The group of each item, numbered 0, 1, ... by first member."""
        numbers: dict[int, int] = {}
        return [numbers.setdefault(self.find(item), len(numbers)) for item in range(len(self._parent))]


def load_libraries() -> None:
    """Import what this search and the audit need: half a second, better spent while the scans are being read."""
    import scipy.fft
    import scipy.ndimage
    import scipy.spatial  # noqa: F401


def equal_sets(keys: Sequence[str]) -> list[list[int]]:
    """Positions that share a key (such as a file's hash), for each key that occurs more than once."""
    found: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        found.setdefault(key, []).append(position)
    return [positions for positions in found.values() if len(positions) > 1]


def near_pairs(thumbs: NDArray[np.float32], rms: float) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of `thumbs` [n, 256] that differ by at most `rms` grey values, block by block.

    The limit shrinks with an image's contrast (to a quarter of its standard deviation), and blank images are left out:
    the dark end slices of everybody's volumes resemble each other and prove nothing. Equal thumbnails come as pairs
    with the first of them only, so that a thousand copies give 999 pairs.
    """
    kept = np.flatnonzero(contrast(thumbs) >= BLANK)
    for a, b in _near_kept(thumbs[kept], rms):
        yield int(kept[a]), int(kept[b])


def contrast(thumbs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standard deviation of the grey values of each thumbnail [n]; below BLANK there is nothing to recognise."""
    deviation: NDArray[np.float32] = thumbs.std(axis=1)
    return deviation


def _near_kept(thumbs: NDArray[np.float32], rms: float) -> Iterator[tuple[int, int]]:
    if len(thumbs) < 2:
        return
    distinct, first, inverse = np.unique(thumbs, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    for position, group in enumerate(inverse):
        if first[group] != position:
            yield int(first[group]), position
    yield from _near_distinct(distinct, first, rms)


def _near_distinct(thumbs: NDArray[np.float32], names: NDArray[np.intp], rms: float) -> Iterator[tuple[int, int]]:
    from scipy.spatial import cKDTree

    radius = rms * _SIDE  # distance of 256 values whose mean square difference is rms^2
    limit = np.minimum(radius, RELATIVE * contrast(thumbs) * _SIDE)
    keys = _low_frequencies(thumbs)
    tree = cKDTree(keys)
    for start in range(0, len(keys), _BLOCK):
        candidates = tree.query_ball_point(keys[start : start + _BLOCK], radius * (1 + 1e-6), workers=-1)
        here = np.repeat(np.arange(start, start + len(candidates)), [len(others) for others in candidates])
        there = np.concatenate([np.asarray(others, np.intp) for others in candidates])
        here, there = here[there > here], there[there > here]
        for first_pair in range(0, len(here), _PAIRS):
            a, b = here[first_pair : first_pair + _PAIRS], there[first_pair : first_pair + _PAIRS]
            close = np.linalg.norm(thumbs[a] - thumbs[b], axis=1) <= np.minimum(limit[a], limit[b])
            for one, other in zip(names[a[close]].tolist(), names[b[close]].tolist()):
                yield min(one, other), max(one, other)


def _low_frequencies(thumbs: NDArray[np.float32]) -> NDArray[np.float64]:
    from scipy.fft import dctn

    images = thumbs.reshape(-1, _SIDE, _SIDE).astype(np.float64)
    coefficients = dctn(images, axes=(1, 2), norm="ortho")[:, :_KEPT, :_KEPT]
    return np.ascontiguousarray(coefficients.reshape(len(images), -1))


def neighbour_groups(thumbs: NDArray[np.float32], hashes: Sequence[str]) -> list[int]:
    """Group number of each image: byte copies, near copies and what looks like neighbouring slices stay together."""
    groups = Groups(len(thumbs))
    for positions in equal_sets(hashes):
        for position in positions[1:]:
            groups.join(positions[0], position)
    for a, b in near_pairs(thumbs, NEIGHBOUR_RMS):
        groups.join(a, b)
    return groups.labels()


@dataclass(frozen=True)
class Copies:
    """Copies in a set of images: positions that share a file hash, and pairs that look the same."""

    equal: list[list[int]]
    near: list[tuple[int, int]]

    def among(self, kept: Sequence[int]) -> Copies:
        """The copies among the positions `kept`, counted anew."""
        place = {position: number for number, position in enumerate(kept)}
        equal = [[place[k] for k in group if k in place] for group in self.equal]
        near = [(place[a], place[b]) for a, b in self.near if a in place and b in place]
        return Copies([group for group in equal if len(group) > 1], near)


def find_copies(thumbs: NDArray[np.float32], hashes: Sequence[str]) -> Copies:
    """Byte copies, and near copies that are not byte copies; blank images are no evidence and count as neither."""
    blank = contrast(thumbs) < BLANK
    equal = [positions for positions in equal_sets(hashes) if not blank[positions[0]]]
    near = [(a, b) for a, b in near_pairs(thumbs, COPY_RMS) if hashes[a] != hashes[b]]
    return Copies(equal, near)


def split_groups(subjects: Sequence[str], copies: Copies) -> tuple[dict[str, str], bool]:
    """Subject -> name of the group that must not part: subjects that share an image go together.

    Near copies are believed only as long as they leave more than half of the subjects apart; the flag says whether
    they were.
    """
    names = sorted(set(subjects))
    place = {name: number for number, name in enumerate(names)}
    equal = [(positions[0], other) for positions in copies.equal for other in positions[1:]]

    def grouped(pairs: Sequence[tuple[int, int]]) -> list[int]:
        groups = Groups(len(names))
        for a, b in pairs:
            groups.join(place[subjects[a]], place[subjects[b]])
        return groups.labels()

    labels = grouped(equal + copies.near)
    believed = 2 * len(set(labels)) > len(names)
    if not believed:
        labels = grouped(equal)
    first: dict[int, str] = {}
    return {name: first.setdefault(label, name) for name, label in zip(names, labels)}, believed
