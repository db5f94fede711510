"""What counts as the same picture: small shifts, small rotations and lawful mirror images, and how to undo them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIDE = 64  # images are reduced to this: details finer than that tell no two people apart that coarser ones do not
ANGLES_DEG = (0.0, -1.5, 1.5, -3.0, 3.0)
COARSE_ANGLES_DEG = (0.0, -2.5, 2.5)  # thumbnails cannot tell finer ones


@dataclass(frozen=True)
class Search:
    """Where copies are looked for, the same for generated, held-out and planted images.

    side : images are compared at this many pixels, at most SIDE. shift : shifts in whole pixels of that, +-4 at 64 and
    in proportion below: 1/16 of the image. sigma : Gaussian smoothing before comparing, px, so that 2 % noise does not
    decide. mirrors : (False,) or (False, True), where left-right mirror images are lawful.
    """

    side: int
    shift: int
    sigma: float
    mirrors: tuple[bool, ...]

    @property
    def window(self) -> int:
        """Side of the query's middle that is compared: what stays inside the other image at every shift."""
        return self.side - 2 * self.shift

    @property
    def variants(self) -> list[tuple[bool, float]]:
        """(mirrored, angle in degrees) of each way to turn a query; the unchanged one first."""
        return [(mirror, angle) for mirror in self.mirrors for angle in ANGLES_DEG]


def search_for(resolution: int, *, mirror: bool) -> Search:
    """The search for images of `resolution` pixels, a power of two from 4 on."""
    side = min(resolution, SIDE)
    return Search(side, max(1, side // 16), side / 64.0, (False, True) if mirror else (False,))


def reduced(images: NDArray[Any], side: int) -> NDArray[np.uint16]:
    """uint8 or uint16 [n, C, R, R] -> uint16 [n, side, side]: mean over channels and over blocks, 65,535 = full scale.

    Sixteen bits halve the memory of a large training set against floats, and lose nothing that 8-bit images hold.
    """
    n, channels, size, _ = images.shape
    block = size // side
    means = images.reshape(n, channels, side, block, side, block).mean(axis=(1, 3, 5), dtype=np.float64)
    scaled: NDArray[np.uint16] = np.rint(means * (65535.0 / np.iinfo(images.dtype).max)).astype(np.uint16)
    return scaled


def smoothing_matrix(side: int, sigma: float) -> Floats:
    """[side, side]: a Gaussian along one axis, edges repeated; the identity where it would be narrower than a pixel."""
    if sigma < 0.3:
        return np.eye(side, dtype=np.float32)
    radius = math.ceil(3 * sigma)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    matrix = np.zeros((side, side))
    for offset, weight in zip(offsets, weights / weights.sum()):
        np.add.at(matrix, (np.arange(side), np.clip(np.arange(side) + offset, 0, side - 1)), weight)
    return matrix.astype(np.float32)


def turned(images: torch.Tensor, mirror: bool, angle_deg: float) -> torch.Tensor:
    """Images [n, H, W], mirrored left-right first, then turned about their middle, edges repeated; same shape."""
    if mirror:
        images = images.flip(-1)
    if angle_deg == 0.0:
        return images
    angle = math.radians(angle_deg)
    theta = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])
    size = [len(images), 1, *images.shape[1:]]
    grid = torch.nn.functional.affine_grid(theta.expand(len(images), 2, 3), size, align_corners=False)
    out = torch.nn.functional.grid_sample(
        images[:, None], grid, mode="bicubic", padding_mode="border", align_corners=False
    )
    return out[:, 0]


def shifted(images: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """out[..., y, x] = images[..., y + dy, x + dx], edges repeated: what was at (dy, dx) comes to the corner."""
    height, width = images.shape[-2:]
    rows = torch.arange(height).add(dy).clamp(0, height - 1)
    columns = torch.arange(width).add(dx).clamp(0, width - 1)
    return images[..., rows, :][..., columns]


def aligned_to_query(image: NDArray[Any], search: Search, variant: int, dy: int, dx: int) -> NDArray[Any]:
    """A training image [C, R, R], same type, moved onto the query that matched it in pose (variant, dy, dx).

    The query was mirrored and turned, then found at (dy, dx) in the training image; this undoes it in reverse.
    """
    scale = image.shape[-1] // search.side
    mirror, angle = search.variants[variant]
    moved = shifted(torch.from_numpy(image.astype(np.float32)), dy * scale, dx * scale)
    back = turned(moved, False, -angle)
    if mirror:
        back = back.flip(-1)
    result: NDArray[Any] = np.rint(back.clamp(0, float(np.iinfo(image.dtype).max)).numpy()).astype(image.dtype)
    return result
