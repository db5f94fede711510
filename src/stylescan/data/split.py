"""Train, select and hold-out: whole subjects, drawn once with a seed, and balanced over the classes.

At least 5 subjects are held out and, from 20 subjects on, at least 5 kept for selection. Below 8 subjects fewer are
held out (a third), which is said; one subject alone is all training data.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from stylescan.randomness import numpy_generator

LEAST = 5  # subjects below which a score says little
LEAST_FOR_SELECT = 20  # with 5 + 5 set aside, at least half of the subjects still train
LEAST_FOR_HOLDOUT = 8


@dataclass(frozen=True)
class SplitPlan:
    """`of`: split of each group. `warnings`: what the user must know about it."""

    of: dict[str, str]
    warnings: tuple[str, ...] = ()


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
    largest = max(1.0, max(holdout, 0.05) * sum(sizes.values()))
    small = [name for name in sorted(sizes) if sizes[name] <= largest]
    if len(small) < held + chosen + 1:
        small = sorted(sizes)
    by_class: dict[str, list[str]] = defaultdict(list)
    for name in small:
        by_class[str(labels.get(name))].append(name)
    generator = numpy_generator(seed, "split")
    shuffled: dict[str, list[str]] = {}
    for label, names in sorted(by_class.items()):
        shuffled[label] = [names[i] for i in generator.permutation(len(names))]
    of = dict.fromkeys(sorted(sizes), "train")
    for split, total in (("holdout", held), ("select", chosen)):
        left = {label: len(names) for label, names in shuffled.items()}
        for label, quota in _quotas(left, total).items():
            for _ in range(quota):
                of[shuffled[label].pop()] = split
    return SplitPlan(of, tuple(warnings))


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
