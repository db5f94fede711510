"""The averaged generator G_ema: parameters averaged, buffers copied (Karras et al. 2018, section 6)."""

from __future__ import annotations

import torch
from torch import nn


def ema_beta(*, batch: int, nimg: int, half_life_kimg: float, rampup: float | None) -> float:
    """The weight of the old average after `batch` more images, so that it halves every `half_life_kimg`.

    With `rampup`, the half-life is at most that share of the images shown so far: an early average forgets faster.
    """
    half_life = half_life_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, nimg * rampup)
    return float(0.5 ** (batch / max(half_life, 1e-8)))


@torch.no_grad()
def update_ema(average: nn.Module, net: nn.Module, beta: float) -> None:
    """average = beta * average + (1 - beta) * net, for parameters; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - beta)
    for old, new in zip(average.buffers(), net.buffers()):
        old.copy_(new)
