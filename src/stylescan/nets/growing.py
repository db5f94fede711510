"""Growing by resolution (Karras et al. 2018, section 2 and figure 2): what G, D and the reals share.

Stage 0 is 4 px, each further one doubles. While a resolution fades in, the image is (1 - alpha) * the level below,
enlarged, + alpha * its own; D blends what it reads in the same way, and so are the reals.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylescan.nets.protocols import Stage


def halve(images: Tensor) -> Tensor:
    """Exact 2x2 means: [N, C, H, W] to [N, C, H/2, W/2]."""
    return F.avg_pool2d(images, 2)


def enlarge(images: Tensor, factor: int = 2) -> Tensor:
    """Every pixel repeated: [N, C, H, W] to [N, C, factor H, factor W]; `halve` undoes a factor of 2 exactly."""
    return images if factor == 1 else images.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


def blend(below: Tensor, own: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) * below + alpha * own; exactly `own` at 1 and exactly `below` at 0."""
    if alpha >= 1:
        return own
    return below if alpha <= 0 else torch.lerp(below, own, alpha)


def at_stage(images: Tensor, stage: Stage) -> Tensor:
    """Images [N, C, R, R] as a growing net sees reals at `stage`: averaged to its resolution, the newest faded in."""
    while images.shape[2] > stage.resolution:
        images = halve(images)
    if stage.alpha >= 1 or stage.depth == 0:
        return images
    return blend(enlarge(halve(images)), images, stage.alpha)


class Reached(nn.Module):
    """The stage up to which a net was trained, as part of its weights: the default of calls that name none.

    Training names its stage in every call; sampling and scoring, which know only the weights, ask here.
    """

    value: Tensor

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor([float(depth), 1.0], dtype=torch.float64))

    def read(self) -> Stage:
        """Waits for the device."""
        depth, alpha = self.value.tolist()
        return Stage(round(depth), alpha)

    def note(self, stage: Stage) -> None:
        """Remember `stage`."""
        self.value.copy_(torch.tensor(tuple(stage), dtype=torch.float64))


def reached_by(net: nn.Module) -> Reached | None:
    """The record inside a growing net, None for the others."""
    return next((module for module in net.modules() if isinstance(module, Reached)), None)
