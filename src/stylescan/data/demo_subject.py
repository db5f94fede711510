"""One virtual subject of the demo: what is random about it, its warp, and its slices with the true ventricle areas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylescan.data.demo_anatomy import FACTOR_RANGE, Floats, Template, VentricleFlow, jacobian_determinant
from stylescan.randomness import numpy_generator

LABELS = ("control", "atrophy")
# Medians of the ventricles' volume over the template's, and the standard deviation of its logarithm in both classes.
FACTOR_MEDIANS = {"control": 0.90, "atrophy": 2.06}
FACTOR_SIGMA = 0.40
FIELD_OF_VIEW_MM = 204.8
SLICE_RANGE_MM = (-4.0, 32.0)  # MNI z: from the frontal horns' floor to the roof of the ventricles' bodies
CENTRE_MM = (0.0, -16.0, 12.0)  # the middle of the brain in this range; the middle of every picture
COARSE_MM = 2.0  # the warp is smooth: it is worked out on this grid and interpolated


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
    """The template's grey values carried to the subject's own fluid, grey and white matter: smooth and monotone."""
    from scipy.interpolate import PchipInterpolator

    fluid, grey, white = tissue
    knots = np.linspace(0, 1, 257)
    curve = PchipInterpolator([0.0, 0.30, 0.64, 0.87, 1.0], [0.0, fluid, grey, white, white + 0.04])(knots)
    return np.asarray(np.interp(t1, knots, curve), np.float32)


def _block_mean(image: Floats, over: int) -> Floats:
    side = image.shape[0] // over
    return np.asarray(image.reshape(side, over, side, over).mean((1, 3)))


def _noisy(signal: Floats, sigma: Floats, random: np.random.Generator) -> NDArray[np.uint8]:
    """Rician noise (the magnitude of a complex signal); `sigma` falls to 0 with the brain, so the air stays black."""
    real, imaginary = random.standard_normal((2, *signal.shape))
    magnitude = np.hypot(signal + sigma * real, sigma * imaginary)
    return np.asarray(np.rint(np.clip(magnitude, 0, 1) * 255), np.uint8)
