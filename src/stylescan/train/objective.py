"""The objective as data: a tuple of phases, each a few terms that one net minimises every so many steps.

Lazy regularisation (Karras et al. 2020, appendix B) is an interval and a gain, not a branch. Terms of interval 1 join
the main phase. A net with lazy phases of intervals r_i steps more often than once a step, so its optimiser takes
lr * c and beta ** c with c = 1 / (1 + sum 1 / r_i).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor

from stylescan.config import ObjectiveConfig
from stylescan.nets.protocols import Discriminator, Generator, Noise, Stage
from stylescan.ops.layers import minibatch_group
from stylescan.runtime import Team
from stylescan.train.losses import LOSSES, AdversarialLoss
from stylescan.train.one_pass import require_one_pass
from stylescan.train.penalties import drift_penalty, gradient_penalty, path_length_penalty, r1_penalty, r2_penalty
from stylescan.train.precision import Precision

Net = Literal["G", "D"]
Kind = Literal["fake", "real"]


@dataclass
class PhaseBatch:
    """What one phase draws and computes, each part at most once.

    reals: [N, C, H, W] in [-1, 1]; c_real, c_fake: one-hot [N, K] or None; z: [N, z_dim]; z_mix, crossover: a second
    latent and, an image, the first layer that takes it (num_ws = no mixing); rng: the phase's own generator, for noise.
    team: the processes that share the global batch of team.size * N images; this is one's part of it. augment: what
    becomes of the images ("fake" or "real") before D sees them. real_grad, fake_grad: whether a term differentiates D by
    them. stage: of growing nets. gamma_factor: multiplies R1 and R2 at this moment. given_fakes: fakes made before, of
    c_fake, instead of new ones. teaches_G: D's gradient by the fakes goes on to G. precision: of the nets' inside; images
    and scores are float32.
    """

    G: Generator
    D: Discriminator
    net: Net
    reals: Tensor
    c_real: Tensor | None
    z: Tensor
    c_fake: Tensor | None
    z_mix: Tensor | None
    crossover: Tensor | None
    rng: torch.Generator
    buffers: dict[str, Tensor]
    team: Team = field(default_factory=Team)
    augment: Callable[[Tensor, Kind], Tensor] = lambda images, kind: images
    real_grad: bool = False
    fake_grad: bool = False
    stage: Stage | None = None
    gamma_factor: float = 1.0
    given_fakes: Tensor | None = None
    teaches_G: bool = False
    precision: Precision = field(default_factory=Precision)
    seen: dict[str, Tensor] = field(default_factory=dict)  # detached scores, for the log

    @cached_property
    def ws(self) -> Tensor:
        """Styles [N, num_ws, w_dim], with mixing; G's phases also move the running mean of w."""
        ws = self.G.mapping(self.z, self.c_fake)
        if self.net == "G" or self.teaches_G:
            self.G.mapping.update_w_avg(ws, self.c_fake, total=self.team.sum)
        if self.z_mix is None or self.crossover is None:
            return ws
        second = self.G.mapping(self.z_mix, self.c_fake)
        layer = torch.arange(self.G.num_ws, device=ws.device)[None, :, None]
        return torch.where(layer < self.crossover[:, None, None], ws, second)

    def synthesise(self, ws: Tensor) -> Tensor:
        """Images [N, C, H, W] with fresh noise."""
        noise: Noise = "random"
        if self.team.size > 1:  # for the global batch, of which the net sees a part
            shapes = self.G.synthesis.noise_shapes
            sizes = [h * w for h, w in shapes]
            parts = torch.split(self.draw_normal((ws.shape[0], sum(sizes))).to(ws), sizes, dim=1)
            noise = [part.reshape(-1, 1, h, w) for part, (h, w) in zip(parts, shapes)]
        with self.precision.nets():
            images = self.G.synthesis(ws, noise=noise, rng=self.rng, stage=self.stage)
        return self.precision.result(images)

    def score(self, images: Tensor, c: Tensor | None, *, group: int | None = None) -> Tensor:
        """D's scores [N] of images [N, C, H, W] as they are."""
        with self.precision.nets():
            scores: Tensor = self.D(images, c, group=group, stage=self.stage)
        return self.precision.result(scores)

    def draw_normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers of the phase's stream, shape [N, ...]: drawn for the global batch, on the CPU."""
        return self.team.rows(torch.randn(shape[0] * self.team.size, *shape[1:], generator=self.rng))

    def draw_uniform(self, n: int) -> Tensor:
        """Uniform numbers in [0, 1) of the phase's stream, [n]: drawn for the global batch, on the CPU."""
        return self.team.rows(torch.rand(n * self.team.size, generator=self.rng))

    @cached_property
    def made(self) -> Tensor:
        """Fakes as G makes them, with their graph where G learns."""
        if self.given_fakes is not None:
            return self.given_fakes
        with torch.set_grad_enabled(self.net == "G" or self.teaches_G):
            return self.synthesise(self.ws)

    @cached_property
    def fake_images(self) -> Tensor:
        """Fakes; where D learns without a graph, or as the start of one where a term differentiates by them."""
        return self.made.detach().requires_grad_() if self.fake_grad or self.teaches_G else self.made

    @cached_property
    def real_images(self) -> Tensor:
        """Reals; requiring grad where a term differentiates by them (by the images as they are, before `augment`)."""
        return self.reals.detach().requires_grad_() if self.real_grad else self.reals

    @cached_property
    def shown_fakes(self) -> Tensor:
        """Fakes as D sees them."""
        return self.augment(self.fake_images, "fake")

    @cached_property
    def shown_reals(self) -> Tensor:
        """Reals as D sees them."""
        return self.augment(self.real_images, "real")

    @cached_property
    def _paired_scores(self) -> tuple[Tensor, Tensor]:
        """Scores of (fakes, reals) from one pass of D over both: the same values as two passes, at less overhead.

        Fakes and reals alternate, and the group is that of a single batch, so that D's minibatch statistics never mix
        the two kinds.
        """
        images = torch.stack([self.shown_fakes, self.shown_reals], dim=1).flatten(0, 1)  # [2N, C, H, W]
        c = None
        if self.c_fake is not None and self.c_real is not None:
            c = torch.stack([self.c_fake, self.c_real], dim=1).flatten(0, 1)
        group = minibatch_group(len(self.reals), self.D.mbstd_group)
        scores = self.score(images, c, group=group)
        return scores[0::2], scores[1::2]

    @property
    def _pairs(self) -> bool:
        # a penalty on one kind differentiates D twice: that must not cost a second derivative of the other's pass too
        penalised = self.real_grad or self.fake_grad
        return self.net == "D" and not penalised and not self.D.whole_batch and len(self.fake_images) == len(self.reals)

    @cached_property
    def fake_scores(self) -> Tensor:
        """D's scores of the fakes [N]."""
        scores: Tensor = self._paired_scores[0] if self._pairs else self.score(self.shown_fakes, self.c_fake)
        self.seen["fake"] = scores.detach()
        return scores

    @cached_property
    def real_scores(self) -> Tensor:
        """D's scores of the reals [N]."""
        scores: Tensor = self._paired_scores[1] if self._pairs else self.score(self.shown_reals, self.c_real)
        self.seen["real"] = scores.detach()
        return scores


