"""What a run will cost: parameters, memory and images per second, measured over a few steps on scratch networks."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from stylescan.config import RunConfig
from stylescan.data.loader import BatchReader
from stylescan.data.prepared import PreparedDataset
from stylescan.runtime import peak_memory_mb
from stylescan.train.objective import build_objective
from stylescan.train.state import build_state
from stylescan.train.step import StepStats, train_step

WARM_UP_STEPS = 4


@dataclass(frozen=True)
class Cost:
    """Parameters of G and D, seconds an image of training, peak resident memory in MB."""

    parameters_G: int
    parameters_D: int
    seconds_per_image: float
    memory_mb: float

    def hours(self, kimg: float) -> float:
        """Hours of training (without scoring) for `kimg`."""
        return kimg * 1000 * self.seconds_per_image / 3600


def measure_cost(config: RunConfig, dataset: PreparedDataset, *, device: torch.device, steps: int = 20) -> Cost:
    """Time `steps` real steps after a few to warm up; the networks are thrown away, so the run itself starts fresh."""
    phases = build_objective(config.objective)
    state = build_state(config, phases, device=device)
    reader = BatchReader(dataset, dataset.indices("train"), seed=config.seed)
    frequencies = torch.from_numpy(reader.class_frequencies()).float()
    stats = StepStats()
    for step in range(WARM_UP_STEPS + steps):
        if step == WARM_UP_STEPS:
            _synchronise(device)
            started = time.perf_counter()
            state.step = 0  # the timed steps hold their fair share of lazy phases
        train_step(state, phases, reader, config, frequencies, stats)
    _synchronise(device)
    seconds = time.perf_counter() - started
    count = [sum(p.numel() for p in net.parameters()) for net in (state.G, state.D)]
    return Cost(count[0], count[1], seconds / (steps * config.train.batch), peak_memory_mb())


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
