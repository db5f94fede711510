"""One training step: every due phase of the objective, then the average."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stylescan.config import RunConfig
from stylescan.data.loader import BatchReader
from stylescan.nets.protocols import one_hot
from stylescan.randomness import torch_generator
from stylescan.train.ema import ema_beta, update_ema
from stylescan.train.objective import Phase, PhaseBatch
from stylescan.train.state import TrainState


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

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


def draw_phase(
    state: TrainState, phase: Phase, config: RunConfig, frequencies: Tensor, reals: Tensor, c_real: Tensor | None
) -> PhaseBatch:
    """The phase's latents, classes and mixing, from a stream of its own at this position."""
    n = reals.shape[0] // phase.shrink or 1
    rng = torch_generator(config.seed, phase.name, state.nimg)
    spec, device = state.G.spec, reals.device
    z, z_mix = torch.randn(2, n, spec.z_dim, generator=rng)
    c_fake = None
    if spec.num_classes:
        drawn = torch.multinomial(frequencies, n, replacement=True, generator=rng)
        c_fake = one_hot(drawn.tolist(), spec.num_classes)
    mixing, crossover = config.objective.mixing, None
    if mixing > 0:
        crossover = torch.randint(1, max(state.G.num_ws, 2), (n,), generator=rng)
        mixed = torch.rand(n, generator=rng) < mixing
        crossover = torch.where(mixed, crossover, state.G.num_ws).to(device)
    return PhaseBatch(
        G=state.G,
        D=state.D,
        net=phase.net,
        reals=reals[:n],
        c_real=None if c_real is None else c_real[:n],
        z=z.to(device),
        c_fake=None if c_fake is None else c_fake.to(device),
        z_mix=z_mix.to(device) if mixing > 0 else None,
        crossover=crossover,
        rng=rng,
        buffers=state.buffers,
        real_grad=phase.real_grad,
    )


def run_phase(state: TrainState, phase: Phase, batch: PhaseBatch, stats: StepStats) -> None:
    """Gradients of one phase's loss, one optimiser step of its net."""
    net, optimiser = (state.G, state.opt_G) if phase.net == "G" else (state.D, state.opt_D)
    other = state.D if phase.net == "G" else state.G
    net.requires_grad_(True)
    other.requires_grad_(False)
    losses = [(term.name, term.value(batch)) for term in phase.terms]
    sum((values.mean() for _, values in losses), torch.zeros([])).mul(phase.gain).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    for name, values in losses:
        stats.add(name, values)
    if phase.name == "D_main":
        for name, scores in batch.seen.items():
            stats.add(f"score_{name}", scores)
            stats.add(f"sign_{name}", scores.sign())


def train_step(
    state: TrainState,
    phases: tuple[Phase, ...],
    reader: BatchReader,
    config: RunConfig,
    frequencies: Tensor,
    stats: StepStats,
) -> None:
    """Run every due phase on the batch at `state.nimg`, update G_ema, and move the position."""
    batch_size = config.train.batch
    device = next(state.G.parameters()).device
    images, labels = reader.batch(state.nimg, batch_size)
    c = one_hot(labels.tolist(), state.G.spec.num_classes)
    reals, c_real = images.to(device), None if c is None else c.to(device)
    for phase in phases:
        if state.step % phase.interval == 0:
            run_phase(state, phase, draw_phase(state, phase, config, frequencies, reals, c_real), stats)
    state.step += 1
    state.nimg += batch_size
    beta = ema_beta(
        batch=batch_size,
        nimg=state.nimg,
        half_life_kimg=config.train.ema_half_life_kimg,
        rampup=config.train.ema_rampup,
    )
    update_ema(state.G_ema, state.G, beta)
