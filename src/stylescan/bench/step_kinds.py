"""The kinds of steps that lazy phases make, and how often each comes: a few timed steps stand for a whole cycle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import lcm


@dataclass(frozen=True)
class StepKind:
    """A step number at which exactly such phases are due, and the share of all steps that are of this kind."""

    step: int
    share: float


def step_kinds(intervals: Collection[int]) -> list[StepKind]:
    """The kinds of steps under phases due every `intervals` steps, the fullest first; shares sum to 1.

    A mean over the kinds, weighted by share, counts each phase by 1 / interval. Inclusion and exclusion gives the shares,
    so that intervals without a common divisor cost no more than others. The example of a kind is the least common multiple
    of what is due: were another interval a divisor of it, the kind would never come.
    """
    distinct = sorted(set(intervals) - {1})
    subsets = [due for size in range(len(distinct), -1, -1) for due in combinations(distinct, size)]
    found = [(due, _share(due, distinct)) for due in subsets]
    return [StepKind(lcm(*due), share) for due, share in found if share > 0]


def _share(due: Sequence[int], every: Sequence[int]) -> float:
    """Share of numbers that all of `due` divide, and none of the rest of `every`."""
    rest = [interval for interval in every if interval not in due]
    cycle = lcm(*every)
    count = 0
    for size in range(len(rest) + 1):
        for more in combinations(rest, size):
            multiples = cycle // lcm(*due, *more)
            count += -multiples if size % 2 else multiples
    return count / cycle
