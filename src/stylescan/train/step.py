"""One training step: every due phase of the objective, then the average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from stylescan.config import RunConfig
from stylescan.data.loader import BatchReader, ImageSource
from stylescan.data.prefetch import reader_for
from stylescan.errors import ConfigError
from stylescan.nets.growing import at_stage, reached_by
from stylescan.nets.protocols import Stage, one_hot
from stylescan.randomness import derive_seed, torch_generator
from stylescan.runtime import Team, device_facts, to_device
from stylescan.train.ada import check_augment
from stylescan.train.augment import augment, draw
from stylescan.train.ema import ema_beta, update_ema
from stylescan.train.lawful import lawful_operations
from stylescan.train.objective import Kind, Net, Phase, PhaseBatch, build_objective, lazy_correction
from stylescan.train.one_pass import teach_G
from stylescan.train.precision import Precision, choose_precision
from stylescan.train.schedule import Level, between, burned_in, level_at, plan_levels
from stylescan.train.state import TrainState
from stylescan.train.transfer import g_rests, lr_factor

Reals = tuple[Tensor, Tensor | None]  # images [n, C, H, W], one-hot classes [n, K] or None


@dataclass(frozen=True)
class Setup:
    """What stays the same from step to step.

    frequencies: [K] training share of each class; operations: lawful augmentations, none where the mode is none.
    fresh: reads reals in another order, for phases of G that compare with reals; levels: of growing, one without.
    """

    config: RunConfig
    phases: tuple[Phase, ...]
    levels: tuple[Level, ...]
    reader: BatchReader
    fresh: BatchReader
    frequencies: Tensor
    team: Team
    operations: tuple[str, ...]
    precision: Precision

    def close(self) -> None:
        """End the readers' threads, where there are any."""
        self.reader.close()
        self.fresh.close()


def check_config(config: RunConfig, *, processes: int) -> None:
    """ConfigError where the processes cannot share the batch, or the augmentation asked for cannot work."""
    check_augment(config)
    for level in plan_levels(config):
        if level.batch % processes:
            name = "growth.batch" if config.growth.batch else "train.batch"
            raise ConfigError(
                f"{name} {level.batch}: cannot be shared equally by {processes} processes",
                remedy=f"Give for instance {-(-level.batch // processes) * processes} (--set {name}=...).",
            )


def build_setup(
    config: RunConfig,
    dataset: ImageSource,
    indices: np.ndarray,
    *,
    team: Team | None = None,
    device: torch.device | None = None,
) -> Setup:
    """The setup of a run over the images `indices` of `dataset`, on `device` (the CPU if left out).

    ConfigError as `check_config` and `choose_precision`.
    """
    device = device or torch.device("cpu")
    team = team or Team()
    check_config(config, processes=team.size)
    reader = reader_for(device, dataset, indices, seed=config.seed)
    fresh = reader_for(device, dataset, indices, seed=derive_seed(config.seed, "fresh_reals"))
    frequencies = torch.from_numpy(reader.class_frequencies()).float()
    lawful = lawful_operations(config.data, config.augment.leave_out)
    operations = () if config.augment.mode == "none" else lawful.allowed
    phases, levels = build_objective(config.objective), plan_levels(config)
    precision = choose_precision(config.train.precision, device_facts(device))
    return Setup(config, phases, levels, reader, fresh, frequencies, team, operations, precision)


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


def read_reals(reader: BatchReader, setup: Setup, level: Level, nimg: int, device: torch.device) -> Reals:
    """This process's rows of the batch after `nimg` images: (reals as the nets see them at this stage, classes)."""
    images, labels = reader.batch(nimg, level.batch, part=(setup.team.rank, setup.team.size))
    c = one_hot(labels.tolist(), setup.reader.dataset.num_classes)
    stage, images = level.stage(nimg), to_device(images, device)
    return images if stage is None else at_stage(images, stage), None if c is None else to_device(c, device)


