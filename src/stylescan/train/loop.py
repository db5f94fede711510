"""The loop around the step: what happens when, scoring, stopping, resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from stylescan.config import RunConfig
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import CheckpointError, ForeignCheckpointError, StylescanError
from stylescan.runtime import Team, environment
from stylescan.train.checkpoint import load_checkpoint
from stylescan.train.record import Recorder
from stylescan.train.run_folder import RunFolder, config_hash
from stylescan.train.signals import stop_on_signals
from stylescan.train.state import TrainState, build_state
from stylescan.train.step import StepStats, build_setup, train_step

Score = Callable[[Callable[[int], np.ndarray]], dict[str, float]]


@dataclass(frozen=True)
class Progress:
    """What the caller may show after a step."""

    nimg: int
    total_nimg: int
    images_per_s: float
    values: dict[str, float]


@dataclass(frozen=True)
class TrainResult:
    """How a call ended: `finished` or stopped by `signal_name`, at `nimg`; the best score and where it was."""

    finished: bool
    nimg: int
    signal_name: str | None
    best_score: float | None
    best_nimg: int | None


@dataclass
class Trainer:
    """One run: its folder, data, networks and what it has measured since the last log line.

    score: called with a function n -> uint8|uint16 [n, C, H, W] of fakes; returns at least `kid`; None where the data
    have no select split. team: the processes that train together; each has a Trainer, the leader's alone writes and
    scores. progress and notice: what the caller shows.
    """

    run: RunFolder
    dataset: PreparedDataset
    config: RunConfig
    device: torch.device
    score: Score | None = None
    team: Team = field(default_factory=Team)
    progress: Callable[[Progress], None] = lambda _: None
    notice: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.setup = build_setup(self.config, self.dataset, self.dataset.indices("train"), team=self.team)
        self.state: TrainState = build_state(self.config, self.setup.phases, device=self.device)
        self.stats = StepStats()
        self.total_nimg = math.ceil(self.config.train.total_kimg * 1000)
        self.hash = config_hash(self.config)
        self.latest: dict[str, float] = {}
        self.record = Recorder(self.run, self.dataset, self.config, self.setup.reader.class_frequencies())

    def train(self) -> TrainResult:
        """Continue to the end or to a signal. The leader's caller holds the folder's lock."""
        self._enter()
        clock = _Clock(self.state.nimg)
        stopped: str | None = None
        with stop_on_signals() as stop:
            while self.state.nimg < self.total_nimg and stopped is None:
                before = self.state.nimg
                train_step(self.state, self.setup, self.stats)
                self.progress(Progress(self.state.nimg, self.total_nimg, clock.overall(self.state.nimg), self.latest))
                self._events(before, clock)
                if self.team.any(stop.name is not None, self.device):
                    stopped = stop.name or "a signal to another process"
            if not self._saved():
                self._save()
        if self.team.leader:
            self.record.curves()
        p = self.state.progress
        return TrainResult(p.nimg >= self.total_nimg, p.nimg, stopped, p.best_score, p.best_nimg)

    def _enter(self) -> None:
        """Resume from the newest whole checkpoint, or begin: configuration, real grid, first fake grid."""
        resumed = self._resume()
        self.team.copy_from_leader(t for net in (self.state.G, self.state.D, self.state.G_ema) for t in _tensors(net))
        if not self.team.leader:
            return
        self.run.remember_data(self.dataset.path)
        if resumed:
            self.run.drop_after(self.state.nimg)
            self.run.cut_log(self.state.nimg)
            return
        self.record.begin(self.setup.reader.indices)
        self.record.grid(self.state)

    def _resume(self) -> bool:
        """The leader finds the newest whole checkpoint; the others load the same one."""
        name: str | None = None
        if self.team.leader:
            self.run.create()
            name = self._resume_newest()
        name = self.team.share(name, self.device)
        if name is not None and not self.team.leader:
            load_checkpoint(self.run.checkpoints / name, self.state, config_hash=self.hash)
        return name is not None

    def _resume_newest(self) -> str | None:
        for folder in reversed(self.run.list_checkpoints()):
            try:
                identity = load_checkpoint(folder, self.state, config_hash=self.hash)
            except ForeignCheckpointError:
                raise
            except CheckpointError as problem:
                self.notice(f"skipped a damaged checkpoint: {problem.message}")
                continue
            here = environment(self.device, self.team)
            changed = [
                f"{k} {v} -> {here.get(k)}" for k, v in identity.get("environment", {}).items() if here.get(k) != v
            ]
            if changed:
                self.notice(f"resumed on another machine set-up ({', '.join(changed)}): not bit-for-bit the same run")
            self.notice(f"resumed at {self.state.nimg / 1000:g} kimg")
            return folder.name
        return None

    def _due(self, before: int, every_kimg: float | None) -> bool:
        """Whether a multiple of `every_kimg` was passed in the last step, or the end reached."""
        if every_kimg is None:
            return False
        every = every_kimg * 1000
        return int(self.state.nimg // every) > int(before // every) or self.state.nimg >= self.total_nimg

    def _events(self, before: int, clock: _Clock) -> None:
        train = self.config.train
        if self._due(before, train.log_kimg):
            self._log(clock.since_last(self.state.nimg))
        if self.team.leader and self._due(before, train.grid_kimg):
            self.record.grid(self.state)
        improved = self._due(before, train.score_kimg) and self._score()
        if improved or self._due(before, train.checkpoint_kimg):
            self._save()

    def _log(self, images_per_s: float) -> None:
        means = self.stats.take(self.team)
        if self.setup.operations:
            means["augment_p"] = self.state.ada.p
        self._check_finite(means)
        self.latest = {**self.latest, **means}  # the last score stays in sight
        if self.team.leader:
            self.record.line(self.state, {"images_per_s": round(images_per_s, 3), **means})

    def _check_finite(self, means: dict[str, float]) -> None:
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            raise StylescanError(
                f"training diverged by step {self.state.step}: {bad[0]} is {means[bad[0]]}",
                remedy="The last checkpoint is unharmed. Start a new run with half the train.lr or four times the "
                "objective.r1_gamma.",
            )

    def _score(self) -> bool:
        """Score G_ema on select; write the snapshot where it is the best so far. Returns whether it is."""
        scores = self.score(lambda n: self.record.fakes(self.state, n)) if self.score and self.team.leader else None
        scores = self.team.share(scores, self.device)
        if scores is None:
            return False
        self.latest = {**self.latest, "kid": scores["kid"]}
        if self.team.leader:
            self.record.line(self.state, scores)
        p = self.state.progress
        if not math.isfinite(scores["kid"]) or (p.best_score is not None and scores["kid"] >= p.best_score):
            return False
        p.best_score, p.best_nimg = scores["kid"], self.state.nimg
        if self.team.leader:
            self.record.snapshot(self.state)
            self.record.curves()
        return True

    def _saved(self) -> bool:
        """Whether the last step's events have written this moment's checkpoint."""
        return bool(self.team.share(self.run.checkpoint(self.state.nimg).is_dir(), self.device))

    def _save(self) -> None:
        for name, parameter in self.state.G_ema.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise StylescanError(
                    f"training diverged by step {self.state.step}: G_ema.{name} is not finite",
                    remedy="The last checkpoint is unharmed. Start a new run with half the train.lr.",
                )
        if self.team.leader:
            identity = {"config_hash": self.hash, "environment": environment(self.device, self.team)}
            self.record.checkpoint(self.state, identity=identity)


class _Clock:
    """Images a second, over the call and since the last log line."""

    def __init__(self, nimg: int) -> None:
        self.first = self.last = (time.monotonic(), nimg)

    def overall(self, nimg: int) -> float:
        return (nimg - self.first[1]) / max(time.monotonic() - self.first[0], 1e-9)

    def since_last(self, nimg: int) -> float:
        now = time.monotonic()
        rate = (nimg - self.last[1]) / max(now - self.last[0], 1e-9)
        self.last = (now, nimg)
        return rate


def _tensors(net: torch.nn.Module) -> list[torch.Tensor]:
    return [*net.parameters(), *net.buffers()]
