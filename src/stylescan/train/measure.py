"""What a run will cost: parameters, memory and images per second, measured over a few steps on scratch networks."""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import dataclass

import torch

from stylescan.config import RunConfig
from stylescan.data.prepared import PreparedDataset
from stylescan.runtime import Team, peak_memory_mb, synchronise
from stylescan.train.schedule import shares
from stylescan.train.state import build_state
from stylescan.train.step import StepStats, build_setup, train_step

WARM_UP_STEPS = 4


@dataclass(frozen=True)
class Cost:
    """Parameters of G and D, seconds an image over `steps` timed steps, peak resident memory in MB."""

    parameters_G: int
    parameters_D: int
    seconds_per_image: float
    steps: int
    memory_mb: float

    def hours(self, kimg: float) -> float:
        """Hours of training (without scoring) for `kimg`."""
        return kimg * 1000 * self.seconds_per_image / 3600


def measure_cost(
    config: RunConfig,
    dataset: PreparedDataset,
    *,
    device: torch.device,
    steps: int = 20,
    limit_s: float = 60.0,
    team: Team | None = None,
) -> Cost:
    """Time `steps` real steps after a few to warm up; the networks are thrown away, so the run itself starts fresh.

    Nets too large for the machine are timed over fewer steps, at least one, within about `limit_s` seconds. The first
    timed step holds every lazy phase, so that such a figure errs to the slow side. The levels of a growing run are timed
    one by one, and count by their share of its images. The processes of a `team` call this
    together, and step together.
    """
    # a rest of G at the start must not pass for the whole run's pace
    config = config.model_copy(update={"transfer": config.transfer.model_copy(update={"d_alone": 0.0})})
    with closing(build_setup(config, dataset, dataset.indices("train"), team=team, device=device)) as setup:
        state = build_state(config, setup.phases, device=device)
        stats, n = StepStats(), len(setup.levels)

        def timed(most: int, seconds: float) -> tuple[int, float]:
            started, done, spent = time.perf_counter(), 0, 0.0
            state.step = 0  # the steps hold their fair share of lazy phases
            enough = False
            while done < most and not enough:
                train_step(state, setup, stats)
                synchronise(device)
                done, spent = done + 1, time.perf_counter() - started
                enough = setup.team.any(spent >= seconds, device)
            return done, spent

        total = math.ceil(config.train.total_kimg * 1000)
        all_steps, seconds_per_image = 0, 0.0
        for level, share in zip(setup.levels, shares(setup.levels, total)):
            # half-way, where a resolution may be fading in
            state.nimg = level.first + int(share * total / 2)
            timed(max(WARM_UP_STEPS // n, 1), limit_s / 6 / n)
            done, seconds = timed(max(steps // n, 1), limit_s / n)
            all_steps += done
            seconds_per_image += share * seconds / (done * level.batch)
    count = [sum(p.numel() for p in net.parameters()) for net in (state.G, state.D)]
    return Cost(count[0], count[1], seconds_per_image, all_steps, peak_memory_mb())
