"""What the benchmarks share: one thread a process, training by processor time, several processes side by side.

Processor time instead of the clock, so that the machine's load does not decide.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from stylescan.config import RunConfig
    from stylescan.data.loader import ImageSource
    from stylescan.train.state import TrainState
    from stylescan.train.step import Setup


def one_thread() -> None:
    """Settle this process on one thread and the allocator that training uses."""
    import torch

    from stylescan.allocator import tune_allocator

    torch.set_num_threads(1)
    tune_allocator()


def train_for(
    state: TrainState, setup: Setup, seconds: float, *, after_step: Callable[[], None] = lambda: None
) -> float:
    """Train until `seconds` of processor time are used; returns what was used, a step more at most."""
    from stylescan.train.step import StepStats, train_step

    stats, started = StepStats(), time.process_time()
    while time.process_time() - started < seconds:
        train_step(state, setup, stats)
        after_step()
    return time.process_time() - started


def seconds_an_image(config: RunConfig, dataset: ImageSource, chosen: np.ndarray) -> float:
    """Processor time an image, on nets that are thrown away: the schedules are shares of the whole length.

    The levels of a growing run count by their share of its images.
    """
    import torch

    from stylescan.train.schedule import shares
    from stylescan.train.state import build_state
    from stylescan.train.step import build_setup

    setup = build_setup(config, dataset, chosen)
    state = build_state(config, setup.phases, device=torch.device("cpu"))
    total, seconds = round(config.train.total_kimg * 1000), 0.0
    for level, share in zip(setup.levels, shares(setup.levels, total)):
        state.nimg = level.first + int(share * total / 2)
        train_for(state, setup, 1.0 / len(setup.levels))
        before = state.nimg
        seconds += share * train_for(state, setup, 4.0 / len(setup.levels)) / (state.nimg - before)
    return seconds


def side_by_side(commands: Sequence[Sequence[str]], *, workers: int) -> None:
    """Run `python ARGUMENTS` for each list of arguments, `workers` at a time; ends with an error where one failed."""
    waiting, running, failed = list(commands), [], 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        while waiting or running:
            failed += sum(process.poll() not in (None, 0) for process in running)
            running = [process for process in running if process.poll() is None]
            while waiting and len(running) < workers:
                running.append(subprocess.Popen([sys.executable, *waiting.pop(0)], env=environment))
            time.sleep(1)
    finally:
        for process in running:
            process.terminate()
    if failed:
        sys.exit(f"{failed} of {len(commands)} processes failed")
