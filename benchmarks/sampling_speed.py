"""How fast images are sampled and written: every way beside the plain reference, in interleaved rounds.

    python benchmarks/sampling_speed.py [--sizes small-64 standard-64 small-256] [--rounds 10] [--images 64]
                                        [--compile] [--out OUT.json]

The ways: the plain reference (weights for every image in a grouped convolution, zeros inserted and filtered), the net as
it is, `frozen`, `frozen` and compiled, and `write_images` (PNG) as `stylescan generate` calls it. One thread for the nets.
Prints medians and quartiles of the ratios of processor time within each round; for writing, of the clock too, since the
writers wait for the disk. Untrained weights: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from core_minutes import one_thread
from plain_nets import make_plain, plain_operations
from standard import STANDARD_MODEL

from stylescan.bench.images import noise_fingerprint
from stylescan.generate.compiled import compile_synthesis
from stylescan.generate.frozen import frozen
from stylescan.generate.images import write_images
from stylescan.generate.sample import batch_for, noise_maps
from stylescan.generate.snapshot import Snapshot, SnapshotMeta
from stylescan.nets.build import build_generator, parse_spec
from stylescan.nets.protocols import Generator
from stylescan.recipes.common import Machine
from stylescan.recipes.stylegan2 import small

SIDES = (32, 64, 128, 256)
Times = tuple[float, float]  # processor and clock, seconds


def generator_of(size: str) -> Generator:
    """`small-64`: the preset at 64 px; `standard-64`: StyleGAN2's usual configuration at that size."""
    kind, resolution = size.split("-")
    options = (
        STANDARD_MODEL
        if kind == "standard"
        else small(noise_fingerprint(int(resolution), 1), 100.0, Machine())["model"]
    )
    spec = {"family": "stylegan2", "resolution": int(resolution), "img_channels": 1, "num_classes": 0}
    generator = build_generator(parse_spec({**options, **spec})).eval().requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.1)  # texture, so that the files are of a usual size
    return generator


def timed(work: Callable[[], object]) -> Times:
    processor, clock = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - processor, time.perf_counter() - clock


def ways(generator: Generator, images: int, compiled: bool) -> tuple[dict[str, Callable[[], object]], Times | None]:
    """What each way does to make `images` images, and the time that compiling took."""
    batch, shapes = min(batch_for(generator.spec.resolution), images), generator.synthesis.noise_shapes
    z = torch.randn(batch, generator.spec.z_dim)
    reference, ready = make_plain(copy.deepcopy(generator)), frozen(generator)

    def forward(net: Generator, *, maps: bool = False) -> None:
        with torch.inference_mode():
            for _ in range(images // batch):
                net(z, noise=noise_maps(range(batch), shapes)) if maps else net(z)

    def reference_forward() -> None:
        with plain_operations():
            forward(reference)

    made: dict[str, Callable[[], object]] = {
        "plain": reference_forward,
        "as it is": lambda: forward(generator),
        "frozen": lambda: forward(ready),
    }
    if not compiled:
        return made, None
    fast = compile_synthesis(frozen(generator), print)
    made["compiled"] = lambda: forward(fast, maps=True)
    return made, timed(made["compiled"])


def writing(generator: Generator, images: int, folder: Path) -> Callable[[], object]:
    """What `stylescan generate` does with a loaded snapshot: `images` PNG files in a new folder inside `folder`."""
    meta = SnapshotMeta(
        family="stylegan2", spec=generator.spec.model_dump(mode="json"), data_content_hash="0" * 64,
        preparation_hash="1" * 64, preset="small", seed=0, nimg=0,
    )  # fmt: skip
    snapshot = Snapshot(generator, meta, "ab" * 32, Path("unused"))

    def write() -> None:
        write_images(snapshot, folder / str(time.time_ns()), range(images))

    return write


def spread(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return [round(value, 3) for value in statistics.quantiles(values, n=4, method="inclusive")]


def measure(size: str, *, rounds: int, images: int, compiled: bool) -> dict[str, Any]:
    """One size: the ratios of each way to `plain`, and of writing to the net as it is."""
    generator = generator_of(size)
    works, compiling = ways(generator, images, compiled)
    folder = Path(tempfile.mkdtemp(prefix="sampling_speed_"))
    works["written"] = writing(generator, images, folder)
    times: dict[str, list[Times]] = {name: [] for name in works}
    try:
        for number in range(rounds + 1):
            for name, work in works.items():
                taken = timed(work)
                if number:  # the first round warms up
                    times[name].append(taken)
    finally:
        shutil.rmtree(folder)
    base, own = ([t[0] for t in times[name]] for name in ("plain", "as it is"))
    clock = [t[1] for t in times["as it is"]]
    return {
        "size": size,
        "batch": min(batch_for(generator.spec.resolution), images),
        "rounds": rounds,
        "images": images,
        "ms_an_image": {
            name: round(statistics.median(t[0] for t in ts) / images * 1e3, 2) for name, ts in times.items()
        },
        "times_plain": {name: spread([b / t[0] for b, t in zip(base, ts)]) for name, ts in times.items()},
        "times_as_it_is": {name: spread([b / t[0] for b, t in zip(own, ts)]) for name, ts in times.items()},
        "written_by_the_clock": spread([b / t[1] for b, t in zip(clock, times["written"])]),
        "compiling_s": compiling and [round(seconds, 1) for seconds in compiling],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["small-64", "standard-64", "small-256"], metavar="KIND-SIDE",
                        choices=[f"{kind}-{side}" for kind in ("small", "standard") for side in SIDES])  # fmt: skip
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    for size in arguments.sizes:
        batch = min(batch_for(int(size.split("-")[1])), arguments.images)
        if arguments.images % batch:
            parser.error(f"--images {arguments.images}: {size} is sampled {batch} at a time; give a multiple of it")
    one_thread()
    rows = []
    for size in arguments.sizes:
        row = measure(size, rounds=arguments.rounds, images=arguments.images, compiled=arguments.compile)
        rows.append(row)
        print(
            f"{size}, {row['batch']} at a time" + (f", compiled in {row['compiling_s']} s" if arguments.compile else "")
        )
        for name, ms in row["ms_an_image"].items():
            print(
                f"  {name:10} {ms:8.2f} ms   x plain {row['times_plain'][name]}   x net {row['times_as_it_is'][name]}"
            )
        print(f"  written, by the clock: x net {row['written_by_the_clock']}")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
