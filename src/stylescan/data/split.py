"""Train, select and hold-out: whole subjects, drawn once with a seed, and balanced over the classes.

At least 5 subjects are held out and, from 20 subjects on, at least 5 kept for selection. Below 8 subjects fewer are
held out (a third), which is said; one subject alone is all training data.

Folds: `draw_folds` deals the subjects of each class round, so that k runs with the same seed hold each subject out once.
A split that comes with the data may lack the part for selection: `add_select` draws it from the training subjects.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stylescan.errors import DataError
from stylescan.randomness import numpy_generator

LEAST = 5  # subjects below which a score says little
LEAST_FOR_SELECT = 20  # with 5 + 5 set aside, at least half of the subjects still train
LEAST_FOR_HOLDOUT = 8


@dataclass(frozen=True)
class SplitPlan:
    """`of`: split of each group. `warnings`: what the user must know about it. `notes`: how it came about."""

    of: dict[str, str]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def split_sizes(groups: int, holdout: float, select: float) -> tuple[int, int, list[str]]:
    """(held out, for selection, warnings) for a number of groups of images that must not part."""
    if groups == 1:
        return 0, 0, ["only one subject: everything is training data, nothing can be evaluated on a hold-out"]
    held = round(holdout * groups) if holdout else 0
    chosen = round(select * groups) if select else 0
    warnings = []
    if not holdout:
        warnings.append("no hold-out was asked for: `evaluate` will have nothing to compare with")
    elif groups < LEAST_FOR_HOLDOUT:
        held = max(1, groups // 3)
        warnings.append(f"only {groups} subjects: {held} held out, fewer than {LEAST}, so scores are indicative only")
    else:
        held = max(LEAST, held)
    if not select:
        pass
    elif groups < LEAST_FOR_SELECT:
        chosen = 0
        warnings.append(f"only {groups} subjects: none is kept for selection, the last checkpoint counts as the best")
    else:
        chosen = max(LEAST, chosen)
    return held, chosen, warnings


def draw_split(
    sizes: Mapping[str, int], labels: Mapping[str, Hashable], *, holdout: float, select: float, seed: int
) -> SplitPlan:
    """A split of the groups named in `sizes` (images in each), balanced over `labels` (the class of each group).

    A group with more images than the hold-out should have trains, as long as enough others remain. Depends on the
    names and the seed alone, not on the order of the mapping.
    """
    held, chosen, warnings = split_sizes(len(sizes), holdout, select)
    small = _without_giants(sizes, holdout, held + chosen + 1)
    shuffled = _shuffled(small, labels, numpy_generator(seed, "split"))
    of = dict.fromkeys(sorted(sizes), "train")
    for split, total in (("holdout", held), ("select", chosen)):
        _take(of, shuffled, split, total)
    return SplitPlan(of, tuple(warnings))


def draw_folds(
    sizes: Mapping[str, int], labels: Mapping[str, Hashable], *, folds: int, fold: int, select: float, seed: int
) -> SplitPlan:
    """A split that holds out part `fold` (from 0) of `folds`; the parts of one `seed` share no group and leave none out.

    The parts differ by at most one group, in each class and in all. Groups for selection are drawn from the rest, as in
    `draw_split`. Raises DataError where there are fewer groups than folds, ValueError for a `fold` that does not exist.
    """
    if not 0 <= fold < folds:
        raise ValueError(f"fold {fold} of {folds}: expected 0 to {folds - 1}")
    if len(sizes) < folds:
        raise DataError(f"{folds} folds of {len(sizes)} subjects: some would hold nobody",
                        remedy=f"give at most --folds {max(len(sizes), 2)}, or leave --folds out")  # fmt: skip
    warnings = []
    fewest = len(sizes) // folds
    if fewest < LEAST:
        warnings.append(f"the {folds} folds hold as few as {fewest} subjects, fewer than {LEAST}: judge all folds together, "
                        "the scores of one are indicative only")  # fmt: skip
    shuffled = _shuffled(sizes, labels, numpy_generator(seed, "folds"))
    # Dealt like cards, class after class without starting over: so the parts are even in each class and in all.
    dealt = [name for _, names in sorted(shuffled.items()) for name in names]
    held = set(dealt[fold::folds])
    of = {name: "holdout" if name in held else "train" for name in sorted(sizes)}
    share = sum(sizes[name] for name in held) / max(1, sum(sizes.values()))
    if share > 0.5:
        warnings.append(f"fold {fold} holds {share:.0%} of the images, for one subject has most of them")
    chosen, more = _select_size(len(sizes), len(sizes) - len(held), select)
    rest = {name: sizes[name] for name in of if of[name] == "train"}
    small = _without_giants(rest, select, chosen + 1)
    _take(of, _shuffled(small, labels, numpy_generator(seed, "folds select", fold)), "select", chosen)
    return SplitPlan(of, (*warnings, *more), (f"fold {fold} of {folds} is held out: {len(held)} subjects",))


def add_select(
    given: Mapping[str, str], sizes: Mapping[str, int], labels: Mapping[str, Hashable], *, select: float, seed: int
) -> SplitPlan:
    """`given` (split of each group), with groups for selection drawn from its training groups where it has none.

    At least 5, from 20 training groups on; never more than half of these. Nothing changes where `given` has some already
    or `select` is 0. What was done is said in `notes`, what could not be done in `warnings`.
    """
    trained = {name: sizes[name] for name in sorted(given) if given[name] == "train"}
    if not select or not trained or "select" in given.values():
        return SplitPlan(dict(given))
    chosen, warnings = _select_size(len(given), len(trained), select, least=len(trained))
    of = dict(given)
    small = _without_giants(trained, select, chosen + 1)
    _take(of, _shuffled(small, labels, numpy_generator(seed, "add select")), "select", chosen)
    note = (f"the given split keeps nobody for choosing checkpoints: {chosen} of its {len(trained)} training subjects were "
            "drawn for that (split 'select')")  # fmt: skip
    return SplitPlan(of, tuple(warnings), (note,) if chosen else ())


def _select_size(groups: int, rest: int, select: float, least: int | None = None) -> tuple[int, list[str]]:
    """(groups to choose from the `rest` for selection, warnings); `least`: what LEAST_FOR_SELECT counts, else `groups`."""
    if not select:
        return 0, []
    counted = groups if least is None else least
    if counted < LEAST_FOR_SELECT:
        what = "subjects" if least is None else "training subjects"
        return 0, [f"only {counted} {what}: none is kept for selection, the last checkpoint counts as the best"]
    return min(max(LEAST, round(select * groups)), rest // 2), []


def _without_giants(sizes: Mapping[str, int], share: float, needed: int) -> list[str]:
    """Names of groups that are not larger than `share` of all images; all of them where too few would remain."""
    largest = max(1.0, max(share, 0.05) * sum(sizes.values()))
    small = [name for name in sorted(sizes) if sizes[name] <= largest]
    return small if len(small) >= needed else sorted(sizes)


def _shuffled(
    names: Iterable[str], labels: Mapping[str, Hashable], generator: np.random.Generator
) -> dict[str, list[str]]:
    """The names of each class in an order that depends on the names and the generator alone."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        by_class[str(labels.get(name))].append(name)
    return {label: [here[i] for i in generator.permutation(len(here))] for label, here in sorted(by_class.items())}


