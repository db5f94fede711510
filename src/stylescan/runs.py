"""A run from its options to its end: the configuration is chosen, the generator trained, the result handed back.

The library and the command line share `check_start`, `choose_config` and `run_training`. Nothing prints: what there is
to say goes to `notice`, a function of one line.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylescan.config import RunConfig, nest_settings
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError
from stylescan.evaluate.selection import SelectScorer
from stylescan.generate.snapshot import Snapshot, load_snapshot
from stylescan.presets import PRESETS, build_config, resolve_name
from stylescan.recipes.common import Machine
from stylescan.runtime import Team, pick_device
from stylescan.train.init_source import load_source
from stylescan.train.lawful import lawful_operations
from stylescan.train.loop import Progress, Trainer, TrainResult
from stylescan.train.losses import objective_remarks
from stylescan.train.run_folder import RunFolder, read_log
from stylescan.train.start import fingerprint, freeze_minutes, lead_measurement, lead_run, resumed_config
from stylescan.train.step import check_config
from stylescan.train.transfer import TransferPlan, plan_transfer, settle_transfer, transfer_lines
from stylescan.train.transfer_rules import InitSource

Data = PreparedDataset | str | Path
Notice = Callable[[str], None]


def silent(_: object) -> None:
    """Say nothing."""


def check_start(
    run: RunFolder,
    *,
    preset: str | None,
    kimg: float | None,
    minutes: float | None,
    resume: bool,
    dry_run: bool = False,
) -> None:
    """Refuse what cannot start, before anything is made; ConfigError says why. `dry_run` leaves the folder out of it."""
    if kimg is not None and minutes is not None:
        raise ConfigError("kimg and minutes: both given", remedy="Give one of them.")
    if minutes is not None and not 0 < minutes < math.inf:
        raise ConfigError(f"minutes: found {minutes:g}, expected more than 0", remedy="Give for instance 20.")
    resolve_name(preset or "auto")
    if dry_run:
        return
    if run.started and not resume:
        raise ConfigError(
            f"{run.path}: already holds a run",
            remedy="Continue it (--resume on the command line, resume=True in Python), or choose another folder.",
        )
    if not run.started:
        run.refuse_foreign_content()


def choose_config(
    run: RunFolder,
    dataset: PreparedDataset,
    *,
    preset: str | None,
    overrides: Mapping[str, Any],
    kimg: float | None,
    minutes: float | None,
    device: torch.device,
    devices: int = 1,
    team: Team | None = None,
    source: InitSource | None = None,
    notice: Notice = silent,
    dry_run: bool = False,
) -> RunConfig:
    """The stored configuration of a run that continues, else a new one; `check_start` comes first.

    preset : a name, or None for 'auto'. overrides : nested, they win over the preset. devices : processes that the run
    is for. minutes : steps are timed, by the whole team. `notice` hears what the preset remarks on these data, and the
    length that minutes gave. source : the model to start from, or None; `run_training` tells what of it is taken.

    Raises CheckpointError where a resumed run was made with other options, ConfigError where the parts do not agree.
    """
    name = resolve_name(preset or "auto")
    if run.started and not dry_run:
        stored = resumed_config(run, dataset, preset=preset, kimg=kimg, overrides=overrides, source=source)
        check_config(stored, processes=devices)
        return stored
    data, machine = fingerprint(dataset), Machine(device.type, devices)
    for remark in PRESETS[name].remarks(data, machine):
        notice(remark)

    def build(length: float | None) -> RunConfig:
        config = build_config(name, data, kimg=length, machine=machine, overrides=overrides)
        check_config(config, processes=devices)
        return config

    def chosen(length: float | None) -> RunConfig:
        config = build(length)
        for remark in objective_remarks(config.objective, spectral_norm_D=config.model.spectral_norm != "none"):
            notice(remark)
        return config

    if source is not None:
        overrides, _ = settle_transfer(
            source, overrides, lambda chosen: build_config(name, data, kimg=kimg, machine=machine, overrides=chosen)
        )
    if minutes is None:
        return chosen(kimg)
    config = freeze_minutes(
        minutes,
        build,
        cost=lambda config: lead_measurement(config, dataset, team or Team(), device),
        score_seconds=lambda config: _score_seconds(dataset, config),
    )
    notice(f"{minutes:g} minutes: fixed at {config.train.total_kimg:g} kimg, by steps timed on this machine")
    return chosen(config.train.total_kimg)


def tell_transfer(source: InitSource | None, config: RunConfig, *, notice: Notice = silent) -> TransferPlan | None:
    """What the run takes of `source`, told line by line; None without one."""
    if source is None:
        return None
    plan = plan_transfer(source, config.spec, config.data.class_names)
    for line in transfer_lines(source, plan, config):
        notice(f"init: {line}")
    return plan


def make_scorer(dataset: PreparedDataset, config: RunConfig, *, notice: Notice = silent) -> SelectScorer | None:
    """The score on `select`, or None, with a word, where it has too few subjects."""
    if config.train.score_kimg is None:
        return None
    if len(np.unique(dataset.subjects[dataset.indices("select")])) < 2:
        notice("no select subjects: checkpoints are not scored, the last one counts as best")
        return None
    return SelectScorer(dataset, n_fakes=config.train.score_images, cache_dir=dataset.path / "cache")


def _score_seconds(dataset: PreparedDataset, config: RunConfig) -> float:
    scorer = make_scorer(dataset, config)
    if scorer is None:
        return 0.0
    shape = (config.train.score_images, dataset.channels, dataset.resolution, dataset.resolution)
    blank = np.zeros(shape, np.uint16 if dataset.bits == 16 else np.uint8)
    scorer(lambda n: blank)  # the first call also reads the real images, once
    started = time.monotonic()
    scorer(lambda n: blank)
    return time.monotonic() - started


def run_training(
    run: RunFolder,
    dataset: PreparedDataset,
    config: RunConfig,
    device: torch.device,
    *,
    team: Team | None = None,
    source: InitSource | None = None,
    progress: Callable[[Progress], None] = silent,
    notice: Notice = silent,
) -> TrainResult:
    """Train to the end or to a signal, under the folder's lock; leads the other processes of `team`."""
    team = team or Team()
    run.create()
    with run.lock():
        processes = f", {team.size} processes" if team.size > 1 else ""
        notice(
            f"training preset {config.preset} for {config.train.total_kimg:g} kimg on {config.data.train_images} images "
            f"of {dataset.resolution} px, {device.type}{processes}"
        )
        if config.augment.mode != "none":
            for line in lawful_operations(config.data, config.augment.leave_out).lines():
                notice(line)
        score = make_scorer(dataset, config, notice=notice)
        plan = tell_transfer(source, config, notice=silent if run.list_checkpoints() else notice)
        lead_run(config, team, device)
        result = Trainer(run, dataset, config, device, score, team, plan, progress=progress, notice=notice).train()
        team.disband()
    return result


