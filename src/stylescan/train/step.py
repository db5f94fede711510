"""One training step: every due phase of the objective, then the average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from stylescan.config import RunConfig
from stylescan.data.loader import BatchReader, ImageSource
from stylescan.errors import ConfigError
from stylescan.nets.protocols import one_hot
from stylescan.randomness import torch_generator
from stylescan.runtime import Team
from stylescan.train.ada import check_augment
from stylescan.train.augment import augment, draw
from stylescan.train.ema import ema_beta, update_ema
from stylescan.train.lawful import lawful_operations
from stylescan.train.objective import Kind, Net, Phase, PhaseBatch, build_objective
from stylescan.train.state import TrainState
from stylescan.train.transfer import g_rests, lr_factor


@dataclass(frozen=True)
class Setup:
    """What stays the same from step to step.

    frequencies: [K] training share of each class; operations: lawful augmentations, none where the mode is none.
    """

    config: RunConfig
    phases: tuple[Phase, ...]
    reader: BatchReader
    frequencies: Tensor
    team: Team
    operations: tuple[str, ...]


def check_config(config: RunConfig, *, processes: int) -> None:
    """ConfigError where the processes cannot share the batch, or the augmentation asked for cannot work."""
    check_augment(config)
    batch = config.train.batch
    if batch % processes:
        raise ConfigError(
            f"train.batch {batch}: cannot be shared equally by {processes} processes",
            remedy=f"Give for instance --set train.batch={-(-batch // processes) * processes}.",
        )


def build_setup(config: RunConfig, dataset: ImageSource, indices: np.ndarray, *, team: Team | None = None) -> Setup:
    """The setup of a run over the images `indices` of `dataset`; ConfigError as `check_config`."""
    team = team or Team()
    check_config(config, processes=team.size)
    reader = BatchReader(dataset, indices, seed=config.seed)
    frequencies = torch.from_numpy(reader.class_frequencies()).float()
    lawful = lawful_operations(config.data, config.augment.leave_out)
    operations = () if config.augment.mode == "none" else lawful.allowed
    return Setup(config, build_objective(config.objective), reader, frequencies, team, operations)


@dataclass
class StepStats:
    """Sums over phases since the last log line; tensors, so that nothing waits for a device until they are read."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, value: Tensor) -> None:
        """Count one more mean."""
        mean = value.detach().mean()
        self.sums[name] = self.sums[name] + mean if name in self.sums else mean
        self.counts[name] = self.counts.get(name, 0) + 1

    def take(self, team: Team) -> dict[str, float]:
        """The means since the last call, over all processes."""
        team.mean_(self.sums.values())
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


