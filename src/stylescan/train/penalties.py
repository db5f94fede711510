"""Penalties: what is kept small besides the adversarial loss. Each maps a `PhaseBatch` to one value an image.

[N] values; path length, which takes half a batch, [N/2]. Every penalty has a weight and an interval in the configuration.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stylescan.ops.convolution import inputs_alone

if TYPE_CHECKING:
    from stylescan.train.objective import PhaseBatch

PATH_LENGTH_DECAY = 0.01
_NORM_EPS = 1e-12  # the root's slope at zero is infinite


def gradient_energy(scores: Tensor, images: Tensor) -> Tensor:
    """Sum over pixels of |dD/dx|^2 for each image: [N], differentiable again.

    scores: [N]; images: [N, C, H, W] that require grad.
    """
    with inputs_alone():
        (grad,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return grad.square().sum(dim=(1, 2, 3))


def r1_penalty(batch: PhaseBatch, gamma: float) -> Tensor:
    """gamma / 2 |dD/dx|^2 on real images (Mescheder et al. 2018, equation 9)."""
    return gradient_energy(batch.real_scores, batch.real_images) * (gamma * batch.gamma_factor / 2)


def r2_penalty(batch: PhaseBatch, gamma: float) -> Tensor:
    """gamma / 2 |dD/dx|^2 on fakes (Mescheder et al. 2018, equation 10)."""
    return gradient_energy(batch.fake_scores, batch.fake_images) * (gamma * batch.gamma_factor / 2)


def gradient_penalty(batch: PhaseBatch, weight: float) -> Tensor:
    """weight (|dD/dx| - 1)^2 on lines between a real and a fake (Gulrajani et al. 2017, equation 3).

    Both as D sees them; the class is the real's.
    """
    share = batch.draw_uniform(len(batch.reals)).to(batch.reals)[:, None, None, None]
    between = torch.lerp(batch.shown_fakes.detach(), batch.shown_reals.detach(), share).requires_grad_()
    energy = gradient_energy(batch.score(between, batch.c_real), between)
    return ((energy + _NORM_EPS).sqrt() - 1).square() * weight


def drift_penalty(batch: PhaseBatch, weight: float) -> Tensor:
    """weight D(x)^2 on reals, which keeps scores near zero (Karras et al. 2018, appendix A.1)."""
    return batch.real_scores.square() * weight


def path_lengths(images: Tensor, ws: Tensor, direction: Tensor) -> Tensor:
    """|J_w^T y| for each image, y = direction / sqrt(H W): root of the mean over ws of the sum over w, [N].

    images: [N, C, H, W] made from ws [N, num_ws, w_dim]; direction: standard normal like images
    (Karras et al. 2020, equation 4).
    """
    y = direction / math.sqrt(images.shape[2] * images.shape[3])
    with inputs_alone():
        (grad,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
    return grad.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(batch: PhaseBatch, weight: float) -> Tensor:
    """weight (|J_w^T y| - a)^2 with a the running mean of path lengths (Karras et al. 2020, equation 4)."""
    ws = batch.ws
    if not ws.requires_grad:  # without a mapping network, ws is the latent itself
        ws = ws.detach().requires_grad_()
    images = batch.synthesise(ws)
    direction = batch.draw_normal(images.shape).to(images)
    lengths = path_lengths(images, ws, direction)
    now = lengths.detach().mean()
    batch.team.mean_([now])
    mean = batch.buffers["pl_mean"].lerp(now, PATH_LENGTH_DECAY)
    batch.buffers["pl_mean"].copy_(mean)
    return (lengths - mean).square() * weight
