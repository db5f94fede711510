"""What `stylescan direction` writes: pictures, the vector, the numbers and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylescan.data.prepared import PreparedDataset
from stylescan.evaluate.features import Extractor
from stylescan.evaluate.latent.latent_pictures import Curve, curves_sheet, strip_sheet
from stylescan.evaluate.latent.projected import Projector, RealW
from stylescan.evaluate.latent.readout import Reading
from stylescan.evaluate.latent.strip_readings import RANDOM, Axis, DirectionOptions, images_along, strip_steps
from stylescan.files import write_bytes_atomic, write_json_atomic
from stylescan.generate.sample import draw_labels
from stylescan.generate.snapshot import Snapshot

SCHEMA_VERSION = 1
CAVEAT = (
    "The strip shows what this model makes of the difference between the classes in this data. It is synthetic, no "
    "forecast for a person, and not for diagnosis."
)


def write_all(
    out: Path,
    snapshot: Snapshot,
    learned: Axis,
    other: Axis | None,
    readings: Sequence[Reading],
    names: tuple[str, str],
    values: dict[str, Any],
    sentences: Sequence[str],
    options: DirectionOptions,
) -> list[Path]:
    steps = strip_steps(options.reach)
    classes = draw_labels(options.seeds, snapshot.meta)
    rows = [
        f"seed {seed}" + (f"\n{snapshot.meta.class_names[kind]}" if snapshot.meta.class_names else "")
        for seed, kind in zip(options.seeds, classes)
    ]
    files = [out / "strip.png", out / "curves.png", out / "direction.safetensors", out / "direction.json"]
    images = images_along(snapshot, options.seeds, learned.vector, [x * learned.sd for x in steps])
    title = f"SYNTHETIC. From {names[1]} (left) to {names[0]} (right) in w of model {snapshot.model_hash[:12]}"
    write_bytes_atomic(files[0], strip_sheet(images, steps, rows, title, f"{sentences[0]} {CAVEAT}"))
    curves = [_curve(reading, names) for reading in readings]
    above = f"Read from {options.read_seeds} seeds along the direction from {names[1]} to {names[0]}"
    write_bytes_atomic(files[1], curves_sheet(curves, steps, ("learned on real subjects", "class means of w"), above))
    write_bytes_atomic(files[2], _tensors(snapshot, learned, other, names))
    write_json_atomic(files[3], values)
    return files


def _tensors(snapshot: Snapshot, learned: Axis, other: Axis | None, names: tuple[str, str]) -> bytes:
    from safetensors.numpy import save

    tensors = {"direction": learned.vector.astype(np.float32), "sd": np.array([learned.sd], np.float32)}
    if other is not None:
        tensors["class_mean_difference"] = other.vector.astype(np.float32)
        tensors["class_mean_difference_sd"] = np.array([other.sd], np.float32)
    metadata = {
        "model_hash": snapshot.model_hash, "positive": names[0], "negative": names[1],
        "validated": str(learned.validation.holds).lower(), "space": "w", "unit": "w + step * sd * direction",
    }  # fmt: skip
    data: bytes = save(tensors, metadata=metadata)
    return data


def _curve(reading: Reading, names: tuple[str, str]) -> Curve:
    tested = f"AUC {reading.auc:.2f}, slice by slice" if reading.auc is not None else f"R2 {reading.r2:.2f}"
    name = f"score for {names[0]} (0 to 1)" if reading.auc is not None else reading.name
    caption = (
        f"Read by a regression on features ({tested} on held-out subjects). Change {reading.change:.3g}; rank "
        f"correlation with the steps {reading.rank_correlation:.2f}; rises in {reading.seeds_rising:.0%} of seeds. "
        f"Largest change along {RANDOM} random directions {reading.random_change:.3g}."
    )
    mean, low, high = (np.array(x) for x in (reading.mean, reading.low, reading.high))
    return Curve(name, caption, mean, low, high, None if reading.other_mean is None else np.array(reading.other_mean))


def values_of(
    snapshot: Snapshot,
    dataset: PreparedDataset,
    names: tuple[str, str],
    real: dict[str, RealW],
    learned: Axis,
    other: Axis | None,
    readings: Sequence[Reading],
    options: DirectionOptions,
    projector: Projector,
    extractor: Extractor,
) -> dict[str, Any]:
    strange = snapshot.meta.data_content_hash != dataset.content_hash
    return {
        "schema_version": SCHEMA_VERSION,
        "model_hash": snapshot.model_hash,
        "nimg": snapshot.meta.nimg,
        "data_content_hash": dataset.content_hash,
        "trained_on_this_data": not strange,
        "positive": names[0],
        "negative": names[1],
        "projection": {
            "settings": dict(projector.settings),
            **{split: {"images": len(w.w), "subjects": len(np.unique(dataset.subjects[w.positions])),
                       "median_rmse": float(np.median(w.rmse))} for split, w in real.items()},
        },
        "validated": learned.validation.holds,
        "direction": {"sd": learned.sd, "held_out": learned.validation.as_json()},
        "class_means": None if other is None else {
            "sd": other.sd, "held_out": other.validation.as_json(),
            "cosine_with_direction": float(other.vector @ learned.vector),
        },
        "extractor": {"name": extractor.name, "hash": extractor.hash},
        "steps_sd": strip_steps(options.reach),
        "seeds": list(options.seeds),
        "read_seeds": options.read_seeds,
        "readings": [reading.as_json() for reading in readings],
        "seed": options.seed,
    }  # fmt: skip


def sentences_of(values: dict[str, Any], names: tuple[str, str], readings: Sequence[Reading]) -> list[str]:
    test = values["direction"]["held_out"]
    count = test["positive_subjects"] + test["negative_subjects"]
    numbers = (
        f"AUC {test['auc']:.2f} ({test['low']:.2f} to {test['high']:.2f}) on {count} held-out subjects, "
        f"p = {test['p']:.2g} in {test['permutations']} shuffles"
    )
    word = "The direction tells" if test["holds"] else "NOT VALIDATED: the direction cannot be shown to tell"
    lines = [f"{word} {names[0]} from {names[1]}: {numbers}."]
    if test["auc"] == 1.0:
        lines.append("Every pair was ranked right, so that the interval cannot say how far below 1 the truth may lie.")
    if not values["trained_on_this_data"]:
        lines.append("The model was trained on other data: subjects held out here may have been trained on there.")
    for reading in readings:
        what = f"the score for {names[0]}" if reading.auc is not None else reading.name
        tested = f"AUC {reading.auc:.2f}" if reading.auc is not None else f"R2 {reading.r2:.2f}"
        lines.append(
            f"Along the strip {what} goes from {reading.mean[0]:.3g} to {reading.mean[-1]:.3g}, rank correlation "
            f"{reading.rank_correlation:.2f}, rising in {reading.seeds_rising:.0%} of seeds ({tested} on held-out "
            f"subjects; random directions change it by {reading.random_change:.3g} at most)."
        )
    if values["class_means"] is not None:
        other = values["class_means"]
        lines.append(
            f"For comparison the difference of the classes' mean w: AUC {other['held_out']['auc']:.2f} on the same "
            f"subjects, cosine {other['cosine_with_direction']:.2f} with the learned direction."
        )
    return lines
