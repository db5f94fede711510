"""The demo's population: virtual subjects with known truth, made from one brain template, with no data and no network.

Each subject is the MNI152 template under a smooth random warp of its own, with its own tissue contrast, bias field and
noise. Two classes, 'control' and 'atrophy', differ in one thing: the volume of the lateral ventricles. Its factor is
lognormal with overlapping classes, so that nobody who sees the factor alone can tell them apart with more than
`bayes_accuracy()`, about .85. Each slice's true ventricle area stands in the list of images.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import NormalDist

from PIL import Image

from stylescan.data.demo_anatomy import DEMO_NOTICE, FACTOR_RANGE, load_template, ventricle_flow
from stylescan.data.demo_subject import (
    FACTOR_MEDIANS,
    FACTOR_SIGMA,
    FIELD_OF_VIEW_MM,
    SLICE_RANGE_MM,
    Slices,
    VirtualSubject,
    draw_subject,
    render_subject,
)
from stylescan.errors import ConfigError, DataError
from stylescan.files import read_json, write_bytes_atomic, write_json_atomic

__all__ = ["COLUMNS", "DEMO_NOTICE", "bayes_accuracy", "write_population"]

COLUMNS = ("path", "subject", "label", "slice", "ventricle_area_mm2", "ventricle_factor", "z_mm")

Progress = Callable[[int, int, str], None]


def bayes_accuracy() -> float:
    """The best accuracy in telling the classes apart from the ventricle factor: Phi(|difference of means| / 2 sigma).

    The logarithms are normal with equal variances, so the best threshold lies half way between the means. Clipping to
    FACTOR_RANGE moves nothing across it.
    """
    difference = math.log(FACTOR_MEDIANS["atrophy"] / FACTOR_MEDIANS["control"])
    return NormalDist().cdf(difference / (2 * FACTOR_SIGMA))


def write_population(
    folder: str | Path,
    *,
    subjects: int = 60,
    seed: int = 0,
    resolution: int = 128,
    slices_per_subject: int = 24,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the demo's virtual subjects into `folder` and return their list, `population.csv`, which `prepare` reads.

    A folder that holds the same population, whole or in part, is completed. Equal arguments give equal bytes.

    Parameters
    ----------
    folder
        New or empty. Receives `images/*.png` (8-bit grey squares), `population.csv` (COLUMNS: one row an image) and
        `population.json` (settings, class parameters, the template's terms).
    subjects
        At least 2, half of each class.
    seed
        0 or more.
    resolution
        32 to 512 pixels over 204.8 mm.
    slices_per_subject
        1 to 64.
    workers
        Threads, by default one a core up to 8.
    progress
        Called with (subjects done, subjects, what).

    Raises
    ------
    ConfigError
        For arguments out of range, a folder in use, or where nilearn is missing.

    Example
    -------
    >>> table = write_population(folder / "scans", subjects=2, resolution=32, slices_per_subject=2)
    >>> table.name, len(list(table.parent.glob("images/*.png")))
    ('population.csv', 4)
    """
    folder = Path(folder)
    _check("subjects", subjects, 2, 9999)
    _check("seed", seed, 0, 2**63 - 1)
    _check("resolution", resolution, 32, 512)
    _check("slices_per_subject", slices_per_subject, 1, 64)
    _check("workers", workers if workers is not None else 1, 1, 256)
    facts = _facts(subjects, seed, resolution, slices_per_subject)
    table = folder / "population.csv"
    if _claim(folder, facts) and table.is_file():
        return table
    template = load_template()
    flow = ventricle_flow(template)

    def one(index: int) -> list[tuple[object, ...]]:
        subject = draw_subject(seed, index)
        made = render_subject(subject, template, flow, seed=seed, resolution=resolution, slices=slices_per_subject)
        return list(_write_subject(folder, subject, made))

    rows: list[tuple[object, ...]] = []
    # Threads, not processes: the interpolation releases the GIL, and the template and its flow are shared.
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for done, part in enumerate(pool.map(one, range(subjects)), start=1):
            rows += part
            if progress:
                progress(done, subjects, "virtual subjects")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    write_bytes_atomic(table, text.getvalue().encode())
    return table


def _write_subject(folder: Path, subject: VirtualSubject, made: Slices) -> Iterator[tuple[object, ...]]:
    for index, (image, area, z) in enumerate(zip(made.images, made.ventricle_area_mm2, made.z_mm)):
        path = f"images/{subject.name}_slice-{index:02d}.png"
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG", optimize=False, compress_level=6)
        write_bytes_atomic(folder / path, stream.getvalue())
        yield path, subject.name, subject.label, index, f"{area:.2f}", f"{subject.ventricle_factor:.4f}", f"{z:.2f}"


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(
            f"{name}: found {value}, expected a whole number from {low} to {high}", remedy=f"choose another {name}"
        )


def _facts(subjects: int, seed: int, resolution: int, slices_per_subject: int) -> dict[str, object]:
    return {
        "kind": "stylescan demo population",
        "version": 1,
        "subjects": subjects,
        "seed": seed,
        "resolution": resolution,
        "slices_per_subject": slices_per_subject,
        "spacing_mm": FIELD_OF_VIEW_MM / resolution,
        "orientation": "axial; rows anterior to posterior, columns from the patient's left to right (neurological)",
        "slice_range_mni_z_mm": list(SLICE_RANGE_MM),
        "ventricle_factor": {
            "distribution": "lognormal",
            "medians": FACTOR_MEDIANS,
            "sigma": FACTOR_SIGMA,
            "clipped_to": list(FACTOR_RANGE),
            "bayes_accuracy": round(bayes_accuracy(), 4),
        },
        "notice": DEMO_NOTICE,
    }


def _claim(folder: Path, facts: dict[str, object]) -> bool:
    """Mark an empty folder as this population's. True where it already is; ConfigError where it holds anything else."""
    settings = folder / "population.json"
    remedy = "name another folder, or remove this one"
    if settings.exists():
        found = read_json(settings, DataError, remedy=remedy)
        if found != json.loads(json.dumps(facts)):
            raise ConfigError(f"{settings}: another demo population lives here, with other settings", remedy=remedy)
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: expected a new or empty folder, found other content", remedy=remedy)
    write_json_atomic(settings, facts)
    return False
