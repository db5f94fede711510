"""Adversarial losses and penalties. Every term maps a `PhaseBatch` to one value an image, [N] (path length: [N/2]).

A loss says what D and G minimise; a penalty says what it keeps small. Both are rows of a visible dict, so that any
loss combines with any penalty and any family.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from stylescan.train.objective import PhaseBatch

PATH_LENGTH_DECAY = 0.01


@dataclass(frozen=True)
class AdversarialLoss:
    """`d` and `g` take (real scores, fake scores), each [N], and return what each net minimises, [N].

    `pairs`: G's part needs real scores too (relativistic losses).
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor | None, Tensor], Tensor]
    pairs: bool = False


def logistic_d(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(D(x)) - log(1 - sigmoid(D(G(z)))) (Goodfellow et al. 2014, equation 1)."""
    return F.softplus(-real) + F.softplus(fake)


def logistic_g(real: Tensor | None, fake: Tensor) -> Tensor:
    """-log sigmoid(D(G(z))), the non-saturating form (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake)


LOSSES: dict[str, AdversarialLoss] = {
    "logistic": AdversarialLoss(d=logistic_d, g=logistic_g),
}


def gradient_energy(scores: Tensor, images: Tensor) -> Tensor:
    """Sum over pixels of |dD/dx|^2 for each image: [N], differentiable again.

    scores: [N]; images: [N, C, H, W] that require grad.
    """
    (grad,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return grad.square().sum(dim=(1, 2, 3))


def r1_penalty(batch: PhaseBatch, gamma: float) -> Tensor:
    """gamma / 2 |dD/dx|^2 on real images (Mescheder et al. 2018, equation 9)."""
    return gradient_energy(batch.real_scores, batch.real_images) * (gamma / 2)


def path_lengths(images: Tensor, ws: Tensor, direction: Tensor) -> Tensor:
    """|J_w^T y| for each image, y = direction / sqrt(H W): root of the mean over ws of the sum over w, [N].

    images: [N, C, H, W] made from ws [N, num_ws, w_dim]; direction: standard normal like images
    (Karras et al. 2020, equation 4).
    """
    y = direction / math.sqrt(images.shape[2] * images.shape[3])
    (grad,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
    return grad.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(batch: PhaseBatch, weight: float) -> Tensor:
    """weight (|J_w^T y| - a)^2 with a the running mean of path lengths (Karras et al. 2020, equation 4)."""
    ws = batch.ws
    images = batch.synthesise(ws)
    direction = batch.draw_normal(images.shape).to(images)
    lengths = path_lengths(images, ws, direction)
    now = lengths.detach().mean()
    batch.team.mean_([now])
    mean = batch.buffers["pl_mean"].lerp(now, PATH_LENGTH_DECAY)
    batch.buffers["pl_mean"].copy_(mean)
    return (lengths - mean).square() * weight
