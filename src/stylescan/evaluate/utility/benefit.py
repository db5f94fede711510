"""Utility: what a classifier learns from generated images, alone and beside real ones, tested on held-out real people."""

from __future__ import annotations

from typing import Any

import numpy as np

from stylescan.evaluate.cache import Progress
from stylescan.evaluate.material import Material
from stylescan.evaluate.utility import words
from stylescan.evaluate.utility.arms import ARMS, SEEDS, Arm, predict_all, train_arms, training_set
from stylescan.evaluate.utility.classic import operations
from stylescan.evaluate.utility.classifier import Recipe
from stylescan.evaluate.utility.cohort import (
    CannotTellError,
    Cohort,
    GeneratedSet,
    gather_cohort,
    images_to_learn_from,
    judged_images,
)
from stylescan.evaluate.utility.fidelity import chances, score_generated, sizes, subject_counts
from stylescan.evaluate.utility.scores import (
    Interval,
    Score,
    interval,
    paired_difference,
    score,
    score_json,
    seed_interval,
)

ONE_CLASS = "The generated images are all of one class, so that nothing can be learnt from them alone."
TRTS = "Real, tested on generated"


def utility_values(
    material: Material, *, recipe: Recipe, seeds: int = SEEDS, progress: Progress | None = None
) -> dict[str, Any]:
    """Values of the part: every arm's scores, the differences between arms, and sentences."""
    try:
        cohort = gather_cohort(material)
        judged = judged_images(material, cohort)
        learnt = images_to_learn_from(material, cohort, progress)
    except CannotTellError as problem:
        return {"ran": False, "reason": str(problem)}
    single = len(np.unique(learnt.data.labels)) < 2
    arms = [arm for arm in ARMS if arm.real or not single]
    nets = train_arms(
        arms,
        cohort,
        learnt.data,
        recipe=recipe,
        seeds=seeds,
        seed=material.seed,
        cache=material.dataset.path / "cache",
        progress=progress,
    )
    counts, people = subject_counts(cohort, material.seed)
    found = {
        name: score(predict_all(trained, cohort.test.images), cohort.test.labels, people, counts)
        for name, trained in nets.items()
    }
    trts = score_generated(predict_all(nets["real"], judged.data.images), judged, material.seed)
    rows = [_row(arm, cohort, learnt, found.get(arm.name)) for arm in ARMS]
    return {
        "ran": True,
        "seeds": seeds,
        "steps": recipe.steps,
        "batch": recipe.batch,
        "px": int(cohort.test.images.shape[-1]),
        "class_names": list(cohort.class_names),
        "unit": cohort.unit,
        "chosen_on_select": cohort.select is not None,
        "classic": operations(cohort.flip),
        "chance": chances(cohort),
        "test": sizes(cohort),
        "arms": [*rows, _trts_row(cohort, judged, trts)],
        "differences": _differences(found),
        "tstr_share": _share_json(found),
        "missing": list(learnt.missing),
        "sentences": _sentences(found, cohort.unit),
        "notes": cohort.notes
        + learnt.notes
        + words.perfection([one for scores in found.values() for one in scores.values()], cohort.unit),
        "caveat": words.CAVEAT.format(unit=cohort.unit),
    }


def _row(arm: Arm, cohort: Cohort, learnt: GeneratedSet, scores: dict[str, Score] | None) -> dict[str, Any]:
    data = training_set(arm, cohort, learnt.data)
    generated = len(learnt.data) if arm.generated else 0
    return {
        "name": arm.name,
        "title": arm.title,
        "real_images": len(data) - generated,
        "generated_images": generated,
        "tested_on": "real",
        "ran": scores is not None,
        "reason": None if scores is not None else ONE_CLASS,
        "scores": None if scores is None else {name: score_json(one) for name, one in scores.items()},
    }


def _trts_row(cohort: Cohort, judged: GeneratedSet, scores: dict[str, Score]) -> dict[str, Any]:
    return {
        "name": "trts",
        "title": TRTS,
        "real_images": len(cohort.train),
        "generated_images": 0,
        "tested_on": "generated",
        "ran": True,
        "reason": None,
        # Generated images are no one's: there is no whole subject to name.
        "scores": {name: score_json(scores[name]) for name in ("auc", "balanced_accuracy", "accuracy")},
        "tested_images": len(judged.data),
    }


_PAIRS = {
    "real_generated_minus_real_classic": ("real_generated", "real_classic"),
    "real_generated_minus_real": ("real_generated", "real"),
    "generated_minus_real": ("generated", "real"),
}


def _differences(found: dict[str, dict[str, Score]]) -> dict[str, Any]:
    """Paired differences of every score: the same subjects, resamples and seeds on both sides."""
    out: dict[str, Any] = {}
    for name, (first, second) in _PAIRS.items():
        if first not in found:
            continue
        out[name] = {}
        for kind in found[first]:
            gap = paired_difference(found[first][kind], found[second][kind])
            over_seeds = seed_interval(gap.by_seed)
            out[name][kind] = score_json(gap) | {
                "seed_interval": None if over_seeds.low is None else {"low": over_seeds.low, "high": over_seeds.high}
            }
    return out


def _share(found: dict[str, dict[str, Score]]) -> Interval:
    """How far generated images get from chance to what real ones teach, as an interval of shares of AUC above 0.5.

    None where real images teach nothing, for a share of nothing is noise.
    """
    if "generated" not in found or not words.of_score(found["real"]["auc"]).above(0.5):
        return Interval(None, None, "real images teach too little for a share of it")
    real, generated = found["real"]["auc"], found["generated"]["auc"]
    gained = real.draws - 0.5
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = np.where(gained > 0, (generated.draws - 0.5) / gained, np.nan)
    return interval(draws, real.subjects)


def _share_json(found: dict[str, dict[str, Score]]) -> dict[str, Any] | None:
    share = _share(found)
    if share.low is None:
        return None
    value = (found["generated"]["auc"].value - 0.5) / (found["real"]["auc"].value - 0.5)
    return {"value": value, "interval": {"low": share.low, "high": share.high}}


def _sentences(found: dict[str, dict[str, Score]], unit: str) -> list[str]:
    real = found["real"]["auc"]
    sentences = [words.ability(real, unit)]
    if not words.of_score(real).above(0.5):
        return sentences
    if "generated" in found:
        sentences.append(words.transfer(real, found["generated"]["auc"], _share(found), unit))
    else:
        sentences.append(ONE_CLASS)
    gap = paired_difference(found["real_generated"]["auc"], found["real_classic"]["auc"])
    return [*sentences, words.benefit(gap, unit)]
