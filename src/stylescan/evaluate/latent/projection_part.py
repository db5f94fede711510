"""The part `projection` of a full evaluation: how near the generator comes to real images, seen and unseen.

The yardstick at one end is the generator's own images, which it can make; what is missing there is the search's fault.
At the other end stand other subjects' images. Training images that are met better than held-out ones speak for
memorisation (Webster et al. 2019, "Detecting Overfitting of Deep Generative Networks via Latent Recovery").
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.cache import Progress
from stylescan.evaluate.latent.error_map import ERROR_SCALE, columns, error_fraction, sheet
from stylescan.evaluate.latent.perceptual import FeatureMaps, lite0_feature_maps, perceptual_distance
from stylescan.evaluate.latent.project import Projection, Space, project_spaces, refuse_w_plus
from stylescan.evaluate.latent.projection_search import NOISE
from stylescan.evaluate.latent.projection_words import sentences
from stylescan.evaluate.material import Material, RealSet
from stylescan.evaluate.parts import Part
from stylescan.evaluate.pictures import png_uri, spread_over_subjects
from stylescan.evaluate.targets import SnapshotTarget
from stylescan.generate.sample import sample_images
from stylescan.generate.snapshot import Snapshot
from stylescan.randomness import numpy_generator

REALS, OWN = 8, 4
STEPS = 60
_OWN_SEEDS = 900_000  # beyond the images that are judged
NO_GENERATOR = "A folder of images has no generator in which an image could be searched for."
Groups = dict[str, NDArray[Any]]


def run(material: Material, progress: Progress | None, perceptual: FeatureMaps | None = None) -> Part:
    """Project 8 held-out and 8 training images, each of another subject, and 4 of the generator's own.

    perceptual : feature maps to compare in; those of EfficientNet-Lite0 if left out, whatever the report's extractor.
    """
    if not isinstance(material.target, SnapshotTarget):
        return Part({"ran": False, "reason": NO_GENERATOR})
    snapshot = material.target.snapshot
    maps = perceptual or lite0_feature_maps()
    groups = _groups(material, snapshot)
    no_plus = refuse_w_plus(snapshot)
    spaces: list[Space] = ["w"] if no_plus else ["w", "w+"]
    found = project_spaces(
        snapshot,
        np.concatenate(list(groups.values())),
        spaces,
        steps=STEPS,
        seed=material.seed,
        perceptual=maps,
        progress=progress,
    )
    rows = _rows(groups)
    values: dict[str, Any] = {
        "ran": True,
        "reason": None,
        "no_w_plus": no_plus,
        "steps": STEPS,
        "noise": NOISE,
        "error_scale": ERROR_SCALE,
        "groups": {name: {s: _scores(found[s], rows[name]) for s in spaces} for name in groups if len(groups[name])},
        "other_subject": _other_subject(groups["held_out"], maps),
    }
    values["training_against_held_out"] = {
        space: _comparison(found[space].perceptual, rows["training"], rows["held_out"]) for space in spaces
    }
    values["sentences"] = sentences(values)
    return Part(values, {name: _picture(groups[name], found, rows[name]) for name in values["groups"]})


def _groups(material: Material, snapshot: Snapshot) -> Groups:
    """Images by group; a held-out and a training image in the same place are of the same class where there is one."""
    rng = numpy_generator(material.seed, "projection_images")
    held = _different_subjects(material.holdout, REALS, rng)
    trained = _of_the_same_classes(material.train, material.holdout.labels[held], rng)
    seeds = [material.seed * 1_000_000 + _OWN_SEEDS + k for k in range(OWN)]
    return {
        "own": sample_images(snapshot, seeds, noise=NOISE),
        "held_out": material.dataset.read(material.holdout.indices[held]),
        "training": material.dataset.read(material.train.indices[trained]),
    }


def _different_subjects(reals: RealSet, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return spread_over_subjects(reals.subjects, min(k, reals.num_subjects), rng)


def _of_the_same_classes(reals: RealSet, labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random position in `reals` for each of `labels`, of that class, each of another subject; as many as there are."""
    used: set[str] = set()
    chosen = []
    order = rng.permutation(len(reals.indices))
    for label in labels:
        for position in order:
            if reals.labels[position] == label and str(reals.subjects[position]) not in used:
                used.add(str(reals.subjects[position]))
                chosen.append(position)
                break
    return np.array(chosen, np.int64)


def _rows(groups: Groups) -> dict[str, slice]:
    ends = np.cumsum([0, *(len(images) for images in groups.values())]).tolist()
    return {name: slice(low, high) for name, low, high in zip(groups, ends, ends[1:])}


def _scores(found: Projection, rows: slice) -> dict[str, Any]:
    """Medians, and every image's own value: a handful of numbers tells more than its mean."""
    values = {"perceptual": found.perceptual, "rmse": found.rmse, "share_farther": found.share_farther}
    each = {name: [round(float(v), 6) for v in value[rows]] for name, value in values.items()}
    return {"n": len(each["rmse"]), **{name: float(np.median(v)) for name, v in each.items()}, "each": each}


def _other_subject(images: NDArray[Any], maps: FeatureMaps) -> dict[str, float] | None:
    """How far apart held-out images of different subjects are: the other end of the scale."""
    if len(images) < 2:
        return None
    other = np.roll(images, 1, axis=0)
    rmse = np.sqrt(np.square(error_fraction(images, other)).mean(axis=(1, 2)))
    return {"perceptual": float(np.median(perceptual_distance(maps, images, other))), "rmse": float(np.median(rmse))}


def _comparison(distance: NDArray[np.float32], training: slice, held_out: slice) -> dict[str, Any]:
    """Mean distance of held-out images over that of training ones, and how often chance alone gives as much."""
    a, b = distance[training].astype(np.float64), distance[held_out].astype(np.float64)
    if not len(a):
        return {"ratio": None, "p": None, "n": [0, len(b)]}
    return {"ratio": float(b.mean() / max(a.mean(), 1e-12)), "p": exact_p(a, b), "n": [len(a), len(b)]}


def exact_p(lower: NDArray[np.float64], higher: NDArray[np.float64]) -> float:
    """One-sided exact permutation p for mean(higher) - mean(lower): the share of all ways to part the values in two
    groups of these sizes in which the difference is at least as large. At most C(16, 8) = 12,870 ways here."""
    values = np.concatenate([lower, higher])
    ways = np.array(list(combinations(range(len(values)), len(lower))), np.int64)
    sums = values[ways].sum(axis=1)
    return float((sums <= lower.sum() * (1 + 1e-12) + 1e-12).mean())


def _picture(real: NDArray[Any], found: dict[Space, Projection], rows: slice) -> str:
    made = [(space.upper(), projection.images[rows]) for space, projection in found.items()]
    return png_uri(sheet(columns(real, made)))
