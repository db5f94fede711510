"""As many images of each class at each depth, so that where a slice lies does not tell its class.

Where patients of one class were cut at other depths than those of another, a conditional generator learns the depth and
calls it the class, and a classifier trained on its images does the same. Leaving images out of the larger class, depth
by depth, is the one remedy that invents nothing.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.errors import DataError
from stylescan.randomness import numpy_generator

EXACT_DEPTHS = 64  # with no more distinct values than this, each is a bin of its own
QUANTILE_BINS = 32
_WITHOUT = "leave out --balance depth"


@dataclass(frozen=True)
class DepthMatch:
    """`keep`: bool [n], which images stay. `sentence`: what was left out, for the audit. `warnings`: see `match_depth`."""

    keep: NDArray[np.bool_]
    sentence: str
    warnings: tuple[str, ...] = ()


def match_depth(
    depths: Sequence[float | None] | NDArray[Any],
    labels: Sequence[str | None],
    splits: Sequence[str],
    subjects: Sequence[str],
    *,
    seed: int,
) -> DepthMatch:
    """Which of n images to keep so that, in each split, every class has the same number of images at each depth.

    The number at a depth is that of the class with the fewest there: no fewer could be left out. Of the others, images of
    subjects with the most images at that depth go first, then of those with the most in all, then at random by `seed`.
    Depths are matched one by one up to 64 distinct values, else in 32 bins of equal counts. Images without a class stay.
    A split that holds one class alone is left as it is, which is said.

    Raises DataError where a class or depth is unknown, or nothing would be left of a split.
    """
    known = _check(depths, labels)
    bins, shown = depth_bins(np.asarray([float(d) if d is not None else np.nan for d in depths], np.float64), known)
    keep = np.ones(len(labels), bool)
    names, parts = np.asarray([str(label) for label in labels]), np.asarray(splits)
    warnings = []
    order = {name: k for k, name in enumerate(sorted(set(subjects)))}
    owner = np.asarray([order[name] for name in subjects])
    for split in sorted(set(splits)):
        here = np.flatnonzero(known & (parts == split))
        classes = sorted(set(names[here].tolist()))
        if len(classes) < 2:
            if classes:
                warnings.append(f"depth was not matched in {split}, which holds the class {classes[0]!r} alone")
            continue
        kept = _match_split(bins[here], names[here], owner[here], classes, numpy_generator(seed, f"balance {split}"))
        if not kept.any():
            raise DataError(f"balance depth: the classes {', '.join(classes)} have no depth in common in {split}, so "
                            "nothing would be left", remedy=f"{_WITHOUT}, or prepare scans cut at the same depths")  # fmt: skip
        keep[here] = kept
    gone = set(owner[~keep].tolist()) - set(owner[keep].tolist())
    if gone:
        warnings.append(f"matching depth left no image of {len(gone)} of {len(order)} subjects")
    return DepthMatch(keep, _sentence(keep, names, bins, shown), tuple(warnings))


def _check(depths: Sequence[float | None] | NDArray[Any], labels: Sequence[str | None]) -> NDArray[np.bool_]:
    """Which images have a class; DataError where fewer than two classes exist, or a depth is not known."""
    known = np.asarray([label is not None for label in labels], bool)
    if len(set(labels) - {None}) < 2:
        raise DataError("balance depth: the scans have fewer than two classes, so depth can tell none",
                        remedy=_WITHOUT)  # fmt: skip
    unknown = sum(ok and (depth is None or not np.isfinite(depth)) for ok, depth in zip(known, depths, strict=True))
    if unknown:
        raise DataError(f"balance depth: {unknown} of {len(labels)} images have no slice number",
                        remedy="name it with (?P<slice>...) in --pattern or a column `slice` in a CSV list, or "
                               f"{_WITHOUT}")  # fmt: skip
    return known


def depth_bins(depths: NDArray[np.float64], known: NDArray[np.bool_]) -> tuple[NDArray[np.int64], list[str]]:
    """(bin of each image, words for each bin) after the depths of the `known` images; other bins are meaningless."""
    values = np.unique(depths[known])
    if len(values) <= EXACT_DEPTHS:
        return np.searchsorted(values, depths).astype(np.int64), [f"{value:g}" for value in values]
    edges = np.unique(np.quantile(depths[known], np.linspace(0, 1, QUANTILE_BINS + 1)[1:-1]))
    bounds = [values[0], *edges, values[-1]]
    words = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(bounds)]
    return np.searchsorted(edges, depths, side="right").astype(np.int64), words


def _match_split(
    bins: NDArray[np.int64], names: NDArray[np.str_], owner: NDArray[np.int64], classes: Sequence[str],
    generator: np.random.Generator,
) -> NDArray[np.bool_]:  # fmt: skip
    """bool [m]: which images of one split stay."""
    keep = np.ones(len(bins), bool)
    left = np.bincount(owner)  # images of each subject that still stand
    luck = generator.permutation(len(left))
    shuffled = generator.permutation(len(bins))
    members: dict[tuple[int, str], list[int]] = {(int(depth), c): [] for depth in np.unique(bins) for c in classes}
    for position in shuffled:
        members[int(bins[position]), str(names[position])].append(int(position))
    for depth in generator.permutation(np.unique(bins)):
        fewest = min(len(members[int(depth), name]) for name in classes)
        for name in classes:
            here = members[int(depth), name]
            for position in _surplus(here, owner, left, luck, len(here) - fewest):
                keep[position] = False
                left[owner[position]] -= 1
    return keep


def _surplus(
    here: Sequence[int], owner: NDArray[np.int64], left: NDArray[np.int64], luck: NDArray[np.int64], count: int
) -> list[int]:
    """`count` of the positions `here`: always the next of the subject with the most images here, then in all."""
    own: dict[int, list[int]] = {}
    for position in here:
        own.setdefault(int(owner[position]), []).append(position)
    heap = [(-len(positions), -int(left[who]), int(luck[who]), who) for who, positions in own.items()]
    heapq.heapify(heap)
    found = []
    for _ in range(count):
        here_count, in_all, chance, who = heapq.heappop(heap)
        found.append(own[who].pop())
        if own[who]:
            heapq.heappush(heap, (here_count + 1, in_all + 1, chance, who))
    return found


def _sentence(keep: NDArray[np.bool_], names: NDArray[np.str_], bins: NDArray[np.int64], shown: Sequence[str]) -> str:
    dropped = np.flatnonzero(~keep)
    if not len(dropped):
        return "every class has the same number of images at each depth already: none was left out"
    by_class = Counter(names[dropped].tolist())
    classes = ", ".join(f"{name} {count:,}" for name, count in sorted(by_class.items()))
    places = Counter((int(bins[k]), str(names[k])) for k in dropped)
    most = sorted(places.items(), key=lambda item: (-item[1], item[0]))[:3]
    where = ", ".join(f"{name} {count:,} at {shown[b]}" for (b, name), count in most)
    return f"depth matched between the classes: {len(dropped):,} of {len(keep):,} images left out ({classes}), most: {where}"
