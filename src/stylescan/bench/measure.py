"""One bench from start to end: set up, count, weigh, time in rounds, and put together what was found."""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from stylescan import __version__
from stylescan.bench.ceiling import ceiling_dtype, ceiling_gflops, ceiling_works
from stylescan.bench.flops import count_flops
from stylescan.bench.memory import Peak, allocator_keeps_blocks, measure_peak, memory_method
from stylescan.bench.other_works import evaluation_works, reading_work, sampling_work
from stylescan.bench.record import BenchRecord, Ceiling, Figure, Section, Setting, Shares, section
from stylescan.bench.rounds import Kind, Progress, Timed, Work, time_in_rounds
from stylescan.bench.training_works import Bench, forward_works, open_bench, phase_works, step_works, typical_p
from stylescan.config import RunConfig
from stylescan.data.loader import ImageSource
from stylescan.errors import ConfigError
from stylescan.runtime import environment
from stylescan.train.precision import Precision

ALL_KINDS: tuple[Kind, ...] = get_args(Kind)
STEP = "whole step"


def run_bench(
    config: RunConfig,
    source: ImageSource,
    indices: np.ndarray,
    *,
    device: torch.device,
    images: str = "noise",
    repeats: int = 10,
    kinds: Collection[Kind] = ALL_KINDS,
    progress: Progress | None = None,
) -> BenchRecord:
    """Measure `config` on this machine, over the images `indices` of `source`.

    images : what they are, for the record. repeats : rounds, n of every figure. kinds : what is measured; the ceiling
    always is. ConfigError where the configuration cannot train, or repeats are below 1.
    """
    if repeats < 1:
        raise ConfigError(f"--repeats {repeats}: expected at least 1", remedy="Give for instance 10.")
    with open_bench(config, source, indices, device=device) as bench:
        works, notes = _works(bench, source, indices, kinds)
        flops, peaks = _weigh(works, device, progress)
        used, passed = time.process_time(), time.perf_counter()
        timed = time_in_rounds(works, repeats=repeats, device=device, progress=progress)
        used, passed = time.process_time() - used, time.perf_counter() - passed
        ceiling = _ceiling(timed, bench.setup.precision)
        phases = [work for work in works if work.kind == "phase"]
        figures = [
            _figure(work, timed[work.name], flops.get(work.name), peaks[work.name], bench, ceiling.gflops)
            for work in works
            if work.kind not in ("ceiling", "step")
        ]
        steps = [work for work in works if work.kind == "step"]
        whole = _whole_step(steps, timed, flops, peaks, bench, ceiling.gflops)
        shares = _shares(phases, timed, flops, whole, ceiling.gflops) if phases else None
        return BenchRecord(
            stylescan=__version__,
            environment=_environment(device),
            setting=_setting(config, bench, images),
            repeats=repeats,
            memory=memory_method(device),
            cpu_use=used / passed / torch.get_num_threads(),
            ceiling=ceiling,
            ceiling_share=shares.phases if shares else None,
            ceiling_shares=shares,
            figures=_in_order(figures, whole),
            notes=notes,
        )


def _works(
    bench: Bench, source: ImageSource, indices: np.ndarray, kinds: Collection[Kind]
) -> tuple[list[Work], list[str]]:
    """What is measured, in the order of a round, and what could not be."""
    config = bench.setup.config
    works = [
        *ceiling_works(bench.device, bench.setup.precision),
        *forward_works(bench),
        *phase_works(bench),
        *step_works(bench),
        reading_work(source, indices, batch=bench.level.batch),
        sampling_work(bench.state.G_ema, bits=config.data.bits),
    ]
    judging, notes = evaluation_works(source, indices) if "evaluation" in kinds else ([], [])
    return [work for work in [*works, *judging] if work.kind in kinds or work.kind == "ceiling"], notes


def _weigh(
    works: list[Work], device: torch.device, progress: Progress | None
) -> tuple[dict[str, int], dict[str, Peak]]:
    """Operations and peak memory of one call of each; they also warm everything up, so operations come first."""
    weighed = [work for work in works if work.kind != "ceiling"]
    flops: dict[str, int] = {}
    peaks: dict[str, Peak] = {}
    for number, work in enumerate([*weighed, *weighed]):
        if number == len(weighed):
            gc.collect()  # what lives in cycles must not be counted as anyone's rest
        if number >= len(weighed):
            peaks[work.name] = measure_peak(work.call, device)
        elif work.has_flops:
            flops[work.name] = count_flops(work.call)
        if progress:
            progress(number + 1, 2 * len(weighed), "counting")
    return flops, peaks