def draw_phase(
    state: TrainState, phase: Phase, setup: Setup, level: Level, real: Reals, *, fakes_of: PhaseBatch | None = None
) -> PhaseBatch:
    """The phase's latents, classes and mixing, from a stream of its own at this position.

    They are drawn for the global batch, of which this process keeps its rows; `real` are its rows already. fakes_of: a
    phase whose fakes are taken instead of new ones.
    """
    config, team = setup.config, setup.team
    reals, c_real = real
    n = phase_batch(level.batch, phase, team)
    stage = level.stage(state.nimg)
    rng = torch_generator(config.seed, phase.name, state.nimg)
    spec, device = state.G.spec, reals.device
    z, z_mix = torch.randn(2, n, spec.z_dim, generator=rng)
    c_fake = None
    if spec.num_classes:
        drawn = torch.multinomial(setup.frequencies, n, replacement=True, generator=rng)
        c_fake = one_hot(drawn.tolist(), spec.num_classes)
    mixing, crossover = config.objective.mixing, None
    styles = state.G.styles_at(stage)
    if mixing > 0 and styles > 1:
        crossover = torch.randint(1, styles, (n,), generator=rng)
        mixed = torch.rand(n, generator=rng) < mixing
        crossover = torch.where(mixed, crossover, state.G.num_ws)

    def mine(x: Tensor | None) -> Tensor | None:
        return None if x is None else to_device(team.rows(x), device)

    local = n // team.size
    return PhaseBatch(
        G=state.G,
        D=state.D,
        net=phase.net,
        reals=reals[:local],
        c_real=None if c_real is None else c_real[:local],
        z=to_device(team.rows(z), device),
        c_fake=mine(c_fake) if fakes_of is None else fakes_of.c_fake,
        z_mix=None if crossover is None else mine(z_mix),
        crossover=mine(crossover),
        rng=rng,
        buffers=state.buffers,
        team=team,
        augment=_augmentation(state, phase, setup, n),
        real_grad=phase.real_grad,
        fake_grad=phase.fake_grad,
        stage=stage,
        gamma_factor=between(config.burn_in.gamma_factor, 1.0, burned_in(config, state.nimg)),
        given_fakes=None if fakes_of is None else fakes_of.made.detach(),
        teaches_G=phase.teaches_G is not None and not g_rests(config, state.nimg),
        precision=setup.precision.of_phase(phase.interval),
    )


def _augmentation(state: TrainState, phase: Phase, setup: Setup, n: int) -> Callable[[Tensor, Kind], Tensor]:
    """This moment's augmentation of a global batch of n, from a stream of its own, so that p changes no other draw."""
    if not setup.operations:
        return lambda images, kind: images
    p, mine = state.ada.p, setup.team.rows(torch.arange(n))
    rng = torch_generator(setup.config.seed, f"{phase.name}/augment", state.nimg)
    numbers = {kind: draw(n, setup.operations, rng).slice(mine) for kind in ("fake", "real")}
    return lambda images, kind: augment(images, numbers[kind], p)


def _take_step(net: torch.nn.Module, optimiser: torch.optim.Adam, team: Team) -> None:
    """One step of an optimiser with the gradients' mean over all processes."""
    team.mean_(p.grad for p in net.parameters() if p.grad is not None)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def run_phase(state: TrainState, phase: Phase, batch: PhaseBatch, stats: StepStats) -> None:
    """Gradients of one phase's loss, one optimiser step of each net that learns from it, in the phase's precision."""
    with batch.precision.kernels():
        _learn(state, phase, batch, stats)


