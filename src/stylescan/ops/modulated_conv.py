"""Modulated convolution (Karras et al. 2020, equations 1 and 3).

Fast path: scaling the input channels of the weights equals scaling the activations, and demodulation is one factor an
output channel, so all samples share one ordinary convolution: demod * conv(x * s). The reference builds the weights
of every sample and runs a grouped convolution, as the paper writes it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stylescan.ops.convolution import conv2d, conv_transpose2d
from stylescan.ops.full_precision import full_precision
from stylescan.ops.resample import blur, upfirdn_plain

DEMOD_EPS = 1e-8


def demodulation(weight: Tensor, s: Tensor) -> Tensor:
    """1 / sqrt(sum over inputs and taps of (s w)^2 + eps): [N, C_out], from weight [C_out, C_in, k, k], s [N, C_in]."""
    energy = weight.square().sum(dim=(2, 3))  # [C_out, C_in]
    with full_precision(s):
        return (s.square() @ energy.t() + DEMOD_EPS).rsqrt()


def modulated_conv2d(x: Tensor, weight: Tensor, s: Tensor, *, f: Tensor | None = None) -> Tensor:
    """Convolve `x * s` with shared weights; *without* the demodulation factor, which the caller folds in later.

    x: [N, C_in, H, W]; weight: [C_out, C_in, 3, 3]; s: [N, C_in]; f: with a filter [K, K], K even, the output has
    twice the side (transposed convolution, then low-pass). Returns [N, C_out, H or 2H, W or 2W].
    """
    x = x * s.to(x.dtype)[:, :, None, None]
    if f is None:
        return conv2d(x, weight, padding=weight.shape[2] // 2)
    x = conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [N, C_out, 2H + 1, 2W + 1]
    return blur(x, f, padding=f.shape[0] // 2 - 1, gain=4.0)


def modulated_conv2d_plain(
    x: Tensor, weight: Tensor, s: Tensor, *, f: Tensor | None = None, demodulate: bool = True
) -> Tensor:
    """Reference: one set of weights a sample, demodulated, in a grouped convolution. Includes demodulation."""
    n, c_in, h, w = x.shape
    c_out, _, k, _ = weight.shape
    ws = weight[None] * s[:, None, :, None, None]  # [N, C_out, C_in, k, k]
    if demodulate:
        ws = ws * (ws.square().sum(dim=(2, 3, 4), keepdim=True) + DEMOD_EPS).rsqrt()
    x = x.reshape(1, n * c_in, h, w)
    if f is None:
        out = F.conv2d(x, ws.reshape(n * c_out, c_in, k, k), padding=k // 2, groups=n)
        return out.reshape(n, c_out, h, w)
    transposed = ws.transpose(1, 2).reshape(n * c_in, c_out, k, k)
    out = F.conv_transpose2d(x, transposed, stride=2, groups=n).reshape(n, c_out, 2 * h + 1, 2 * w + 1)
    return upfirdn_plain(out, f, pad=(1, 1), gain=4.0)


def modulated_to_image(x: Tensor, weight: Tensor, s: Tensor) -> Tensor:
    """1x1 modulated convolution without demodulation, as a batched matrix product.

    x: [N, C_in, H, W]; weight: [C_img, C_in]; s: [N, C_in]. Returns [N, C_img, H, W].
    """
    n, c, h, w = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(n, h * w, c)  # a view when x is channels-last
    out = torch.bmm(pixels, (weight[None] * s[:, None, :]).transpose(1, 2))  # [N, HW, C_img]
    return out.reshape(n, h, w, -1).permute(0, 3, 1, 2)
