"""Splits: lawful sizes, balance, no subject in two places, and the same answer every time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.data.split import draw_split, leaks, majority_labels, split_sizes


@pytest.mark.parametrize(
    ("groups", "expected", "warned"),
    [(1, (0, 0), "only one subject"), (2, (1, 0), "indicative"), (7, (2, 0), "indicative"), (8, (5, 0), "selection"),
     (19, (5, 0), "last checkpoint"), (20, (5, 5), ""), (60, (12, 6), ""), (1000, (200, 100), "")],
)  # fmt: skip
def test_sizes(groups: int, expected: tuple[int, int], warned: str) -> None:
    held, chosen, warnings = split_sizes(groups, 0.2, 0.1)
    assert (held, chosen) == expected
    assert warned in " ".join(warnings)
    assert bool(warnings) == bool(warned)


@given(
    st.dictionaries(st.text(min_size=1, max_size=5), st.tuples(st.integers(1, 9), st.sampled_from("abc")), min_size=1,
                    max_size=60),
    st.integers(0, 5), st.integers(0, 2**31),
)  # fmt: skip
def test_every_split_is_lawful(groups: dict[str, tuple[int, str]], giant: int, seed: int) -> None:
    sizes = {name: size * (1000 if k < giant else 1) for k, (name, (size, _)) in enumerate(groups.items())}
    labels = {name: label for name, (_, label) in groups.items()}
    plan = draw_split(sizes, labels, holdout=0.2, select=0.1, seed=seed)
    held, chosen, _ = split_sizes(len(sizes), 0.2, 0.1)
    counts = Counter(plan.of.values())
    assert plan.of.keys() == sizes.keys()
    assert (counts["holdout"], counts["select"]) == (held, chosen)
    assert counts["train"] >= 1
    backwards = draw_split(dict(reversed(sizes.items())), labels, holdout=0.2, select=0.1, seed=seed)
    assert backwards.of == plan.of


def test_classes_are_balanced_and_the_seed_matters() -> None:
    sizes = {f"s{k:03d}": 10 for k in range(100)}
    labels = {name: "ill" if k < 30 else "well" for k, name in enumerate(sizes)}
    plan = draw_split(sizes, labels, holdout=0.2, select=0.1, seed=0)
    counts = Counter((plan.of[name], labels[name]) for name in sizes)
    assert counts[("holdout", "ill")] == 6
    assert counts[("holdout", "well")] == 14
    assert counts[("select", "ill")] == 3
    assert plan.of != draw_split(sizes, labels, holdout=0.2, select=0.1, seed=1).of


def test_a_giant_group_trains() -> None:
    sizes = {"giant": 500, **{f"s{k}": 1 for k in range(40)}}
    for seed in range(20):
        assert draw_split(sizes, {}, holdout=0.2, select=0.1, seed=seed).of["giant"] == "train"


def test_a_rare_class_keeps_a_training_subject() -> None:
    sizes = {f"s{k:02d}": 1 for k in range(30)}
    labels = {name: "rare" if k < 2 else "common" for k, name in enumerate(sizes)}
    for seed in range(20):
        plan = draw_split(sizes, labels, holdout=0.4, select=0.2, seed=seed)
        assert "train" in {plan.of["s00"], plan.of["s01"]}


def test_without_a_holdout_it_is_said() -> None:
    plan = draw_split({f"s{k}": 1 for k in range(30)}, {}, holdout=0, select=0, seed=0)
    assert set(plan.of.values()) == {"train"}
    assert "no hold-out" in plan.warnings[0]


def test_leaks_and_majorities() -> None:
    assert leaks(["train", "train", "holdout", "select"], ["b", "a", "b", "c"]) == ["b"]
    assert majority_labels(["a", "a", "a", "b"], ["x", "y", "y", None]) == {"a": "y", "b": None}
