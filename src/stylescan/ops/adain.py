"""Adaptive instance normalisation (Karras et al. 2019, equation 1), in few passes over the activations.

Written as one function with its own derivative: autograd's chain through mean and variance takes twice as long, and
torch's instance norm leaves channels-last. The mean is taken off first, so that a channel whose mean is far larger than
its spread, such as the constant input of an untrained net, keeps its digits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ADAIN_EPS = 1e-8


def _sums(x: Tensor) -> Tensor:
    """Sums over pixels: [N, C, H, W] to [N, C, 1, 1]. This order of axes is the fast one where x is channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).sum(dim=1)[:, :, None, None]


def _centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """x less its mean over pixels, and one over its standard deviation [N, C, 1, 1]."""
    pixels = x.shape[2] * x.shape[3]
    d = x - _sums(x) / pixels
    return d, (_sums(d * d) / pixels + ADAIN_EPS).rsqrt()


class _AdaIN(torch.autograd.Function):
    """d * rstd * (scale + 1) + shift, where d is x less its mean."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        d, rstd = _centred(x)
        ctx.save_for_backward(x, d, scale, rstd)
        return torch.addcmul(shift, d, rstd * (scale + 1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (g,) = grads
        x, d, scale, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: it runs through mean and deviation too
            d, rstd = _centred(x)
        pixels = x.shape[2] * x.shape[3]
        g_shift = _sums(g)
        g_scale = _sums(g * d) * rstd
        factor = rstd * (scale + 1)
        # factor * (g - mean(g) - xhat * mean(g * xhat)), with xhat = d * rstd
        g_x = torch.addcmul(-factor * g_shift / pixels, d, -factor * rstd * g_scale / pixels)
        return torch.addcmul(g_x, g, factor), g_scale, g_shift


def adain(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Each channel of each image at mean `shift` and standard deviation |scale + 1|.

    x: [N, C, H, W], best channels-last; scale, shift: [N, C]. Returns [N, C, H, W] in the layout of x. A channel
    without any contrast becomes `shift` throughout.
    """
    out: Tensor = _AdaIN.apply(x, scale[:, :, None, None], shift[:, :, None, None])  # type: ignore[no-untyped-call]
    return out
