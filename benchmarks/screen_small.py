"""Screen the neighbourhood of the `small` preset: equal core-minutes each, scored by KID on `select`.

    python benchmarks/screen_small.py --data DATA --out FOLDER [--core-minutes 10] [--workers 2] [--only NAME ...]

Every candidate trains in a process of its own on one thread until it has used its processor time, so that the machine's
load does not decide. A finished candidate leaves FOLDER/NAME.json and a grid; repeating the command does the missing
ones and prints the table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from core_minutes import one_thread, side_by_side, train_for

# Where the screen started from; each candidate changes it in one or two places.
START: dict[str, dict[str, float | int]] = {
    "model": {"z_dim": 64, "w_dim": 64, "channel_base": 1024, "channel_max": 64},
    "objective": {"r1_gamma": 2.0, "r1_interval": 8, "pl_weight": 0.0, "mixing": 0.0},
    "train": {"batch": 8, "lr": 0.004, "ema_half_life_kimg": 1.0, "ema_rampup": 0.05},
}
CANDIDATES: dict[str, dict[str, dict[str, float | int]]] = {
    "base": {},
    "r1_4": {"objective": {"r1_gamma": 4.0}},
    "lr_006": {"train": {"lr": 0.006}},
    "batch_4": {"train": {"batch": 4}},
    "max_32": {"model": {"channel_max": 32}},
    "r1_every_16": {"objective": {"r1_interval": 16}},
    "batch_2": {"train": {"batch": 2}},
    "batch_4_lr_006": {"train": {"batch": 4, "lr": 0.006}},
}


def train_and_score(name: str, data: Path, out: Path, core_minutes: float, seed: int) -> None:
    """Train one candidate for its processor time; write its score and grid."""
    one_thread()
    import torch

    from stylescan.config import merge
    from stylescan.data.prepared import PreparedDataset
    from stylescan.evaluate.selection import SelectScorer
    from stylescan.presets import build_config
    from stylescan.train.pictures import fake_grid, fake_images, save_grid
    from stylescan.train.start import fingerprint
    from stylescan.train.state import build_state
    from stylescan.train.step import build_setup

    dataset = PreparedDataset.open(data)
    overrides = merge(merge(START, CANDIDATES[name]), {"seed": seed})
    config = build_config("small", fingerprint(dataset), overrides=overrides)
    setup = build_setup(config, dataset, dataset.indices("train"))
    state = build_state(config, setup.phases, device=torch.device("cpu"))
    train_for(state, setup, core_minutes * 60)
    labels = [i % max(dataset.num_classes, 1) for i in range(480)]
    scorer = SelectScorer(dataset, n_fakes=len(labels), cache_dir=dataset.path / "cache")
    scores = scorer(lambda n: fake_images(state.G_ema, labels[:n], bits=dataset.bits, noise="random"))
    save_grid(out / f"{name}.png", fake_grid(state.G_ema, bits=dataset.bits))
    (out / f"{name}.json").write_text(json.dumps({"name": name, "nimg": state.nimg, "seed": seed, **scores}))


def print_table(out: Path) -> None:
    """The finished candidates, best first, as Markdown."""
    rows = [json.loads(path.read_text()) for path in out.glob("*.json")]
    print("| candidate | images shown | KID on select | FD on select |\n|---|---|---|---|")
    for row in sorted(rows, key=lambda row: row["kid"]):
        print(f"| {row['name']} | {row['nimg']:,} | {row['kid']:.4f} | {row['fd']:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--core-minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(CANDIDATES))
    parser.add_argument("--one", choices=list(CANDIDATES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        train_and_score(arguments.one, arguments.data, arguments.out, arguments.core_minutes, arguments.seed)
        return
    names = [n for n in arguments.only or CANDIDATES if not (arguments.out / f"{n}.json").exists()]
    own = ["--data", str(arguments.data), "--out", str(arguments.out), "--core-minutes", str(arguments.core_minutes)]
    own += ["--seed", str(arguments.seed)]
    side_by_side([[__file__, "--one", name, *own] for name in names], workers=arguments.workers)
    print_table(arguments.out)


if __name__ == "__main__":
    main()