def phase_batch(batch: int, phase: Phase, team: Team) -> int:
    """Images of a global batch that `phase` takes: a share of it, the same number in every process, at least one."""
    return max(batch // phase.shrink // team.size, 1) * team.size


def draw_phase(state: TrainState, phase: Phase, setup: Setup, reals: Tensor, c_real: Tensor | None) -> PhaseBatch:
    """The phase's latents, classes and mixing, from a stream of its own at this position.

    They are drawn for the global batch, of which this process keeps its rows; reals and c_real are its rows already.
    """
    config, team = setup.config, setup.team
    n = phase_batch(config.train.batch, phase, team)
    rng = torch_generator(config.seed, phase.name, state.nimg)
    spec, device = state.G.spec, reals.device
    z, z_mix = torch.randn(2, n, spec.z_dim, generator=rng)
    c_fake = None
    if spec.num_classes:
        drawn = torch.multinomial(setup.frequencies, n, replacement=True, generator=rng)
        c_fake = one_hot(drawn.tolist(), spec.num_classes)
    mixing, crossover = config.objective.mixing, None
    if mixing > 0:
        crossover = torch.randint(1, max(state.G.num_ws, 2), (n,), generator=rng)
        mixed = torch.rand(n, generator=rng) < mixing
        crossover = torch.where(mixed, crossover, state.G.num_ws)

    def mine(x: Tensor | None) -> Tensor | None:
        return None if x is None else team.rows(x).to(device)

    local = n // team.size
    return PhaseBatch(
        G=state.G,
        D=state.D,
        net=phase.net,
        reals=reals[:local],
        c_real=None if c_real is None else c_real[:local],
        z=team.rows(z).to(device),
        c_fake=mine(c_fake),
        z_mix=mine(z_mix) if mixing > 0 else None,
        crossover=mine(crossover),
        rng=rng,
        buffers=state.buffers,
        team=team,
        augment=_augmentation(state, phase, setup, n),
        real_grad=phase.real_grad,
    )


def _augmentation(state: TrainState, phase: Phase, setup: Setup, n: int) -> Callable[[Tensor, Kind], Tensor]:
    """This moment's augmentation of a global batch of n, from a stream of its own, so that p changes no other draw."""
    if not setup.operations:
        return lambda images, kind: images
    p, mine = state.ada.p, setup.team.rows(torch.arange(n))
    rng = torch_generator(setup.config.seed, f"{phase.name}/augment", state.nimg)
    numbers = {kind: draw(n, setup.operations, rng).slice(mine) for kind in ("fake", "real")}
    return lambda images, kind: augment(images, numbers[kind], p)


def run_phase(state: TrainState, phase: Phase, batch: PhaseBatch, stats: StepStats) -> None:
    """Gradients of one phase's loss, one optimiser step of its net."""
    net, optimiser = (state.G, state.opt_G) if phase.net == "G" else (state.D, state.opt_D)
    other = state.D if phase.net == "G" else state.G
    net.requires_grad_(True)
    other.requires_grad_(False)
    for name in state.frozen if phase.net == "D" else ():
        net.get_parameter(name).requires_grad_(False)
    losses = [(term.name, term.value(batch)) for term in phase.terms]
    sum((values.mean() for _, values in losses), torch.zeros([])).mul(phase.gain).backward()  # type: ignore[no-untyped-call]
    batch.team.mean_(p.grad for p in net.parameters() if p.grad is not None)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    for name, values in losses:
        stats.add(name, values)
    if phase.name == "D_main":
        if state.ada.adapts:
            signs = batch.seen["real"].sign().sum()
            state.ada.observe(batch.team.sum(signs), len(batch.reals) * batch.team.size)
        for name, scores in batch.seen.items():
            stats.add(f"score_{name}", scores)
            stats.add(f"sign_{name}", scores.sign())


def _set_learning_rates(state: TrainState, config: RunConfig) -> None:
    """The learning rates at this position: warm-up after a transfer, lowered by every roll back."""
    lowered = config.health.lr_factor**state.progress.roll_backs
    optimisers: tuple[tuple[Net, torch.optim.Adam], ...] = (("G", state.opt_G), ("D", state.opt_D))
    for net, optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * lr_factor(config, net, state.nimg) * lowered


def train_step(state: TrainState, setup: Setup, stats: StepStats) -> None:
    """Run every due phase on the batch at `state.nimg`, update G_ema, and move the position."""
    config, team = setup.config, setup.team
    batch_size = config.train.batch
    device = next(state.G.parameters()).device
    images, labels = setup.reader.batch(state.nimg, batch_size, part=(team.rank, team.size))
    c = one_hot(labels.tolist(), state.G.spec.num_classes)
    reals, c_real = images.to(device), None if c is None else c.to(device)
    _set_learning_rates(state, config)
    for phase in setup.phases:
        if phase.net == "G" and g_rests(config, state.nimg):
            continue
        if state.step % phase.interval == 0:
            run_phase(state, phase, draw_phase(state, phase, setup, reals, c_real), stats)
    state.step += 1
    state.nimg += batch_size
    state.ada.update(state.step, state.nimg, batch_size)
    beta = ema_beta(
        batch=batch_size,
        nimg=state.nimg,
        half_life_kimg=config.train.ema_half_life_kimg,
        rampup=config.train.ema_rampup,
    )
    update_ema(state.G_ema, state.G, beta)
