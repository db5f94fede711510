"""G and D from one pass of D over the fakes (Shen et al. 2021, section 3.2: one-stage training of GANs).

D's loss and G's differ, image by image, only in what they ask of the image's score: dL_D / dx = a ds/dx and
dL_G / dx = g ds/dx, with a and g known from the scores alone. So the gradient by a fake that D's own backward pass gives,
times g / a, is G's. Exact where an image's score depends on that image alone; minibatch statistics, through which the
images of a group see each other, add cross terms in which the ratios of neighbours differ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stylescan.config import ObjectiveConfig
from stylescan.errors import ConfigError
from stylescan.train.losses import AdversarialLoss

# Losses that ask something of every score: elsewhere a is 0, and nothing would reach G.
ONE_PASS_LOSSES = ("logistic", "cross-entropy", "wasserstein", "relativistic-pairing")


def require_one_pass(config: ObjectiveConfig) -> None:
    """ConfigError where one pass of D cannot serve both nets."""
    if config.loss not in ONE_PASS_LOSSES:
        raise ConfigError(
            f"objective.shared=pass with objective.loss={config.loss}: some scores ask nothing of D, and G would learn "
            "nothing from them",
            remedy=f"Take one of {', '.join(ONE_PASS_LOSSES)}, or objective.shared=fakes.",
        )
    if config.r2_gamma > 0 and config.r2_interval == 1:
        raise ConfigError(
            "objective.shared=pass with R2 at every step: its gradient by the fakes would reach G",
            remedy="Set objective.r2_interval above 1, or objective.shared=fakes.",
        )


def score_ratio(loss: AdversarialLoss, real: Tensor, fake: Tensor) -> Tensor:
    """g / a for each fake, [N], from detached scores [N]; 0 where a has underflown."""
    with torch.enable_grad():
        fake = fake.detach().double().requires_grad_()
        real = real.detach().double()
        (a,) = torch.autograd.grad(loss.d(real, fake).sum(), fake)
        (g,) = torch.autograd.grad(loss.g(real, fake).sum(), fake)
    return torch.where(a.abs() > 1e-30, g / a, torch.zeros_like(a)).float()


def teach_G(loss: AdversarialLoss, made: Tensor, by_fakes: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """Gradients of G's loss into G's parameters; returns that loss, [N].

    made: fakes [N, C, H, W] with G's graph; by_fakes: the gradient of D's mean loss by them; real, fake: scores [N].
    """
    ratio = score_ratio(loss, real, fake).to(by_fakes)
    made.backward(by_fakes * ratio[:, None, None, None])  # type: ignore[no-untyped-call]
    return loss.g(real, fake).detach()
