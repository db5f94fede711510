"""`stylescan demo`: the whole main job on a built-in population."""

from __future__ import annotations

import math
import time
from pathlib import Path

from stylescan.cli.console import bar, duration, note, say

RESOLUTION = 64


def demo(
    *,
    out: Path = Path("demo"),
    minutes: float = 8.0,
    subjects: int = 60,
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """The whole job without any data: virtual subjects, prepare, train, evaluate, generate.

    A DEMO: the scans are one public brain template, warped into virtual subjects of two classes whose ventricles
    differ in size. Nothing is fetched. Repeating an interrupted demo continues it.

    Parameters
    ----------
    out
        Folder of everything the demo makes.
    minutes
        Minutes of training; the rest takes about two more.
    subjects
        Virtual subjects, half 'control', half 'atrophy'.
    seed
        Fixes the population and the training.
    threads
        CPU threads.
    """
    from stylescan.cli.evaluate import run_evaluate
    from stylescan.cli.prepare import run_prepare
    from stylescan.cli.train import show_training
    from stylescan.data.demo import DEMO_NOTICE, write_population
    from stylescan.data.options import PrepareOptions
    from stylescan.errors import ConfigError
    from stylescan.generate.images import write_images, write_sample_grid
    from stylescan.generate.snapshot import load_snapshot
    from stylescan.runs import check_start, choose_config
    from stylescan.runtime import pick_device, set_threads
    from stylescan.train.run_folder import RunFolder

    if not 0 < minutes < math.inf:
        raise ConfigError(f"--minutes {minutes:g}: expected more than 0", remedy="Give for instance --minutes 8.")
    started = time.monotonic()
    set_threads(threads)
    device = pick_device("auto")
    scans, data, run = out / "scans", out / "data", RunFolder(out / "run")
    check_start(run, preset="demo", kimg=None, minutes=minutes, resume=True)
    note(f"DEMO, synthetic subjects. {DEMO_NOTICE}")
    with bar() as report:
        table = write_population(scans, subjects=subjects, seed=seed, progress=report)
    options = PrepareOptions(resolution=RESOLUTION, seed=seed, plane="axial", symmetry="left-right")
    dataset = run_prepare(table, data, options)
    config = choose_config(
        run, dataset, preset="demo", overrides={"seed": seed}, kimg=None, minutes=None if run.started else minutes,
        device=device, notice=note,
    )  # fmt: skip
    result = show_training(run, dataset, config, device)
    if not result.finished:
        say("repeat the command to continue the demo")
        return
    evaluated = run_evaluate(run.path, data, out / "report", notices=(DEMO_NOTICE,), seed=seed)
    snapshot = load_snapshot(run.path, device=device)
    with bar() as report:
        write_images(snapshot, out / "images", range(16), overwrite=True, progress=report)
    per_class = 16
    kinds = [label for label in range(dataset.num_classes) for _ in range(per_class)]
    seeds = [seed for _ in range(dataset.num_classes) for seed in range(per_class)]
    (picture,) = write_sample_grid(snapshot, out / "grid.png", seeds, labels=kinds, columns=8, overwrite=True)
    say()
    say(f"grid (first rows {', then '.join(dataset.class_names)}): {picture}")
    say(f"images: {out / 'images'}")
    say(f"the demo took {duration(time.monotonic() - started)}")
    say(f"report: {evaluated.html}")
