"""How often the audit's pixel checks are right: planted faults found, and alarms on clean images.

    python benchmarks/data_audit.py DATA [--demo FOLDER]

DATA holds `brain_t1ce_figshare`, `hippocampus_nifti` and `mednist64`; FOLDER, if given, is made or completed as the demo's
population (24 subjects, 128 px). Prints a table a check. Takes about a minute.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stylescan.data.audit.annotation import find_writing
from stylescan.data.audit.heads import HEAD_SCORE, skull_score
from stylescan.data.audit.measures import Measures, _measure
from stylescan.data.audit.odd import find_odd

Bytes = NDArray[np.uint8]
PLANTED, ROUNDS = 2, 10
TEXTS = ("SMITH JOHN 12.03.1961", "MUELLER^ANNA", "ID 4711-23", "R  kV 120", "Se: 3 Im: 17")


def square(image: Image.Image, side: int) -> Bytes:
    """Padded with black to a square, then `side` pixels."""
    longest = max(image.size)
    canvas = Image.new("L", (longest, longest))
    canvas.paste(image.convert("L"), ((longest - image.width) // 2, (longest - image.height) // 2))
    return np.asarray(canvas.resize((side, side), Image.Resampling.LANCZOS))


def figshare(data: Path, side: int) -> tuple[Bytes, list[str]]:
    files = sorted((data / "brain_t1ce_figshare").glob("*/*.jpg"))
    return np.stack([square(Image.open(f), side) for f in files]), [str(int(f.stem) // 100) for f in files]


def mednist(data: Path, kind: str) -> tuple[Bytes, list[str]]:
    files = sorted((data / "mednist64" / kind).glob("*"))[:500]
    return np.stack([np.asarray(Image.open(f).convert("L")) for f in files]), [f.stem for f in files]


def hippocampus(data: Path) -> tuple[Bytes, list[str]]:
    import nibabel as nib

    images, subjects = [], []
    for file in sorted((data / "hippocampus_nifti" / "images").glob("*.nii*")):
        voxels = np.asarray(nib.load(file).dataobj, np.float32)
        low, high = np.percentile(voxels, (0.5, 99.5))
        scaled = (np.clip((voxels - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        for k in range(2, voxels.shape[2] - 2, 3):
            images.append(square(Image.fromarray(np.ascontiguousarray(scaled[:, ::-1, k].T)), 64))
            subjects.append(file.name)
    return np.stack(images), subjects


def demo(folder: Path) -> tuple[Bytes, list[str]]:
    from stylescan.data.demo import write_population

    write_population(folder, subjects=24, resolution=128, slices_per_subject=12)
    files = sorted((folder / "images").glob("*.png"))
    return np.stack([np.asarray(Image.open(f)) for f in files]), [f.name.split("_")[0] for f in files]


def resized(image: Bytes, side: int) -> Bytes:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS))


def page_of_text(side: int, number: int) -> Bytes:
    page = Image.new("L", (side, side), 200 + 5 * number)
    for top in range(4, side, max(9, side // (10 + number))):
        text = " ".join(np.random.default_rng([number, top]).permutation(TEXTS))
        ImageDraw.Draw(page).text((4, top), text, 20, ImageFont.load_default(max(7, side // 14)))
    return np.asarray(page)


def measured(images: Bytes) -> Measures:
    return Measures(*_measure(images))


def odd_rates(name: str, images: Bytes, subjects: list[str], other: Bytes) -> None:
    side = images.shape[1]
    faults: dict[str, Callable[[Bytes, int], Bytes]] = {
        "inverted": lambda image, k: 255 - image,
        "by 90": lambda image, k: np.rot90(image),
        "by 180": lambda image, k: np.rot90(image, 2),
        "noise": lambda image, k: np.random.default_rng(k).integers(0, 256, image.shape).astype(np.uint8),
        "text": lambda image, k: page_of_text(side, k),
        "another organ": lambda image, k: resized(other[k * 7 % len(other)], side),
    }
    _, alarms = find_odd(measured(images), subjects)
    cells = []
    for fault, plant in faults.items():
        hits = 0
        for number in range(ROUNDS):
            places = np.random.default_rng([1, number]).choice(len(images), PLANTED, replace=False)
            mixed = images.copy()
            for k, place in enumerate(places):
                mixed[place] = plant(images[place], k)
            # The whole list, not its head: a set with many odd images would push the planted ones out of sight.
            found = {odd.index for odd in find_odd(measured(mixed), subjects, listed=len(mixed))[0]}
            hits += sum(int(place) in found for place in places)
        cells.append(f"{fault} {hits / (ROUNDS * PLANTED):.2f}")
    print(f"{name:<12} {len(images):>5} images, odd {alarms / len(images):.1%} | found: " + ", ".join(cells))


def other_rates(name: str, images: Bytes) -> None:
    few = images[:: max(1, len(images) // 60)]
    scores = np.array([skull_score(image) for image in images])
    line = f"{name:<12} heads {np.mean(scores > HEAD_SCORE):.3f} of {len(images)} | writing, alarms and found: "
    for side in (128, 256, 512):
        clean = [resized(image, side) for image in few]
        hits = []
        for number, image in enumerate(clean):
            picture, size = Image.fromarray(image), side // 16
            at = (4, 4) if number % 2 else (side // 3, side - 2 * size)
            ImageDraw.Draw(picture).text(at, TEXTS[number % 5], 255, ImageFont.load_default(size))
            hits.append(bool(find_writing(np.asarray(picture))))
        line += f"{side} px {np.mean([bool(find_writing(i)) for i in clean]):.2f} {np.mean(hits):.2f}; "
    print(line)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--demo", type=Path)
    asked = parser.parse_args()
    if not re.search("figshare", " ".join(p.name for p in asked.data.iterdir())):
        parser.error(f"{asked.data}: holds no brain_t1ce_figshare")
    sets = {kind: mednist(asked.data, kind) for kind in ("HeadCT", "BreastMRI", "Hand")}
    sets |= {"figshare": figshare(asked.data, 256), "hippocampus": hippocampus(asked.data)}
    if asked.demo:
        sets["demo"] = demo(asked.demo)
    for name, (images, subjects) in sets.items():
        other = sets["BreastMRI" if name == "Hand" else "Hand"][0]
        odd_rates(
            name, images if images.shape[1] <= 128 else np.stack([resized(i, 128) for i in images]), subjects, other
        )
    for name, (images, _) in sets.items():
        other_rates(name, images)


if __name__ == "__main__":
    main()
