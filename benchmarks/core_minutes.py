"""What the benchmarks share: one thread a process, training by processor time, several processes side by side.

Processor time instead of the clock, so that the machine's load does not decide.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stylescan.train.state import TrainState
    from stylescan.train.step import Setup


def one_thread() -> None:
    """Settle this process on one thread and the allocator that training uses."""
    import torch

    from stylescan.runtime import tune_allocator

    torch.set_num_threads(1)
    tune_allocator()


def train_for(state: TrainState, setup: Setup, seconds: float) -> float:
    """Train until `seconds` of processor time are used; returns what was used, a step more at most."""
    from stylescan.train.step import StepStats, train_step

    stats, started = StepStats(), time.process_time()
    while time.process_time() - started < seconds:
        train_step(state, setup, stats)
    return time.process_time() - started


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
