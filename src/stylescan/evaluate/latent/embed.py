"""Pictures of one model's w: generated images and projected real ones, by class and by what the manifest records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError, DataError
from stylescan.evaluate.latent.columns import Column, column_names, read_column
from stylescan.evaluate.latent.embed_record import (
    EmbedOptions,
    View,
    Written,
    points_csv,
    sentence_of,
    values_of,
)
from stylescan.evaluate.latent.embedding import fit_pca, fit_umap, have_umap, sampled_w
from stylescan.evaluate.latent.latent_pictures import Panel, scatter_sheet
from stylescan.evaluate.latent.probe import Probe, probe_classes, probe_numbers, probe_subjects
from stylescan.evaluate.latent.projected import Projector, RealW, projected_w, spread_positions
from stylescan.files import write_bytes_atomic, write_json_atomic
from stylescan.generate.sample import draw_labels
from stylescan.generate.snapshot import Snapshot

Progress = Callable[[int, int, str], None]


def embed(
    snapshot: Snapshot,
    dataset: PreparedDataset | None,
    out: Path,
    options: EmbedOptions,
    projector: Projector,
    progress: Progress | None = None,
) -> Written:
    """Write pca.png, umap.png, embedding.json and points.csv to `out`.

    PCA's axes are those of the generated w, real ones are drawn on them; UMAP is fitted to both. Raises ConfigError
    for options that ask for nothing or for what is not there, DataError where the split is empty.
    """
    _check(options, dataset)
    seeds = list(range(options.seed * 1_000_000, options.seed * 1_000_000 + options.count))
    labels = draw_labels(seeds, snapshot.meta)
    generated = sampled_w(snapshot, seeds, labels)
    real, columns = _real(snapshot, dataset, out, options, projector, progress)
    subjects = np.empty(0, np.str_) if dataset is None else dataset.subjects[real.positions]
    views = [
        *_generated_views(snapshot, generated, np.array(labels, np.int64), options),
        *(View("real", column, _probe(real.w, column, subjects, options)) for column in columns),
    ]
    sentences = [sentence_of(view, snapshot) for view in views]
    maps = _maps(generated, real.w, options, progress)
    files = []
    for name, (points, axis_names) in maps.items():
        panels = [_panel(view, points, len(generated), text) for view, text in zip(views, sentences)]
        files.append(out / f"{name}.png")
        write_bytes_atomic(files[-1], scatter_sheet(panels, axis_names, _title(snapshot, name, len(real.w))))
    values = values_of(snapshot, dataset, options, projector, real, views, sentences, maps)
    write_json_atomic(out / "embedding.json", values)
    write_bytes_atomic(out / "points.csv", points_csv(seeds, labels, real, maps))
    notes = values["notes"]
    return Written([*files, out / "embedding.json", out / "points.csv"], [*sentences, *notes], values)


def _check(options: EmbedOptions, dataset: PreparedDataset | None) -> None:
    if options.count < 0 or options.project < 0 or options.count + options.project < 10:
        raise ConfigError(
            f"embed: found {options.count} generated and {options.project} real images, expected at least 10 in all",
            remedy="Give --count 1000, or --project 100 as well.",
        )
    if options.per_subject < 1 or options.permutations < 1:
        raise ConfigError("embed: slices a subject and permutations must be 1 or more", remedy="Give larger numbers.")
    if options.method == "umap" and not have_umap():
        fit_umap(np.empty((0, 2)))  # raises with the remedy
    if options.project and dataset is None:
        raise ConfigError("--project: no data given", remedy="Give the prepared data (--data).")
    of_real = [name for name in options.colours if name != "class"]
    if of_real and not options.project:
        raise ConfigError(
            f"--colour {of_real[0]}: known of real images only, and none are to be projected",
            remedy="Give --project 100 as well.",
        )
    for name in of_real:
        if dataset is not None:
            read_column(dataset, name, np.empty(0, np.int64))


def _real(
    snapshot: Snapshot,
    dataset: PreparedDataset | None,
    out: Path,
    options: EmbedOptions,
    projector: Projector,
    progress: Progress | None,
) -> tuple[RealW, list[Column]]:
    if dataset is None or not options.project:
        nothing = np.empty(0, np.float32)
        return RealW(
            np.empty(0, np.int64), np.empty((0, snapshot.generator.spec.w_dim), np.float32), nothing, nothing
        ), []
    rows = dataset.indices(options.split)
    if not len(rows):
        raise DataError(f"{dataset.path}: no images in split {options.split}", remedy="Choose another --split.")
    positions = spread_positions(
        dataset, rows, options.project, per_subject=options.per_subject, seed=options.seed, matched=False
    )
    real = projected_w(projector, snapshot, dataset, positions, out / "projections", progress)
    names = options.colours or column_names(dataset)
    return real, [read_column(dataset, name, positions) for name in names]


def _generated_views(
    snapshot: Snapshot, w: NDArray[np.float32], labels: NDArray[np.int64], options: EmbedOptions
) -> list[View]:
    if not len(w):
        return []
    if not snapshot.meta.class_names or (options.colours and "class" not in options.colours):
        return [View("generated", None, None)]
    column = Column("class", "category", labels, tuple(snapshot.meta.class_names))
    alone = np.arange(len(w))
    return [
        View("generated", column, probe_classes(w, labels, alone, permutations=options.permutations, seed=options.seed))
    ]


def _probe(w: NDArray[np.float32], column: Column, subjects: NDArray[Any], options: EmbedOptions) -> Probe:
    if column.kind == "subject":
        return probe_subjects(w, subjects, permutations=options.permutations, seed=options.seed)
    probe = probe_numbers if column.kind == "number" else probe_classes
    return probe(w, column.values, subjects, permutations=options.permutations, seed=options.seed)


def _maps(
    generated: NDArray[np.float32], real: NDArray[np.float32], options: EmbedOptions, progress: Progress | None
) -> dict[str, tuple[NDArray[np.float64], tuple[str, str]]]:
    """Points [generated + real, 2] and names of the axes of each method."""
    points = np.concatenate([generated, real])
    maps = {}
    if options.method in ("pca", "both"):
        pca = fit_pca(generated if len(generated) >= 10 else points)
        names = [f"principal axis {k + 1} ({100 * pca.share[k]:.0f} % of the variance)" for k in range(2)]
        maps["pca"] = (pca.transform(points), (names[0], names[1]))
    if options.method == "umap" or (options.method == "both" and have_umap()):
        if progress is not None:
            progress(0, 1, "UMAP (compiles for about half a minute first)")
        maps["umap"] = (fit_umap(points, seed=options.seed), ("UMAP axis 1 (no unit)", "UMAP axis 2 (no unit)"))
        if progress is not None:
            progress(1, 1, "UMAP (compiles for about half a minute first)")
    return maps


def _panel(view: View, points: NDArray[np.float64], n_generated: int, text: str) -> Panel:
    nothing = np.empty((0, 2))
    if view.of == "generated":
        title = "generated" if view.column is None else "generated, by class"
        return Panel(title, text, points[:n_generated], view.column, nothing)
    assert view.column is not None
    title = f"real, projected, by {view.column.name}"
    return Panel(title, text, points[n_generated:], view.column, points[:n_generated])


def _title(snapshot: Snapshot, name: str, n_real: int) -> str:
    over = ", over generated w in grey" if n_real else ""
    return (
        f"w of model {snapshot.model_hash[:12]} at {snapshot.meta.nimg / 1000:g} thousand images, {name.upper()}{over}"
    )
