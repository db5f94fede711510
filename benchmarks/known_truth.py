"""What `evaluate` says where the truth is known: generators with a known fault, on the demo population.

    python benchmarks/known_truth.py --out OUT [--kimg 48] [--threads 1] [--n 960]

280 virtual subjects of 24 slices: 140 to train, 20 to select, 40 held out, and 80 that no split holds, whose slices are
what a perfect generator would make. Two models are trained alike, one of them on control subjects alone. Judged are

    perfect      3 slices of each of the 80 further subjects, far apart: nearly independent, as a generator's images are
    clustered    960 slices of them, 12 of each: near-copies among themselves, which no generator's images are
    one class    those of them that are controls
    collapsed    20 of these slices, over and over, with noise of 1 %
    blurred      all of these slices under a Gaussian of 1 px
    copies       half of these slices, and half jittered slices of training subjects
    both         the model trained on both classes, and at psi 0.1 as `both, psi 0.1`
    control      the model trained on controls alone

A class direction is learned in w of `both`, and the ventricles are measured along it without any network: dark pixels in
the middle of the brain, a measure that is first held against the true areas of held-out slices.

Finished steps stay in OUT; repeating the command does what is missing and prints the table.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from stylescan.data.prepared import PreparedDataset

TRAIN, SELECT, HOLDOUT, ALL = 140, 160, 200, 280
CLASS_LEFT = "control"


def populate(out: Path) -> None:
    """The scans, and three lists of them: both classes, controls alone in train and select, the further subjects."""
    from stylescan.data.demo import write_population

    table = write_population(out / "scans", subjects=ALL)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        number = int(row["subject"].split("-")[1])
        row["path"] = str(Path("scans") / row["path"])
        row["split"] = "train" if number < TRAIN else "select" if number < SELECT else "holdout"
        row["further"] = "yes" if number >= HOLDOUT else "no"
    known = [row for row in rows if row["further"] == "no"]
    lists = {
        "both": known,
        "control": [row for row in known if row["split"] == "holdout" or row["label"] == CLASS_LEFT],
        "further": [row for row in rows if row["further"] == "yes"],
    }
    for name, some in lists.items():
        # The further subjects get a split of their own: no model is trained on them, and all of them are read.
        left_out = {"further", "split"} if name == "further" else {"further"}
        columns = [column for column in rows[0] if column not in left_out]
        with (out / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(some)


def prepared(out: Path, name: str) -> PreparedDataset:
    """The prepared set of one list, made if it is missing."""
    from stylescan import prepare_scans
    from stylescan.data.prepared import PreparedDataset

    folder = out / f"data_{name}"
    if (folder / "manifest.json").is_file():
        return PreparedDataset.open(folder)
    if not (out / f"{name}.csv").is_file():
        populate(out)
    source = out / f"{name}.csv"
    return prepare_scans(source, folder, resolution=64, plane="axial", symmetry="left-right", keep_ids=True)


def trained(out: Path, name: str, kimg: float) -> Path:
    """The run on one list, trained or continued if it is not finished."""
    from stylescan import train_generator

    folder = out / f"run_{name}"
    if not (folder / "log.jsonl").is_file() or last_nimg(folder) < kimg * 1000:
        train_generator(prepared(out, name), folder, preset="demo", kimg=kimg, resume=True)
    return folder


def last_nimg(run: Path) -> float:
    lines = (run / "log.jsonl").read_text().splitlines()
    return max((json.loads(line).get("nimg", 0) for line in lines), default=0)


def write_folder(folder: Path, images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> Path:
    """PNG files, one folder a class, as any generator might leave them."""
    from PIL import Image

    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(place / f"{number:05d}.png")
    return folder


def folders(out: Path, n: int) -> dict[str, Path]:
    """The folders whose fault is known by construction."""
    from scipy.ndimage import gaussian_filter

    data, further = prepared(out, "both"), prepared(out, "further")
    rng = np.random.default_rng(0)

    def take(kind: str | None, count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.array([further.class_names[label] for label in further.labels])
        pool = np.flatnonzero(labels == kind) if kind else np.arange(len(further))
        chosen = rng.permutation(pool)[:count]
        return further.read(chosen), np.array([data.class_names.index(word) for word in labels[chosen]])

    def noisy(images: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(images + rng.normal(0, 2.55, images.shape)), 0, 255).astype(np.uint8)

    def collapsed() -> tuple[np.ndarray, np.ndarray]:
        images, labels = take(None, 20)
        again = np.arange(n) % 20
        return noisy(images[again]), labels[again]

    def blurred() -> tuple[np.ndarray, np.ndarray]:
        images, labels = take(None, n)
        return np.rint(gaussian_filter(images.astype(float), (0, 0, 1, 1))).astype(np.uint8), labels

    def copies() -> tuple[np.ndarray, np.ndarray]:
        images, labels = take(None, n - n // 2)
        chosen = rng.permutation(data.indices("train"))[: n // 2]
        shifts = rng.integers(-3, 4, (len(chosen), 2))
        moved = [np.roll(image, shift, (1, 2)) for image, shift in zip(data.read(chosen), shifts, strict=True)]
        return np.concatenate([images, noisy(np.stack(moved))]), np.concatenate([labels, data.labels[chosen]])

    def spread() -> tuple[np.ndarray, np.ndarray]:
        by_subject = [np.flatnonzero(further.subjects == name) for name in np.unique(further.subjects)]
        chosen = np.concatenate([here[(number % 8) + np.array([0, 8, 16])] for number, here in enumerate(by_subject)])
        labels = [data.class_names.index(further.class_names[label]) for label in further.labels[chosen]]
        return further.read(chosen), np.array(labels)

    makers: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
        "perfect": spread,
        "clustered": lambda: take(None, n),
        "one class": lambda: take(CLASS_LEFT, n),
        "collapsed": collapsed,
        "blurred": blurred,
        "copies": copies,
    }
    found = {}
    for name, make in makers.items():
        folder = out / "folders" / name.replace(" ", "_")
        found[name] = folder if folder.is_dir() else write_folder(folder, *make(), data.class_names)
    return found


def judged(out: Path, name: str, target: Path, *, psi: float = 1.0, full: bool = False) -> dict[str, Any]:
    """The report of one target, from OUT/reports where it was made before."""
    from stylescan import evaluate_images

    folder = out / "reports" / name.replace(" ", "_").replace(",", "")
    if not (folder / "report.json").is_file():
        print(f"judging {name}", flush=True)
        evaluate_images(target, out / "data_both", folder, psi=psi, full=full)
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def table(reports: dict[str, dict[str, Any]]) -> str:
    """One row a target: n and each metric with its interval; a first row with the floor at the largest n."""
    most = max(reports.values(), key=lambda report: int(report["metrics"]["n"]))["metrics"]
    names = [name for name, value in most.items() if isinstance(value, dict) and "value" in value]

    def cell(result: dict[str, Any]) -> str:
        if result["value"] is None:
            return "none"
        interval = result["interval"]
        around = f" ({interval['low']:.3g} to {interval['high']:.3g})" if interval else ""
        times = f" = {result['ratio_to_floor']:.2g} x floor" if result["ratio_to_floor"] else ""
        return f"{result['value']:.3g}{around}{times}"

    lines = ["| judged | n | " + " | ".join(names) + " | audit |", "|---" * (len(names) + 3) + "|"]
    floors = [f"{(most[name]['floor'] or {}).get('value', float('nan')):.3g}" for name in names]
    lines.append(f"| *floor* | {most['n']} | " + " | ".join(floors) + " | |")
    for name, report in reports.items():
        cells = [cell(report["metrics"][metric]) for metric in names]
        lines.append(
            f"| {name} | {report['metrics']['n']} | " + " | ".join(cells) + f" | {report['audit']['verdict']} |"
        )
    return "\n".join(lines)


def dark_middle(images: np.ndarray) -> np.ndarray:
    """Dark pixels in the middle of each brain, float [n], of images uint8 [n, 1, H, W]; nan without a brain.

    Dark: below .6 of the brain's median. Middle: an ellipse of .6 x .5 of the brain's half-axes.
    """
    from scipy import ndimage

    counts = np.full(len(images), np.nan)
    rows, columns = np.indices(images.shape[-2:])
    for number, image in enumerate(images[:, 0].astype(float)):
        parts, found = ndimage.label(ndimage.binary_fill_holes(ndimage.binary_opening(image > 40)))
        if not found:
            continue
        brain = parts == 1 + np.argmax(ndimage.sum_labels(parts > 0, parts, range(1, found + 1)))
        y, x = np.nonzero(brain)
        height, width = 0.6 * np.ptp(y) / 2, 0.5 * np.ptp(x) / 2
        middle = ((rows - y.mean()) / height) ** 2 + ((columns - x.mean()) / width) ** 2 < 1
        counts[number] = (brain & middle & (image < 0.6 * np.median(image[brain]))).sum()
    return counts


def along_direction(out: Path, run: Path) -> str:
    """What the ventricles do along the class direction, in two sentences."""
    from safetensors.numpy import load_file
    from scipy.stats import spearmanr

    from stylescan.evaluate.features import get_extractor
    from stylescan.evaluate.latent.class_strip import find_direction
    from stylescan.evaluate.latent.projected import OptimisingProjector
    from stylescan.evaluate.latent.strip_readings import DirectionOptions, images_along, strip_steps
    from stylescan.generate.snapshot import load_snapshot

    data, snapshot, folder = prepared(out, "both"), load_snapshot(run), out / "direction"
    if not (folder / "direction.json").is_file():
        options = DirectionOptions(positive="atrophy", negative="control", project=60)
        find_direction(
            snapshot, data, folder, options, OptimisingProjector(steps=80), get_extractor("efficientnet-lite0")
        )
    said: list[str] = json.loads((folder / "direction.json").read_text())["sentences"]
    held = data.indices("holdout")
    areas = [float(data.manifest.images[i].extra["ventricle_area_mm2"]) for i in held]
    agreement = np.corrcoef(areas, dark_middle(data.read(held)))[0, 1]
    vectors = load_file(folder / "direction.safetensors")
    steps = [step * float(vectors["sd"].reshape(-1)[0]) for step in strip_steps(3.0)]
    images = images_along(snapshot, range(64), vectors["direction"].astype(float), steps)
    dark = dark_middle(images.reshape(-1, *images.shape[2:])).reshape(images.shape[:2])
    each = np.nanmean([spearmanr(row, range(len(steps))).statistic for row in dark])
    means = ", ".join(f"{value:.0f}" for value in np.nanmean(dark, axis=0))
    return (
        f"{said[0]}\nDark pixels in the middle (r = {agreement:.2f} with the true area of held-out slices) along it: {means}; "
        f"mean rank correlation of a seed {each:.3f}, more at the end in {np.mean(dark[:, -1] > dark[:, 0]):.0%} of 64."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kimg", type=float, default=48.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--n", type=int, default=960)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    from stylescan.runtime import set_threads

    set_threads(arguments.threads)
    reports = {name: judged(out, name, folder) for name, folder in folders(out, arguments.n).items()}
    both = trained(out, "both", arguments.kimg)
    reports["both"] = judged(out, "both", both, full=True)
    reports["both, psi 0.1"] = judged(out, "both, psi 0.1", both, psi=0.1)
    reports["control"] = judged(out, "control", trained(out, "control", arguments.kimg))
    print(table(reports))
    print(along_direction(out, both))


if __name__ == "__main__":
    main()
