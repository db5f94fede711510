"""Classic augmentation for the classifier: changes that another scan of the same person could have shown.

Small turns, shifts and gains; a left-right flip only where the anatomy allows it. Never inverted intensities, quarter
turns, holes or flips of sagittal or sided images.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_TURN_DEGREES = 10.0
MAX_SHIFT = 1 / 16  # of the image's side
MAX_GAIN = 1.2


def operations(flip: bool) -> list[str]:
    """What is applied, in words."""
    said = [f"turns up to {MAX_TURN_DEGREES:g} degrees", "shifts up to 6 %", "gain up to 20 %"]
    return (["left-right flips"] if flip else []) + said


def augment(images: Tensor, flip: bool, rng: torch.Generator) -> Tensor:
    """Images [n, C, H, W] in [-1, 1] (-1 = air), each turned, shifted and gained by its own draw; air at the borders.

    All numbers are drawn whatever `flip` is, so that it shifts no other draw.
    """
    numbers = torch.rand(len(images), 5, generator=rng)
    signed = numbers * 2 - 1
    angle = signed[:, 0] * math.radians(MAX_TURN_DEGREES)
    mirror = torch.where((numbers[:, 4] < 0.5) & torch.tensor(flip), -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    shift = signed[:, 1:3] * (2 * MAX_SHIFT)  # affine_grid counts in half images
    rows = [torch.stack([cos * mirror, -sin, shift[:, 0]], 1), torch.stack([sin * mirror, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    gain = torch.exp(signed[:, 3] * math.log(MAX_GAIN))[:, None, None, None]
    # + 1 makes air 0, which is what comes in from outside, and what a gain leaves alone
    return F.grid_sample(images + 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) * gain - 1
