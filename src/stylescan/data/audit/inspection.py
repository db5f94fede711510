"""All checks of the prepared pixels: every image measured, a bounded sample looked at more closely."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylescan.data.audit.annotation import find_writing
from stylescan.data.audit.heads import HEAD_SCORE, skull_score
from stylescan.data.audit.measures import Measures, measure, to_grey8
from stylescan.data.audit.odd import find_odd
from stylescan.data.audit.record import Examples, PixelFindings
from stylescan.data.prepared import PreparedDataset
from stylescan.randomness import numpy_generator

EXAMPLES = 12
SAMPLE_PIXELS, SAMPLE_MOST, SAMPLE_LEAST = 2**23, 400, 40
_NO_HEAD = ("knee",)
_NAMED = 24


@dataclass(frozen=True)
class Inspection:
    """What was found, and the numbers of every image."""

    findings: PixelFindings
    measures: Measures


def inspect_pixels(
    dataset: PreparedDataset,
    looks: Sequence[str],
    *,
    anatomy: str | None = None,
    writing: Mapping[int, bool] | None = None,
) -> Inspection:
    """Measure all images and look for odd ones; look for writing and for skulls in a sample spread over the subjects.

    looks : 'ok', 'dark' or 'empty' for each image. anatomy : 'knee' switches the search for heads off. writing : for some
    images, by their place, whether writing was found at full size; if None, it is looked for in the prepared sample.
    """
    measures = measure(dataset)
    odd, odd_count = find_odd(measures, dataset.subjects)
    blank = np.array([look != "ok" for look in looks])
    sample = spread_sample(dataset.subjects, ~blank, _sample_size(dataset.resolution))
    heads = anatomy not in _NO_HEAD
    words = dict(writing) if writing is not None else {}
    scores: dict[int, float] = {}
    for index in sample:
        image = to_grey8(dataset.read([int(index)]))[0]
        if writing is None:
            words[int(index)] = bool(find_writing(image))
        if heads:
            scores[int(index)] = skull_score(image)
    skulls = [index for index, score in scores.items() if score > HEAD_SCORE]
    named = _mostly(dataset.subjects, scores)
    findings = PixelFindings(
        odd=odd,
        odd_count=odd_count,
        sampled=len(sample),
        sampled_subjects=len(set(dataset.subjects[sample].tolist())),
        heads_checked=heads,
        skulls=_examples(skulls),
        skull_subjects=named[:_NAMED],
        skull_subject_count=len(named),
        writing_sampled=len(words),
        writing=_examples(sorted(index for index, found in words.items() if found)),
        dark=_examples([k for k, look in enumerate(looks) if look == "dark"]),
        empty=_examples([k for k, look in enumerate(looks) if look == "empty"]),
        histograms=_histograms(dataset, measures),
    )
    return Inspection(findings, measures)


def _sample_size(resolution: int) -> int:
    """Fewer of larger images, so that the cost stays the same."""
    return int(np.clip(SAMPLE_PIXELS // resolution**2, SAMPLE_LEAST, SAMPLE_MOST))


def spread_sample(subjects: NDArray[np.str_], wanted: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """At most `count` positions where `wanted` holds, subjects in turn, ascending."""
    order = numpy_generator(0, "audit sample").permutation(np.flatnonzero(wanted))
    turns: dict[str, int] = defaultdict(int)
    turn = np.empty(len(order), np.int64)
    for place, index in enumerate(order):
        name = str(subjects[index])
        turn[place] = turns[name]
        turns[name] += 1
    return np.sort(order[np.argsort(turn, kind="stable")][:count]).astype(np.int64)


def _mostly(subjects: NDArray[np.str_], scores: dict[int, float]) -> list[str]:
    """Subjects of whose sampled images at least half look like heads with skull."""
    of: dict[str, list[bool]] = defaultdict(list)
    for index, score in scores.items():
        of[str(subjects[index])].append(score > HEAD_SCORE)
    return sorted(name for name, answers in of.items() if 2 * sum(answers) >= len(answers))


def _examples(indices: Sequence[int]) -> Examples:
    """The first and last, and those spread between."""
    if len(indices) <= EXAMPLES:
        return Examples(count=len(indices), indices=list(indices))
    chosen = np.linspace(0, len(indices) - 1, EXAMPLES).round().astype(int)
    return Examples(count=len(indices), indices=[indices[k] for k in chosen])


def _histograms(dataset: PreparedDataset, measures: Measures) -> dict[str, list[float]]:
    groups = {name: dataset.labels == number for number, name in enumerate(dataset.class_names)}
    groups = {name: members for name, members in groups.items() if members.any()}
    groups = groups or {"all": np.ones(len(dataset), bool)}
    return {name: [round(float(v), 6) for v in measures.histogram[members].mean(axis=0)]
            for name, members in groups.items()}  # fmt: skip
