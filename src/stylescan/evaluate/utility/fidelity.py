"""Conditional fidelity: does a classifier trained on real people see in generated images the class they were asked for?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.cache import Progress
from stylescan.evaluate.material import Material
from stylescan.evaluate.utility import words
from stylescan.evaluate.utility.arms import ARMS, SEEDS, predict_all, train_arms
from stylescan.evaluate.utility.classifier import Recipe
from stylescan.evaluate.utility.cohort import CannotTellError, Cohort, GeneratedSet, gather_cohort, judged_images
from stylescan.evaluate.utility.scores import Floats, Score, paired_difference, resample, score, score_json
from stylescan.evaluate.utility.shortcut import depths, from_depth

NO_DEPTH = "Neither depth nor slice number of every image is known, so that nothing is said of depth as a shortcut."


def fidelity_values(
    material: Material, *, recipe: Recipe, seeds: int = SEEDS, progress: Progress | None = None
) -> dict[str, Any]:
    """Values of the part: scores and confusion on held-out real and on generated images, and the depth baseline."""
    try:
        cohort = gather_cohort(material)
        generated = judged_images(material, cohort)
    except CannotTellError as problem:
        return {"ran": False, "reason": str(problem)}
    nets = train_arms(
        ARMS[:1],
        cohort,
        None,
        recipe=recipe,
        seeds=seeds,
        seed=material.seed,
        cache=material.dataset.path / "cache",
        progress=progress,
    )["real"]
    seen_real = predict_all(nets, cohort.test.images)
    seen_generated = predict_all(nets, generated.data.images)
    counts, people = subject_counts(cohort, material.seed)
    real = score(seen_real, cohort.test.labels, people, counts)
    made = score_generated(seen_generated, generated, material.seed)
    difference = _difference(real, made, generated)
    sentences = [words.ability(real["auc"], cohort.unit)]
    if words.of_score(real["auc"]).above(0.5) and difference is not None:
        sentences.append(words.fidelity(real["balanced_accuracy"], made["balanced_accuracy"], difference))
    depth, said = _depth(material, cohort, real["auc"], counts, people)
    sentences.append(said)
    return {
        "ran": True,
        "seeds": seeds,
        "steps": recipe.steps,
        "px": int(cohort.test.images.shape[-1]),
        "class_names": list(cohort.class_names),
        "unit": cohort.unit,
        "chance": chances(cohort),
        "real": sizes(cohort) | {"scores": {name: score_json(one) for name, one in real.items()}},
        "generated": {"n": len(generated.data)}
        | {"scores": {name: score_json(made[name]) for name in ("auc", "balanced_accuracy", "accuracy")}},
        "difference": None if difference is None else score_json(difference),
        "confusion": {
            "real": confusion(seen_real, cohort.test.labels),
            "generated": confusion(seen_generated, generated.data.labels),
        },
        "depth": depth,
        "missing": list(generated.missing),
        "sentences": sentences,
        "notes": cohort.notes + generated.notes + words.perfection(list(real.values()), cohort.unit),
        "caveat": words.CAVEAT.format(unit=cohort.unit),
    }


def subject_counts(cohort: Cohort, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Drawn counts of held-out subjects, the same for every arm of a report, and the subject's number of each image."""
    names, people = np.unique(cohort.test.subjects, return_inverse=True)
    return resample(len(names), seed, "utility_subjects"), people.reshape(-1)


def score_generated(probabilities: Floats, generated: GeneratedSet, seed: int) -> dict[str, Score]:
    """Scores on generated images, which are independent: each is a subject of its own."""
    n = len(generated.data)
    return score(probabilities, generated.data.labels, np.arange(n), resample(n, seed, "utility_generated"))


def chances(cohort: Cohort) -> dict[str, float]:
    """What needs no image: the score of guessing, and the accuracy of always naming the largest training class."""
    return {
        "auc": 0.5,
        "balanced_accuracy": 1 / len(cohort.classes),
        "majority_accuracy": float((cohort.test.labels == cohort.majority).mean()),
    }


def sizes(cohort: Cohort) -> dict[str, int]:
    return {"n": len(cohort.test), "subjects": len(np.unique(cohort.test.subjects))}


def confusion(probabilities: Floats, labels: NDArray[np.int64]) -> list[dict[str, Any]]:
    """By class: its number of images, and the share of them named each class, mean over seeds (None without images)."""
    classes = probabilities.shape[2]
    named = probabilities.argmax(axis=2)
    rows = []
    for label in range(classes):
        here = named[:, labels == label]
        shares = [float((here == other).mean()) for other in range(classes)] if here.size else None
        rows.append({"n": here.shape[1], "shares": shares})
    return rows


def _difference(real: dict[str, Score], made: dict[str, Score], generated: GeneratedSet) -> Score | None:
    """Balanced accuracy of generated minus held-out real images; None where a class lacks, for it would not be like."""
    return None if generated.missing else paired_difference(made["balanced_accuracy"], real["balanced_accuracy"])


def _depth(
    material: Material, cohort: Cohort, image_auc: Score, counts: Floats, people: NDArray[np.int64]
) -> tuple[dict[str, Any], str]:
    """The depth-only baseline as values, and its sentence."""
    both = depths(material.dataset.manifest.images, np.concatenate([cohort.train_at, cohort.test_at]))
    if both is None:
        return {"ran": False, "reason": NO_DEPTH}, NO_DEPTH
    train, test = both[: len(cohort.train_at)], both[len(cohort.train_at) :]
    guessed = from_depth(train, cohort.train.labels, test, len(cohort.classes))
    alone = score(guessed[None], cohort.test.labels, people, counts)
    gain = Score(image_auc.by_seed - alone["auc"].by_seed, image_auc.draws - alone["auc"].draws, image_auc.subjects)
    values = {
        "ran": True,
        "scores": {name: score_json(one) for name, one in alone.items()},
        "classifier_minus_depth": score_json(gain),
    }
    return values, words.shortcut(alone["auc"], gain, cohort.unit)
