"""Discriminator augmentation (Karras et al. 2020, 'Training Generative Adversarial Networks with Limited Data',
appendix B), kept to what anatomy allows (lawful.py).

All that an image undergoes geometrically is one affine matrix and is applied at once, so that it is interpolated at
most once, and never for flips and whole-pixel shifts, which only move pixels. Air (-1) comes in at the borders.
Everything is linear or smooth in the images: G learns through it, and R1 differentiates it twice.

Decisions and parameters are drawn on the CPU, and all of them whatever p and the allowed operations are, so that
neither can shift another draw, and nothing ever waits for a device. An operation is invisible in what G learns as
long as p < 1 leaves it invertible on average; for uniform parameters that holds up to p = 0.82 (1 / (1 - the least
value of sin x / x)), above ADA's default ceiling of 0.8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stylescan.train.lawful import OPERATIONS

# The operation of each uniform number that an image draws; a shift takes two.
PARAMETERS = {
    "flip": "flip",
    "rotate": "rotate",
    "scale": "scale",
    "anisotropy": "anisotropy",
    "shift_x": "shift",
    "shift_y": "shift",
    "brightness": "brightness",
    "contrast": "contrast",
    "gamma": "gamma",
}
# Grey values (0 = air, 1 = white) below which brightness and gamma fade out: they keep air and finite slopes.
BRIGHTNESS_KNEE = 0.1
GAMMA_KNEE = 0.01


@dataclass(frozen=True)
class AugmentDraw:
    """Random numbers for n images, on the CPU, float64.

    chance: [n, OPERATIONS]; an operation happens where its chance < p. value: [n, PARAMETERS], uniform in [0, 1).
    operations: the allowed ones.
    """

    chance: Tensor
    value: Tensor
    operations: tuple[str, ...]

    def slice(self, rows: slice | Tensor) -> AugmentDraw:
        """The numbers of some of the images, for instance those of one rank or micro-batch."""
        return AugmentDraw(self.chance[rows], self.value[rows], self.operations)


def draw(n: int, operations: Sequence[str], rng: torch.Generator) -> AugmentDraw:
    """Numbers for n images; `rng`: a CPU generator. It gives n * (8 + 9) numbers, whatever is allowed."""
    chance = torch.rand(n, len(OPERATIONS), generator=rng, dtype=torch.float64)
    value = torch.rand(n, len(PARAMETERS), generator=rng, dtype=torch.float64)
    return AugmentDraw(chance, value, tuple(operations))


def strengths(numbers: AugmentDraw, p: float) -> dict[str, Tensor]:
    """Each parameter's strength at probability p: [n], uniform in [-1, 1), 0 where its operation does not happen."""
    allowed = torch.tensor([name in numbers.operations for name in OPERATIONS])
    happens = (numbers.chance < p) & allowed
    column = [list(OPERATIONS).index(name) for name in PARAMETERS.values()]
    signed = torch.where(happens[:, column], numbers.value * 2 - 1, 0.0)
    return dict(zip(PARAMETERS, signed.unbind(dim=1)))


@dataclass(frozen=True)
class Geometry:
    """Where n images go, on the CPU, float64.

    mirror: -1 for a left-right flip, else 1, [n]; shift: whole pixels (right, down), [n, 2]; linear: what else happens
    to the plane, [n, 2, 2] in (x right, y down) about the image's centre; warped: whether `linear` is not 1, bool [n].
    """

    mirror: Tensor
    shift: Tensor
    linear: Tensor
    warped: Tensor

    def rows(self, rows: Tensor) -> Geometry:
        """That of some of the images."""
        return Geometry(self.mirror[rows], self.shift[rows], self.linear[rows], self.warped[rows])

    @property
    def moved(self) -> Tensor:
        """Images that only exchange pixels: flipped or shifted, and not warped. bool [n]"""
        return ((self.mirror < 0) | (self.shift != 0).any(dim=1)) & ~self.warped

    @property
    def inverse(self) -> Tensor:
        """From a pixel of the result to the place in the image that it shows, [n, 2, 3]: pixels from the centre."""
        inverse = torch.linalg.inv(self.linear)
        inverse = torch.cat([inverse, -inverse @ self.shift[:, :, None]], dim=2)
        return torch.stack([self.mirror[:, None] * inverse[:, 0], inverse[:, 1]], dim=1)


def geometry(strength: dict[str, Tensor], height: int, width: int) -> Geometry:
    """An image is mirrored, stretched, scaled, turned (clockwise where positive) and shifted, in this order.

    Of the images that take part in 'flip' half are mirrored, so that a flip stays one choice of two. Factors are uniform
    in their logarithm.
    """
    angle = strength["rotate"] * math.radians(OPERATIONS["rotate"].limit)
    scale, stretch = factor(strength, "scale"), factor(strength, "anisotropy")
    x_scale, y_scale = scale * stretch, scale / stretch
    cos, sin = angle.cos(), angle.sin()
    linear = torch.stack([cos * x_scale, -sin * y_scale, sin * x_scale, cos * y_scale], dim=1)
    warped = (strength["rotate"] != 0) | (strength["scale"] != 0) | (strength["anisotropy"] != 0)
    # floor(u (m + 1/2) + 1/2) gives -m .. m, equally likely, and 0 for u = 0
    most = torch.tensor([math.floor(OPERATIONS["shift"].limit * side + 1e-9) for side in (width, height)])
    shift = torch.stack([strength["shift_x"], strength["shift_y"]], dim=1)
    return Geometry(
        mirror=torch.where(strength["flip"] < 0, -1.0, 1.0).double(),
        shift=(shift * (most + 0.5) + 0.5).floor(),
        linear=linear.reshape(-1, 2, 2),
        warped=warped,
    )


