"""The report as files: `report.json` for programs, and `report.html`, one page that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.errors import ConfigError
from stylescan.evaluate.charts import Series, line_chart
from stylescan.evaluate.material import Material
from stylescan.evaluate.metrics import METRICS
from stylescan.evaluate.origin import command_again, configuration_text
from stylescan.evaluate.pictures import COLUMNS, GridPlan, montage, plan_grids, png_uri, spread_over_subjects
from stylescan.evaluate.reference import nearest
from stylescan.evaluate.words import number, ratio
from stylescan.files import write_bytes_atomic, write_json_atomic
from stylescan.pages import render
from stylescan.randomness import numpy_generator

GALLERY = 6
NEIGHBOURS = 3
MAX_SCORE_ROWS = 40
# The titles of parts in the list of contents; another part is called by its name.
PART_TITLES = {
    "audit": "Copies of training images",
    "conditional": "Classes",
    "utility": "Use for training",
    "projection": "Real images in the model",
    "embedding": "Styles",
    "reader_study": "Reader study",
}


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
    """The page as text. All values are escaped; every picture is inside.

    Parts come in the order of `pictures`, the audit first. `verdicts`, `curves` and `configuration` may be missing.
    """
    names = sorted(pictures, key=lambda name: name != "audit")
    plan = _plan(material)
    titles = {name: metric.title for name, metric in METRICS.items() if name in report["metrics"]}
    return render(
        "stylescan.evaluate",
        "report.html.j2",
        {"number": number, "ratio": ratio},
        report=report,
        titles=titles,
        metric_words=[METRICS[name] for name in titles],
        plan=plan,
        grids=_grids(material, plan),
        gallery=[] if "audit" in pictures else _gallery(material),
        charts=_charts(report),
        score_rows=_thinned(report["training"]),
        parts={name: pictures[name] for name in names},
        part_titles={name: PART_TITLES.get(name, name.replace("_", " ").capitalize()) for name in names},
        configuration_text=configuration_text(report.get("configuration")),
        command=command_again(report),
    )


def _classes(material: Material) -> list[tuple[str | None, int]]:
    names = material.dataset.class_names
    if not names or (material.generated.labels < 0).any():
        return [(None, -1)]
    return [(name, label) for label, name in enumerate(names)]


def _plan(material: Material) -> GridPlan:
    return plan_grids(2 * len(_classes(material)), material.dataset.resolution, material.dataset.channels)


def _grids(material: Material, plan: GridPlan) -> list[dict[str, Any]]:
    """A pair of grids a class (one pair without classes): held-out real beside generated."""
    grids = []
    for name, label in _classes(material):
        real = np.flatnonzero(material.holdout.labels == label) if name else np.arange(len(material.holdout.indices))
        fake = np.flatnonzero(material.generated.labels == label) if name else np.arange(material.n)
        grids.append(
            {
                "class": name,
                "real": _real_grid(material, real, plan),
                "generated": _fake_grid(material, fake, plan),
                "real_shown": min(plan.images, len(real)),
                "real_of": len(real),
                "generated_shown": min(plan.images, len(fake)),
                "generated_of": len(fake),
            }
        )
    return grids


def _real_grid(material: Material, among: NDArray[np.int64], plan: GridPlan) -> str | None:
    held = material.holdout
    chosen = spread_over_subjects(held.subjects[among], plan.images, numpy_generator(material.seed, "report_reals"))
    if not len(chosen):
        return None
    return png_uri(montage(material.dataset.read(held.indices[among[chosen]]), COLUMNS, plan.shrink))


def _fake_grid(material: Material, among: NDArray[np.int64], plan: GridPlan) -> str | None:
    # The first ones as they come: never a choice of the best.
    return (
        png_uri(montage(material.generated.images[among[: plan.images]], COLUMNS, plan.shrink)) if len(among) else None
    )


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


def _series(rows: list[dict[str, float]], names: Mapping[str, str]) -> list[Series]:
    """A line for each of `names` (key: title) over kimg, from the rows that have it."""
    return [
        Series(title, [(row["nimg"] / 1000, row[key]) for row in rows if key in row]) for key, title in names.items()
    ]


def _charts(report: dict[str, Any]) -> list[dict[str, str]]:
    """Title, words and SVG of each curve that the run's log has."""
    from markupsafe import Markup

    scores, curves = report["training"], report.get("curves") or {"points": [], "chosen_nimg": None}
    chosen = curves["chosen_nimg"]
    wanted = (
        ("KID on select", "Lower is nearer to the select subjects.", scores, {"kid": "KID"}, True),
        ("Frechet distance on select", "Lower is nearer to the select subjects.", scores, {"fd": "FD"}, True),
        (
            "Losses",
            "Two nets that work against each other: steady is good, low is not.",
            curves["points"],
            {"G_loss": "generator", "D_loss": "discriminator"},
            False,
        ),
        (
            "Discriminator and augmentation",
            "r_t is the mean sign of the discriminator on real images; near 1 it knows the training images by heart. "
            "p is the strength of augmentation against that.",
            curves["points"],
            {"sign_real": "r_t", "augment_p": "p"},
            False,
        ),
    )
    charts = []
    for title, words, rows, names, is_score in wanted:
        svg = line_chart(
            _series(rows, names),
            label=f"{title} over the training images shown, in thousands",
            x_label="training images shown, in thousands",
            log_y=is_score,
            dots=is_score,
            mark=None if chosen is None else chosen / 1000,
        )
        if svg is not None:
            charts.append({"title": title, "words": words, "svg": Markup(svg)})
    return charts


def _thinned(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """At most about MAX_SCORE_ROWS of the scores for a table, evenly, the best and the last among them."""
    if len(rows) <= MAX_SCORE_ROWS:
        return rows
    step = -(-len(rows) // MAX_SCORE_ROWS)
    best = min(range(len(rows)), key=lambda i: rows[i].get("kid", np.inf))
    return [row for i, row in enumerate(rows) if i % step == 0 or i in (best, len(rows) - 1)]
