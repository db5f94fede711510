"""The loop around the step: what is written when, scoring, stopping, resuming."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from stylescan.config import RunConfig, write_config
from stylescan.data.loader import BatchReader
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import CheckpointError, ForeignCheckpointError, StylescanError
from stylescan.generate.sample import apportion
from stylescan.generate.snapshot import SnapshotMeta, save_snapshot
from stylescan.runtime import environment
from stylescan.train.checkpoint import load_checkpoint, save_checkpoint
from stylescan.train.objective import build_objective
from stylescan.train.pictures import fake_grid, fake_images, real_grid, save_curves, save_grid
from stylescan.train.run_folder import RunFolder, config_hash, read_log
from stylescan.train.state import TrainState, build_state
from stylescan.train.step import StepStats, train_step

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
class StopRequest:
    """Set by Ctrl-C, SIGTERM or SIGUSR1; the loop saves after the current step. A second Ctrl-C stops at once."""

    name: str | None = None

    def __call__(self, number: int, frame: Any) -> None:
        if self.name == "SIGINT" and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the signals by which users and schedulers stop a job into a request, and put the old handlers back."""
    request = StopRequest()
    names = ("SIGINT", "SIGTERM", "SIGUSR1")  # Windows has no SIGUSR1
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    old = {number: signal.signal(number, request) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@dataclass
class Trainer:
    """One run: its folder, data, networks and what it has measured since the last log line.

    score: called with a function n -> uint8|uint16 [n, C, H, W] of fakes; returns at least `kid`; None where the data
    have no select split. progress and notice: what the caller shows.
    """

    run: RunFolder
    dataset: PreparedDataset
    config: RunConfig
    device: torch.device
    score: Score | None = None
    progress: Callable[[Progress], None] = lambda _: None
    notice: Callable[[str], None] = lambda _: None
    stats: StepStats = field(default_factory=StepStats)

    def __post_init__(self) -> None:
        self.phases = build_objective(self.config.objective)
        self.state: TrainState = build_state(self.config, self.phases, device=self.device)
        self.reader = BatchReader(self.dataset, self.dataset.indices("train"), seed=self.config.seed)
        self.frequencies = torch.from_numpy(self.reader.class_frequencies()).float()
        self.total_nimg = math.ceil(self.config.train.total_kimg * 1000)
        self.hash = config_hash(self.config)
        self.latest: dict[str, float] = {}

    def train(self) -> TrainResult:
        """Continue to the end or to a signal. The caller holds the folder's lock."""
        self._enter()
        started, first = time.monotonic(), self.state.nimg
        logged_at, logged_nimg = started, first
        with stop_on_signals() as stop:
            while self.state.nimg < self.total_nimg and stop.name is None:
                before = self.state.nimg
                train_step(self.state, self.phases, self.reader, self.config, self.frequencies, self.stats)
                now = time.monotonic()
                self.progress(self._progress((self.state.nimg - first) / max(now - started, 1e-9)))
                if self._due(before, self.config.train.log_kimg):
                    self._log((self.state.nimg - logged_nimg) / max(now - logged_at, 1e-9))
                    logged_at, logged_nimg = time.monotonic(), self.state.nimg
                self._events(before)
            if not self.run.checkpoint(self.state.nimg).is_dir():  # the last step's events may have written it
                self._save()
        self._curves()
        p = self.state.progress
        return TrainResult(p.nimg >= self.total_nimg, p.nimg, stop.name, p.best_score, p.best_nimg)

    def _enter(self) -> None:
        """Resume from the newest whole checkpoint, or begin: configuration, real grid, first fake grid."""
        self.run.create()
        resumed = self._resume()
        self.run.remember_data(self.dataset.path)
        if resumed:
            self.run.drop_after(self.state.nimg)
            self.run.cut_log(self.state.nimg)
            return
        self.run.log.unlink(missing_ok=True)
        write_config(self.run.config, self.config)
        reals = real_grid(self.dataset, self.reader.indices, seed=self.config.seed)
        save_grid(self.run.pictures / "reals.png", reals)
        self._grid()

    def _resume(self) -> bool:
        for folder in reversed(self.run.list_checkpoints()):
            try:
                identity = load_checkpoint(folder, self.state, config_hash=self.hash)
            except ForeignCheckpointError:
                raise
            except CheckpointError as problem:
                self.notice(f"skipped a damaged checkpoint: {problem.message}")
                continue
            here = environment(self.device)
            changed = [
                f"{k} {v} -> {here.get(k)}" for k, v in identity.get("environment", {}).items() if here.get(k) != v
            ]
            if changed:
                self.notice(f"resumed on another machine set-up ({', '.join(changed)}): not bit-for-bit the same run")
            self.notice(f"resumed at {self.state.nimg / 1000:g} kimg")
            return True
        return False

    def _due(self, before: int, every_kimg: float | None) -> bool:
        """Whether a multiple of `every_kimg` was passed in the last step, or the end reached."""
        if every_kimg is None:
            return False
        every = every_kimg * 1000
        return int(self.state.nimg // every) > int(before // every) or self.state.nimg >= self.total_nimg

    def _progress(self, images_per_s: float) -> Progress:
        return Progress(self.state.nimg, self.total_nimg, images_per_s, self.latest)

    def _log(self, images_per_s: float) -> None:
        means = self.stats.take()
        self._check_finite(means)
        self.latest = {**self.latest, **means}  # the last score stays in sight
        line = {"step": self.state.step, "nimg": self.state.nimg, "images_per_s": round(images_per_s, 3), **means}
        self.run.append_log(line)

    def _check_finite(self, means: dict[str, float]) -> None:
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            raise StylescanError(
                f"training diverged by step {self.state.step}: {bad[0]} is {means[bad[0]]}",
                remedy="The last checkpoint is unharmed. Start a new run with half the train.lr or four times the "
                "objective.r1_gamma.",
            )

    def _events(self, before: int) -> None:
        train = self.config.train
        if self._due(before, train.grid_kimg):
            self._grid()
        improved = self._due(before, train.score_kimg) and self._score()
        if improved or self._due(before, train.checkpoint_kimg):
            self._save()

    def _grid(self) -> None:
        images = fake_grid(self.state.G_ema, bits=self.dataset.bits)
        save_grid(self.run.pictures / f"fakes_{self.state.nimg:09d}.png", images)

    def _score(self) -> bool:
        """Score G_ema on select; write the snapshot where it is the best so far. Returns whether it is."""
        if self.score is None:
            return False
        scores = self.score(self._score_images)
        self.run.append_log({"step": self.state.step, "nimg": self.state.nimg, **scores})
        self.latest = {**self.latest, "kid": scores["kid"]}
        best = self.state.progress.best_score
        if not math.isfinite(scores["kid"]) or (best is not None and scores["kid"] >= best):
            return False
        self.state.progress.best_score, self.state.progress.best_nimg = scores["kid"], self.state.nimg
        self._snapshot()
        self._curves()
        return True

    def _score_images(self, n: int) -> np.ndarray:
        """n fakes at fixed latents, classes in their training shares."""
        labels = [0] * n
        if self.dataset.num_classes:
            labels = apportion(self.reader.class_frequencies().tolist(), n).tolist()
        return fake_images(self.state.G_ema, labels, bits=self.dataset.bits, noise="random")

    def _save(self) -> None:
        """A checkpoint of this moment, and the snapshot where no score chooses one."""
        for name, parameter in self.state.G_ema.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise StylescanError(
                    f"training diverged by step {self.state.step}: G_ema.{name} is not finite",
                    remedy="The last checkpoint is unharmed. Start a new run with half the train.lr.",
                )
        identity = {"config_hash": self.hash, "environment": environment(self.device)}
        try:
            # the snapshot first: a run killed in between comes back here, one killed after it needs nothing more
            if self.state.progress.best_nimg is None:
                self._snapshot()
            save_checkpoint(self.run.checkpoint(self.state.nimg), self.state, identity=identity)
        except OSError as problem:
            raise StylescanError(
                f"{self.run.path}: the checkpoint at {self.state.nimg / 1000:g} kimg could not be written "
                f"({problem.strerror})",
                remedy="Free space or restore permission, then repeat the command with --resume.",
            ) from None
        self.run.prune(keep=self.config.train.keep_checkpoints, best_nimg=self.state.progress.best_nimg)

    def _snapshot(self) -> None:
        data, manifest = self.dataset, self.dataset.manifest
        meta = SnapshotMeta(
            family=self.config.model.family,
            spec=self.config.spec.model_dump(mode="json"),
            class_names=list(data.class_names),
            class_frequencies=self.reader.class_frequencies().tolist(),
            bits=data.bits,
            plane=manifest.plane,
            geometry=data.output_geometry().model_dump(mode="json"),
            data_content_hash=data.content_hash,
            preparation_hash=data.preparation_hash,
            preset=self.config.preset,
            seed=self.config.seed,
            nimg=self.state.nimg,
        )
        save_snapshot(self.run.snapshot, self.state.G_ema, meta)

    def _curves(self) -> None:
        if self.run.log.is_file():
            save_curves(self.run.pictures / "losses.png", read_log(self.run.log))
