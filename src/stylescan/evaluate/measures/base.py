"""What every metric is made of: its types, and the row that describes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating[Any]]
Groups = Sequence[str] | NDArray[Any]
# The value from the positions kept in the generated and in the real set.
Resampled = Callable[[NDArray[np.int64], NDArray[np.int64]], float]
Better = Literal["lower", "higher", "near real"]


def subject_codes(groups: Groups | None, n: int) -> NDArray[np.int64]:
    """A number for each image's subject, int64 [n]; None = every image is its own subject."""
    if groups is None:
        return np.arange(n)
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1).astype(np.int64)
    if len(codes) != n:
        raise ValueError(f"{len(codes)} groups for {n} images")
    return codes


@dataclass(frozen=True)
class Terms:
    """A metric that is a mean over images: its terms float [k], one an image of the set `over`; `share`: 0 or 1 each."""

    values: NDArray[np.float64]
    over: Literal["generated", "real"]
    share: bool = False

    @property
    def mean(self) -> float:
        return float(self.values.mean()) if len(self.values) else float("nan")


@dataclass(frozen=True)
class Metric:
    """A row of `METRICS`. `meaning` says in one line what the number is, `better` which way is good.

    `compute(x, y, x_groups, y_groups)` gives the value for a generated set x and a real set y; nan where it is not
    defined. What x and y hold is said by `describe`: None = features of the extractor, float [n, d]; else a function
    that turns images uint8 or uint16 [n, C, R, R] into descriptors [n, k], each image by itself.

    The interval comes from `resampler(x, y, x_groups, y_groups)` (a function of the positions kept in x and y, by the
    jackknife) or, where the value is a mean over images, from `terms` (by the bootstrap).
    `needs_full_rank`: the value is only indicative when n < d. `has_ratio`: zero means equal to real, so that
    value / floor can be read.
    """

    title: str
    meaning: str
    better: Better
    compute: Callable[[Any, Any, Groups | None, Groups | None], float]
    describe: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    resampler: Callable[[Any, Any, Groups | None, Groups | None], Resampled] | None = None
    terms: Callable[[Any, Any, Groups | None, Groups | None], Terms] | None = None
    needs_full_rank: bool = False
    has_ratio: bool = False