def _ceiling(timed: Mapping[str, Timed], precision: Precision) -> Ceiling:
    sides, dtype = ceiling_gflops(timed), str(ceiling_dtype(precision)).removeprefix("torch.")
    return Ceiling(gflops=max(sides.values()), gflops_64=sides[64], gflops_32=sides[32], dtype=dtype)


def share_of_ceiling(flops: float, seconds: float, gflops: float) -> float:
    """The share of `gflops` GFLOP/s that work of `flops` operations in `seconds` reaches."""
    return flops / seconds / (gflops * 1e9)


def _figure(work: Work, timed: Timed, flops: int | None, peak: Peak, bench: Bench, gflops: float) -> Figure:
    low, middle, high = timed.quartiles
    # a phase's part of a step: what it takes where it is due, spread over the steps between
    per_kimg = middle * work.due / bench.level.batch if work.kind == "phase" else middle / work.images
    return Figure(
        name=work.name,
        kind=work.kind,
        images=work.images,
        calls=timed.calls,
        n=len(timed.seconds),
        median_s=middle,
        q1_s=low,
        q3_s=high,
        images_per_s=work.images / middle,
        s_per_kimg=1000 * per_kimg,
        every_steps=round(1 / work.due) if work.kind == "phase" else None,
        flops=flops,
        gflop_per_image=None if flops is None else flops / work.images / 1e9,
        ceiling_share=None if flops is None else share_of_ceiling(flops, middle, gflops),
        peak_memory_mb=peak.peak_mb,
        added_memory_mb=peak.added_mb,
    )


def mean_step(kinds: list[Work], timed: Mapping[str, Timed]) -> Timed:
    """Each kind of step by its share of a cycle, round by round."""
    rounds = zip(*(timed[kind.name].seconds for kind in kinds))
    return Timed(tuple(sum(kind.due * s for kind, s in zip(kinds, each)) for each in rounds), 1)


def _whole_step(
    kinds: list[Work],
    timed: Mapping[str, Timed],
    flops: Mapping[str, int],
    peaks: Mapping[str, Peak],
    bench: Bench,
    gflops: float,
) -> Figure | None:
    """The mean step; memory is the hungriest kind's."""
    if not kinds:
        return None
    operations = round(sum(kind.due * flops[kind.name] for kind in kinds))
    highest = [peak for kind in kinds if (peak := peaks[kind.name].peak_mb) is not None]
    added = [more for kind in kinds if (more := peaks[kind.name].added_mb) is not None]
    hungriest = Peak(max(highest, default=None), max(added, default=None))
    return _figure(replace(kinds[0], name=STEP), mean_step(kinds, timed), operations, hungriest, bench, gflops)


def _shares(
    phases: list[Work], timed: Mapping[str, Timed], flops: Mapping[str, int], whole: Figure | None, gflops: float
) -> Shares:
    """Work over time of all phases, each counted as often as it is due; the median of each."""

    def share(some: list[Work]) -> float:
        operations = sum(phase.due * flops[phase.name] for phase in some)
        return share_of_ceiling(operations, sum(phase.due * timed[phase.name].median for phase in some), gflops)

    main = [phase for phase in phases if phase.due == 1]
    return Shares(phases=share(phases), main_phases=share(main), step=whole.ceiling_share if whole else None)


def _in_order(figures: list[Figure], whole: Figure | None) -> list[Figure]:
    """The whole step after its phases."""
    last = max((number for number, figure in enumerate(figures) if figure.kind in ("forward", "phase")), default=-1)
    return figures if whole is None else [*figures[: last + 1], whole, *figures[last + 1 :]]


def _setting(config: RunConfig, bench: Bench, images: str) -> Setting:
    count = [sum(parameter.numel() for parameter in net.parameters()) for net in (bench.state.G, bench.state.D)]
    return Setting(
        preset=config.preset,
        resolution=config.data.resolution,
        channels=config.data.channels,
        classes=config.data.num_classes,
        images=images,
        train_images=config.data.train_images,
        batch=bench.level.batch,
        parameters_G=count[0],
        parameters_D=count[1],
        model=section(config.model.model_dump(mode="json")),
        objective=section(config.objective.model_dump(mode="json")),
        augment=section({**config.augment.model_dump(mode="json"), "p": typical_p(config.augment)}),
    )


def _environment(device: torch.device) -> Section:
    """The machine and the libraries, without names of hosts or folders."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        **environment(device),
        "cpu": _cpu_model(),
        "cores": available,
        "allocator_keeps_blocks": allocator_keeps_blocks(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(named, "") or platform.processor() or "unknown"
    return "".join(letter for letter in name if letter.isprintable())[:200]