@dataclass(frozen=True)
class Term:
    """A named part of a phase's loss. `real_grad`, `fake_grad`: it differentiates D by the real or fake images."""

    name: str
    value: Callable[[PhaseBatch], Tensor]
    real_grad: bool = False
    fake_grad: bool = False


@dataclass(frozen=True)
class Phase:
    """One optimiser step of `net`, due every `interval` steps; its loss is gain * sum of terms, averaged over images.

    `shrink`: the phase takes a batch / shrink (path length: 2). `fresh_reals`: it takes reals of its own, which D has
    not just seen. `teaches_G`: its adversarial loss, with G's part in it, moves G as well (one_pass.py).
    """

    name: str
    net: Net
    interval: int
    gain: float
    terms: tuple[Term, ...]
    shrink: int = 1
    fresh_reals: bool = False
    teaches_G: AdversarialLoss | None = None

    def steps(self, net: Net) -> bool:
        """Whether the phase steps `net`'s optimiser."""
        return self.net == net or (net == "G" and self.teaches_G is not None)

    @property
    def real_grad(self) -> bool:
        """Whether any term needs the real images' gradient."""
        return any(term.real_grad for term in self.terms)

    @property
    def fake_grad(self) -> bool:
        """Whether any term needs the fakes' gradient."""
        return any(term.fake_grad for term in self.terms)


