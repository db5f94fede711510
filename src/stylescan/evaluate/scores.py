"""From material to numbers: every metric with its floor, interval and n, the rows for scale, and single classes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.cache import Progress
from stylescan.evaluate.image_sets import (
    ImageSet,
    blurred_set,
    depth_of,
    draw_sets,
    generated_set,
    holdout_set,
    untrained_set,
)
from stylescan.evaluate.intervals import Interval, bootstrap_interval, jackknife_interval, pair_interval
from stylescan.evaluate.material import Material
from stylescan.evaluate.measures.base import Terms
from stylescan.evaluate.measures.diversity import PairSimilarity, pair_similarity
from stylescan.evaluate.measures.manifold import Overlap, neighbourhoods, overlap
from stylescan.evaluate.measures.spectrum import fine_detail_db
from stylescan.evaluate.metrics import DISTANCES, MANIFOLD, METRICS, Metric
from stylescan.evaluate.reference import Floor, blur_sigma_px, floor_draws, floor_of, floor_of_values

MIN_CLASS_IMAGES = 30
MIN_CLASS_SUBJECTS = 5
CLASS_MANIFOLD = ("precision", "recall", "coverage")


def finite(value: float) -> float | None:
    """JSON knows no nan: None in its place."""
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Estimate:
    """A metric's value with its interval; `missing`: why the value is nan."""

    value: float
    interval: Interval
    missing: str = ""


def _jackknifed(metric: Metric, x: NDArray[Any], y: NDArray[Any], subjects: NDArray[Any], seed: int) -> Estimate:
    if metric.resampler is None:
        raise TypeError(f"{metric.title} cannot be resampled")
    value = metric.compute(x, y, None, subjects)
    return Estimate(
        value, jackknife_interval(metric.resampler(x, y, None, subjects), value, len(x), subjects, seed=seed)
    )


def _bootstrapped(terms: Terms, subjects: NDArray[Any], seed: int, missing: str = "") -> Estimate:
    if not len(terms.values) or not np.isfinite(terms.values).all():
        missing = missing or "not defined for these images"
        return Estimate(math.nan, Interval(None, None, 0.95, 0, missing), missing)
    real = terms.over == "real"
    unit = "held-out subjects" if real else "generated images"
    interval = bootstrap_interval(terms.values, subjects if real else None, unit=unit, share=terms.share, seed=seed)
    return Estimate(terms.mean, interval)


def _manifold_estimates(found: Overlap, subjects: NDArray[Any], seed: int) -> dict[str, Estimate]:
    return {name: _bootstrapped(found.terms(name), subjects, seed, found.missing) for name in MANIFOLD}


def _estimates(
    generated: ImageSet, held: ImageSet, subjects: NDArray[np.str_], found: Overlap, seed: int
) -> dict[str, Estimate]:
    """Every metric of the generated images with its interval."""
    out = _manifold_estimates(found, subjects, seed)
    for name, metric in METRICS.items():
        x, y = generated.seen_by(name), held.seen_by(name)
        if metric.resampler is not None:
            out[name] = _jackknifed(metric, x, y, subjects, seed)
        elif metric.terms is not None and name not in MANIFOLD:
            out[name] = _bootstrapped(metric.terms(x, y, None, subjects), subjects, seed)
    pairs = _pairs(generated, seed)
    interval = (
        Interval(None, None, 0.95, 0, pairs.missing)
        if pairs.missing
        else pair_interval(pairs.values, pairs.subjects, unit="generated images")
    )
    out["ms_ssim"] = Estimate(pairs.mean, interval, pairs.missing)
    return {name: out[name] for name in METRICS}


def _pairs(images: ImageSet, seed: int, depth: NDArray[np.float64] | None = None) -> PairSimilarity:
    return pair_similarity(images.read, len(images), images.subjects, depth=depth, seed=seed)


def _values(images: ImageSet, held: ImageSet, found: Overlap, seed: int, names: set[str]) -> dict[str, float]:
    """The value of each metric in `names` for one more set of images, without intervals."""
    out = {}
    for name in names:
        if name in MANIFOLD:
            out[name] = found.terms(name).mean
        elif name == "ms_ssim":
            out[name] = _pairs(images, seed).mean
        else:
            out[name] = METRICS[name].compute(images.seen_by(name), held.seen_by(name), images.subjects, held.subjects)
    return out


def _entry(
    metric: Metric, found: Estimate, floor: Floor | None, generated: int, subjects: NDArray[Any], dim: int
) -> dict[str, Any]:
    interval = found.interval
    return {
        "title": metric.title,
        "meaning": metric.meaning,
        "better": metric.better,
        "value": finite(found.value),
        "missing": found.missing or None,
        "floor": None if floor is None else asdict(floor),
        # KID is unbiased, so its floor may lie at zero: a ratio to that would be noise.
        "ratio_to_floor": finite(found.value / floor.value)
        if metric.has_ratio and floor is not None and floor.low > 0
        else None,
        "interval": None
        if interval.low is None
        else {k: v for k, v in asdict(interval).items() if k not in ("reason", "left_out")},
        "interval_missing": interval.reason or None,
        "jackknife": list(interval.left_out) or None,
        "n_generated": generated,
        "n_real": len(subjects),
        "subjects": len(np.unique(subjects)),
        "indicative": metric.needs_full_rank and min(generated, len(subjects)) < dim,
    }


