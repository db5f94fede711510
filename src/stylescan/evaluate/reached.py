"""Which kinds of real image a generator reaches: recall and coverage of held-out images, class by class.

The whole generated set is looked at, whatever its images were asked to show. So a class that was left out in training
is named even where the images carry no labels.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from stylescan.evaluate.intervals import bootstrap_interval
from stylescan.evaluate.material import Material
from stylescan.evaluate.reference import floor_of_values

METRICS_OF_REALS = ("recall", "coverage")
MIN_SUBJECTS = 5
REACHED = 0.25  # of its floor: where every class is missed, differences between them say nothing
MUCH_LESS = 0.75  # of what the best class reaches of its floor: smaller differences are not worth a headline


def score_reached(material: Material) -> list[dict[str, Any]]:
    """One entry a class of the data: `recall` and `coverage`, each with value, interval over subjects and floor.

    `recall` and `coverage` are None for a class of fewer than 5 held-out subjects. Empty with fewer than two classes.
    """
    held, names = material.holdout, material.dataset.class_names
    if len(names) < 2:
        return []
    found = material.overlap
    if found.missing:
        return []
    out = []
    for label, name in enumerate(names):
        here = held.labels == label
        subjects = held.subjects[here]
        count = len(np.unique(subjects))
        entry: dict[str, Any] = {"class": name, "n_real": int(here.sum()), "subjects": count}
        for metric in METRICS_OF_REALS:
            entry[metric] = None
            if count < MIN_SUBJECTS:
                continue
            terms = found.terms(metric).values[here]
            interval = bootstrap_interval(terms, subjects, unit="held-out subjects", share=True, seed=material.seed)
            # A draw of few training subjects has no terms: then there is no floor.
            each = [d.terms(metric).values[here].mean() if not d.missing else math.nan for d in material.draw_overlaps]
            floor = floor_of_values([float(value) for value in each])
            entry[metric] = {
                "value": float(terms.mean()),
                "low": interval.low,
                "high": interval.high,
                "floor": None if floor is None else asdict(floor),
            }
        out.append(entry)
    return out


def least_reached(reached: list[dict[str, Any]]) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """(metric, entry of the class that is reached least, entry of the one reached most) where the difference is clear.

    Clear: the class lies below all draws of its floor with its whole interval, its share of the floor lies below that
    of the other class with both intervals, and is at most three quarters of it; and that class reaches a quarter of its
    floor. Recall is asked first. None where no class stands out.
    """
    for metric in METRICS_OF_REALS:
        rows = [row for row in reached if row[metric] and row[metric]["floor"] and row[metric]["floor"]["value"] > 0]
        if len(rows) < 2:
            continue

        def share(row: dict[str, Any], end: str, metric: str = metric) -> float:
            return float(row[metric][end] / row[metric]["floor"]["value"])

        least, most = min(rows, key=lambda row: share(row, "value")), max(rows, key=lambda row: share(row, "value"))
        apart = least[metric]["high"] < least[metric]["floor"]["low"] and share(least, "high") < share(most, "low")
        found = share(most, "value") >= REACHED and share(least, "value") <= MUCH_LESS * share(most, "value")
        if apart and found:
            return metric, least, most
    return None
