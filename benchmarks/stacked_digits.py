"""Mode coverage: three grey digits as the channels of one image make 1,000 modes of known frequency.

    python benchmarks/stacked_digits.py --out OUT [--core-minutes 12] [--workers 2] [--rows NAME ...]

The digits are those of scikit-learn (1,797, 8x8 px, shown at 16x16 by repeated pixels). A support vector classifier
learns from one half of them; images are stacked from the other half, on which its accuracy is stated. Each row trains in
a process of its own on one thread until its processor time is used; 25,600 fakes of the averaged generator are then read
channel by channel: how many of the 1,000 modes appear, and the Kullback-Leibler divergence of their frequencies from
those of the stacks (Metz et al. 2017, appendix; Srivastava et al. 2017, section 4.1). The same for 25,600 real stacks.
A finished row leaves OUT/NAME.json and a grid; repeating the command does the missing ones and prints the table.
"""

from __future__ import annotations

import argparse
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from core_minutes import one_thread, seconds_an_image, side_by_side, train_for
from sklearn.datasets import load_digits
from sklearn.svm import SVC

FAKES, MODES, STACKS, SIDE = 25_600, 1000, 100_000, 16
WIDTHS = {"channel_base": 1024, "channel_max": 64}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "stylegan2 logistic": ("small", {"objective": {"r1_gamma": 0.1}}),
    "stylegan2 pairing": (
        "small",
        {"objective": {"loss": "relativistic-pairing", "r1_gamma": 0.1, "r2_gamma": 0.1, "r2_interval": 8}},
    ),
    "r3gan pairing": ("r3gan", {"model": WIDTHS}),
}


class Stacks:
    """Random stacks of three of the digits' second half: image i is a function of i."""

    num_classes = 0

    def __init__(self) -> None:
        found = load_digits()
        order = np.random.default_rng(0).permutation(len(found.target))
        learn, stack = order[: len(order) // 2], order[len(order) // 2 :]
        self.classifier = SVC(gamma=0.001, C=10.0).fit(found.data[learn], found.target[learn])
        self.digits, self.targets = found.images[stack], found.target[stack]
        self.accuracy = float(self.classifier.score(found.data[stack], self.targets))
        self.parts = np.random.default_rng(1).integers(len(self.digits), size=(STACKS, 3))
        self.labels = np.full(STACKS, -1)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """uint8 [n, 3, 16, 16]."""
        grey = np.round(self.digits[self.parts[indices]] * (255 / 16)).astype(np.uint8)
        return grey.repeat(2, axis=2).repeat(2, axis=3)

    @cached_property
    def frequencies(self) -> np.ndarray:
        """Of each mode among all stacks, [1000]."""
        return np.bincount(self.targets[self.parts] @ [100, 10, 1], minlength=MODES) / STACKS

    def modes(self, images: np.ndarray) -> np.ndarray:
        """The classifier's mode of each image, uint8 [n, 3, 16, 16]."""
        n = len(images)
        small = images.reshape(n, 3, 8, 2, 8, 2).mean(axis=(3, 5)) * (16 / 255)
        return self.classifier.predict(small.reshape(n * 3, 64)).reshape(n, 3) @ [100, 10, 1]

    def coverage(self, images: np.ndarray) -> dict[str, float]:
        """Modes found, and KL of their frequencies from the stacks' (in nats)."""
        p = np.bincount(self.modes(images), minlength=MODES) / len(images)
        seen = p > 0
        return {"modes": int(seen.sum()), "kl": float((p[seen] * np.log(p[seen] / self.frequencies[seen])).sum())}


def fingerprint() -> Any:
    """What a preset may know of the stacks."""
    from stylescan.config import DataFingerprint

    return DataFingerprint(
        content_hash="digits", preparation_hash="digits", resolution=SIDE, channels=3, bits=8, train_images=STACKS,
        select_images=0, holdout_images=0, claim="image-wise",
    )  # fmt: skip


def train_row(name: str, arguments: argparse.Namespace) -> None:
    """Train one row for its processor time; write its coverage and a grid."""
    one_thread()
    import torch

    from stylescan.config import RunConfig, merge
    from stylescan.presets import build_config
    from stylescan.train.pictures import fake_images, save_grid
    from stylescan.train.state import build_state
    from stylescan.train.step import build_setup

    preset, overrides = ROWS[name]
    overrides = merge(overrides, {"augment": {"mode": "none"}, "seed": arguments.seed})

    def build(kimg: float) -> RunConfig:
        return build_config(preset, fingerprint(), kimg=kimg, overrides=overrides)

    stacks, budget = Stacks(), arguments.core_minutes * 60
    chosen = np.arange(STACKS)
    config = build(budget / seconds_an_image(build(20.0), stacks, chosen) / 1000)
    setup = build_setup(config, stacks, chosen)
    state = build_state(config, setup.phases, device=torch.device("cpu"))
    used = train_for(state, setup, budget)
    fakes = fake_images(state.G_ema, [0] * FAKES, bits=8, noise="random")
    result = {"row": name, "seed": arguments.seed, "nimg": state.nimg, "core_seconds": used, **stacks.coverage(fakes)}
    save_grid(arguments.out / f"{name.replace(' ', '_')}.png", fakes[:64])
    (arguments.out / f"{name.replace(' ', '_')}.json").write_text(json.dumps(result, indent=1))


def print_table(out: Path) -> None:
    """The finished rows as Markdown."""
    stacks = Stacks()
    fresh = np.random.default_rng(2).choice(STACKS, FAKES, replace=False)
    real = stacks.coverage(stacks.read(fresh))
    print(f"classifier: accuracy {stacks.accuracy:.4f} a digit on the {len(stacks.digits)} digits that are stacked\n")
    print("| model | modes found of 1,000 | KL (nats) | images shown | images/s (one core) |")
    print("|---|---|---|---|---|")
    print(f"| *real stacks* | {real['modes']} | {real['kl']:.3f} | | |")
    for name in ROWS:
        path = out / f"{name.replace(' ', '_')}.json"
        if path.is_file():
            row = json.loads(path.read_text())
            rate = row["nimg"] / row["core_seconds"]
            print(f"| {name} | {row['modes']} | {row['kl']:.3f} | {row['nimg']:,} | {rate:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--core-minutes", type=float, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME")
    parser.add_argument("--one", choices=list(ROWS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        train_row(arguments.one, arguments)
        return
    common = ["--out", str(arguments.out), "--core-minutes", str(arguments.core_minutes), "--seed", str(arguments.seed)]
    missing = [name for name in arguments.rows if not (arguments.out / f"{name.replace(' ', '_')}.json").is_file()]
    side_by_side([[__file__, "--one", name, *common] for name in missing], workers=arguments.workers)
    print_table(arguments.out)


if __name__ == "__main__":
    main()