def resolve_config(
    data: Data,
    *,
    preset: str = "auto",
    kimg: float | None = None,
    settings: Mapping[str, object] | None = None,
    device: str = "auto",
) -> RunConfig:
    """The configuration that `train_generator` would use with the same arguments; nothing is written.

    Parameters
    ----------
    data
        A prepared dataset, or its folder.
    preset
        A name that `stylescan presets` lists; `auto` fits itself to the data and the device.
    kimg
        Length in thousand real images shown; the preset's own if left out.
    settings
        Values that win over the preset's, by dotted key: see the configuration reference.
    device
        auto, cpu, cuda or cuda:N.

    Raises
    ------
    ConfigError
        For an unknown preset or key (with the nearest known one), or a value out of range.

    Example
    -------
    >>> config = resolve_config(data, preset="small", kimg=20, settings={"train.batch": 8})
    >>> config.train.batch, config.train.total_kimg, config.data.train_images
    (8, 20.0, 32)
    """
    machine, overrides = Machine(pick_device(device).type), nest_settings(settings or {})
    return build_config(preset, fingerprint(_opened(data)), kimg=kimg, machine=machine, overrides=overrides)


@dataclass(frozen=True)
class TrainedRun:
    """A run folder and how training ended; made by `train_generator`.

    Parameters
    ----------
    path
        The run folder: configuration, log, checkpoints, pictures, snapshot.
    config
        The configuration in full.
    result
        `finished`, or stopped by `signal_name`; `nimg` images shown; `best_score` on the select subjects (KID) and
        `best_nimg` where it was.

    Example
    -------
    >>> run.result.finished, run.result.nimg
    (True, 40)
    >>> run.snapshot().meta.class_names
    ['kind 0', 'kind 1']
    >>> {"nimg", "G_loss", "D_loss"} <= run.log()[0].keys()
    True
    """

    path: Path
    config: RunConfig
    result: TrainResult

    def snapshot(self) -> Snapshot:
        """The generator, on the CPU: the best so far on the select subjects, or the last."""
        return load_snapshot(self.path)

    def log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl: losses at each interval, scores, events."""
        return read_log(RunFolder(self.path).log)


def train_generator(
    data: Data,
    out: str | Path,
    *,
    preset: str | None = None,
    kimg: float | None = None,
    minutes: float | None = None,
    settings: Mapping[str, object] | None = None,
    init: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: Callable[[Progress], None] = silent,
    notice: Notice = silent,
) -> TrainedRun:
    """Train a generator on a prepared dataset into a run folder, just as `stylescan train` does.

    Ctrl-C, SIGTERM and SIGUSR1 save and end the run; the same call with `resume` continues it exactly.

    Parameters
    ----------
    data
        A prepared dataset, or its folder.
    out
        Run folder, new or empty; with `resume`, also one that holds this run.
    preset
        A name that `stylescan presets` lists; `auto` if left out.
    kimg, minutes
        Length in thousand real images shown, or in minutes on this machine (some steps are timed, then it is fixed);
        the preset's own if both are left out.
    settings
        Values that win over the preset's, by dotted key such as `train.lr` or `seed`: see the configuration reference.
    init
        A run or snapshot folder to start from: what fits of its networks is taken, and `notice` hears what is left.
    resume
        Continue the run in `out`, or start it if there is none.
    device
        auto, cpu, cuda or cuda:N.
    progress
        Called after each step with an object of `nimg`, `total_nimg`, `images_per_s` and the latest `values`.
    notice
        Called with each remark, one line.

    Raises
    ------
    StylescanError
        With a remedy; what was already written is never lost.

    Example
    -------
    >>> small = {"model.channel_max": 4, "train.batch": 4, "train.score_kimg": None, "seed": 3}
    >>> run = train_generator(data, folder / "run", preset="small", kimg=0.008, settings=small)
    >>> run.result.nimg, run.config.seed
    (8, 3)
    """
    dataset, folder, place = _opened(data), RunFolder(Path(out)), pick_device(device)
    overrides = nest_settings(settings or {})
    source = load_source(Path(init)) if init is not None else None
    check_start(folder, preset=preset, kimg=kimg, minutes=minutes, resume=resume)
    config = choose_config(
        folder, dataset, preset=preset, overrides=overrides, kimg=kimg, minutes=minutes, device=place, source=source,
        notice=notice,
    )  # fmt: skip
    result = run_training(folder, dataset, config, place, source=source, progress=progress, notice=notice)
    return TrainedRun(folder.path, config, result)


def _opened(data: Data) -> PreparedDataset:
    return data if isinstance(data, PreparedDataset) else PreparedDataset.open(data)
