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
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stylescan.data.demo_anatomy import (
    DEMO_NOTICE,
    FACTOR_RANGE,
    Floats,
    Template,
    VentricleFlow,
    jacobian_determinant,
    load_template,
    ventricle_flow,
)
from stylescan.errors import ConfigError, DataError
from stylescan.files import read_json, write_bytes_atomic, write_json_atomic
from stylescan.randomness import numpy_generator

LABELS = ("control", "atrophy")
# Medians of the ventricles' volume over the template's, and the standard deviation of its logarithm in both classes.
FACTOR_MEDIANS = {"control": 0.90, "atrophy": 2.06}
FACTOR_SIGMA = 0.40
FIELD_OF_VIEW_MM = 204.8
SLICE_RANGE_MM = (-4.0, 32.0)  # MNI z: from the frontal horns' floor to the roof of the ventricles' bodies
CENTRE_MM = (0.0, -16.0, 12.0)  # the middle of the brain in this range; the middle of every picture
COARSE_MM = 2.0  # the warp is smooth: it is worked out on this grid and interpolated
COLUMNS = ("path", "subject", "label", "slice", "ventricle_area_mm2", "ventricle_factor", "z_mm")

Progress = Callable[[int, int, str], None]


def bayes_accuracy() -> float:
    """The best accuracy in telling the classes apart from the ventricle factor: Phi(|difference of means| / 2 sigma).

    The logarithms are normal with equal variances, so the best threshold lies half way between the means. Clipping to
    FACTOR_RANGE moves nothing across it.
    """
    difference = math.log(FACTOR_MEDIANS["atrophy"] / FACTOR_MEDIANS["control"])
    return NormalDist().cdf(difference / (2 * FACTOR_SIGMA))


@dataclass(frozen=True)
class VirtualSubject:
    """Everything that is random about one subject, except the noise.

    scale : size of the head over the template's (right, anterior, superior). angles : pitch, roll, yaw in radians.
    lattices : ((spacing_mm, coefficients [3, i, j, k] in mm), ...), cubic B-spline displacements (Rueckert 1999).
    tissue : intensity of fluid, grey and white matter in [0, 1]. bias : coefficients [i, j, k] of the log bias field.
    noise : standard deviation of the Rician noise's two parts, of full scale.
    """

    index: int
    label: str
    ventricle_factor: float
    scale: NDArray[np.float64]
    angles: NDArray[np.float64]
    shift_mm: NDArray[np.float64]
    lattices: tuple[tuple[float, NDArray[np.float64]], ...]
    tissue: tuple[float, float, float]
    bias: NDArray[np.float64]
    noise: float

    @property
    def name(self) -> str:
        return f"virtual-{self.index:04d}"