def factor(strength: dict[str, Tensor], name: str) -> Tensor:
    """A factor between 1 / limit and limit, uniform in its logarithm, 1 where the operation does not happen: [n]."""
    return torch.exp(strength[name] * math.log(OPERATIONS[name].limit))


def augment(images: Tensor, numbers: AugmentDraw, p: float) -> Tensor:
    """Images [N, C, H, W] in [-1, 1], each operation applied with probability p; all channels of an image alike.

    One draw an image keeps its contrasts (or colours) in register and in proportion. Rows that undergo nothing keep
    their bits; at p = 0 the tensor itself comes back. Values may leave [-1, 1] a little. Twice differentiable.
    """
    strength = strengths(numbers, p)
    where = geometry(strength, images.shape[2], images.shape[3])
    toned = (strength["brightness"] != 0) | (strength["contrast"] != 0) | (strength["gamma"] != 0)
    images = _on_rows(images, where.moved, lambda x, rows: _move(x, where.rows(rows)))
    images = _on_rows(images, where.warped, lambda x, rows: _warp(x, where.rows(rows)))
    return _on_rows(images, toned, lambda x, rows: _tone(x, {k: v[rows] for k, v in strength.items()}))


def _on_rows(images: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`change` applied to the chosen rows (bool [N], on the CPU), all others as they are."""
    rows = chosen.nonzero()[:, 0]
    if len(rows) == 0:
        return images
    here = rows.to(images.device, non_blocking=True)
    # clone, unlike index_copy out of place, keeps a channels-last layout
    return images.clone().index_copy_(0, here, change(images.index_select(0, here), rows))


def _move(x: Tensor, where: Geometry) -> Tensor:
    """Flips and whole-pixel shifts: every pixel keeps its bits."""
    n, channels, height, width = x.shape
    right, down = where.shift.long().unbind(dim=1)
    column = torch.arange(width) - right[:, None]  # [n, W]: where the result's columns come from
    column = torch.where(where.mirror[:, None] < 0, width - 1 - column, column)
    row = torch.arange(height) - down[:, None]  # [n, H]
    inside = ((row >= 0) & (row < height))[:, :, None] & ((column >= 0) & (column < width))[:, None, :]
    source = row.clamp(0, height - 1)[:, :, None] * width + column.clamp(0, width - 1)[:, None, :]  # [n, H, W]
    index = source.reshape(n, 1, -1).to(x.device, non_blocking=True).expand(n, channels, -1)
    moved = x.flatten(2).gather(2, index).reshape(x.shape)
    return torch.where(inside[:, None].to(x.device, non_blocking=True), moved, -1.0)


def _warp(x: Tensor, where: Geometry) -> Tensor:
    """One bicubic resampling by the composed matrix.

    Bicubic rather than bilinear: bilinear blurs, by an amount that depends on the draw, the fine texture that D is to
    judge. Scales stay within some 15 % of 1, where no low-pass filter is needed against aliasing.
    """
    height, width = x.shape[2:]
    half = torch.tensor([width / 2, height / 2], dtype=torch.float64)  # grid_sample counts in half images
    matrix = where.inverse / half[:, None]
    matrix = matrix.to(x.dtype).to(x.device, non_blocking=True)[:, None, None]  # [n, 1, 1, 2, 3]
    column = torch.arange(width, device=x.device, dtype=x.dtype)[:, None] - (width - 1) / 2
    row = torch.arange(height, device=x.device, dtype=x.dtype)[:, None, None] - (height - 1) / 2
    grid = matrix[..., 0] * column + matrix[..., 1] * row + matrix[..., 2]  # [n, H, W, 2]
    # + 1 makes air 0, which is what comes in from outside
    return F.grid_sample(x + 1, grid, mode="bicubic", padding_mode="zeros", align_corners=False) - 1


def _tone(x: Tensor, strength: dict[str, Tensor]) -> Tensor:
    """Contrast, gamma and brightness, each of which leaves air (-1) where it is.

    A receiver's gain and a window's curve change tissue, not the dark around it. Contrast is therefore a factor from
    air up; brightness, an added constant, fades out towards air.
    """

    def each(values: Tensor) -> Tensor:
        return values.to(x.dtype).to(x.device, non_blocking=True)[:, None, None, None]

    value = (x + 1) * each(factor(strength, "contrast") / 2)
    value = value + gamma_change(value, each(factor(strength, "gamma")))
    amount = each(strength["brightness"] * (OPERATIONS["brightness"].limit / 2))
    value = value + amount * F.softsign(value / BRIGHTNESS_KNEE)
    return value * 2 - 1


def gamma_change(value: Tensor, gamma: Tensor) -> Tensor:
    """What a gamma curve adds to grey values (0 = air, 1 = white); 0 at 0, at 1 and below 0.

    The curve is that of value + knee, brought back to 0 and 1: value ** gamma itself has no finite slope at 0.
    """
    positive = value.clamp(min=0)
    low = torch.full_like(gamma, GAMMA_KNEE) ** gamma
    high = torch.full_like(gamma, 1 + GAMMA_KNEE) ** gamma
    return ((positive + GAMMA_KNEE) ** gamma - low) / (high - low) - positive
