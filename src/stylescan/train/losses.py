"""Adversarial losses: what D and G minimise, one value an image, from the scores of reals and fakes.

Rows of a visible dict, so that any loss combines with any penalty (penalties.py) and any family.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from stylescan.config import ObjectiveConfig
from stylescan.ops.layers import minibatch_group


@dataclass(frozen=True)
class AdversarialLoss:
    """`d` and `g` take (real scores, fake scores), each [N], and return what each net minimises, [N].

    `pairs`: G's part needs real scores too (relativistic losses).
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor, Tensor], Tensor]
    pairs: bool = False


def logistic_d(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(D(x)) - log(1 - sigmoid(D(G(z)))) (Goodfellow et al. 2014, equation 1)."""
    return F.softplus(-real) + F.softplus(fake)


def logistic_g(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(D(G(z))), the non-saturating form (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake)


def cross_entropy_d(real: Tensor, fake: Tensor, *, smoothing: float) -> Tensor:
    """Binary cross-entropy with the target 1 - smoothing for reals (Salimans et al. 2016, section 3.4), 0 for fakes.

    Without smoothing it is the logistic loss.
    """
    target = torch.full_like(real, 1 - smoothing)
    return F.binary_cross_entropy_with_logits(real, target, reduction="none") + F.softplus(fake)


def wasserstein_d(real: Tensor, fake: Tensor) -> Tensor:
    """D(G(z)) - D(x) (Arjovsky et al. 2017, equation 2)."""
    return fake - real


def wasserstein_g(real: Tensor, fake: Tensor) -> Tensor:
    """-D(G(z)) (Arjovsky et al. 2017, equation 2)."""
    return -fake


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Lim & Ye 2017; Miyato et al. 2018, equation 16)."""
    return F.relu(1 - real) + F.relu(1 + fake)


def group_mean(scores: Tensor, *, group: int) -> Tensor:
    """Each score's group mean, [N]: images i, i + N/g ... with g the largest divisor of N up to `group`."""
    g = minibatch_group(len(scores), group)
    return scores.reshape(g, -1).mean(dim=0).repeat(g)


def relativistic_hinge_d(real: Tensor, fake: Tensor, *, group: int) -> Tensor:
    """Relativistic average hinge (Jolicoeur-Martineau 2018, section 4.2): each kind against the other's mean."""
    over_fakes, over_reals = real - group_mean(fake, group=group), fake - group_mean(real, group=group)
    return F.relu(1 - over_fakes) + F.relu(1 + over_reals)


def relativistic_hinge_g(real: Tensor, fake: Tensor, *, group: int) -> Tensor:
    """The same with reals and fakes exchanged."""
    return relativistic_hinge_d(fake, real, group=group)


def pairing_d(real: Tensor, fake: Tensor) -> Tensor:
    """softplus(-(D(x) - D(G(z)))) (Jolicoeur-Martineau 2018, section 4.1; Huang et al. 2024, equation 2)."""
    return F.softplus(fake - real)


def pairing_g(real: Tensor, fake: Tensor) -> Tensor:
    """softplus(D(x) - D(G(z)))."""
    return F.softplus(real - fake)


LOSSES: dict[str, Callable[[ObjectiveConfig], AdversarialLoss]] = {
    "logistic": lambda _: AdversarialLoss(logistic_d, logistic_g),
    "cross-entropy": lambda o: AdversarialLoss(partial(cross_entropy_d, smoothing=o.label_smoothing), logistic_g),
    "wasserstein": lambda _: AdversarialLoss(wasserstein_d, wasserstein_g),
    "hinge": lambda _: AdversarialLoss(hinge_d, wasserstein_g),
    "relativistic-average-hinge": lambda o: AdversarialLoss(
        partial(relativistic_hinge_d, group=o.average_group),
        partial(relativistic_hinge_g, group=o.average_group),
        pairs=True,
    ),
    "relativistic-pairing": lambda _: AdversarialLoss(pairing_d, pairing_g, pairs=True),
}

# Losses that pull D's scores of reals and fakes to the two sides of zero, so that their sign says something. Wasserstein
# and relativistic losses leave the sum of a constant and D free.
ZERO_FIXING_LOSSES = frozenset({"logistic", "hinge", "cross-entropy"})


def objective_remarks(objective: ObjectiveConfig, *, spectral_norm_D: bool) -> list[str]:
    """What is known to go wrong with this combination, each with its remedy."""
    r1, r2, gp = (weight > 0 for weight in (objective.r1_gamma, objective.r2_gamma, objective.gp_weight))
    remarks = []
    if objective.loss == "relativistic-pairing" and not gp and not (r1 and r2):
        what = "R1 alone" if r1 else "R2 alone" if r2 else "no gradient penalty"
        remarks.append(
            f"relativistic pairing with {what} is known to diverge (Huang et al. 2024, section 3): set "
            "objective.r1_gamma and objective.r2_gamma to the same value"
        )
    if objective.loss == "wasserstein" and not (gp or r1 or spectral_norm_D):
        remarks.append(
            "the Wasserstein loss without a bound on D's slope grows without end: set objective.gp_weight=10 with "
            "objective.drift_weight=0.001, or model.spectral_norm=D"
        )
    if objective.loss == "relativistic-average-hinge" and not (gp or r1 or spectral_norm_D):
        remarks.append(
            "the relativistic average hinge loss without a gradient penalty is unstable at high resolutions: set "
            "objective.r1_gamma=10 or model.spectral_norm=D"
        )
    return remarks
