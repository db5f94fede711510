"""The report as files: `report.json` for programs, and `report.html`, one page that needs no network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.errors import ConfigError
from stylescan.evaluate.material import Material
from stylescan.evaluate.metrics import METRICS
from stylescan.evaluate.pictures import curve_uri, montage, png_uri, spread_over_subjects
from stylescan.evaluate.reference import nearest
from stylescan.evaluate.words import number, ratio
from stylescan.files import write_bytes_atomic, write_json_atomic
from stylescan.randomness import numpy_generator

COLUMNS = 6
PER_GRID = 24
GALLERY = 6
NEIGHBOURS = 3


@contextmanager
def claimed_folder(out_dir: Path) -> Iterator[None]:
    """Make `out_dir` before minutes of work go into a report; ConfigError where that is not possible.

    What was made is removed again where the work fails.
    """
    made = [folder for folder in (out_dir, *out_dir.parents) if not folder.exists()]
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigError(
            f"{out_dir}: the report cannot be written ({problem.strerror})", remedy="Choose another --out."
        ) from None
    if not os.access(out_dir, os.W_OK):
        raise ConfigError(f"{out_dir}: the report cannot be written (no permission)", remedy="Choose another --out.")
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):  # somebody else has put something there
                folder.rmdir()
        raise


def write_report(
    out_dir: Path, report: dict[str, Any], material: Material, pictures: Mapping[str, dict[str, Any]]
) -> tuple[Path, Path]:
    """Write report.html, then report.json, into `out_dir`; their paths. ConfigError where that is not possible.

    pictures : those of each part, by the part's name.
    """
    html, json_path = out_dir / "report.html", out_dir / "report.json"
    page = render_html(report, material, pictures)
    try:
        write_bytes_atomic(html, page.encode())
        write_json_atomic(json_path, report)
    except OSError as problem:
        raise ConfigError(
            f"{out_dir}: the report cannot be written ({problem.strerror})", remedy="Choose another --out."
        ) from None
    return html, json_path


def render_html(report: dict[str, Any], material: Material, pictures: Mapping[str, dict[str, Any]]) -> str:
    """The page as text. All values are escaped; every picture is inside."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("stylescan.evaluate", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["ratio"] = ratio
    template = environment.get_template("report.html.j2")
    return template.render(
        report=report,
        titles={name: metric.title for name, metric in METRICS.items()},
        grids=_grids(material),
        gallery=_gallery(material),
        curve=_curve(report["training"]),
        parts=pictures,
    )


def _grids(material: Material) -> list[dict[str, Any]]:
    """A pair of grids a class (one pair without classes): held-out real beside generated."""
    names = material.dataset.class_names
    classes: list[tuple[str | None, int]] = [(name, label) for label, name in enumerate(names)]
    if not names or (material.generated.labels < 0).any():
        classes = [(None, -1)]
    grids = []
    for name, label in classes:
        real = np.flatnonzero(material.holdout.labels == label) if name else np.arange(len(material.holdout.indices))
        fake = np.flatnonzero(material.generated.labels == label) if name else np.arange(material.n)
        grids.append({"class": name, "real": _real_grid(material, real), "generated": _fake_grid(material, fake)})
    return grids


def _real_grid(material: Material, among: NDArray[np.int64]) -> str | None:
    held = material.holdout
    chosen = spread_over_subjects(held.subjects[among], PER_GRID, numpy_generator(material.seed, "report_reals"))
    if not len(chosen):
        return None
    return png_uri(montage(material.dataset.read(held.indices[among[chosen]]), COLUMNS))


def _fake_grid(material: Material, among: NDArray[np.int64]) -> str | None:
    # The first ones as they come: never a choice of the best.
    return png_uri(montage(material.generated.images[among[:PER_GRID]], COLUMNS)) if len(among) else None


def _gallery(material: Material) -> list[dict[str, Any]]:
    """Generated images, each with its nearest training images in feature space."""
    train = material.train
    if not len(train.indices):
        return []
    shown = np.arange(min(GALLERY, material.n))
    found = nearest(material.features[shown], train.features, NEIGHBOURS)
    return [
        {
            "generated": png_uri(montage(material.generated.images[i : i + 1], 1)),
            "neighbours": [
                png_uri(montage(material.dataset.read(train.indices[j : j + 1]), 1)) for j in found[row].tolist()
            ],
        }
        for row, i in enumerate(shown.tolist())
    ]


def _curve(training: list[dict[str, float]]) -> str | None:
    if len(training) < 2:
        return None
    kimg = [row["nimg"] / 1000 for row in training]
    values = [row["kid"] for row in training]
    return curve_uri(kimg, values, kimg[int(np.argmin(values))])
