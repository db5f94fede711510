"""`stylescan train`."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from stylescan.cli.console import duration, note, say, train_bar

if TYPE_CHECKING:
    import torch

    from stylescan.config import RunConfig
    from stylescan.data.prepared import PreparedDataset
    from stylescan.runtime import Team
    from stylescan.train.loop import TrainResult
    from stylescan.train.run_folder import RunFolder
    from stylescan.train.transfer_rules import InitSource

Flag = Parameter(negative="")


def train(
    *,
    data: Path,
    out: Path,
    preset: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    kimg: float | None = None,
    minutes: float | None = None,
    init: Path | None = None,
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
        Recipe; `stylescan presets` lists them. `auto` (default) fits itself to data and device.
    set_
        Override one value of the configuration, for instance --set train.lr=0.002; may be repeated.
    kimg
        Length in thousand real images shown.
    minutes
        Length in minutes on this machine: up to 20 steps are timed, then the length is fixed.
    init
        Start from another model: a run folder (generator and discriminator) or a snapshot folder (generator alone; the
        discriminator then learns alone first). Resolution, channels and classes may differ; what fits is taken, the
        rest is listed. The model section comes from it unless --set says otherwise.
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
    from stylescan.runs import check_start, choose_config, silent, tell_transfer
    from stylescan.runtime import check_devices, launch, launched_rank, pick_device, set_threads
    from stylescan.train.init_source import load_source
    from stylescan.train.run_folder import RunFolder

    set_threads(threads if threads is not None or devices < 2 else max((os.cpu_count() or 1) // devices, 1))
    place = pick_device(device)
    check_devices(devices, place)
    dataset = PreparedDataset.open(data)
    overrides = parse_overrides(set_ or [])
    if seed is not None:
        overrides["seed"] = seed
    run = RunFolder(out)
    if launched_rank() > 0:
        _follow(run, dataset, *launch(devices, place))
        return
    # everything that can be refused is, before other processes start
    check_start(run, preset=preset, kimg=kimg, minutes=minutes, resume=resume, dry_run=dry_run)
    source = load_source(init) if init else None
    choose = partial(
        choose_config, run, dataset, preset=preset, overrides=overrides, kimg=kimg, devices=devices, source=source,
        dry_run=dry_run,
    )  # fmt: skip
    config = choose(minutes=None, device=place, notice=note if minutes is None else silent)
    team, place = launch(devices, place)
    if minutes is not None:  # the whole team is timed
        config = choose(minutes=minutes, device=place, team=team, notice=note)
    if dry_run:
        tell_transfer(source, config, notice=note)
        _dry_run(config, dataset, place, team)
        return
    show_training(run, dataset, config, place, team, source)
    say(f"next: stylescan evaluate {out} --data {data}")


def show_training(
    run: RunFolder,
    dataset: PreparedDataset,
    config: RunConfig,
    device: torch.device,
    team: Team | None = None,
    source: InitSource | None = None,
) -> TrainResult:
    """Train with a live bar; prints how it ended."""
    from stylescan.runs import run_training

    started = time.monotonic()
    with train_bar() as show:
        result = run_training(run, dataset, config, device, team=team, source=source, progress=show, notice=note)
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


def _follow(run: RunFolder, dataset: PreparedDataset, team: Team, device: torch.device) -> None:
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


def _dry_run(config: RunConfig, dataset: PreparedDataset, device: torch.device, team: Team) -> None:
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
