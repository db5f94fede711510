"""A few kinds of steps stand for the whole cycle of lazy phases."""

from __future__ import annotations

from collections import Counter
from math import lcm

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.bench.step_kinds import step_kinds


def test_a_cycle_of_path_length_and_r1() -> None:
    kinds = step_kinds([1, 4, 1, 16])
    assert [(kind.step, kind.share) for kind in kinds] == [(16, 1 / 16), (4, 3 / 16), (1, 12 / 16)]


def test_without_lazy_phases_all_steps_are_alike() -> None:
    assert [(kind.step, kind.share) for kind in step_kinds([1, 1])] == [(1, 1.0)]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_equals_counting_a_whole_cycle(intervals: list[int]) -> None:
    cycle = lcm(*intervals)
    counted = Counter(tuple(step % interval == 0 for interval in intervals) for step in range(cycle))
    found = {tuple(kind.step % interval == 0 for interval in intervals): kind.share for kind in step_kinds(intervals)}
    assert found == {due: pytest.approx(count / cycle) for due, count in counted.items()}


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=4))
def test_each_phase_counts_by_its_interval_however_long_the_cycle(intervals: list[int]) -> None:
    kinds = step_kinds(intervals)
    assert sum(kind.share for kind in kinds) == pytest.approx(1)
    for interval in intervals:
        assert sum(kind.share for kind in kinds if kind.step % interval == 0) == pytest.approx(1 / interval)