def _take(of: dict[str, str], shuffled: Mapping[str, list[str]], split: str, total: int) -> None:
    """Move `total` groups from the ends of the lists to `split`, balanced over the classes."""
    for label, quota in _quotas({label: len(names) for label, names in shuffled.items()}, total).items():
        for _ in range(quota):
            of[shuffled[label].pop()] = split


def _quotas(available: Mapping[str, int], total: int) -> dict[str, int]:
    """`total` shared out in proportion to `available` (largest remainders), leaving one of each where possible."""
    everything = sum(available.values())
    if not everything:
        return dict.fromkeys(available, 0)
    exact = {label: total * count / everything for label, count in available.items()}
    quotas = {label: min(int(exact[label]), max(available[label] - 1, 0)) for label in available}
    for reserve in (1, 0):
        while sum(quotas.values()) < total:
            rest = [label for label in sorted(available) if quotas[label] < available[label] - reserve]
            if not rest:
                break
            quotas[min(rest, key=lambda label: quotas[label] - exact[label])] += 1
    return quotas


def leaks(splits: Sequence[str], groups: Sequence[str]) -> list[str]:
    """The groups that stand in more than one split, in order of name."""
    found: dict[str, set[str]] = defaultdict(set)
    for split, group in zip(splits, groups, strict=True):
        found[group].add(split)
    return sorted(group for group, where in found.items() if len(where) > 1)


def majority_labels(groups: Sequence[str], labels: Sequence[Hashable]) -> dict[str, Hashable]:
    """The most frequent label of each group (ties: the one seen first)."""
    counts: dict[str, Counter[Hashable]] = defaultdict(Counter)
    for group, label in zip(groups, labels, strict=True):
        counts[group][label] += 1
    return {group: counter.most_common(1)[0][0] for group, counter in counts.items()}
