"""A training step beside the same step by the reference operations: time and peak memory, in interleaved rounds.

    python benchmarks/step_against_plain.py [--sizes small-64 standard-64 standard-256] [--rounds 10] [--threads 2]
                                            [--out OUT.json]

Both train the same nets from the same seed; the plain ones keep images in planes. Memory is what a step takes above what was
there before it; lazy penalties are due in some steps only, and the hungriest step counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from plain_nets import in_planes, make_plain, plain_operations
from standard import STANDARD_MODEL, STANDARD_OBJECTIVE

from stylescan.allocator import tune_allocator
from stylescan.bench.material import open_material
from stylescan.bench.measure import mean_step
from stylescan.bench.memory import measure_peak
from stylescan.bench.rounds import Work, time_in_rounds
from stylescan.bench.training_works import open_bench, step_works
from stylescan.config import merge
from stylescan.runtime import set_threads

STANDARD = {"model": STANDARD_MODEL, "objective": STANDARD_OBJECTIVE}
WIDE = merge(STANDARD, {"model": {"channel_base": 16384, "channel_max": 512}})
KINDS = {"small": {}, "standard": STANDARD, "wide": WIDE}
BATCHES = {64: 16, 128: 8, 256: 4}


def under_plain(call: Callable[[], object]) -> Callable[[], None]:
    def under() -> None:
        with plain_operations():
            call()

    return under


def works_of(size: str, stack: ExitStack) -> dict[str, list[Work]]:
    """The steps of `small-64`, `standard-256` or `wide-64`, both ways."""
    kind, resolution = size.split("-")
    overrides = KINDS[kind]
    batch = None if kind == "small" else BATCHES[int(resolution)]
    device, made = torch.device("cpu"), {}
    material = stack.enter_context(
        open_material("small", device=device, resolution=int(resolution), batch=batch, overrides=overrides)
    )
    for way in ("plain", "as it is"):
        bench = stack.enter_context(open_bench(material.config, material.source, material.indices, device=device))
        if way == "plain":
            for net in (bench.state.G, bench.state.G_ema):
                make_plain(net)
            in_planes(bench.state.D)
        steps = step_works(bench)
        made[way] = [
            replace(step, name=f"{way}: {step.name}", call=under_plain(step.call) if way == "plain" else step.call)
            for step in steps
        ]
    return made


def measure(size: str, rounds: int) -> dict[str, Any]:
    """One size: median ratio of the mean step, and what a step adds to memory at most, both ways."""
    with ExitStack() as stack:
        made = works_of(size, stack)
        every = [work for works in made.values() for work in works]
        for work in every:
            work.call()  # first calls build what later ones find
        peaks = {way: [measure_peak(work.call, torch.device("cpu")).added_mb for work in works]
                 for way, works in made.items()}  # fmt: skip
        timed = time_in_rounds(every, repeats=rounds, device=torch.device("cpu"))

    plain, own = (mean_step(made[way], timed).seconds for way in ("plain", "as it is"))
    ratios = [slow / fast for slow, fast in zip(plain, own)]
    return {
        "size": size,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "times_plain": [round(value, 2) for value in statistics.quantiles(ratios, n=4, method="inclusive")],
        "added_mb": {way: None if None in added else round(max(added), 1) for way, added in peaks.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["small-64", "standard-64", "standard-256"],
                        choices=[f"{kind}-{side}" for kind in KINDS for side in BATCHES], metavar="KIND-SIDE")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    set_threads(asked.threads)
    tune_allocator()
    rows = []
    for size in asked.sizes:
        rows.append(measure(size, asked.rounds))
        row = rows[-1]
        print(f"{size:14} speed x plain {row['times_plain']}   MB a step adds {row['added_mb']}", flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
