"""Distances of features from each subject: the matrix from which C_T, authenticity and the like are read."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.cache import Progress

_ROWS = 512


@dataclass(frozen=True)
class SubjectDistances:
    """distances : [n, S] from each row to the nearest slice of each subject, infinite for the row's own subject.

    slices : [n, S] position of that slice in the bank. names : [S] the bank's subjects.
    """

    names: NDArray[np.str_]
    distances: NDArray[np.float32]
    slices: NDArray[np.int32]


def subject_distances(
    rows: NDArray[np.float32],
    row_subjects: NDArray[Any],
    bank: NDArray[np.float32],
    bank_subjects: NDArray[Any],
    *,
    progress: Progress | None = None,
) -> SubjectDistances:
    """Euclidean distances of `rows` [n, d] to the subjects of `bank` [N, d].

    row_subjects : [n]; '' for a row that belongs to nobody. Centred on the bank first, which keeps the single-precision
    sums small.
    """
    names, codes = np.unique(np.asarray(bank_subjects), return_inverse=True)
    order = np.argsort(codes.reshape(-1), kind="stable")
    starts = np.searchsorted(codes.reshape(-1)[order], np.arange(len(names) + 1))
    centre = bank.mean(axis=0)
    columns = np.ascontiguousarray(bank[order] - centre)
    lengths = (columns**2).sum(axis=1)
    distances = np.empty((len(rows), len(names)), np.float32)
    slices = np.empty((len(rows), len(names)), np.int32)
    for low in range(0, len(rows), _ROWS):
        block = rows[low : low + _ROWS] - centre
        squares = (block**2).sum(axis=1)[:, None] + lengths - 2.0 * block @ columns.T
        for code, (first, end) in enumerate(pairwise(starts)):
            best = squares[:, first:end].argmin(axis=1)
            slices[low : low + _ROWS, code] = order[first + best]
            distances[low : low + _ROWS, code] = squares[np.arange(len(block)), first + best]
        if progress is not None:
            progress(min(low + _ROWS, len(rows)), len(rows), "distances between subjects")
    distances = np.sqrt(np.maximum(distances, 0.0))
    own = {str(name): code for code, name in enumerate(names)}
    for row, subject in enumerate(row_subjects):
        if str(subject) in own:
            distances[row, own[str(subject)]] = np.inf
    return SubjectDistances(names, distances, slices)
