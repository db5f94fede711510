"""Layers with an equalised learning rate (Karras et al. 2018, section 4.1) and the minibatch statistics of D.

Leaky ReLU is positively homogeneous, so its gain is folded into weights and bias: one pass over the activations less.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylescan.ops.convolution import conv2d
from stylescan.ops.full_precision import full_precision, widened
from stylescan.ops.resample import blur, downsample2

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2.0)  # keeps the second moment of a standard normal input (He et al. 2015)

Activation = Literal["linear", "lrelu"]


class EqualisedLayer(nn.Module):
    """A layer that stores `weight` and `bias` at unit scale and acts with weight * weight_gain and bias * bias_gain."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    weight_gain: float
    bias_gain: float

    @torch.no_grad()
    def fold_gains(self) -> None:
        """Store weight and bias as they act, gains 1: the same function, but the optimiser sees its true scale."""
        self.weight.mul_(self.weight_gain)
        if self.bias is not None:
            self.bias.mul_(self.bias_gain)
        self.weight_gain = self.bias_gain = 1.0


def without_equalised_lr(net: nn.Module) -> None:
    """Fold the gains of all layers of `net`, learning-rate multipliers included."""
    for module in net.modules():
        if isinstance(module, EqualisedLayer):
            module.fold_gains()


class Linear(EqualisedLayer):
    """Fully connected layer with equalised learning rate.

    Parameters: in_features, out_features; bias_init: initial bias; lr_multiplier: learning rate relative to the other
    layers (the mapping network uses .01); activation: 'linear' or 'lrelu' (slope .2, gain sqrt 2); equalised: False
    starts as the same function, stored at its true scale (He et al. 2015) and without the multiplier.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
        activation: Activation = "linear",
        equalised: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier)) if bias else None
        self.activation = activation
        gain = LRELU_GAIN if activation == "lrelu" else 1.0
        self.weight_gain = gain * lr_multiplier / math.sqrt(in_features)
        self.bias_gain = gain * lr_multiplier
        if not equalised:
            self.fold_gains()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.weight_gain
        bias = None if self.bias is None else self.bias * self.bias_gain
        with full_precision(x):
            x = F.linear(x.to(weight.dtype), weight, bias)  # [N, out]
        return F.leaky_relu_(x, LRELU_SLOPE) if self.activation == "lrelu" else x


class Conv2d(EqualisedLayer):
    """k x k convolution with equalised learning rate, bias and activation inside, optionally halving the image.

    `down` filters first and then strides (3x3), or filters and decimates before a 1x1. `gain` scales the output.
    `fir`: [K, K], K even. `equalised`: as for `Linear`.
    Input [N, in, H, W], output [N, out, H, W] or half the side.
    """

    fir: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        fir: Tensor,
        bias: bool = True,
        down: bool = False,
        activation: Activation = "lrelu",
        gain: float = 1.0,
        equalised: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.register_buffer("fir", fir.clone(), persistent=False)
        self.down = down
        self.activation = activation
        gain = gain * (LRELU_GAIN if activation == "lrelu" else 1.0)
        self.weight_gain = gain / math.sqrt(in_channels * kernel**2)
        self.bias_gain = gain
        if not equalised:
            self.fold_gains()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.weight_gain  # read once: under spectral norm, reading it is a power iteration
        kernel = weight.shape[2]
        bias = None if self.bias is None else self.bias * self.bias_gain
        stride, padding = 1, kernel // 2
        if self.down and kernel == 1:
            x = downsample2(x, self.fir)
        elif self.down:
            x, stride, padding = blur(x, self.fir, padding=self.fir.shape[0] // 2), 2, 0  # [N, in, H + 1, W + 1]
        x = conv2d(x, weight, bias, stride=stride, padding=padding)
        return F.leaky_relu_(x, LRELU_SLOPE) if self.activation == "lrelu" else x


class FromImage(EqualisedLayer):
    """1x1 convolution, bias and leaky ReLU from the image's channels: [N, C, H, W] to [N, out, H, W], channels-last.

    A matrix product over pixels: the layout of an image with one channel is ambiguous, so a convolution would answer in
    rows of planes, and every layer behind it would first copy.
    """

    def __init__(self, img_channels: int, out_channels: int, *, equalised: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, img_channels))
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = LRELU_GAIN / math.sqrt(img_channels)
        self.bias_gain = LRELU_GAIN
        if not equalised:
            self.fold_gains()

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.permute(0, 2, 3, 1)  # [N, H, W, C]
        y = F.linear(pixels, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return F.leaky_relu_(y, LRELU_SLOPE).permute(0, 3, 1, 2)


def minibatch_group(batch: int, limit: int) -> int:
    """The largest divisor of `batch` not above `limit`: groups of equal size for statistics over images."""
    return next(g for g in range(min(limit, batch), 0, -1) if batch % g == 0)


def minibatch_std(x: Tensor, *, limit: int = 4) -> Tensor:
    """Append the group's mean standard deviation as one more channel (Karras et al. 2018, section 3).

    x: [N, C, H, W] to [N, C + 1, H, W]. Images i, i + N/g, i + 2N/g ... form a group of g.
    """
    n, c, h, w = x.shape
    g = minibatch_group(n, limit)
    x = widened(x)
    y = x.reshape(g, n // g, c, h, w)
    std = (y.var(dim=0, correction=0) + 1e-8).sqrt()  # [N/g, C, H, W]
    channel = std.mean(dim=(1, 2, 3)).repeat(g)[:, None, None, None].expand(n, 1, h, w)
    return torch.cat([x, channel], dim=1).contiguous(memory_format=torch.channels_last)


def normalise_second_moment(x: Tensor) -> Tensor:
    """Scale each row of [N, D] to a mean square of one (Karras et al. 2018, pixel norm on the latent)."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