def _learn(state: TrainState, phase: Phase, batch: PhaseBatch, stats: StepStats) -> None:
    net, optimiser = (state.G, state.opt_G) if phase.net == "G" else (state.D, state.opt_D)
    other = state.D if phase.net == "G" else state.G
    net.requires_grad_(True)
    other.requires_grad_(batch.teaches_G)
    for name in state.frozen if phase.net == "D" else ():
        net.get_parameter(name).requires_grad_(False)
    losses = [(term.name, term.value(batch)) for term in phase.terms]
    # named, or penalties would also fill the gradient of the images, which nobody reads
    learning = [p for p in net.parameters() if p.requires_grad] + ([batch.fake_images] if batch.teaches_G else [])
    sum((values.mean() for _, values in losses), torch.zeros([])).mul(phase.gain).backward(inputs=learning)  # type: ignore[no-untyped-call]
    if phase.teaches_G is not None and batch.teaches_G:
        by_fakes = batch.fake_images.grad
        assert by_fakes is not None
        taught = teach_G(phase.teaches_G, batch.made, by_fakes, batch.seen["real"], batch.seen["fake"])
        losses.append(("G_loss", taught))
        _take_step(state.G, state.opt_G, batch.team)
    _take_step(net, optimiser, batch.team)
    for name, values in losses:
        stats.add(name, values)
    if phase.name == "D_main":
        if state.ada.adapts:
            signs = batch.seen["real"].sign().sum()
            state.ada.observe(batch.team.sum(signs), len(batch.reals) * batch.team.size)
        for name, scores in batch.seen.items():
            stats.add(f"score_{name}", scores)
            stats.add(f"sign_{name}", scores.sign())


def _set_optimisers(state: TrainState, setup: Setup, level: Level) -> None:
    """Learning rates and beta2 at this position: the level's, in the burn-in, in the warm-up of a transfer, and lowered
    by every roll back. A level begins with fresh moments (Karras et al. 2018, appendix A.1)."""
    config = setup.config
    burn_in, done = config.burn_in, burned_in(config, state.nimg)
    factor = config.health.lr_factor**state.progress.roll_backs * between(burn_in.lr_factor, 1.0, done)
    beta2 = config.train.beta2 if burn_in.beta2 is None else between(burn_in.beta2, config.train.beta2, done)
    optimisers: tuple[tuple[Net, torch.optim.Adam], ...] = (("G", state.opt_G), ("D", state.opt_D))
    for net, optimiser in optimisers:
        c = lazy_correction(setup.phases, net)
        for group in optimiser.param_groups:
            group["lr"] = level.lr * c * lr_factor(config, net, state.nimg) * factor
            group["betas"] = (group["betas"][0], float(beta2) ** c)
        if state.nimg == level.first:
            optimiser.state.clear()


def note_stage(state: TrainState, stage: Stage | None) -> None:
    """Let the nets' weights say how far they are trained."""
    if stage is None:
        return
    for net in (state.G, state.G_ema, state.D):
        reached = reached_by(net)
        if reached is not None:
            reached.note(stage)


def train_step(state: TrainState, setup: Setup, stats: StepStats) -> None:
    """Run every due phase on the batch at `state.nimg`, update G_ema, and move the position."""
    config = setup.config
    device = next(state.G.parameters()).device
    level = level_at(setup.levels, state.nimg)
    note_stage(state, level.stage(state.nimg))
    reals = read_reals(setup.reader, setup, level, state.nimg, device)
    _set_optimisers(state, setup, level)
    of_G: PhaseBatch | None = None
    for phase in setup.phases:
        if phase.net == "G" and g_rests(config, state.nimg):
            continue
        if state.step % phase.interval == 0:
            shown = read_reals(setup.fresh, setup, level, state.nimg, device) if phase.fresh_reals else reals
            batch = draw_phase(state, phase, setup, level, shown, fakes_of=of_G if phase.name == "D_main" else None)
            run_phase(state, phase, batch, stats)
            if phase.name == "G_main" and config.objective.shared == "fakes":
                of_G = batch
    state.step += 1
    state.nimg += level.batch
    state.ada.update(state.step, state.nimg, level.batch)
    burn_in = burned_in(config, state.nimg) if config.burn_in.ema_from_zero else 1.0
    beta = ema_beta(
        batch=level.batch,
        nimg=state.nimg,
        half_life_kimg=config.train.ema_half_life_kimg * burn_in,
        rampup=config.train.ema_rampup,
    )
    update_ema(state.G_ema, state.G, beta)
