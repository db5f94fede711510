"""The loop around the step: what happens when, scoring, stopping, resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch

from stylescan.config import RunConfig
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import CheckpointError, ConfigError, ForeignCheckpointError
from stylescan.files import storage_error
from stylescan.ops.spectral import settle_spectral_norm
from stylescan.runtime import Team, environment
from stylescan.train.checkpoint import is_good, load_checkpoint
from stylescan.train.guard import Guard, RollBack
from stylescan.train.health import Finding, stop_error
from stylescan.train.record import Recorder
from stylescan.train.run_folder import RunFolder, config_hash
from stylescan.train.schedule import Level, level_at
from stylescan.train.signals import stop_on_signals
from stylescan.train.state import TrainState, build_state
from stylescan.train.step import StepStats, build_setup, note_stage, train_step
from stylescan.train.transfer import TransferPlan, apply_transfer

ASK_TEAM_STEPS = 8
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
    scores. transfer: what a new run takes of another model; the leader's counts. progress and notice: what the caller
    shows.
    """

    run: RunFolder
    dataset: PreparedDataset
    config: RunConfig
    device: torch.device
    score: Score | None = None
    team: Team = field(default_factory=Team)
    transfer: TransferPlan | None = None
    progress: Callable[[Progress], None] = lambda _: None
    notice: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.setup = build_setup(
            self.config, self.dataset, self.dataset.indices("train"), team=self.team, device=self.device
        )
        self.state: TrainState = build_state(self.config, self.setup.phases, device=self.device)
        note_stage(self.state, self.setup.levels[0].stage(0))
        self.stats = StepStats()
        self.total_nimg = math.ceil(self.config.train.total_kimg * 1000)
        self.hash = config_hash(self.config)
        self.latest: dict[str, float] = {}
        self.record = Recorder(self.run, self.dataset, self.config, self.setup.reader.class_frequencies())
        self.guard = Guard(
            self.config, self.dataset, self.device, self.total_nimg, self.team, self.record.line, self.notice
        )

    def train(self) -> TrainResult:
        """Continue to the end or to a signal. The leader's caller holds the folder's lock."""
        self._enter()
        clock = _Clock(self.state.nimg)
        stopped: str | None = None
        with closing(self.setup), stop_on_signals() as stop:
            while self.state.nimg < self.total_nimg and stopped is None:
                before = self.state.nimg
                train_step(self.state, self.setup, self.stats)
                self.guard.after_step(self.state, self.stats)
                self.progress(Progress(self.state.nimg, self.total_nimg, clock.overall(self.state.nimg), self.latest))
                # asking the others waits for the device: not at every step
                if self.team.size == 1 or self.state.step % ASK_TEAM_STEPS == 0:
                    asked = self.team.any(stop.name is not None, self.device)
                    stopped = (stop.name or "a signal to another process") if asked else None
                try:
                    self._events(before, clock)
                    if stopped and not self._saved():
                        self.guard.check_weights(self.state)
                        self._save()
                except RollBack as wanted:
                    self._roll_back(wanted.findings)
                    clock = _Clock(self.state.nimg)
        self._picture(self.record.curves)
        p = self.state.progress
        return TrainResult(p.nimg >= self.total_nimg, p.nimg, stopped, p.best_score, p.best_nimg)

    def _enter(self) -> None:
        """Resume from the newest whole checkpoint, or begin: configuration, real grid, first fake grid."""
        resumed = self._resume()
        if self.team.leader and not resumed:
            self._take_source()
        self.team.copy_from_leader(t for net in (self.state.G, self.state.D, self.state.G_ema) for t in _tensors(net))
        self.guard.load(self.state)
        if not resumed:
            self.guard.check_weights(self.state)  # what they are compared with from now on
        if not self.team.leader:
            return
        self.run.remember_data(self.dataset.path)
        if resumed:
            self.run.drop_after(self.state.nimg)
            self.run.cut_log(self.state.nimg)
            return
        self.record.begin(self.transfer)
        self._picture(lambda: self.record.reals(self.setup.reader.indices))
        self._picture(lambda: self.record.grid(self.state))
        self._begin_level(self.setup.levels[0])

    def _take_source(self) -> None:
        """Start from the model that the configuration names; without it the run would quietly be another one."""
        if self.config.transfer.source != (self.transfer and self.transfer.source):
            raise ConfigError(
                f"{self.run.path}: this run starts from another model and has no checkpoint yet",
                remedy="Name that model again (--init).",
            )
        if self.transfer is not None:
            apply_transfer(self.transfer, self.state)

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
        damaged = ""
        for folder in reversed(self.run.list_checkpoints()):
            try:
                identity = load_checkpoint(folder, self.state, config_hash=self.hash)
            except ForeignCheckpointError:
                raise
            except CheckpointError as problem:
                self.notice(f"skipped a damaged checkpoint: {problem.message}")
                damaged = problem.message
                continue
            here = environment(self.device, self.team)
            changed = [
                f"{k} {v} -> {here.get(k)}" for k, v in identity.get("environment", {}).items() if here.get(k) != v
            ]
            if changed:
                self.notice(f"resumed on another machine set-up ({', '.join(changed)}): not bit-for-bit the same run")
            self.notice(f"resumed at {self.state.nimg / 1000:g} kimg")
            return folder.name
        if damaged:  # beginning anew here would overwrite what is left
            raise CheckpointError(
                f"{self.run.checkpoints}: every checkpoint is damaged ({damaged})",
                remedy="Start a new run in another folder (--out); RUN/snapshot of this one can be its --init.",
            )
        return None

    def _due(self, before: int, every_kimg: float | None) -> bool:
        """Whether a multiple of `every_kimg` was passed in the last step, or the end reached."""
        if every_kimg is None:
            return False
        every = every_kimg * 1000
        return int(self.state.nimg // every) > int(before // every) or self.state.nimg >= self.total_nimg

    def _events(self, before: int, clock: _Clock) -> None:
        train = self.config.train
        log, score, save = (self._due(before, k) for k in (train.log_kimg, train.score_kimg, train.checkpoint_kimg))
        if log:
            self._log(clock.since_last(self.state.nimg))
        if log or score or save:
            self.guard.check_weights(self.state)
        level = level_at(self.setup.levels, self.state.nimg)
        grown = level.first > before and self.state.nimg < self.total_nimg
        grid = grown or self._due(before, train.grid_kimg)
        score = score and level is self.setup.levels[-1]  # lower resolutions compete with none of the data's
        if grid or score or save:
            settle_spectral_norm(self.state.G_ema)  # its vectors are G's, not those of the averaged weights
        if grid:
            self._picture(lambda: self.record.grid(self.state))
        if grown:
            self._begin_level(level)
        improved = score and self._score()
        if score:
            self.guard.check_fakes(self.state, self.latest.get("kid"))
        if improved or save:
            self._save()

    def _begin_level(self, level: Level) -> None:
        """Say and log that a growing run goes on at another resolution."""
        stage = level.stage(level.first)
        if stage is None or len(self.setup.levels) == 1:
            return
        self.notice(
            f"{level.first / 1000:g} kimg: {stage.resolution} px, batch {level.batch}, learning rate {level.lr:g}"
        )
        if self.team.leader:
            self.record.line(self.state, {"event": "level", "resolution": stage.resolution, "batch": level.batch})

    def _picture(self, draw: Callable[[], None]) -> None:
        """The leader draws; a picture that cannot be written is no reason to stop."""
        if not self.team.leader:
            return
        try:
            draw()
        except OSError as problem:
            self.notice(storage_error("a picture", problem, then="it is drawn again.").message + "; training goes on")

    def _roll_back(self, findings: list[Finding]) -> None:
        """Go back to the newest good checkpoint with lower learning rates; the best score and snapshot are kept."""
        p = self.state.progress
        rolled_back, best_score, best_nimg, step = p.roll_backs + 1, p.best_score, p.best_nimg, p.step
        name = self.team.share(
            self._load_sound(min(f.sound_step for f in findings)) if self.team.leader else None, self.device
        )
        if name is None:
            raise stop_error(findings, p.roll_backs)
        if not self.team.leader:
            load_checkpoint(self.run.checkpoints / name, self.state, config_hash=self.hash)
        p = self.state.progress
        p.roll_backs, p.best_score, p.best_nimg = rolled_back, best_score, best_nimg
        self.guard.load(self.state)
        self.stats = StepStats()
        text = (
            f"rolled back from step {step} to {p.step}, learning rates x {self.config.health.lr_factor**rolled_back:g}"
        )
        self.notice(text)
        if self.team.leader:
            self.run.drop_after(self.state.nimg)
            self.run.cut_log(self.state.nimg)
            event = {"event": "roll_back", "watch": findings[0].watch, "since_step": findings[0].step}
            self.record.line(self.state, {**event, "message": f"{findings[0].message}; {text}"})

    def _load_sound(self, step: int) -> str | None:
        """Load the newest checkpoint written in good health and no later than `step`; its name, or None."""
        for folder in reversed(self.run.list_checkpoints()):
            if is_good(folder):
                try:
                    load_checkpoint(folder, self.state, config_hash=self.hash)
                except CheckpointError as problem:
                    self.notice(f"skipped a damaged checkpoint: {problem.message}")
                    continue
                if self.state.step <= step:
                    return folder.name
        return None

    def _log(self, images_per_s: float) -> None:
        means = self.stats.take(self.team)
        if self.setup.operations:
            means["augment_p"] = self.state.ada.p
        self.latest = {**self.latest, **means}  # the last score stays in sight
        if self.team.leader:
            self.record.line(self.state, {"images_per_s": round(images_per_s, 3), **means})
        self.guard.check_losses(self.state, means)

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
        self._picture(self.record.curves)
        return True

    def _saved(self) -> bool:
        """Whether the last step's events have written this moment's checkpoint."""
        return bool(self.team.share(self.run.checkpoint(self.state.nimg).is_dir(), self.device))

    def _save(self) -> None:
        self.guard.store(self.state)
        if self.team.leader:
            identity = {"config_hash": self.hash, "environment": environment(self.device, self.team)}
            self.record.checkpoint(self.state, identity=identity, good=self.guard.good)
        self.stats = StepStats()  # a run resumed here knows no earlier step: its log and its health must be the same


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
