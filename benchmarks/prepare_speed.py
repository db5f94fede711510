"""How fast `prepare` is beside bare decoding, and how fast a prepared set is read: one interleaved run.

    python benchmarks/prepare_speed.py --scans DATA --out OUT [--images 5000] [--repeats 5]

Writes `--images` 256x256 grey PNGs, made of the JPEG slices below DATA by small turns and shifts, then in turn: decodes
them with Pillow in one and in two threads and drops the pixels; runs `stylescan prepare` on them as a process of its own
(everything done: listing, decoding, hashes, duplicates, split, shards, audit with its pages); and reads random batches of
the result. Prints medians, and ratios within each round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from stylescan.data.prepared import PreparedDataset

SIDE, SLICES_A_SUBJECT, BATCH, BATCHES = 256, 20, 64, 200
PATTERN = r"(?P<subject>\d+)_(?P<slice>\d+)"


def write_pngs(scans: Path, folder: Path, count: int) -> list[Path]:
    """`count` PNGs; each person's slices are turns and shifts of one picture by up to 12 degrees and 22 pixels."""
    sources = sorted(scans.rglob("*.jpg"))
    if not sources:
        raise SystemExit(f"{scans}: no .jpg slices")
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{k // SLICES_A_SUBJECT:03d}_{k % SLICES_A_SUBJECT:02d}.png" for k in range(count)]
    for k, file in enumerate(files):
        if file.exists():
            continue
        random = np.random.default_rng(k)
        with Image.open(sources[k % len(sources)]) as image:
            grey = image.convert("L").resize((300, 300)).rotate(random.uniform(-12, 12), Image.Resampling.BICUBIC)
        x, y = random.integers(0, 300 - SIDE, 2).tolist()
        grey.crop((x, y, x + SIDE, y + SIDE)).save(file)
    return files


def decode(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def one_thread(files: list[Path]) -> float:
    started = time.perf_counter()
    for file in files:
        decode(file)
    return len(files) / (time.perf_counter() - started)


def two_threads(files: list[Path]) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(decode, files):
            pass
    return len(files) / (time.perf_counter() - started)


def prepare(folder: Path, data: Path, count: int, workers: int | None) -> float:
    shutil.rmtree(data, ignore_errors=True)
    command = [sys.executable, "-m", "stylescan", "prepare", str(folder), "--out", str(data), "--pattern", PATTERN]
    command += ["--workers", str(workers)] if workers else []
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return count / (time.perf_counter() - started)


def read(dataset: PreparedDataset) -> float:
    order = np.random.default_rng(0).integers(0, len(dataset), (BATCHES, BATCH))
    started = time.perf_counter()
    for batch in order:
        dataset.read(batch)
    return BATCHES * BATCH / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--scans", type=Path, required=True, help="folder with JPEG slices")
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNGs, the set and prepare_speed.json")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=None)
    asked = parser.parse_args()
    folder, data = asked.out / "png", asked.out / "data"
    files = write_pngs(asked.scans, folder, asked.images)
    size = statistics.mean(file.stat().st_size for file in files)
    print(f"{len(files)} PNGs of {size / 1000:.1f} kB, {len(os.sched_getaffinity(0))} cores")
    runs: dict[str, Callable[[], float]] = {
        "Pillow, one thread": lambda: one_thread(files),
        "Pillow, two threads": lambda: two_threads(files),
        "prepare": lambda: prepare(folder, data, len(files), asked.workers),
        "reading batches of 64": lambda: read(PreparedDataset.open(data)),
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(asked.repeats):
        for name, run in runs.items():
            rates[name].append(run())
    for name, found in rates.items():
        low, high = min(found), max(found)
        print(f"{name:<24}{statistics.median(found):>9,.0f} images/s   ({low:,.0f} to {high:,.0f})")
    for name in ("Pillow, one thread", "Pillow, two threads"):
        ratios = [mine / other for mine, other in zip(rates["prepare"], rates[name], strict=True)]
        print(f"prepare / {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak resident memory of the largest process of prepare: {peak:.0f} MB")
    (asked.out / "prepare_speed.json").write_text(json.dumps({"rates": rates, "peak_mb": peak}, indent=1))


if __name__ == "__main__":
    main()
