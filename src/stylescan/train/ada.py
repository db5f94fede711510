"""How strongly D's images are augmented: a fixed p, a scheduled one, or ADA (Karras et al. 2020, 'Training Generative
Adversarial Networks with Limited Data', section 3).

ADA's heuristic r_t = E[sign D(real)] is near 0 while D cannot tell reals from fakes and near 1 once D knows the
training images by heart; p is moved by small equal steps so that r_t stays at its target.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stylescan.config import AugmentConfig, RunConfig
from stylescan.errors import ConfigError
from stylescan.train.lawful import lawful_operations
from stylescan.train.losses import ZERO_FIXING_LOSSES

MOST_RAMP_KIMG = 500.0


def ramp_kimg(config: AugmentConfig, total_kimg: float) -> float:
    """The length in which p goes from 0 to 1 (ada) or to `config.p` (scheduled): min(500, total_kimg / 5) if not set."""
    return config.ramp_kimg if config.ramp_kimg is not None else min(MOST_RAMP_KIMG, total_kimg / 5)


def scheduled_p(config: AugmentConfig, nimg: int, total_kimg: float) -> float:
    """p after `nimg` images: from 0 to `config.p` within the ramp, along a line or half a cosine, then constant."""
    share = min(nimg / (ramp_kimg(config, total_kimg) * 1000), 1.0)
    return config.p * ((1 - math.cos(math.pi * share)) / 2 if config.ramp_shape == "cosine" else share)


def adjust(p: float, mean_sign: float, config: AugmentConfig, nimg_since_last: int, total_kimg: float) -> float:
    """ADA's next p: one step up where the mean sign of D on reals is above the target, down where below.

    A step is nimg_since_last / (1000 ramp_kimg); p stays within [0, p_max]. A mean that is not finite moves nothing.
    """
    step = nimg_since_last / (ramp_kimg(config, total_kimg) * 1000)
    direction = int(mean_sign > config.target) - int(mean_sign < config.target)
    return min(max(p + direction * step, 0.0), config.p_max)


def new_buffers(config: AugmentConfig, *, device: torch.device) -> dict[str, Tensor]:
    """The state of p before step 0, for the checkpoint.

    p lies on the CPU, so that reading it before every phase waits for no device; signs are summed where D computes.
    """
    p = config.p if config.mode in ("fixed", "ada") else 0.0
    return {
        "augment_p": torch.tensor(p, dtype=torch.float64),
        "augment_sign_sum": torch.zeros([], device=device),
        "augment_sign_count": torch.zeros([], device=device),
    }


@dataclass(frozen=True)
class Ada:
    """The course of p over a run; all that changes is in `buffers` (from `new_buffers`), changed in place."""

    config: AugmentConfig
    total_kimg: float
    buffers: dict[str, Tensor]

    @property
    def p(self) -> float:
        """The probability of each operation now."""
        return float(self.buffers["augment_p"])

    @property
    def adapts(self) -> bool:
        """Whether p follows D's overfitting."""
        return self.config.mode == "ada"

    def observe(self, sign_sum: Tensor, count: int) -> None:
        """Take the sum of sign D(real) over `count` augmented reals, all ranks together."""
        if self.adapts:
            self.buffers["augment_sign_sum"].add_(sign_sum.detach())
            self.buffers["augment_sign_count"].add_(count)

    def update(self, step: int, nimg: int, batch: int) -> None:
        """Move p after a step. step, nimg: done so far, this step included; batch: images a step, all ranks together.

        Scheduled p follows nimg; ADA's moves every `interval` steps, by the signs seen since the last time.
        """
        if self.config.mode == "scheduled":
            self.buffers["augment_p"].fill_(scheduled_p(self.config, nimg, self.total_kimg))
        if not self.adapts or step % self.config.interval:
            return
        count = float(self.buffers["augment_sign_count"])
        if count > 0:
            mean = float(self.buffers["augment_sign_sum"]) / count
            p = adjust(self.p, mean, self.config, self.config.interval * batch, self.total_kimg)
            self.buffers["augment_p"].fill_(p)
        self.buffers["augment_sign_sum"].zero_()
        self.buffers["augment_sign_count"].zero_()


def check_augment(config: RunConfig) -> None:
    """Raise ConfigError where the augmentation asked for cannot work with the loss or the data, or does nothing."""
    augment = config.augment
    lawful = lawful_operations(config.data, augment.leave_out)
    if augment.mode == "none":
        return
    if not lawful.allowed:
        raise ConfigError(
            f"augment.mode {augment.mode}: augment.leave_out leaves no operation",
            remedy="Leave fewer out, or set augment.mode=none.",
        )
    if augment.mode == "ada" and config.objective.loss not in ZERO_FIXING_LOSSES:
        raise ConfigError(
            f"augment.mode ada: the {config.objective.loss} loss does not fix D's zero, so the sign of D says nothing",
            remedy="Set augment.mode=fixed or augment.mode=scheduled, with for instance augment.p=0.3; or take one of "
            f"the losses {', '.join(sorted(ZERO_FIXING_LOSSES))}.",
        )
    if augment.mode == "ada" and augment.p > augment.p_max:
        raise ConfigError(
            f"augment.p: found {augment.p:g}, expected at most augment.p_max, {augment.p_max:g}",
            remedy="Leave augment.p at 0: ada finds its own p.",
        )
    if augment.mode != "ada" and augment.p == 0:
        raise ConfigError(
            f"augment.mode {augment.mode}: augment.p is 0, which changes no image",
            remedy="Set for instance augment.p=0.3, or augment.mode=none.",
        )
