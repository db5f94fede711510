"""The parts of training as pieces of work: passes of the nets, phases, steps. They call training's own code."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from stylescan.bench.rounds import Work
from stylescan.bench.step_kinds import step_kinds
from stylescan.config import AugmentConfig, RunConfig
from stylescan.data.loader import ImageSource
from stylescan.nets.protocols import Stage, one_hot
from stylescan.randomness import torch_generator
from stylescan.train.objective import Phase, PhaseBatch
from stylescan.train.schedule import Level, level_at
from stylescan.train.state import TrainState, build_state
from stylescan.train.step import (
    Reals,
    Setup,
    StepStats,
    build_setup,
    draw_phase,
    note_stage,
    phase_batch,
    read_reals,
    run_phase,
    train_step,
)


@dataclass
class Bench:
    """Training set up to be measured: at the end of a run, where nets that grow have their full size.

    The nets learn from what is measured, as they would; nobody keeps them.
    """

    state: TrainState
    setup: Setup
    level: Level
    reals: Reals
    fresh: Reals
    stats: StepStats = field(default_factory=StepStats)
    of_G: PhaseBatch | None = None  # the last G_main, whose fakes D may share

    @property
    def stage(self) -> Stage | None:
        """Of growing nets."""
        return self.level.stage(self.state.nimg)

    @property
    def device(self) -> torch.device:
        """Where the nets are."""
        return next(self.state.G.parameters()).device


@contextmanager
def open_bench(config: RunConfig, source: ImageSource, indices: np.ndarray, *, device: torch.device) -> Iterator[Bench]:
    """Nets, optimisers and readers of `config` over the images `indices` of `source`; ConfigError as in training."""
    setup = build_setup(config, source, indices, device=device)
    try:
        state = build_state(config, setup.phases, device=device)
        batch = setup.levels[-1].batch
        state.nimg = math.ceil(config.train.total_kimg * 1000 / batch) * batch
        level = level_at(setup.levels, state.nimg)
        note_stage(state, level.stage(state.nimg))
        state.buffers["augment_p"].fill_(typical_p(config.augment))
        reals, fresh = (read_reals(reader, setup, level, state.nimg, device) for reader in (setup.reader, setup.fresh))
        yield Bench(state, setup, level, reals, fresh)
    finally:
        setup.close()


def typical_p(config: AugmentConfig) -> float:
    """The probability of each augmentation that is measured: the last one; half of what ADA allows, which finds its own."""
    if config.mode == "none":
        return 0.0
    return max(config.p, config.p_max / 2) if config.mode == "ada" else config.p


def forward_works(bench: Bench) -> list[Work]:
    """One pass of G and one of D without gradients, at training's batch."""
    state, n, precision = bench.state, bench.level.batch, bench.setup.precision
    rng = torch_generator(0, "bench/forward")
    z = torch.randn(n, state.G.spec.z_dim, generator=rng).to(bench.device)
    labels = [position % max(state.G.spec.num_classes, 1) for position in range(n)]
    drawn = one_hot(labels, state.G.spec.num_classes)
    c = None if drawn is None else drawn.to(bench.device)

    def forward_G() -> None:
        with torch.no_grad(), precision.kernels(), precision.nets():
            state.G.synthesis(state.G.mapping(z, c), noise="random", rng=rng, stage=bench.stage)

    def forward_D() -> None:
        with torch.no_grad(), precision.kernels(), precision.nets():
            state.D(*bench.reals, group=None, stage=bench.stage)

    return [Work("G", "forward", n, forward_G), Work("D", "forward", n, forward_D)]


def phase_works(bench: Bench) -> list[Work]:
    """Each phase of the objective, drawing and optimiser included, in the order of a step."""
    n, team = bench.level.batch, bench.setup.team
    return [
        Work(phase.name, "phase", phase_batch(n, phase, team), _phase_call(bench, phase), due=1 / phase.interval)
        for phase in bench.setup.phases
    ]


def _phase_call(bench: Bench, phase: Phase) -> Callable[[], None]:
    shares = bench.setup.config.objective.shared == "fakes"

    def call() -> None:
        given, bench.of_G = (bench.of_G, None) if phase.name == "D_main" else (None, bench.of_G)
        reals = bench.fresh if phase.fresh_reals else bench.reals
        batch = draw_phase(bench.state, phase, bench.setup, bench.level, reals, fakes_of=given)
        run_phase(bench.state, phase, batch, bench.stats)
        if shares and phase.name == "G_main":
            bench.of_G = batch

    return call


def step_works(bench: Bench) -> list[Work]:
    """Whole steps, one a kind (which lazy phases are due): reading, phases and the average of G. `due` is its share."""

    def call_at(step: int) -> Callable[[], None]:
        def call() -> None:
            bench.state.step = step
            train_step(bench.state, bench.setup, bench.stats)

        return call

    kinds = step_kinds([phase.interval for phase in bench.setup.phases])
    return [Work(f"step_{kind.step}", "step", bench.level.batch, call_at(kind.step), due=kind.share) for kind in kinds]
