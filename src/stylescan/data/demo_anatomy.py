"""The demo's anatomy: the MNI152 template, its lateral ventricles, and a flow that makes them larger or smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stylescan.errors import ConfigError

Floats = NDArray[np.float32]

DEMO_NOTICE = """\
The demo's virtual subjects are warped copies of the ICBM 152 (MNI152) 2009a nonlinear symmetric T1 template, an average
of 152 young adults, as nilearn ships it. No image shows a person, and none is for diagnosis.

nilearn's own description of the template gives its licence as "unknown". The template's authors publish it with this
notice: Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill
University. Permission to use, copy, modify, and distribute this software and its documentation for any purpose and
without fee is hereby granted, provided that the above copyright notice appear in all copies. The authors and McGill
University make no representations about the suitability of this software for any purpose. It is provided "as is"
without express or implied warranty. The authors are not responsible for any data loss, equipment damage, property
loss, or injury to subjects or patients resulting from the use or misuse of this software package.

Please cite: Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54 (2011)
313-327; Fonov et al., Unbiased nonlinear average age-appropriate brain templates from birth to adulthood, NeuroImage
47 Supplement 1 (2009) S102; Collins et al., ANIMAL+INSECT: improved cortical structure segmentation, IPMI (1999).
"""

# The flow is solved on this box (mm, template space), which holds the ventricles with a wide margin.
FLOW_BOX_MM = ((-68.0, 68.0), (-92.0, 64.0), (-44.0, 64.0))
FLOW_SPACING_MM = 2.0
# Ventricle volumes over the template's; beyond that the tissue between the two would be thinner than a voxel.
FACTOR_RANGE = (0.3, 5.0)


@dataclass(frozen=True)
class Template:
    """A skull-stripped T1 volume, 1 mm voxels, axes right-anterior-superior.

    t1 : [X, Y, Z] in [0, 1], exactly 0 outside the brain.
    ventricles : [X, Y, Z] in [0, 1], the share of each voxel that is lateral ventricle.
    origin_mm : MNI coordinate of voxel (0, 0, 0).
    """

    t1: Floats
    ventricles: Floats
    origin_mm: tuple[float, float, float]

    @cached_property
    def ventricle_volume_mm3(self) -> float:
        return float(self.ventricles.sum(dtype=np.float64))

    def sample(self, volume: Floats, points_mm: Floats) -> Floats:
        """Trilinear values of `volume` at `points_mm` [3, ...]; 0 outside."""
        from scipy import ndimage

        origin = np.asarray(self.origin_mm, np.float32).reshape(3, *[1] * (points_mm.ndim - 1))
        return np.asarray(ndimage.map_coordinates(volume, points_mm - origin, order=1, output=np.float32))


def load_template() -> Template:
    """The MNI152 T1 template from nilearn's own files (nothing is fetched), with its lateral ventricles marked.

    Raises ConfigError where nilearn is not installed.
    """
    try:
        from nilearn.datasets import load_mni152_template
    except ImportError:
        raise ConfigError(
            "the demo needs nilearn, which carries the MNI152 brain template, and it is not installed",
            remedy="pip install 'stylescan[demo]'",
        ) from None
    image = load_mni152_template(resolution=1)
    t1 = np.ascontiguousarray(image.get_fdata(dtype=np.float32))
    x, y, z = (float(v) for v in image.affine[:3, 3])
    return Template(t1, lateral_ventricles(t1, (x, y, z)), (x, y, z))


def lateral_ventricles(t1: Floats, origin_mm: tuple[float, float, float]) -> Floats:
    """The share [0, 1] of each voxel that is lateral ventricle: dark, in three anatomical boxes, one piece a side.

    The boxes (MNI mm) hold bodies, frontal horns and atria, and leave out the cisterns, the third ventricle and the
    fissure between the hemispheres, which are just as dark.
    """
    from scipy import ndimage

    axes = [np.arange(n, dtype=np.float32) + start for n, start in zip(t1.shape, origin_mm)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    side = np.abs(x)
    midline = ((side < 6) & (y < -4) & (z < 18)) | ((side <= 3) & ((y < -30) | (y > 20)))
    body = (z >= 13) & (z <= 32) & (side < 30) & (y > -46) & (y < 28) & ~midline
    frontal = (z < 13) & (z > -6) & (side >= 1) & (side < 24) & (y > 1) & (y < 36)
    atrium = (z < 18) & (z > -14) & (side > 14) & (side < 40) & (y > -60) & (y < -22)
    pieces, _ = ndimage.label((t1 > 0) & (t1 < 0.5) & (body | frontal | atrium))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    core = np.isin(pieces, np.argsort(sizes)[-2:])
    # Between fluid (.36) and the tissue around it (.60) a voxel holds both: that share keeps areas smooth.
    share = np.clip((0.60 - t1) / (0.60 - 0.36), 0, 1) * ((t1 > 0) & ndimage.binary_dilation(core))
    return np.asarray(share, np.float32)


@dataclass(frozen=True)
class VentricleFlow:
    """Backward displacement fields that scale the ventricles' volume, one for each of a ladder of factors.

    factors : ascending volume factors; the template itself (1) is among them.
    fields : [len(factors), 3, X, Y, Z] mm on the box FLOW_BOX_MM, 0 outside it.
    """

    factors: NDArray[np.float64]
    fields: Floats

    def field(self, factor: float) -> Floats:
        """The displacement [3, X, Y, Z] for a volume factor (met within 6 %), between the two nearest rungs."""
        position = float(np.interp(np.log(factor), np.log(self.factors), np.arange(len(self.factors))))
        low = min(int(position), len(self.factors) - 2)
        share = np.float32(position - low)
        return np.asarray((1 - share) * self.fields[low] + share * self.fields[low + 1])

    def apply(self, points_mm: Floats, factor: float) -> Floats:
        """Where in the template each point [3, ...] comes from when the ventricles have `factor` times the volume."""
        return points_mm + _displacement_at(self.field(factor), points_mm)


def ventricle_flow(template: Template, *, step: float = 0.4) -> VentricleFlow:
    """Flow along a velocity field of positive divergence in the ventricles and negative in the tissue around them.

    The field is the gradient of a potential (a Poisson equation, solved by cosine transform); following it for a time t
    is a diffeomorphism, so nothing ever folds, and the ventricles grow with t. `step` is the time between two rungs.
    """
    grid = _box_grid()
    velocity = _velocity(template, grid)
    ladders = []
    for direction in (1.0, -1.0):
        fields, factors = [np.zeros_like(velocity)], [1.0]
        stride = _exponential(-direction * step * velocity, grid)
        # Growth forwards, shrinking backwards, until the ladder spans the range that subjects may ask for.
        while FACTOR_RANGE[0] < factors[-1] < FACTOR_RANGE[1]:
            fields.append(stride + _displacement_at(fields[-1], grid + stride))
            inside = template.sample(template.ventricles, grid + fields[-1])
            factors.append(float(inside.sum()) * FLOW_SPACING_MM**3 / template.ventricle_volume_mm3)
            if len(factors) > 200:
                raise RuntimeError(f"the ventricles' flow stalls at a factor of {factors[-1]:.3f}")
        ladders.append((fields, factors))
    (grow, up), (shrink, down) = ladders
    return VentricleFlow(np.array(down[:0:-1] + up), np.stack(shrink[:0:-1] + grow))


def _box_grid() -> Floats:
    axes = [np.arange(low, high + 1e-3, FLOW_SPACING_MM, dtype=np.float32) for low, high in FLOW_BOX_MM]
    return np.stack(np.meshgrid(*axes, indexing="ij"))  # [3, X, Y, Z] mm


def _displacement_at(field: Floats, points_mm: Floats) -> Floats:
    from scipy import ndimage

    origin = np.array([low for low, _ in FLOW_BOX_MM], np.float32).reshape(3, *[1] * (points_mm.ndim - 1))
    position = (points_mm - origin) / np.float32(FLOW_SPACING_MM)
    return np.stack([ndimage.map_coordinates(f, position, order=1, output=np.float32) for f in field])


def _velocity(template: Template, grid: Floats) -> Floats:
    """v = grad u with laplace(u) = ventricles - (surrounding tissue, of equal total); 0 at the box's edge."""
    from scipy import fft, ndimage

    source = ndimage.gaussian_filter(template.sample(template.ventricles, grid), 0.6)
    brain = ndimage.gaussian_filter((template.sample(template.t1, grid) > 0.2).astype(np.float32), 2.0)
    sink = brain * ndimage.gaussian_filter(source, 9.0)
    density = source - sink * (source.sum() / sink.sum())
    frequencies = [2 - 2 * np.cos(np.pi * np.arange(n) / n) for n in density.shape]
    laplacian = -np.add.outer(np.add.outer(frequencies[0], frequencies[1]), frequencies[2]) / FLOW_SPACING_MM**2
    laplacian[0, 0, 0] = 1.0  # the mean of the potential is free, and the density's mean is 0
    potential = fft.idctn(fft.dctn(density) / laplacian)
    velocity = np.stack(np.gradient(potential, FLOW_SPACING_MM))
    for axis, (low, high) in enumerate(FLOW_BOX_MM):
        edge = np.minimum(grid[axis] - low, high - grid[axis])
        velocity *= np.clip(edge / 16.0, 0, 1) ** 2
    return velocity.astype(np.float32)


def _exponential(velocity: Floats, grid: Floats, *, squarings: int = 4) -> Floats:
    """The displacement after following `velocity` for one unit of time, by scaling and squaring (Arsigny 2006)."""
    field = velocity / np.float32(2**squarings)
    for _ in range(squarings):
        field = field + _displacement_at(field, grid + field)
    return field


def jacobian_determinant(points_mm: Floats, spacing_mm: Sequence[float]) -> Floats:
    """det(d points / d grid) of a map [3, X, Y, Z] sampled on a regular grid; positive where nothing folds."""
    rows = [np.stack(np.gradient(component, *spacing_mm)) for component in points_mm]
    return np.asarray(np.linalg.det(np.moveaxis(np.stack(rows), (0, 1), (-2, -1))), np.float32)
