"""From material to numbers: every metric with its floor, interval and n, the rows for scale, and single classes."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.cache import Progress
from stylescan.evaluate.intervals import jackknife_interval
from stylescan.evaluate.material import Material
from stylescan.evaluate.metrics import METRICS, Metric
from stylescan.evaluate.reference import Floor, blur_sigma_px, floor_draws, floor_of

MIN_CLASS_IMAGES = 30
MIN_CLASS_SUBJECTS = 5


def finite(value: float) -> float | None:
    """JSON knows no nan: None in its place."""
    return float(value) if math.isfinite(value) else None


def _result(
    metric: Metric,
    generated: NDArray[np.float32],
    real: NDArray[np.float32],
    subjects: NDArray[np.str_],
    floor: Floor | None,
    seed: int,
) -> dict[str, Any]:
    resampled = metric.resampler(generated, real, None, subjects)
    value = metric.compute(generated, real, None, subjects)
    interval = jackknife_interval(resampled, value, len(generated), subjects, seed=seed)
    dim = generated.shape[1]
    return {
        "value": finite(value),
        "floor": None if floor is None else asdict(floor),
        # KID is unbiased, so its floor may lie at zero: a ratio to that would be noise.
        "ratio_to_floor": None if floor is None or floor.low <= 0 else finite(value / floor.value),
        "interval": None if interval.low is None else {k: v for k, v in asdict(interval).items() if k != "reason"},
        "interval_missing": interval.reason or None,
        "n_generated": len(generated),
        "n_real": len(real),
        "subjects": len(np.unique(subjects)),
        "indicative": metric.needs_full_rank and min(len(generated), len(real)) < dim,
    }


def score_metrics(material: Material, progress: Progress | None = None) -> dict[str, dict[str, Any]]:
    """For every row of METRICS: value, floor, ratio to the floor, interval (or why there is none), n, indicative."""
    out: dict[str, dict[str, Any]] = {}
    for done, (name, metric) in enumerate(METRICS.items()):
        if progress is not None:
            progress(done, len(METRICS), "metrics")
        train, held = material.train, material.holdout
        floor = floor_of(metric, train.features, train.subjects, held.features, held.subjects, material.draws)
        out[name] = _result(metric, material.features, held.features, held.subjects, floor, material.seed)
    if progress is not None:
        progress(len(METRICS), len(METRICS), "metrics")
    return out


def score_rows(material: Material, metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The table: generated, floor, blurred real, untrained net; each with n and one value a metric (None: not made)."""
    rows: list[dict[str, Any]] = [
        {"name": "generated", "title": "Generated", "n": material.n}
        | {name: result["value"] for name, result in metrics.items()},
        {"name": "floor", "title": "Real training subjects (the floor)", "n": len(material.holdout.indices)}
        | {name: (result["floor"] or {}).get("value") for name, result in metrics.items()},
    ]
    held = material.holdout
    if material.blurred_draw is not None:
        subjects = material.train.subjects[material.draws[0]]
        sigma = blur_sigma_px(material.dataset.resolution)
        title = f"Real training subjects, blurred (Gaussian, sigma {sigma:g} px)"
        rows.append(
            {"name": "blurred_real", "title": title, "n": len(material.blurred_draw), "sigma_px": sigma}
            | {
                name: finite(m.compute(material.blurred_draw, held.features, subjects, held.subjects))
                for name, m in METRICS.items()
            }
        )
    if material.untrained is not None:
        rows.append(
            {"name": "untrained", "title": "The same network, untrained", "n": len(material.untrained)}
            | {
                name: finite(m.compute(material.untrained, held.features, None, held.subjects))
                for name, m in METRICS.items()
            }
        )
    return rows


def score_classes(material: Material) -> list[dict[str, Any]]:
    """KID of each class with floor and interval, or `missing`: why there is none. Empty without classes."""
    out: list[dict[str, Any]] = []
    train, held = material.train, material.holdout
    for label, name in enumerate(material.dataset.class_names):
        generated = material.features[material.generated.labels == label]
        real, pool = held.labels == label, train.labels == label
        subjects = held.subjects[real]
        count = len(np.unique(subjects))
        entry: dict[str, Any] = {"class": name, "kid": None, "missing": None}
        if len(generated) < MIN_CLASS_IMAGES or len(subjects) < MIN_CLASS_IMAGES or count < MIN_CLASS_SUBJECTS:
            entry["missing"] = (
                f"{len(generated)} generated and {len(subjects)} held-out images (subjects: {count}); at least "
                f"{MIN_CLASS_IMAGES} of each and {MIN_CLASS_SUBJECTS} subjects are needed"
            )
        else:
            draws = floor_draws(train.subjects[pool], subjects, seed=material.seed)
            features = held.features[real]
            floor = floor_of(METRICS["kid"], train.features[pool], train.subjects[pool], features, subjects, draws)
            entry["kid"] = _result(METRICS["kid"], generated, features, subjects, floor, material.seed)
        out.append(entry)
    return out


def headline_metric(material: Material) -> str:
    """'kid' for hold-outs under 2,000 slices or 50 subjects, where FD's bias and spread are large; else 'fd'."""
    return "kid" if len(material.holdout.indices) < 2000 or material.holdout.num_subjects < 50 else "fd"
