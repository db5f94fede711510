"""Self-attention over pixels (Zhang et al. 2019, 'Self-attention generative adversarial networks', equations 1 to 3).

The products are written out: torch's fused attention has no second derivative on the CPU, which R1, R2 and the path
length need. An image keeps H W x H W / 4 weights: 16 MiB at 64 px, 256 MiB at 128.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query key^T) value, without scaling as in the paper: [N, P, D], [N, Q, D], [N, Q, E] to [N, P, E]."""
    weights = torch.bmm(query, key.transpose(1, 2)).softmax(dim=2)  # [N, P, Q]
    return torch.bmm(weights, value)


class SelfAttention(nn.Module):
    """x + gamma * attention(x): [N, C, H, W] to the same, channels-last; the identity until gamma is learned.

    Queries and keys have C / 8 channels, values C / 2, each at least 1. Keys and values are the largest of 2x2 pixels
    where both sides are even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        # 1x1 convolutions as products over pixels: a convolution to one channel would answer in rows of planes
        self.query = nn.Linear(channels, narrow, bias=False)
        self.key = nn.Linear(channels, narrow, bias=False)
        self.value = nn.Linear(channels, half, bias=False)
        self.out = nn.Linear(half, channels, bias=False)
        self.gamma = nn.Parameter(torch.zeros([]))
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.permute(0, 2, 3, 1)  # [N, H, W, C]
        key, value = _pooled(self.key(pixels)), _pooled(self.value(pixels))  # [N, Q, D], [N, Q, E]
        seen = attend(self.query(pixels).flatten(1, 2), key, value)  # [N, H W, E]
        change = self.out(seen).unflatten(1, pixels.shape[1:3])  # [N, H, W, C]
        out: Tensor = torch.addcmul(pixels, self.gamma, change).permute(0, 3, 1, 2)
        return out


def _pooled(pixels: Tensor) -> Tensor:
    """The largest of 2x2 pixels where both sides are even: [N, H, W, C] to [N, Q, C]."""
    if pixels.shape[1] % 2 == 0 and pixels.shape[2] % 2 == 0:
        pixels = F.max_pool2d(pixels.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    return pixels.flatten(1, 2)


def attention_at(widths: Mapping[int, int]) -> nn.ModuleDict:
    """Self-attention by resolution, "r16" and so on: widths {resolution: channels}."""
    return nn.ModuleDict({f"r{side}": SelfAttention(channels) for side, channels in widths.items()})
