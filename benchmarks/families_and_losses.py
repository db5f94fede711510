"""Every family and loss on the same images in the same core-minutes: KID, FD, diversity and speed.

    python benchmarks/families_and_losses.py --data DATA --out OUT [--core-minutes 15] [--workers 2] [--rows NAME ...]

DATA is a prepared dataset of 32 or 64 px. Each row trains in a process of its own on one thread until its processor time
is used; the growing families' schedules are fixed before by timing their levels. Fakes are judged against the held-out
subjects at the end. A finished row leaves OUT/NAME.json and a grid; repeating the command does the missing ones and
prints the table. Widths are comparable: channels of StyleGAN2, StyleGAN and R3GAN are channel_base 1024, channel_max 64.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from core_minutes import one_thread, seconds_an_image, side_by_side, train_for
from judge import Judge

NO_R1 = {"r1_gamma": 0.0}
STYLES = {"z_dim": 64, "w_dim": 64, "channel_base": 1024, "channel_max": 64}
WGAN_GP = {"loss": "wasserstein", "gp_weight": 10.0, "drift_weight": 0.001, **NO_R1}
PAIRING = {"loss": "relativistic-pairing", "r1_gamma": 0.5, "r1_interval": 8, "r2_gamma": 0.5, "r2_interval": 8}
# name: (preset, overrides); all without augmentation, so that the loss alone makes a difference
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "stylegan2 logistic": ("small", {}),
    "stylegan2 hinge": ("small", {"objective": {"loss": "hinge"}}),
    "stylegan2 wasserstein-gp": ("small", {"objective": WGAN_GP}),
    "stylegan2 ra-hinge": ("small", {"objective": {"loss": "relativistic-average-hinge"}}),
    "stylegan2 pairing": ("small", {"objective": PAIRING}),
    "stylegan logistic": ("knee-stylegan", {"model": STYLES}),
    "stylegan ra-hinge": ("knee-stylegan-rahinge", {"model": STYLES}),
    "stylegan wasserstein-gp": ("akoa-stylegan", {"model": STYLES}),
    "stylegan2-lite cross-entropy": ("oasis-stylegan2-lite", {}),
    "dcgan cross-entropy": ("dcgan", {}),
    "r3gan pairing": ("r3gan", {"model": {"channel_base": 1024, "channel_max": 64}}),
}
FAKES = 480


def slug(name: str) -> str:
    """A row's name as that of a file."""
    return name.replace(", ", "_").replace(" ", "_")


def train_row(name: str, arguments: argparse.Namespace) -> None:
    """Train one row for its processor time; write its scores and a grid."""
    one_thread()
    import torch

    from stylescan.config import RunConfig, merge
    from stylescan.data.prepared import PreparedDataset
    from stylescan.generate.sample import apportion
    from stylescan.presets import build_config
    from stylescan.train.pictures import fake_grid, fake_images, save_grid
    from stylescan.train.start import fingerprint
    from stylescan.train.state import build_state
    from stylescan.train.step import StepStats, build_setup, train_step

    dataset = PreparedDataset.open(arguments.data)
    preset, overrides = ROWS[name]
    overrides = merge(overrides, {"augment": {"mode": "none"}, "seed": arguments.seed})

    def build(kimg: float) -> RunConfig:
        return build_config(preset, fingerprint(dataset), kimg=kimg, overrides=overrides)

    budget, train = arguments.core_minutes * 60, dataset.indices("train")
    config = build(budget / seconds_an_image(build(20.0), dataset, train) / 1000)
    setup = build_setup(config, dataset, train)
    state = build_state(config, setup.phases, device=torch.device("cpu"))
    used = train_for(state, setup, budget)
    stats = StepStats()
    for _ in range(20):  # what the losses have come to
        train_step(state, setup, stats)
    labels = [0] * FAKES
    if dataset.num_classes:
        labels = apportion(setup.reader.class_frequencies().tolist(), FAKES).tolist()
    fakes = fake_images(state.G_ema, labels, bits=dataset.bits, noise="random")
    judge = Judge(dataset, "holdout")
    result = {
        "row": name,
        "preset": preset,
        "seed": arguments.seed,
        "nimg": state.nimg,
        "core_seconds": used,
        "planned_kimg": config.train.total_kimg,
        **judge.distances(fakes),
        "ms_ssim": judge.similarity(fakes),
        "losses": stats.take(setup.team),
        "parameters": [sum(p.numel() for p in net.parameters()) for net in (state.G, state.D)],
    }
    save_grid(arguments.out / f"{slug(name)}.png", fake_grid(state.G_ema, bits=dataset.bits))
    (arguments.out / f"{slug(name)}.json").write_text(json.dumps(result, indent=1))


def score_real(arguments: argparse.Namespace) -> dict[str, float | None]:
    """The row of real images: floor of KID and FD, MS-SSIM of held-out slices of different subjects."""
    from stylescan.data.prepared import PreparedDataset

    path = arguments.out / "real.json"
    if not path.is_file():
        dataset = PreparedDataset.open(arguments.data)
        judge = Judge(dataset, "holdout")
        similarity = judge.similarity(dataset.read(judge.held), dataset.subjects[judge.held])
        path.write_text(json.dumps({**judge.floor(), "ms_ssim": similarity, "n": len(judge.held)}))
    found: dict[str, float | None] = json.loads(path.read_text())
    return found


def print_table(arguments: argparse.Namespace) -> None:
    """The finished rows as Markdown."""
    real = score_real(arguments)
    print("| family, loss | KID | FD | MS-SSIM of pairs | images/s (one core) | images shown | parameters G + D |")
    print("|---|---|---|---|---|---|---|")
    words = ["" if real[name] is None else f"{real[name]:.4g}" for name in ("kid", "fd", "ms_ssim")]
    print(f"| *real images* | {' | '.join(words)} | | | |")
    for name in ROWS:
        path = arguments.out / f"{slug(name)}.json"
        if path.is_file():
            row = json.loads(path.read_text())
            values = [f"{row[key]:.3g}" if np.isfinite(row[key]) else "not finite" for key in ("kid", "fd", "ms_ssim")]
            size = " + ".join(f"{count / 1e6:.2f} M" for count in row["parameters"])
            rate = row["nimg"] / row["core_seconds"]
            print(f"| {name} | {' | '.join(values)} | {rate:.1f} | {row['nimg']:,} | {size} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--core-minutes", type=float, default=15)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME")
    parser.add_argument("--one", choices=list(ROWS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        train_row(arguments.one, arguments)
        return
    common = [
        "--data", str(arguments.data), "--out", str(arguments.out), "--core-minutes", str(arguments.core_minutes),
        "--seed", str(arguments.seed),
    ]  # fmt: skip
    missing = [name for name in arguments.rows if not (arguments.out / f"{slug(name)}.json").is_file()]
    side_by_side([[__file__, "--one", name, *common] for name in missing], workers=arguments.workers)
    print_table(arguments)


if __name__ == "__main__":
    main()
