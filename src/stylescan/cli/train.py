"""`stylescan train`."""

from __future__ import annotations

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
    threads
        CPU threads; results are equal bit for bit only with an equal number.
    dry_run
        Print parameters, memory, speed and hours, and write nothing.
    """
    from stylescan.config import parse_overrides
    from stylescan.data.prepared import PreparedDataset
    from stylescan.runtime import pick_device, set_threads
    from stylescan.train.run_folder import RunFolder

    set_threads(threads)
    place = pick_device(device)
    dataset = PreparedDataset.open(data)
    overrides = parse_overrides(set_ or [])
    if seed is not None:
        overrides["seed"] = seed
    config = choose_config(
        RunFolder(out), dataset, preset=preset, overrides=overrides, kimg=kimg, minutes=minutes, resume=resume,
        device=place, dry_run=dry_run,
    )  # fmt: skip
    if dry_run:
        _dry_run(config, dataset, place)
        return
    run_training(RunFolder(out), dataset, config, place)
    say(f"next: stylescan evaluate {out} --data {data}")


def choose_config(
    run: Any,
    dataset: Any,
    *,
    preset: str | None,
    overrides: dict[str, Any],
    kimg: float | None,
    minutes: float | None,
    resume: bool,
    device: Any,
    dry_run: bool = False,
) -> RunConfig:
    """The stored configuration of a run that continues, else a new one."""
    from stylescan.errors import ConfigError
    from stylescan.presets import build_config, resolve_name
    from stylescan.train.start import fingerprint, freeze_minutes, resumed_config

    if kimg is not None and minutes is not None:
        raise ConfigError("--kimg and --minutes: both given", remedy="Give one of them.")
    name = resolve_name(preset or "auto", device=device.type)
    if run.started and not dry_run:
        if not resume:
            raise ConfigError(
                f"{run.path}: already holds a run", remedy="Add --resume to continue it, or choose another --out."
            )
        return resumed_config(run, dataset, preset=name if preset else None, kimg=kimg, overrides=overrides)
    if not dry_run:
        run.refuse_foreign_content()
    data = fingerprint(dataset)

    def build(length: float | None) -> RunConfig:
        return build_config(name, data, kimg=length, overrides=overrides)

    if minutes is None:
        return build(kimg)
    config = freeze_minutes(
        minutes, build, dataset, device=device, score_seconds=lambda config: _score_seconds(dataset, config)
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


def run_training(run: Any, dataset: Any, config: RunConfig, device: Any) -> Any:
    """Train under the folder's lock with a live bar; prints how it ended."""
    from stylescan.train.loop import Trainer

    run.create()
    started = time.monotonic()
    with run.lock():
        note(
            f"training preset {config.preset} for {config.train.total_kimg:g} kimg on {config.data.train_images} images "
            f"of {dataset.resolution} px, {device.type}"
        )
        scorer = make_scorer(dataset, config)
        with train_bar() as show:
            result = Trainer(run, dataset, config, device, score=scorer, progress=show, notice=note).train()
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


def _dry_run(config: RunConfig, dataset: Any, device: Any) -> None:
    from stylescan.train.measure import measure_cost

    cost = measure_cost(config, dataset, device=device)
    rate = 1 / cost.seconds_per_image
    say(f"preset            {config.preset}: batch {config.train.batch}, {config.train.total_kimg:g} kimg")
    say(f"data              {config.data.train_images} training images of {dataset.resolution} px")
    say(f"parameters        G {cost.parameters_G / 1e6:.2f} M, D {cost.parameters_D / 1e6:.2f} M")
    say(f"peak memory       {cost.memory_mb:.0f} MB resident, {device.type}")
    say(f"speed             {rate:.1f} images/s over {cost.steps} steps (scoring not counted)")
    say(f"time to target    {duration(cost.hours(config.train.total_kimg) * 3600)}")
    say("nothing was written")