def draw_subject(seed: int, index: int) -> VirtualSubject:
    """Subject `index` (from 0) of population `seed`: the same in a population of any size.

    Subjects 2k and 2k+1 are one of each class, in an order drawn for the pair, so an even number is always balanced.
    """
    swap = int(numpy_generator(seed, "demo.pair", index // 2).integers(2))
    label = LABELS[(index + swap) % 2]
    random = numpy_generator(seed, "demo.subject", index)
    factor = FACTOR_MEDIANS[label] * math.exp(FACTOR_SIGMA * random.standard_normal())
    white = random.uniform(0.74, 0.92)
    grey = white * random.uniform(0.60, 0.78)
    fluid = white * random.uniform(0.12, 0.30)
    return VirtualSubject(
        index=index,
        label=label,
        ventricle_factor=float(np.clip(factor, *FACTOR_RANGE)),
        scale=np.clip(np.exp(random.normal(-0.04, 0.035) + random.normal(0, 0.035, 3)), 0.86, (1.08, 1.03, 1.08)),
        angles=np.deg2rad(np.clip(random.normal(0, (4.0, 2.0, 3.0)), -9, 9)),
        shift_mm=random.normal(0, (1.5, 1.0, 1.5)),
        lattices=_unfolded(((44.0, _lattice(random, 44.0, 6.5)), (18.0, _lattice(random, 18.0, 2.5)))),
        tissue=(fluid, grey, white),
        bias=random.normal(0, 0.16, _lattice_shape(70.0)),
        noise=float(random.uniform(0.008, 0.03)),
    )


def _extent_mm() -> tuple[tuple[float, float], ...]:
    half = FIELD_OF_VIEW_MM / 2
    return ((-half, half), (CENTRE_MM[1] - half, CENTRE_MM[1] + half), (-30.0, 56.0))


def _lattice_shape(spacing_mm: float) -> tuple[int, int, int]:
    a, b, c = (math.ceil((high - low) / spacing_mm) + 3 for low, high in _extent_mm())
    return a, b, c


def _lattice(random: np.random.Generator, spacing_mm: float, sigma_mm: float) -> NDArray[np.float64]:
    return random.normal(0, sigma_mm, (3, *_lattice_shape(spacing_mm)))


def _spline_weights(points: NDArray[np.float64], axis: int, spacing_mm: float) -> NDArray[np.float64]:
    """[points, nodes]: the cubic B-spline of every lattice node at every point of one axis."""
    node = np.arange(_lattice_shape(spacing_mm)[axis]) - 1.0
    u = np.abs((points[:, None] - _extent_mm()[axis][0]) / spacing_mm - node)
    return np.where(u < 1, 2 / 3 - u**2 + u**3 / 2, np.clip(2 - u, 0, None) ** 3 / 6)


def _spline(
    axes: tuple[NDArray[np.float64], ...], spacing_mm: float, lattice: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The spline with coefficients [..., i, j, k] on the grid of three axes: [..., x, y, z]."""
    weights = [_spline_weights(points, axis, spacing_mm) for axis, points in enumerate(axes)]
    for w in weights:  # contracts the first of the last three axes and appends the result: three times is a full turn
        lattice = np.tensordot(lattice, w, axes=(lattice.ndim - 3, 1))
    return lattice


def _unfolded(lattices: tuple[tuple[float, NDArray[np.float64]], ...]) -> tuple[tuple[float, NDArray[np.float64]], ...]:
    """The displacements, shrunk until the map they give has a Jacobian determinant above .25 everywhere."""
    axes = tuple(np.arange(low, high + 1, 6.0) for low, high in _extent_mm())
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    while True:
        displacement = sum((_spline(axes, spacing, c) for spacing, c in lattices), np.zeros_like(grid))
        if jacobian_determinant((grid + displacement).astype(np.float32), (6.0, 6.0, 6.0)).min() > 0.25:
            return lattices
        lattices = tuple((spacing, 0.85 * c) for spacing, c in lattices)


def slice_positions_mm(slices_per_subject: int) -> NDArray[np.float64]:
    """MNI z of each slice, evenly over SLICE_RANGE_MM."""
    return np.linspace(*SLICE_RANGE_MM, slices_per_subject + 2)[1:-1]


def source_points(subject: VirtualSubject, flow: VentricleFlow, axes: tuple[NDArray[np.float64], ...]) -> Floats:
    """Where in the template every point of the picture grid comes from: [3, x, y, z] mm, for three axes in mm."""
    from scipy.spatial.transform import Rotation

    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    for spacing, lattice in subject.lattices:
        points = points + _spline(axes, spacing, lattice)
    matrix = Rotation.from_euler("xyz", subject.angles).as_matrix() / subject.scale[None, :]
    centre = np.array(CENTRE_MM).reshape(3, 1, 1, 1)
    points = np.tensordot(matrix, points - centre, axes=1) + centre + subject.shift_mm.reshape(3, 1, 1, 1)
    return flow.apply(points.astype(np.float32), subject.ventricle_factor)


@dataclass(frozen=True)
class Slices:
    """One subject's pictures: images uint8 [S, R, R], anterior at the top and the patient's left on the left."""

    images: NDArray[np.uint8]
    ventricle_area_mm2: NDArray[np.float64]
    z_mm: NDArray[np.float64]


def render_subject(
    subject: VirtualSubject, template: Template, flow: VentricleFlow, *, seed: int, resolution: int, slices: int
) -> Slices:
    """The subject's axial slices and the true area of the lateral ventricles in each, both through the same warp."""
    spacing_mm = FIELD_OF_VIEW_MM / resolution
    over = max(1, math.ceil(spacing_mm / 0.8 - 1e-9))  # sampled at 0.8 mm or finer, then averaged: no aliasing
    half = FIELD_OF_VIEW_MM / 2
    fine = (np.arange(resolution * over) + 0.5) * spacing_mm / over - half
    coarse = np.linspace(-half, half, round(FIELD_OF_VIEW_MM / COARSE_MM) + 1)
    positions = slice_positions_mm(slices)
    # Slices keep their place in the anatomy whatever the size of the head.
    z = CENTRE_MM[2] + (positions - CENTRE_MM[2]) * subject.scale[2]
    warp = source_points(subject, flow, (coarse, coarse + CENTRE_MM[1], z))
    onto = np.stack([np.interp(fine, coarse, column) for column in np.eye(len(coarse))], 1).astype(np.float32)
    bias = _spline((fine, fine + CENTRE_MM[1], z), 70.0, subject.bias)
    random = numpy_generator(seed, "demo.noise", subject.index)
    images, areas = [], []
    for index in range(slices):
        points = np.matmul(np.matmul(onto, warp[:, :, :, index]), onto.T)  # [3, x, y] mm
        t1 = template.sample(template.t1, points)
        signal = _contrast(t1, subject.tissue) * np.exp(bias[:, :, index])
        ventricles = template.sample(template.ventricles, points)
        areas.append(float(ventricles.sum(dtype=np.float64)) * (spacing_mm / over) ** 2)
        brain = np.clip(t1 / 0.15, 0, 1)
        images.append(_noisy(_block_mean(signal, over), _block_mean(brain, over) * subject.noise, random))
    pictures = np.stack([image.T[::-1] for image in images])  # rows run from anterior to posterior
    return Slices(pictures, np.array(areas), positions)


def _contrast(t1: Floats, tissue: tuple[float, float, float]) -> Floats:
    """The template's grey values carried to the subject's own fluid, grey and white matter by a smooth monotone curve."""
    from scipy.interpolate import PchipInterpolator

    fluid, grey, white = tissue
    knots = np.linspace(0, 1, 257)
    curve = PchipInterpolator([0.0, 0.30, 0.64, 0.87, 1.0], [0.0, fluid, grey, white, white + 0.04])(knots)
    return np.interp(t1, knots, curve).astype(np.float32)


def _block_mean(image: Floats, over: int) -> Floats:
    side = image.shape[0] // over
    return np.asarray(image.reshape(side, over, side, over).mean((1, 3)))


def _noisy(signal: Floats, sigma: Floats, random: np.random.Generator) -> NDArray[np.uint8]:
    """Rician noise (the magnitude of a complex signal); `sigma` falls to 0 with the brain, so the air stays black."""
    real, imaginary = random.standard_normal((2, *signal.shape))
    magnitude = np.hypot(signal + sigma * real, sigma * imaginary)
    return np.rint(np.clip(magnitude, 0, 1) * 255).astype(np.uint8)


def write_population(
    folder: Path,
    *,
    subjects: int = 60,
    seed: int = 0,
    resolution: int = 128,
    slices_per_subject: int = 24,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the population into `folder` and return its list of images, `population.csv`, which `prepare` reads.

    folder : receives `images/*.png` (8-bit grey, `resolution` square), `population.csv` (COLUMNS: one row an image)
        and `population.json` (settings, class parameters, the template's terms). Equal arguments give equal bytes.
        A folder that holds the same population, whole or in part, is completed; any other content is refused.
    subjects : at least 2, half of each class. seed : 0 or more. resolution : 32-512 pixels over 204.8 mm.
    slices_per_subject : 1-64. workers : threads, by default one a core.
    progress : called with (subjects done, subjects, what).

    Raises ConfigError for arguments out of range, a folder in use, or where nilearn is missing.
    """
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
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
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
