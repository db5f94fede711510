"""`evaluate`: judge a run, a snapshot or a folder of images on held-out subjects, and write the report.

`report.json` has these top-level keys, which stay: `schema_version`, `full`, `subject` (what was judged), `data`,
`extractor`, `metrics` (`n`, `headline`, one entry a metric, `classes`, `reached`), `rows`, `verdicts` (what to read first),
`interpretation` (sentences, the verdict on distance first), `notice`, `notices`, `notes`, `training` (scores on
`select`), `curves` (of the training log), `configuration` (of the run), `provenance`, and one key a part: `audit`
(`verdict`, `reason`, `ran`, ...); with --full also `conditional`, `utility`, `projection` and `reader_study`. Equal
inputs give equal bytes: it holds no time, path or host.
"""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylescan import __version__
from stylescan.data.prepared import SPLITS, PreparedDataset
from stylescan.errors import ConfigError
from stylescan.evaluate.arguments import check_seed, claimed_folder
from stylescan.evaluate.cache import Progress
from stylescan.evaluate.features import Extractor, get_extractor
from stylescan.evaluate.latent import projection_part
from stylescan.evaluate.material import Material, gather, holdout_positions
from stylescan.evaluate.memorisation import audit
from stylescan.evaluate.origin import read_configuration
from stylescan.evaluate.parts import Part, PartRunner
from stylescan.evaluate.reached import score_reached
from stylescan.evaluate.readers.pack import reader_study_part
from stylescan.evaluate.report import write_report
from stylescan.evaluate.scores import headline_metric, score_classes, score_metrics, score_rows
from stylescan.evaluate.targets import MIN_IMAGES, Target, open_target
from stylescan.evaluate.training_log import read_curves, read_scores
from stylescan.evaluate.utility import part as utility
from stylescan.evaluate.verdicts import audit_card, cards
from stylescan.evaluate.words import interpretation

SCHEMA_VERSION = 1
# Each becomes a key of report.json, in this order, and a template of the same name; those of FULL come with --full.
PARTS: dict[str, PartRunner] = {"audit": audit.run}
FULL_PARTS: dict[str, PartRunner] = {
    "conditional": utility.run_conditional,
    "utility": utility.run_utility,
    "projection": projection_part.run,
}
SYNTHETIC = "SYNTHETIC - not for diagnosis"


@dataclass(frozen=True)
class EvaluationResult:
    """The report's JSON values and the two files that hold them."""

    report: dict[str, Any]
    html: Path
    json: Path

    @property
    def verdict(self) -> str:
        """The audit's verdict: pass, warn, fail or cannot tell."""
        return str(self.report["audit"]["verdict"])


def evaluate(
    target: str | Path,
    dataset: PreparedDataset | str | Path,
    out_dir: str | Path,
    *,
    extractor: str | Extractor = "efficientnet-lite0",
    n: int | None = None,
    seed: int = 0,
    psi: float = 1.0,
    full: bool = False,
    notices: Sequence[str] = (),
    progress: Progress | None = None,
) -> EvaluationResult:
    """Judge generated images against held-out subjects; write `out_dir`/report.json and report.html.

    Parameters
    ----------
    target : a run folder, a snapshot folder, or a folder of PNG images made by any generator.
    dataset : the prepared data, or its folder. Its `holdout` split is read, and `train` for the floor.
    extractor : a name of EXTRACTORS, the path of a TorchScript or ONNX file, or an object.
    n : images to judge, 10 or more; the number of held-out slices by default, 2,000 at most.
    seed : decides generated images, draws for the floor and groups of the intervals.
    psi : truncation of the generator; 1 = none.
    full : use every held-out slice, however many, and add FULL_PARTS and a reader-study pack in `out_dir`.
    notices : terms of the data, shown with the report.

    Raises a StylescanError where the data has no hold-out, or the target does not fit the data.
    """
    if n is not None and n < MIN_IMAGES:
        raise ConfigError(f"n is {n} (--count), expected at least {MIN_IMAGES}", remedy="Ask for more.")
    if not math.isfinite(psi):
        raise ConfigError(f"psi is {psi} (--psi), expected a finite number", remedy="Leave it at 1.")
    check_seed(seed)
    data = dataset if isinstance(dataset, PreparedDataset) else PreparedDataset.open(dataset)
    holdout_positions(data)  # refuse before any network is loaded
    opened = open_target(target, data, psi=psi)
    with claimed_folder(Path(out_dir)):
        material = gather(opened, data, get_extractor(extractor), n=n, seed=seed, full=full, progress=progress)
    parts = _run_parts(material, Path(out_dir) if full else None, progress)
    report = _report(opened, material, parts, progress) | {
        "full": full,
        "notices": list(notices),
        "training": read_scores(opened.log),
        "curves": read_curves(opened.log, opened.describe().get("nimg")),
        "configuration": read_configuration(Path(target)),
        "provenance": _provenance(),
    }
    pictures = {name: part.pictures for name, part in parts.items()}
    html, json_path = write_report(Path(out_dir), report, material, pictures)
    return EvaluationResult(report, html, json_path)


def _run_parts(material: Material, full_into: Path | None, progress: Progress | None) -> dict[str, Part]:
    """PARTS; with a folder also FULL_PARTS and a reader-study pack in it."""
    runners = PARTS if full_into is None else PARTS | FULL_PARTS
    parts = {name: run(material, progress) for name, run in runners.items()}
    if full_into is not None:
        parts["reader_study"] = reader_study_part(material, full_into, progress)
    return parts


def _report(target: Target, material: Material, parts: dict[str, Part], progress: Progress | None) -> dict[str, Any]:
    """All that the images say: numbers, rows, verdicts and the values of the parts."""
    metrics = score_metrics(material, progress)
    rows = score_rows(material, metrics, progress)
    headline, reached = headline_metric(material), score_reached(material)
    extractor = material.extractor
    return {
        "schema_version": SCHEMA_VERSION,
        "notice": SYNTHETIC,
        "subject": target.describe() | {"n": material.n, "seed": material.seed},
        "data": _data(material),
        "extractor": {"name": extractor.name, "hash": extractor.hash, "dim": extractor.dim},
        "metrics": {
            "n": material.n,
            "headline": headline,
            **metrics,
            "classes": score_classes(material),
            "reached": reached,
        },
        "rows": rows,
        **{name: part.values for name, part in parts.items()},
        "verdicts": [*cards(headline, metrics, rows, reached), audit_card(parts["audit"].values)],
        "interpretation": interpretation(headline, metrics, rows),
        "notes": material.notes,
    }


def _data(material: Material) -> dict[str, Any]:
    dataset, held = material.dataset, material.holdout
    splits = {}
    for split in SPLITS:
        positions = dataset.indices(split)
        splits[split] = {"slices": len(positions), "subjects": len(np.unique(dataset.subjects[positions]))}
    return {
        "content_hash": dataset.content_hash,
        "preparation_hash": dataset.preparation_hash,
        # Equal only for the same slices of the same data.
        "holdout_hash": hashlib.sha256(
            dataset.content_hash.encode() + held.indices.astype("<i8").tobytes()
        ).hexdigest(),
        "claim": dataset.manifest.claim,
        "resolution": dataset.resolution,
        "channels": dataset.channels,
        "bits": dataset.bits,
        "class_names": list(dataset.class_names),
        "splits": splits,
        "holdout_used": {"slices": len(held.indices), "subjects": held.num_subjects},
    }


def _provenance() -> dict[str, str]:
    return {
        "stylescan": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
