"""From answers to numbers: each reader, all readers together, and which images fooled them.

A generated image is what is looked for: sensitivity is the share of generated images called synthetic, specificity
the share of real ones called real.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.readers.records import LEVELS, Answers, Key
from stylescan.evaluate.readers.statistics import (
    LEVEL,
    area_under_roc,
    clopper_pearson,
    cluster_weights,
    detectable_accuracy,
    detection,
    finite_or_none,
    fleiss_kappa,
    percentiles,
)
from stylescan.randomness import numpy_generator

DRAWS = 2000
SCORE_SCHEMA = 1


@dataclass(frozen=True)
class Table:
    """`levels` [readers, images], 1..6, 0 where unanswered; `generated` bool [images]; `clusters`: a real image's
    subject, each generated image alone; `seconds` [readers, images], nan where unknown."""

    numbers: list[int]
    levels: NDArray[np.int64]
    seconds: NDArray[np.float64]
    generated: NDArray[np.bool_]
    clusters: NDArray[np.str_]

    @property
    def answered(self) -> NDArray[np.bool_]:
        return self.levels > 0

    @property
    def called_generated(self) -> NDArray[np.bool_]:
        called: NDArray[np.bool_] = self.answered & (self.levels <= LEVELS // 2)
        return called

    @property
    def right(self) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = self.answered & (self.called_generated == self.generated)
        return right


def tabulate(key: Key, answers: Sequence[Answers]) -> Table:
    """Answers as arrays, images in the key's order, readers by number."""
    ordered = sorted(answers, key=lambda a: a.reader)
    column = {image.id: number for number, image in enumerate(key.images)}
    levels = np.zeros((len(ordered), len(column)), np.int64)
    seconds = np.full(levels.shape, np.nan)
    for row, given in enumerate(ordered):
        for answer in given.answers:
            levels[row, column[answer.id]] = answer.level
            if answer.seconds is not None:
                seconds[row, column[answer.id]] = answer.seconds
    return Table(
        numbers=[given.reader for given in ordered],
        levels=levels,
        seconds=seconds,
        generated=np.array([image.origin == "generated" for image in key.images]),
        clusters=np.array([image.subject or f"generated {image.id}" for image in key.images]),
    )


def score_answers(key: Key, answers: Sequence[Answers]) -> dict[str, Any]:
    """JSON values: `readers` (one entry each), `pooled`, `agreement`, `images` (those that fooled most and least).

    Equal for equal inputs, in any order of the answers. Bootstrap draws come from the key's seed.
    """
    table = tabulate(key, answers)
    weights = _image_weights(table, key.seed)
    pick = numpy_generator(key.seed, "reader_study_readers")
    readers = len(table.numbers)
    # Owen 2007: readers and images are drawn independently, which covers the chance in both.
    reader_weights = pick.multinomial(readers, np.full(readers, 1.0 / readers), size=DRAWS).astype(np.float64)
    return {
        "schema_version": SCORE_SCHEMA,
        "notice": "SYNTHETIC - not for diagnosis",
        "pack": key.pack,
        "target": key.target,
        "content_hash": key.content_hash,
        "images": {"real": int((~table.generated).sum()), "generated": int(table.generated.sum())},
        "subjects": len(np.unique(table.clusters[~table.generated])),
        "level": LEVEL,
        "readers": [_reader(table, row, weights) for row in range(readers)],
        "pooled": _pooled(table, weights, reader_weights),
        "agreement": _agreement(table, weights),
        "fooling": fooling(key, table),
        "notes": list(key.notes),
    }


def _image_weights(table: Table, seed: int) -> NDArray[np.float64]:
    """Bootstrap weights [draws, images]: subjects of real images and single generated ones, each kind for itself."""
    rng = numpy_generator(seed, "reader_study_images")
    out = np.zeros((DRAWS, len(table.generated)))
    for kind in (table.generated, ~table.generated):
        out[:, kind] = cluster_weights(table.clusters[kind], DRAWS, rng)
    return out


def _interval(low_high: tuple[float, float] | None) -> dict[str, float] | None:
    return None if low_high is None else {"low": low_high[0], "high": low_high[1]}


def _share(right: int, n: int) -> dict[str, Any]:
    """A share with its exact interval; None values where nothing was answered."""
    if n == 0:
        return {"right": 0, "n": 0, "value": None, "interval": None}
    return {"right": right, "n": n, "value": right / n, "interval": _interval(clopper_pearson(right, n))}


