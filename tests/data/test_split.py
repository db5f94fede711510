"""Splits: lawful sizes, balance, no subject in two places, and the same answer every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.data.options import PrepareOptions
from stylescan.data.prepare import prepare
from stylescan.data.split import add_select, draw_folds, draw_split, leaks, majority_labels, split_sizes
from stylescan.errors import DataError


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


# Left to itself, Hypothesis hardly ever draws the many groups from which a part for selection is taken.
groups_of_three_classes = st.sampled_from([2, 3, 7, 19, 20, 21, 27, 40, 60]).flatmap(
    lambda count: st.lists(st.tuples(st.integers(1, 50), st.sampled_from("abc")), min_size=count, max_size=count).map(
        lambda values: {f"s{k}": value for k, value in enumerate(values)}
    )
)


@given(groups_of_three_classes, st.integers(2, 10), st.integers(0, 2**31))
def test_folds_hold_each_group_out_once_and_every_class_evenly(
    groups: dict[str, tuple[int, str]], folds: int, seed: int
) -> None:
    sizes, labels = ({name: values[k] for name, values in groups.items()} for k in (0, 1))
    if folds > len(sizes):
        with pytest.raises(DataError, match="folds") as caught:
            draw_folds(sizes, labels, folds=folds, fold=0, select=0.1, seed=seed)
        assert f"--folds {len(sizes)}" in caught.value.remedy
        return
    plans = [draw_folds(sizes, labels, folds=folds, fold=k, select=0.1, seed=seed) for k in range(folds)]
    held = [{name for name, split in plan.of.items() if split == "holdout"} for plan in plans]
    assert Counter(name for part in held for name in part) == Counter(sizes.keys())  # each once
    for some in ("a", "b", "c", "abc"):
        counts = [sum(str(labels[name]) in some for name in part) for part in held]
        assert max(counts) - min(counts) <= 1
    for plan in plans:
        kinds = Counter(plan.of.values())
        assert kinds["train"] >= 1
        assert kinds["select"] == 0 if len(sizes) < 20 else kinds["select"] >= 5
        said = " ".join(plan.warnings)
        assert ("fewer than 5" in said) == (len(sizes) // folds < 5)
        assert ("none is kept for selection" in said) == (len(sizes) < 20)
    backwards = draw_folds(dict(reversed(sizes.items())), labels, folds=folds, fold=0, select=0.1, seed=seed)
    assert backwards.of == plans[0].of


def test_the_seed_of_the_folds_matters_and_select_is_balanced() -> None:
    sizes = {f"s{k:03d}": 10 for k in range(100)}
    labels = {name: "ill" if k < 30 else "well" for k, name in enumerate(sizes)}
    plan = draw_folds(sizes, labels, folds=5, fold=2, select=0.1, seed=0)
    counts = Counter((plan.of[name], labels[name]) for name in sizes)
    assert (counts[("holdout", "ill")], counts[("holdout", "well")]) == (6, 14)
    assert (counts[("select", "ill")], counts[("select", "well")]) == (3, 7)
    assert plan.of != draw_folds(sizes, labels, folds=5, fold=2, select=0.1, seed=1).of
    assert plan.notes == ("fold 2 of 5 is held out: 20 subjects",)
    none = draw_folds(sizes, labels, folds=5, fold=2, select=0, seed=0)
    assert "select" not in none.of.values()
    with pytest.raises(ValueError, match="expected 0 to 4"):
        draw_folds(sizes, labels, folds=5, fold=5, select=0.1, seed=0)


def test_a_fold_of_one_giant_is_said() -> None:
    sizes = {"giant": 500, **{f"s{k}": 1 for k in range(40)}}
    plans = [draw_folds(sizes, {}, folds=5, fold=k, select=0.1, seed=0) for k in range(5)]
    assert sum("of the images" in " ".join(plan.warnings) for plan in plans) == 1
    assert all(plan.of["giant"] != "select" for plan in plans)


@given(groups_of_three_classes, st.integers(0, 2**31), st.floats(0, 0.8))
def test_select_is_drawn_from_the_training_groups_alone(
    groups: dict[str, tuple[int, str]], seed: int, select: float
) -> None:
    sizes, labels = ({name: values[k] for name, values in groups.items()} for k in (0, 1))
    given_split = {name: "holdout" if k % 4 == 3 else "train" for k, name in enumerate(sorted(sizes))}
    plan = add_select(given_split, sizes, labels, select=select, seed=seed)
    trained = [name for name in sizes if given_split[name] == "train"]
    chosen = [name for name in sizes if plan.of[name] == "select"]
    assert set(chosen) <= set(trained)
    assert all(plan.of[name] == given_split[name] for name in sizes if name not in chosen)
    if select and len(trained) >= 20:
        assert 5 <= len(chosen) <= len(trained) / 2
        assert f"{len(chosen)} of its {len(trained)} training subjects" in plan.notes[0]
    else:
        assert not chosen
        assert not plan.notes
        assert bool(plan.warnings) == bool(select)


def test_select_is_added_by_class_and_only_where_it_is_missing() -> None:
    sizes = {f"s{k:03d}": 32 for k in range(354)}
    labels = {name: "ill" if k % 4 == 0 else "well" for k, name in enumerate(sizes)}
    given_split = {name: "train" if k < 302 else "holdout" for k, name in enumerate(sizes)}
    plan = add_select(given_split, sizes, labels, select=0.1, seed=0)
    chosen = [name for name in sizes if plan.of[name] == "select"]
    assert len(chosen) == 35
    assert sum(labels[name] == "ill" for name in chosen) in (8, 9)
    assert add_select(plan.of, sizes, labels, select=0.1, seed=1).of == plan.of


def test_the_folds_of_a_prepared_set_hold_each_subject_out_once(
    tmp_path: Path, subject_folder: Callable[..., Path]
) -> None:
    scans = subject_folder(subjects=20, slices=1)
    held = []
    for fold in range(4):
        options = PrepareOptions(
            pattern=r"(?P<label>ill|well)/(?P<subject>\d+)_(?P<slice>\d+)", folds=4, fold=fold, keep_ids=True, workers=1
        )
        data, audit = prepare(scans, tmp_path / f"DATA{fold}", options)
        held.append(set(data.subjects[data.indices("holdout")].tolist()))
        assert audit.subjects_by_class["ill"]["holdout"] in (2, 3)
        assert audit.subjects_by_split == {"train": 10, "select": 5, "holdout": 5}
        assert any(f"fold {fold} of 4 is held out" in note for note in audit.findings.notes)
    assert Counter(name for part in held for name in part) == Counter(f"{k:03d}" for k in range(20))