def _adversarial(loss: AdversarialLoss, net: Net) -> Term:
    if net == "D":
        return Term("D_loss", lambda b: loss.d(b.real_scores, b.fake_scores))
    return Term("G_loss", lambda b: loss.g(b.real_scores if loss.pairs else b.fake_scores, b.fake_scores))


def _penalties_of_D(config: ObjectiveConfig) -> list[tuple[int, Term]]:
    """(interval, term) of every penalty that is on."""
    offered = (
        (config.r1_gamma, config.r1_interval, Term("r1_penalty", partial(r1_penalty, gamma=config.r1_gamma), True)),
        (
            config.r2_gamma,
            config.r2_interval,
            Term("r2_penalty", partial(r2_penalty, gamma=config.r2_gamma), fake_grad=True),
        ),
        (config.gp_weight, config.gp_interval, Term("gp_penalty", partial(gradient_penalty, weight=config.gp_weight))),
        (
            config.drift_weight,
            config.drift_interval,
            Term("drift_penalty", partial(drift_penalty, weight=config.drift_weight)),
        ),
    )
    return [(interval, term) for weight, interval, term in offered if weight > 0]


def build_objective(config: ObjectiveConfig) -> tuple[Phase, ...]:
    """Phases in the order in which a step runs them: G, path length, D, its lazy penalties.

    Penalties of interval 1 join D's main phase; those of an equal longer interval share a phase. With `shared: pass`
    there is no main phase of G. ConfigError where the loss or the penalties do not allow that.
    """
    loss = LOSSES[config.loss](config)
    one_pass = config.shared == "pass"
    phases = []
    if not one_pass:
        phases.append(Phase("G_main", "G", 1, 1.0, (_adversarial(loss, "G"),), fresh_reals=loss.pairs))
    if config.pl_weight > 0:
        term = Term("pl_penalty", partial(path_length_penalty, weight=config.pl_weight))
        # its batch is smaller, so it stays a phase of its own even at interval 1
        phases.append(Phase("G_pl", "G", config.pl_interval, float(config.pl_interval), (term,), shrink=2))
    penalties = _penalties_of_D(config)
    if one_pass:
        require_one_pass(config)
    main = (_adversarial(loss, "D"), *(term for interval, term in penalties if interval == 1))
    phases.append(Phase("D_main", "D", 1, 1.0, main, teaches_G=loss if one_pass else None))
    for interval in sorted({interval for interval, _ in penalties} - {1}):
        terms = tuple(term for each, term in penalties if each == interval)
        name = "_".join(["D", *(term.name.removesuffix("_penalty") for term in terms)])
        phases.append(Phase(name, "D", interval, float(interval), terms))
    return tuple(phases)


def lazy_correction(phases: Iterable[Phase], net: Net) -> float:
    """c = 1 / (1 + sum 1 / r_i) over the lazy phases of `net`: the factor of lr and the power of beta."""
    return 1 / sum(1 / phase.interval for phase in phases if phase.steps(net))