def _level_weights(table: Table, row: int, weights: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights [..., 6] of a reader's levels on generated and real images, 'surely synthetic' highest."""
    hot = table.levels[row][:, None] == np.arange(LEVELS, 0, -1)
    return (weights * table.generated) @ hot, (weights * ~table.generated) @ hot


def _reader(table: Table, row: int, weights: NDArray[np.float64]) -> dict[str, Any]:
    answered, right = table.answered[row], table.right[row]
    made, real = answered & table.generated, answered & ~table.generated
    hits, alarms = int((right & made).sum()), int((real & ~right).sum())
    found = detection(hits, int(made.sum()), alarms, int(real.sum()))
    auc = float(area_under_roc(*_level_weights(table, row, np.ones(len(answered)))))
    shown = table.seconds[row][answered & np.isfinite(table.seconds[row])]
    n = int(answered.sum())
    return {
        "reader": table.numbers[row],
        "answered": n,
        "missing": int((~answered).sum()),
        "accuracy": _share(int(right.sum()), n),
        "sensitivity": _share(hits, int(made.sum())),
        "specificity": _share(int(real.sum()) - alarms, int(real.sum())),
        "dprime": found.dprime,
        "criterion": found.criterion,
        "auc": finite_or_none(auc),
        "auc_interval": _interval(percentiles(area_under_roc(*_level_weights(table, row, weights)))),
        "detectable_accuracy": detectable_accuracy(n),
        "seconds_mean": float(shown.mean()) if len(shown) else None,
        "seconds_median": float(np.median(shown)) if len(shown) else None,
        "levels": {
            "generated": [int((table.levels[row][made] == k).sum()) for k in range(1, LEVELS + 1)],
            "real": [int((table.levels[row][real] == k).sum()) for k in range(1, LEVELS + 1)],
        },
    }


def _pooled(table: Table, weights: NDArray[np.float64], readers: NDArray[np.float64]) -> dict[str, Any]:
    """Accuracy over all answers and mean AUC of the readers, with intervals over readers and images at once."""
    right, answered = table.right.astype(np.float64), table.answered.astype(np.float64)
    drawn = ((weights @ answered.T) * readers).sum(axis=1)
    accuracy = ((weights @ right.T) * readers).sum(axis=1)
    accuracy = np.divide(accuracy, drawn, out=np.full(DRAWS, np.nan), where=drawn > 0)
    areas = np.stack([area_under_roc(*_level_weights(table, row, weights)) for row in range(len(right))], axis=1)
    mean_area = (areas * readers).sum(axis=1) / readers.sum(axis=1)
    ones = np.ones(len(table.generated))
    auc = [float(area_under_roc(*_level_weights(table, row, ones))) for row in range(len(right))]
    return {
        "readers": len(table.numbers),
        "answers": int(answered.sum()),
        "accuracy": float(right.sum() / answered.sum()),
        "accuracy_interval": _interval(percentiles(accuracy)),
        "auc": finite_or_none(float(np.mean(auc))),
        "auc_interval": _interval(percentiles(mean_area)),
        "draws": DRAWS,
    }


def _agreement(table: Table, weights: NDArray[np.float64]) -> dict[str, Any]:
    """Fleiss' kappa on the images that all readers answered, or why there is none."""
    whole = table.answered.all(axis=0)
    none = {"kappa": None, "interval": None, "images": int(whole.sum())}
    if len(table.numbers) < 2:
        return none | {"missing": "agreement needs two readers or more"}
    if whole.sum() < 2:
        return none | {"missing": "fewer than two images were answered by all readers"}
    said = table.called_generated[:, whole].sum(axis=0)
    counts = np.stack([said, len(table.numbers) - said], axis=1)
    kappa = finite_or_none(float(fleiss_kappa(counts)))
    if kappa is None:
        return none | {"missing": "all readers gave the same answer to all images"}
    drawn = weights[:, whole]
    draws = fleiss_kappa(counts, drawn[drawn.sum(axis=1) > 0])
    return {"kappa": kappa, "interval": _interval(percentiles(draws)), "images": int(whole.sum()), "missing": None}


def fooling(key: Key, table: Table, most: int = 6) -> dict[str, list[dict[str, Any]]]:
    """Ids of the images that readers got most and least wrong, by kind; at most `most` each.

    `generated_taken_for_real` and `real_taken_for_generated`: half of the readers or more were wrong.
    `generated_found`, `real_recognised`: fewer than half. Ordered by the share wrong, then by how sure readers were.
    """
    out: dict[str, list[dict[str, Any]]] = {}
    for origin, wrong_name, right_name in (
        ("generated", "generated_taken_for_real", "generated_found"),
        ("real", "real_taken_for_generated", "real_recognised"),
    ):
        entries: list[tuple[float, float, str, dict[str, Any]]] = []
        for number, image in enumerate(key.images):
            given = table.levels[:, number][table.answered[:, number]]
            if image.origin != origin or not len(given):
                continue
            wrong = int((~table.right[:, number] & table.answered[:, number]).sum())
            realness = float(given.mean())
            sure = realness if origin == "generated" else LEVELS + 1 - realness
            entries.append((-wrong / len(given), -sure, image.id, {"wrong": wrong, "of": len(given)}))
        entries.sort(key=lambda entry: entry[:3])
        named: list[dict[str, Any]] = [{"id": name, **counts} for _, _, name, counts in entries]
        out[wrong_name] = [e for e in named if 2 * e["wrong"] >= e["of"]][:most]
        out[right_name] = [e for e in reversed(named) if 2 * e["wrong"] < e["of"]][:most]
    return out
