"""`stylescan train`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from stylescan.cli.console import duration, note, say, train_bar

if TYPE_CHECKING:
    from stylescan.config import RunConfig

Flag = Parameter(negative="")


def train(
    *,
    data: Path,
    out: Path,
    preset: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    kimg: float | None = None,
    minutes: float | None = None,
    resume: Annotated[bool, Flag] = False,
    seed: int | None = None,
    device: str = "auto",
    devices: int = 1,
    threads: int | None = None,
    dry_run: Annotated[bool, Flag] = False,
) -> None:
    """Train a generator on a prepared dataset.

    Ctrl-C, SIGTERM and SIGUSR1 save and end the run; the same command with --resume continues it exactly. Now and then
    the averaged generator is scored on the `select` subjects; RUN/snapshot holds the best.

    Parameters
    ----------
    data
        Prepared dataset, made by `stylescan prepare`.
    out
        Run folder: configuration, log, checkpoints, pictures, snapshot.
    preset
        Recipe; `stylescan presets` lists them. `auto` (default) is `small` on a CPU and `standard` on a GPU.
    set_
        Override one value of the configuration, for instance --set train.lr=0.002; may be repeated.
    kimg
        Length in thousand real images shown.
    minutes
        Length in minutes on this machine: up to 20 steps are timed, then the length is fixed.
    resume
        Continue the run in OUT, or start it if there is none.
    seed
        Fixes initial weights, order of images and all draws.
    device
        auto, cpu, cuda or cuda:N.
    devices
        Processes that train together on this machine, a device each (CPU ranks share the cores). torchrun and SLURM
        are recognised: with them, repeat the number of processes a node.
    threads
        CPU threads a process; results are equal bit for bit only with an equal number.
    dry_run
        Print parameters, memory, speed and hours, and write nothing.
    """
    from stylescan.config import parse_overrides
    from stylescan.data.prepared import PreparedDataset
    from stylescan.runtime import launch, launched_rank, pick_device, set_threads
    from stylescan.train.run_folder import RunFolder

    set_threads(threads or (max((os.cpu_count() or 1) // devices, 1) if devices > 1 else None))
    place = pick_device(device)
    dataset = PreparedDataset.open(data)
    overrides = parse_overrides(set_ or [])
    if seed is not None:
        overrides["seed"] = seed
    run = RunFolder(out)
    if launched_rank() > 0:
        _follow(run, dataset, *launch(devices, place))
        return
    check_start(run, preset=preset, kimg=kimg, minutes=minutes, resume=resume, dry_run=dry_run)
    team, place = launch(devices, place)
    config = choose_config(
        run, dataset, preset=preset, overrides=overrides, kimg=kimg, minutes=minutes, device=place, team=team,
        dry_run=dry_run,
    )  # fmt: skip
    if dry_run:
        _dry_run(config, dataset, place, team)
        return
    run_training(run, dataset, config, place, team)
    say(f"next: stylescan evaluate {out} --data {data}")


def _follow(run: Any, dataset: Any, team: Any, device: Any) -> None:
    """What a process does that another one leads: the leader talks, writes, and ends with an error if there is one."""
    from stylescan.runtime import leader_is_gone
    from stylescan.train.loop import Trainer
    from stylescan.train.start import follow_leader

    try:
        config = follow_leader(dataset, team, device)
        if config is not None:
            Trainer(run, dataset, config, device, team=team).train()
        team.disband()
    except RuntimeError as problem:
        if not leader_is_gone(problem):
            raise
        sys.exit(1)


def check_start(
    run: Any, *, preset: str | None, kimg: float | None, minutes: float | None, resume: bool, dry_run: bool = False
) -> None:
    """Refuse what cannot start, before anything is made and before other processes run."""
    from stylescan.errors import ConfigError
    from stylescan.presets import resolve_name

    if kimg is not None and minutes is not None:
        raise ConfigError("--kimg and --minutes: both given", remedy="Give one of them.")
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"--minutes {minutes:g}: expected more than 0", remedy="Give for instance --minutes 20.")
    resolve_name(preset or "auto", device="cpu")
    if dry_run:
        return
    if run.started and not resume:
        raise ConfigError(
            f"{run.path}: already holds a run", remedy="Add --resume to continue it, or choose another --out."
        )
    if not run.started:
        run.refuse_foreign_content()


def choose_config(
    run: Any,
    dataset: Any,
    *,
    preset: str | None,
    overrides: dict[str, Any],
    kimg: float | None,
    minutes: float | None,
    device: Any,
    team: Any = None,
    dry_run: bool = False,
) -> RunConfig:
    """The stored configuration of a run that continues, else a new one; `check_start` comes first."""
    from stylescan.presets import build_config, resolve_name
    from stylescan.runtime import Team
    from stylescan.train.start import fingerprint, freeze_minutes, lead_measurement, resumed_config

    name = resolve_name(preset or "auto", device=device.type)
    if run.started and not dry_run:
        return resumed_config(run, dataset, preset=name if preset else None, kimg=kimg, overrides=overrides)
    data, team = fingerprint(dataset), team or Team()

    def build(length: float | None) -> RunConfig:
        return build_config(name, data, kimg=length, overrides=overrides)

    if minutes is None:
        return build(kimg)
    config = freeze_minutes(
        minutes,
        build,
        cost=lambda config: lead_measurement(config, dataset, team, device),
        score_seconds=lambda config: _score_seconds(dataset, config),
    )
    note(f"--minutes {minutes:g}: fixed at {config.train.total_kimg:g} kimg, by steps timed on this machine")
    return config


def make_scorer(dataset: Any, config: RunConfig) -> Any:
    """The score on `select`, or None with a word where it has too few subjects."""
    import numpy as np

    from stylescan.evaluate.selection import SelectScorer

    if config.train.score_kimg is None:
        return None
    if len(np.unique(dataset.subjects[dataset.indices("select")])) < 2:
        note("no select subjects: checkpoints are not scored, the last one counts as best")
        return None
    return SelectScorer(dataset, n_fakes=config.train.score_images, cache_dir=dataset.path / "cache")


def _score_seconds(dataset: Any, config: RunConfig) -> float:
    import numpy as np

    scorer = make_scorer(dataset, config)
    if scorer is None:
        return 0.0
    shape = (dataset.channels, dataset.resolution, dataset.resolution)
    blank = np.zeros((config.train.score_images, *shape), np.uint16 if dataset.bits == 16 else np.uint8)
    scorer(lambda n: blank)  # the first call also reads the real images, once
    started = time.monotonic()
    scorer(lambda n: blank)
    return time.monotonic() - started


def run_training(run: Any, dataset: Any, config: RunConfig, device: Any, team: Any = None) -> Any:
    """Train under the folder's lock with a live bar; prints how it ended. Leads the other processes of `team`."""
    from stylescan.runtime import Team
    from stylescan.train.loop import Trainer
    from stylescan.train.start import lead_run

    team = team or Team()
    run.create()
    started = time.monotonic()
    with run.lock():
        processes = f", {team.size} processes" if team.size > 1 else ""
        note(
            f"training preset {config.preset} for {config.train.total_kimg:g} kimg on {config.data.train_images} images "
            f"of {dataset.resolution} px, {device.type}{processes}"
        )
        scorer = make_scorer(dataset, config)
        with train_bar() as show:
            lead_run(config, team, device)
            result = Trainer(run, dataset, config, device, scorer, team, progress=show, notice=note).train()
        team.disband()
    took = duration(time.monotonic() - started)
    if not result.finished:
        say(
            f"stopped by {result.signal_name} at {result.nimg / 1000:g} kimg after {took}, saved; continue with --resume"
        )
        return result
    say(f"trained {result.nimg / 1000:g} kimg in {took}: {run.path}")
    if result.best_nimg is not None:
        say(f"snapshot: the best on select, KID {result.best_score:.4f} at {result.best_nimg / 1000:g} kimg")
    say(f"pictures: {run.pictures}")
    return result


def _dry_run(config: RunConfig, dataset: Any, device: Any, team: Any) -> None:
    from stylescan.train.start import lead_measurement, lead_nothing

    cost = lead_measurement(config, dataset, team, device)
    lead_nothing(team, device)
    rate = 1 / cost.seconds_per_image
    say(f"preset            {config.preset}: batch {config.train.batch}, {config.train.total_kimg:g} kimg")
    say(f"data              {config.data.train_images} training images of {dataset.resolution} px")
    say(f"parameters        G {cost.parameters_G / 1e6:.2f} M, D {cost.parameters_D / 1e6:.2f} M")
    say(f"peak memory       {cost.memory_mb:.0f} MB resident a process, {device.type}")
    say(f"speed             {rate:.1f} images/s over {cost.steps} steps (scoring not counted)")
    say(f"time to target    {duration(cost.hours(config.train.total_kimg) * 3600)}")
    say("nothing was written")
