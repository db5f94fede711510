"""Timing in rounds: everything once a round, so that the machine's drift meets all of it alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from stylescan.runtime import synchronise

Kind = Literal["ceiling", "forward", "phase", "step", "reading", "sampling", "evaluation"]
Progress = Callable[[int, int, str], None]
SHORTEST_S = 0.02  # shorter work is repeated, so that the clock and Python's own time do not decide


@dataclass(frozen=True)
class Work:
    """Something to time: a call that handles `images` images. has_flops: torch runs it, so its operations are counted.

    due: of a phase or a kind of step, the share of steps in which it runs.
    """

    name: str
    kind: Kind
    images: int
    call: Callable[[], object]
    has_flops: bool = True
    due: float = 1.0


@dataclass(frozen=True)
class Timed:
    """Seconds of one call in each round, and how many calls a round were averaged."""

    seconds: tuple[float, ...]
    calls: int

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median, third quartile."""
        low, middle, high = np.quantile(np.array(self.seconds), [0.25, 0.5, 0.75]).tolist()
        return low, middle, high

    @property
    def median(self) -> float:
        """Median seconds of a call."""
        return self.quartiles[1]


def seconds_of(call: Callable[[], object], calls: int, device: torch.device) -> float:
    """Mean seconds of one of `calls` calls in a row, by the clock."""
    synchronise(device)
    started = time.perf_counter()
    for _ in range(calls):
        call()
    synchronise(device)
    return (time.perf_counter() - started) / calls


def _calls(work: Work, device: torch.device) -> int:
    """How often in a row `work` is done a round, from a first try where it may be short."""
    if work.kind not in ("ceiling", "forward", "reading"):
        return 1
    work.call()  # the first call sets up what later ones find
    return max(math.ceil(SHORTEST_S / max(seconds_of(work.call, 1, device), 1e-6)), 1)


def time_in_rounds(
    works: Sequence[Work], *, repeats: int, device: torch.device, progress: Progress | None = None
) -> dict[str, Timed]:
    """Time all `works` in `repeats` rounds: by name. progress(rounds done, repeats, what).

    Phases and steps are to be warmed up by the caller.
    """
    calls = {work.name: _calls(work, device) for work in works}
    found: dict[str, list[float]] = {work.name: [] for work in works}
    for number in range(repeats):
        for work in works:
            found[work.name].append(seconds_of(work.call, calls[work.name], device))
        if progress:
            progress(number + 1, repeats, "rounds")
    return {name: Timed(tuple(seconds), calls[name]) for name, seconds in found.items()}