def score_metrics(material: Material, progress: Progress | None = None) -> dict[str, dict[str, Any]]:
    """For every row of METRICS: value, floor, ratio to the floor, interval (or why there is none), n, indicative.

    `ms_ssim` also has `matched_depth`: the same for real pairs of different subjects at the same depth, None where
    depth is unknown; `spectrum` has `fine_detail_db`: the signed difference in the upper half of frequencies.
    """
    train, held = material.train, holdout_set(material)
    generated, draws = generated_set(material), draw_sets(material, progress)
    estimates = _estimates(generated, held, material.holdout.subjects, material.overlap, material.seed)
    floors: dict[str, Floor | None] = {
        name: floor_of(metric, train.features, train.subjects, held.features, material.holdout.subjects, material.draws)
        for name, metric in DISTANCES.items()
    }
    others = set(METRICS) - set(DISTANCES)
    values: list[dict[str, float]] = []
    for done, (draw, found) in enumerate(zip(draws, material.draw_overlaps, strict=True)):
        values.append(_values(draw, held, found, material.seed, others))
        if progress is not None:
            progress(done + 1, len(draws), "metrics of real subjects")
    floors |= {name: floor_of_values([row[name] for row in values]) for name in others}
    dim = material.features.shape[1]
    out = {
        name: _entry(metric, estimates[name], floors[name], len(generated), material.holdout.subjects, dim)
        for name, metric in METRICS.items()
    }
    out["ms_ssim"]["matched_depth"] = _matched_depth(material, draws)
    out["spectrum"]["fine_detail_db"] = finite(fine_detail_db(generated.seen_by("spectrum"), held.seen_by("spectrum")))
    return out


def _matched_depth(material: Material, draws: list[ImageSet]) -> dict[str, Any] | None:
    if not draws:
        return None
    depth = depth_of(material.dataset, material.train.indices[material.draws[0]])
    if depth is None or len(np.unique(depth)) < 2:
        return None
    pairs = _pairs(draws[0], material.seed, depth)
    return None if pairs.missing else {"value": finite(pairs.mean), "pairs": len(pairs.values)}


def score_rows(
    material: Material, metrics: dict[str, dict[str, Any]], progress: Progress | None = None
) -> list[dict[str, Any]]:
    """The table: generated, floor, blurred real, untrained net; each with n and one value a metric (None: not made)."""
    rows: list[dict[str, Any]] = [
        {"name": "generated", "title": "Generated", "n": material.n}
        | {name: result["value"] for name, result in metrics.items()},
        {"name": "floor", "title": "Real training subjects (the floor)", "n": len(material.holdout.indices)}
        | {name: (result["floor"] or {}).get("value") for name, result in metrics.items()},
    ]
    sigma_px = blur_sigma_px(material.dataset.resolution)
    further: list[tuple[dict[str, Any], ImageSet | None]] = [
        (
            {
                "name": "blurred_real",
                "title": f"Real training subjects, blurred (Gaussian, sigma {sigma_px:g} px)",
                "sigma_px": sigma_px,
            },
            blurred_set(material),
        ),
        ({"name": "untrained", "title": "The same network, untrained"}, untrained_set(material)),
    ]
    if any(images is not None for _, images in further):
        held = holdout_set(material)
        for head, images in further:
            if images is not None:
                found = overlap(neighbourhoods(images.features, images.subjects), material.balls)
                values = _values(images, held, found, material.seed, set(METRICS))
                rows.append(head | {"n": len(images)} | {name: finite(values[name]) for name in METRICS})
    return rows


def score_classes(material: Material) -> list[dict[str, Any]]:
    """KID, precision, recall and coverage of each class with floor and interval; empty without classes.

    `missing`: why a class has no numbers. A metric that alone cannot be had has its own `missing`.
    """
    out: list[dict[str, Any]] = []
    train, held = material.train, material.holdout
    for label, name in enumerate(material.dataset.class_names):
        generated = material.features[material.generated.labels == label]
        real, pool = held.labels == label, train.labels == label
        subjects = held.subjects[real]
        count = len(np.unique(subjects))
        entry: dict[str, Any] = {"class": name, "missing": None} | dict.fromkeys(("kid", *CLASS_MANIFOLD))
        if len(generated) < MIN_CLASS_IMAGES or len(subjects) < MIN_CLASS_IMAGES or count < MIN_CLASS_SUBJECTS:
            entry["missing"] = (
                f"{len(generated)} generated and {len(subjects)} held-out images (subjects: {count}); at least "
                f"{MIN_CLASS_IMAGES} of each and {MIN_CLASS_SUBJECTS} subjects are needed"
            )
        else:
            entry |= _class_numbers(
                generated, held.features[real], subjects, train.features[pool], train.subjects[pool], material.seed
            )
        out.append(entry)
    return out


def _class_numbers(
    generated: NDArray[np.float32],
    real: NDArray[np.float32],
    subjects: NDArray[np.str_],
    train: NDArray[np.float32],
    train_subjects: NDArray[np.str_],
    seed: int,
) -> dict[str, dict[str, Any]]:
    draws = floor_draws(train_subjects, subjects, seed=seed)
    estimates = {"kid": _jackknifed(METRICS["kid"], generated, real, subjects, seed)}
    floors = {"kid": floor_of(METRICS["kid"], train, train_subjects, real, subjects, draws)}
    balls = neighbourhoods(real, subjects)
    estimates |= _manifold_estimates(overlap(neighbourhoods(generated), balls), subjects, seed)
    overlaps = [overlap(neighbourhoods(train[d], train_subjects[d]), balls) for d in draws]
    for name in CLASS_MANIFOLD:
        floors[name] = floor_of_values([found.terms(name).mean for found in overlaps])
    return {
        name: _entry(METRICS[name], estimates[name], floors[name], len(generated), subjects, generated.shape[1])
        for name in ("kid", *CLASS_MANIFOLD)
    }


def headline_metric(material: Material) -> str:
    """'kid' for hold-outs under 2,000 slices or 50 subjects, where FD's bias and spread are large; else 'fd'."""
    return "kid" if len(material.holdout.indices) < 2000 or material.holdout.num_subjects < 50 else "fd"
