"""What `stylescan embed` is asked for and what it says: options, sentences, the JSON and the table of points."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset, Split
from stylescan.evaluate.latent.columns import Column
from stylescan.evaluate.latent.embedding import have_umap
from stylescan.evaluate.latent.latent_pictures import SUBJECTS_SHOWN
from stylescan.evaluate.latent.probe import PERMUTATIONS, Probe
from stylescan.evaluate.latent.projected import Projector, RealW
from stylescan.generate.sample import NO_CLASS
from stylescan.generate.snapshot import Snapshot

Method = Literal["pca", "umap", "both"]
SCHEMA_VERSION = 1
PUT_IN = "The class was put into the mapping, so this says only that the mapping uses it, not that the images show it."
NO_UMAP = "UMAP left out: the package umap-learn is not installed (pip install 'stylescan[analysis]')."


@dataclass(frozen=True)
class EmbedOptions:
    """count : generated w. project : real slices, about. per_subject : of them, more where subjects are few.

    colours : columns; every one there is if empty. method : `both` leaves UMAP out, with a word, where it is not
    installed.
    """

    count: int = 1000
    project: int = 0
    split: Split = "train"
    per_subject: int = 2
    colours: tuple[str, ...] = ()
    method: Method = "both"
    seed: int = 0
    permutations: int = PERMUTATIONS


@dataclass(frozen=True)
class Written:
    """The files made, and what they say, in sentences; `values` are those of the JSON."""

    files: list[Path]
    sentences: list[str]
    values: dict[str, Any]


@dataclass(frozen=True)
class View:
    """A column of generated or of real images, and its probe."""

    of: Literal["generated", "real"]
    column: Column | None
    probe: Probe | None


def sentence_of(view: View, snapshot: Snapshot) -> str:
    if view.column is None or view.probe is None:
        return "Generated images: nothing is known of them that w could be probed for."
    what = f"{'Generated' if view.of == 'generated' else 'Real'} images, {view.column.name}:"
    text = f"{what} {probe_words(view.probe)}"
    if view.of == "generated":
        return f"{text} {PUT_IN}"
    if view.column.kind == "subject":
        many = len(view.column.names)
        shown = f" {SUBJECTS_SHOWN} of {many} subjects in colour." if many > SUBJECTS_SHOWN else ""
        return (
            f"{text} Slices of like depth are near too. An AUC by subject cannot be had: held-out ones are new.{shown}"
        )
    if view.column.left_out:
        text += f" The {view.column.left_out} rarest values are grey and left out."
    return text


def probe_words(probe: Probe) -> str:
    """For instance 'AUC 0.81 (chance 0.5), p = 0.003 in 999 shuffles (smallest possible 0.001); 40 subjects.'"""
    names = {
        "auc": "AUC",
        "r2": "R2 on held-out subjects",
        "same-subject share": "nearest neighbour of the same subject",
    }
    name = names[probe.measure]
    if probe.value is None or probe.p is None:
        return f"no {name}: {probe.reason}."
    if probe.measure == "auc" and len(probe.classes) > 2:
        name = f"AUC, mean of {len(probe.classes)} classes against the rest,"
    value = f"{probe.value:.0%}" if probe.measure == "same-subject share" else f"{probe.value:.2f}"
    chance = f"{probe.chance:.0%}" if probe.measure == "same-subject share" else f"{probe.chance:g}"
    unit = "images" if probe.n == probe.groups else f"images of {probe.groups} subjects"
    return (
        f"{name} {value} (chance {chance}), p = {probe.p:.3g} in {probe.permutations} shuffles "
        f"(smallest possible {probe.smallest_p:.3g}); {probe.n} {unit}."
    )


def values_of(
    snapshot: Snapshot,
    dataset: PreparedDataset | None,
    options: EmbedOptions,
    projector: Projector,
    real: RealW,
    views: list[View],
    sentences: list[str],
    maps: dict[str, tuple[NDArray[np.float64], tuple[str, str]]],
) -> dict[str, Any]:
    notes = [NO_UMAP] if options.method == "both" and not have_umap() else []
    if "umap" in maps:
        notes.append("UMAP keeps neighbours together; distances between groups and their sizes mean nothing in it.")
    projection = None
    if len(real.w):
        rmse, perceptual = float(np.median(real.rmse)), float(np.median(real.perceptual))
        projection = {
            "settings": dict(projector.settings), "images": len(real.w), "median_rmse": rmse,
            "median_perceptual": perceptual,
        }  # fmt: skip
        notes.append(
            f"Real images were projected without knowing their class; the median projection differs from its image by "
            f"{rmse:.1%} of the full scale (root mean square), and what it misses is not in these pictures."
        )
    probes = [
        {"of": view.of, "column": view.column.name if view.column else None,
         "probe": view.probe.as_json() if view.probe else None, "sentence": text}
        for view, text in zip(views, sentences)
    ]  # fmt: skip
    return {
        "schema_version": SCHEMA_VERSION,
        "model_hash": snapshot.model_hash,
        "nimg": snapshot.meta.nimg,
        "data_content_hash": dataset.content_hash if dataset else None,
        "split": options.split if len(real.w) else None,
        "generated": options.count,
        "seed": options.seed,
        "axes": {name: list(names) for name, (_, names) in maps.items()},
        "projection": projection,
        "probes": probes,
        "notes": notes,
    }


def points_csv(
    seeds: list[int], labels: list[int], real: RealW, maps: dict[str, tuple[NDArray[np.float64], tuple[str, str]]]
) -> bytes:
    """A row an image: kind, seed or position in the data, class put in (generated only), coordinates."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["kind", "number", "class_index", *(f"{name}_{k}" for name in maps for k in (1, 2))])
    rows: list[tuple[str, int, int | str]] = [
        ("generated", seed, "" if label == NO_CLASS else label) for seed, label in zip(seeds, labels)
    ]
    rows += [("real", int(position), "") for position in real.positions]
    for number, row in enumerate(rows):
        writer.writerow([*row, *(f"{value:.6g}" for points, _ in maps.values() for value in points[number])])
    return buffer.getvalue().encode()
