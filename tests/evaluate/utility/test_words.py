"""Sentences follow the intervals, and claim nothing that an interval includes."""

from __future__ import annotations

import numpy as np
import pytest

from stylescan.evaluate.utility import words
from stylescan.evaluate.utility.scores import DRAWS, Interval, Score


def fixed(value: float, spread: float, seed_spread: float = 0.001) -> Score:
    """A score with about normal draws of that spread, over 40 subjects."""
    steps = np.linspace(-1, 1, 5)
    return Score(value + seed_spread * steps, value + spread * np.random.default_rng(0).standard_normal(DRAWS), 40)


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (fixed(0.05, 0.01), "a benefit"),
        (fixed(-0.05, 0.01), "a loss"),
        (fixed(0.05, 0.05), "no benefit shown"),
        (fixed(0.05, 0.01, seed_spread=0.1), "no benefit shown"),
    ],
)
def test_a_benefit_is_claimed_only_where_both_intervals_leave_out_zero(gap: Score, said: str) -> None:
    assert said in words.benefit(gap, "subjects")


def test_the_words_follow_the_interval() -> None:
    none = Interval(None, None, "none")
    assert "apart" in words.transfer(fixed(0.9, 0.02), fixed(0.8, 0.02), Interval(0.6, 0.9), "subjects")
    assert "75.0 % of the way" in words.transfer(fixed(0.9, 0.02), fixed(0.8, 0.02), Interval(0.6, 0.9), "subjects")
    assert "not shown" in words.transfer(fixed(0.9, 0.02), fixed(0.52, 0.05), none, "subjects")
    assert "worse than chance" in words.transfer(fixed(0.9, 0.02), fixed(0.2, 0.05), none, "subjects")
    real, made = fixed(0.8, 0.02), fixed(0.9, 0.02)
    assert "exaggerate" in words.fidelity(real, made, fixed(0.1, 0.02))
    assert "no proof" in words.fidelity(real, made, fixed(0.1, 0.2))
    assert words.perfection([fixed(0.9, 0.1)], "subjects") == []
    one = Score(np.ones(3), np.ones(DRAWS), 40)
    assert "7.2 %" in words.perfection([one], "subjects")[0]
