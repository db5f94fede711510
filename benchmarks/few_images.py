"""Few training images: from scratch, with ADA, or from another model, in equal core-minutes.

    python benchmarks/few_images.py --data DATA --out OUT --core-minutes 30 [--init RUN] [--images 300] [--workers 2]
        [--seeds 0 1] [--arms scratch scratch+ada init freeze2 snapshot init+ada]

DATA is a prepared dataset, RUN a finished run on other anatomy. Every arm has RUN's nets (without RUN: the preset's),
trains in a process of its own on one thread, and sees `--images` images of the training split: whole subjects in an
order drawn by the seed, the last one cut. At each sixth of the time the averaged generator is scored against the select
subjects (scoring is not counted). scratch: fresh weights; init: RUN's G_ema and D; freezeN: the same with D's first N
blocks frozen; snapshot: G_ema alone; with +ada, adaptive augmentation besides.
A finished arm leaves OUT/ARM_seedN.json and grids; repeating the command does the missing ones and prints the table.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from core_minutes import one_thread, seconds_an_image, side_by_side, train_for
from judge import Judge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stylescan.config import RunConfig
    from stylescan.data.prepared import PreparedDataset

MARKS = 6


def choose_images(dataset: PreparedDataset, images: int, seed: int) -> np.ndarray:
    """[images] positions of the training split, whole subjects but for the last."""
    from stylescan.randomness import numpy_generator

    train = dataset.indices("train")
    subjects = dataset.subjects[train]
    order = numpy_generator(seed, "few_subjects").permutation(np.unique(subjects))
    chosen = np.concatenate([train[subjects == subject] for subject in order])[:images]
    if len(chosen) < images:
        sys.exit(f"the training split holds {len(chosen)} images, {images} were asked for")
    return np.sort(chosen)


def arm_config(
    arm: str, init: Path | None, dataset: PreparedDataset, images: int, seed: int, kimg: float
) -> tuple[RunConfig, Any]:
    """(configuration, transfer plan or None) of an arm."""
    from stylescan.config import RunConfig as Config
    from stylescan.presets import build_config
    from stylescan.train.init_source import load_source
    from stylescan.train.start import fingerprint
    from stylescan.train.transfer import settle_transfer, source_model_overrides

    data = fingerprint(dataset).model_copy(update={"train_images": images})

    arm, _, extra = arm.partition("+")
    augment = {"augment": {"mode": "ada" if extra == "ada" else "none"}}

    def build(overrides: Mapping[str, Any]) -> Config:
        return build_config("small", data, kimg=kimg, seed=seed, overrides={**overrides, **augment})

    if init is None:
        return build({}), None
    source = load_source(init / "snapshot" if arm == "snapshot" else init)
    if arm == "scratch":
        return build({"model": source_model_overrides(source)}), None
    frozen = int(arm.removeprefix("freeze")) if arm.startswith("freeze") else 0
    overrides, plan = settle_transfer(source, {"transfer": {"freeze_d": frozen}}, build)
    return build(overrides), plan


def train_arm(arm: str, seed: int, arguments: argparse.Namespace) -> None:
    """Train one arm for its processor time, scored at each mark."""
    one_thread()
    import torch

    from stylescan.data.prepared import PreparedDataset
    from stylescan.generate.sample import apportion
    from stylescan.train.pictures import fake_grid, fake_images, save_grid
    from stylescan.train.state import build_state
    from stylescan.train.step import build_setup
    from stylescan.train.transfer import apply_transfer

    dataset = PreparedDataset.open(arguments.data)
    chosen = choose_images(dataset, arguments.images, seed)
    budget = arguments.core_minutes * 60
    config, _ = arm_config(arm, arguments.init, dataset, arguments.images, seed, 1.0)
    no_rest = config.model_copy(update={"transfer": config.transfer.model_copy(update={"d_alone": 0.0})})
    kimg = budget / seconds_an_image(no_rest, dataset, chosen) / 1000
    config, plan = arm_config(arm, arguments.init, dataset, arguments.images, seed, kimg)
    setup = build_setup(config, dataset, chosen)
    state = build_state(config, setup.phases, device=torch.device("cpu"))
    if plan is not None:
        apply_transfer(plan, state)
    labels = [0] * arguments.fakes
    if dataset.num_classes:
        labels = apportion(setup.reader.class_frequencies().tolist(), arguments.fakes).tolist()
    judge, used, rows = Judge(dataset, "select"), 0.0, []
    for mark in range(MARKS + 1):
        used += train_for(state, setup, budget * mark / MARKS - used)
        scores = judge.distances(fake_images(state.G_ema, labels, bits=dataset.bits, noise="random"))
        rows.append({"core_minutes": used / 60, "nimg": state.nimg, "p": state.ada.p, **scores})
        save_grid(arguments.out / f"{arm}_seed{seed}_{mark}.png", fake_grid(state.G_ema, bits=dataset.bits))
    result = {
        "arm": arm,
        "seed": seed,
        "images": arguments.images,
        "marks": rows,
        "real": {"floor": judge.floor(), "few": judge.kid_of_real(chosen)},
    }
    result["transfer"] = config.transfer.model_dump(mode="json")
    (arguments.out / f"{arm}_seed{seed}.json").write_text(json.dumps(result, indent=1))


def print_table(out: Path, arms: list[str]) -> None:
    """KID over time, mean over seeds (and their range), as Markdown."""
    results = [json.loads(path.read_text()) for path in sorted(out.glob("*_seed*.json"))]
    results = [result for result in results if result["arm"] in arms]
    minutes = [row["core_minutes"] for row in results[0]["marks"]]
    print("| arm | seeds | images shown | " + " | ".join(f"{m:.3g} min" for m in minutes) + " |")
    print("|---|---|---|" + "---|" * len(minutes))
    for arm in arms:
        mine = [result for result in results if result["arm"] == arm]
        if not mine:
            continue
        kid = np.array([[row["kid"] for row in result["marks"]] for result in mine])
        shown = int(np.mean([result["marks"][-1]["nimg"] for result in mine]))
        spread = [f" ({low:.3f}-{high:.3f})" if len(mine) > 1 else "" for low, high in zip(kid.min(0), kid.max(0))]
        p = np.mean([[row["p"] for row in result["marks"]] for result in mine], axis=0)
        strength = [f", p {value:.2f}" if arm.endswith("+ada") else "" for value in p]
        cells = [f"{mean:.4f}{text}{more}" for mean, text, more in zip(kid.mean(0), spread, strength)]
        print(f"| {arm} | {len(mine)} | {shown:,} | " + " | ".join(cells) + " |")
    few = [result["real"]["few"] for result in results]
    floor = results[0]["real"]["floor"]["kid"]
    words = "none: too few training images for a draw" if floor is None else f"{floor:.4f}"
    print(f"\nKID of real images on select: other training subjects {words}; the chosen images {np.mean(few):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--core-minutes", type=float, default=30)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--fakes", type=int, default=480, help="images a score")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=["scratch"])
    parser.add_argument("--one", nargs=2, metavar=("ARM", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for arm in arguments.arms:
        if not re.fullmatch(r"(scratch|init|snapshot|freeze\d)(\+ada)?", arm):
            parser.error(f"--arms {arm}: expected scratch, init, snapshot or freezeN, with or without +ada")
        if arguments.init is None and not arm.startswith("scratch"):
            parser.error(f"--arms {arm}: needs --init RUN")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        train_arm(arguments.one[0], int(arguments.one[1]), arguments)
        return
    own = ["--data", str(arguments.data), "--out", str(arguments.out)]
    own += ["--init", str(arguments.init)] if arguments.init else []
    own += ["--core-minutes", str(arguments.core_minutes), "--images", str(arguments.images)]
    own += ["--fakes", str(arguments.fakes)]
    missing = [
        [__file__, *own, "--one", arm, str(seed)]
        for seed in arguments.seeds
        for arm in arguments.arms
        if not (arguments.out / f"{arm}_seed{seed}.json").exists()
    ]
    side_by_side(missing, workers=arguments.workers)
    print_table(arguments.out, arguments.arms)


if __name__ == "__main__":
    main()
