"""Skip-layer excitation (Liu et al. 2021, section 3.1: FastGAN): low-resolution features weigh high-resolution channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylescan.ops.layers import Linear

_POOLED = 4


class SkipExcitation(nn.Module):
    """x [N, high, H, W] times a factor an image and channel, made of `low` features [N, low, h, w] pooled to 4x4."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.pooled = Linear(low * _POOLED**2, high, activation="lrelu")
        self.factors = Linear(high, high)

    def forward(self, x: Tensor, low: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(low, _POOLED).flatten(1)  # [N, 16 low]
        # twice the sigmoid: 1 at initialisation on average, where the paper's .5 would halve the signal
        factors = 2 * torch.sigmoid(self.factors(self.pooled(pooled)))
        out: Tensor = x * factors[:, :, None, None].to(x.dtype)  # float32 in mixed precision, and would widen x
        return out
