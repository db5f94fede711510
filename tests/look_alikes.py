"""Small folders with the names, sizes and modes of three public sets, filled with drawn anatomy.

The sets themselves may not be handed on. `write_akoa`, `write_oasis` and `write_adni` make what a user of each set has
on disk; equal arguments give equal bytes. As a script:

    python tests/look_alikes.py akoa FOLDER --subjects 12 --slices 8

Brains are either a phantom of ellipses (quick) or, with `brain=demo_brains`, the demo's warped template (nilearn).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]
# (seed, subject, visit, class, slices) -> [slices, 256, 256], axial; visits of one subject differ in noise alone
Brain = Callable[[int, int, int, str, int], Bytes]

OASIS_SHARES = {"train": 0.85, "validate": 0.1, "test": 0.05}  # 302, 35 and 17 of 354 cases
TISSUES = (0, 85, 170, 255)  # background, fluid, grey and white matter in the masks
KNEE_SPELLINGS = {"left": ("LEFT", "left", "l_e_f_t"), "right": ("RIGHT", "right", "r_i_g_h_t")}


def write_akoa(folder: Path, subjects: int = 12, slices: int = 8, seed: int = 0) -> Path:
    """`AKOA_Analysis/`: RGB PNG with three equal channels, 260 wide and 228 high, all in one folder.

    Every second subject has both knees, the others the right one alone. Returns the folder of the images.
    """
    root = _made(folder / "AKOA_Analysis")
    for subject in range(subjects):
        for side in ("left", "right") if subject % 2 == 0 else ("right",):
            spelling = KNEE_SPELLINGS[side][subject // 2 % 3]
            start = f"OAI{9_000_099 + 7919 * subject}_BaseLine_{1 + subject % 3}de3d1_SAG_3D_DESS_WE_{spelling}"
            for number, image in enumerate(knee_phantom(seed, subject, side, slices)):
                Image.fromarray(np.dstack([image] * 3)).save(root / f"{start}.nii.gz_{number}.png")
    return root


def write_oasis(
    folder: Path, subjects: int = 12, slices: int = 8, seed: int = 0, *, brain: Brain | None = None
) -> Path:
    """`keras_png_slices_data/`: 256x256 grey PNG in folders train, validate and test, and a folder of masks for each."""
    root = folder / "keras_png_slices_data"
    bounds = np.rint(np.cumsum(list(OASIS_SHARES.values())) * subjects)
    for subject in range(subjects):
        split = list(OASIS_SHARES)[int(np.searchsorted(bounds, subject, side="right"))]
        images = (brain or brain_phantom)(seed, subject, 0, "NC", slices)
        for kind, name, pictures in (
            ("case", f"keras_png_slices_{split}", images),
            ("seg", f"keras_png_slices_seg_{split}", tissue_mask(images)),
        ):
            place = _made(root / name)
            for number, image in enumerate(pictures):
                Image.fromarray(image).save(place / f"{kind}_{subject + 1:03d}_slice_{number}.nii.png")
    return root


def write_adni(folder: Path, subjects: int = 12, slices: int = 8, seed: int = 0, *, brain: Brain | None = None) -> Path:
    """`ADNI/AD_NC/{train,test}/{AD,NC}/`: grey JPEG, 256 wide and 240 high; and `ADNI/meta_data_with_label.json`.

    Classes alternate. Every third subject has a second scan, which lies in the other of the two folders, as most
    patients of the set's test folder have one in train.
    """
    root, meta, scan = folder / "ADNI", {}, 0
    for subject in range(subjects):
        label, patient = ("AD", "NC")[subject % 2], f"{1 + subject % 140:03d}_S_{1000 + 37 * subject:04d}"
        for visit in range(2 if subject % 3 == 0 else 1):
            image_id = 218_391 + 13 * scan
            scan += 1
            meta[str(image_id)] = {"label": label, "raw": f"ADNI_{patient}_MR_MPRAGE_br_raw_I{image_id}.nii"}
            place = _made(root / "AD_NC" / ("train", "test")[(visit + (subject % 4 == 3)) % 2] / label)
            images = (brain or brain_phantom)(seed, subject, visit, label, slices)
            for number, image in enumerate(images, start=75):
                Image.fromarray(image[8:-8]).save(place / f"{image_id}_{number}.jpeg", quality=95)
    (root / "meta_data_with_label.json").write_text(json.dumps(meta, indent=1))
    return root


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _grid(height: int, width: int) -> tuple[Floats, Floats]:
    """(y, x) of every pixel, y from -1 (top) to 1, x in the same unit."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (2 * y + 1 - height) / height, (2 * x + 1 - width) / height


def _ellipse(y: Floats, x: Floats, at: Sequence[float], radii: Sequence[float], turn: float = 0.0) -> Floats:
    """1 inside the ellipse, 0 outside, with an edge about two pixels soft."""
    dy, dx = y - at[0], x - at[1]
    v, u = dy * np.cos(turn) - dx * np.sin(turn), dy * np.sin(turn) + dx * np.cos(turn)
    r = np.sqrt((v / radii[0]) ** 2 + (u / radii[1]) ** 2 + 1e-9)
    return np.asarray(np.clip((1 - r) * min(radii) * 60 + 0.5, 0, 1))


def _over(image: Floats, mask: Floats, value: float | Floats) -> Floats:
    return image * (1 - mask) + mask * value


def _smooth_noise(random: np.random.Generator, height: int, width: int, cells: int) -> Floats:
    """Smooth noise of about unit size, `cells` bumps a side."""
    coarse = Image.fromarray(random.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float64)


def _finished(image: Floats, random: np.random.Generator, noise: float) -> Bytes:
    """Rician noise, then 8 bits."""
    noisy = np.hypot(image + random.normal(0, noise, image.shape), random.normal(0, noise, image.shape))
    return np.asarray(np.clip(np.rint(noisy * 255), 0, 255), np.uint8)


def knee_phantom(seed: int, subject: int, side: str, slices: int) -> Bytes:
    """Sagittal slices [slices, 228, 260] through one knee: femur, tibia, patella, cartilage, menisci, fat and muscle.

    Front is on the left in a right knee and on the right in a left one.
    """
    shape = np.random.default_rng([seed, subject, 1])
    size, tilt = shape.normal(1.0, 0.06), shape.normal(0.0, 0.06)
    height, bone, cartilage = shape.normal(0.0, 0.05), shape.uniform(0.28, 0.4), shape.uniform(0.035, 0.06)
    y, x = _grid(228, 260)
    images = []
    for number in range(slices):
        random = np.random.default_rng([seed, subject, 2 + (side == "left"), number])
        depth = (number + 0.5) / slices * 2 - 1  # -1 and 1: the inner and the outer edge of the joint
        condyle = size * (0.36 + 0.1 * np.cos(2 * np.pi * (abs(depth) - 0.5)))
        images.append(_finished(_knee(y, x, random, depth, size, tilt, height, bone, cartilage, condyle), random, 0.03))
    flipped = np.stack(images)
    return flipped[:, :, ::-1].copy() if side == "left" else flipped


def _knee(
    y: Floats, x: Floats, random: np.random.Generator, depth: float, size: float, tilt: float, height: float,
    bone: float, cartilage: float, condyle: float,
) -> Floats:  # fmt: skip
    texture = _smooth_noise(random, *y.shape, cells=28)
    joint = 0.12 + height  # y of the gap between the bones
    image = np.full(y.shape, 0.02)
    image = _over(image, _ellipse(y, x, (0.0, 0.02), (1.6, 0.98 * size), tilt), 0.62 + 0.05 * texture)  # fat
    image = _over(image, _ellipse(y, x, (-0.65, 0.45), (0.75, 0.34 * size), tilt - 0.1), 0.33 + 0.06 * texture)
    image = _over(image, _ellipse(y, x, (0.95, 0.42), (0.75, 0.3 * size), tilt + 0.1), 0.35 + 0.06 * texture)
    image = _over(image, _ellipse(y, x, (-0.75, -0.52), (0.6, 0.16), tilt + 0.15), 0.36 + 0.05 * texture)
    centre = (joint - condyle * 0.92, 0.02)
    marrow = bone + 0.015 * texture
    femur = np.maximum(
        _ellipse(y, x, centre, (condyle, condyle * 1.12)), _ellipse(y, x, (-0.95, -0.06), (0.85, 0.25 * size), tilt)
    )
    shell = _ellipse(y, x, centre, (condyle + cartilage, condyle * 1.12 + cartilage)) * (y > centre[0] - 0.1)
    image = _over(image, shell, 0.9)  # cartilage is brightest
    plateau = _ellipse(y, x, (joint + 0.3, 0.03), (0.27, 0.5 * size), tilt / 2)
    image = _over(image, _ellipse(y, x, (joint + 0.28, 0.03), (0.27 + cartilage / 2, 0.5 * size), tilt / 2), 0.85)
    image = _over(image, np.maximum(femur, 0), marrow)
    image = _over(image, np.maximum(plateau, _ellipse(y, x, (1.1, 0.0), (0.85, 0.3 * size), tilt)), marrow + 0.03)
    for at in (-0.27, 0.32):  # menisci: dark wedges in front and behind
        image = _over(image, _ellipse(y, x, (joint + 0.02, at * size), (0.05, 0.12)), 0.08)
    if abs(depth) < 0.55:  # the patella and its tendon lie in the middle
        for grown, value in ((0.03, 0.06), (0.0, bone + 0.08)):
            radii = (0.22 + grown, 0.1 + grown)
            image = _over(image, _ellipse(y, x, (-0.28 + height, -0.62 * size), radii, 0.1), value)
        image = _over(image, _ellipse(y, x, (0.25, -0.6 * size), (0.3, 0.03), 0.25), 0.1)
    return np.asarray(image * (1 + 0.08 * _smooth_noise(random, *y.shape, cells=3)))


def brain_phantom(seed: int, subject: int, visit: int, label: str, slices: int) -> Bytes:
    """Axial slices [slices, 256, 256] of one skull-stripped brain; the ventricles of class AD are twice as wide."""
    shape = np.random.default_rng([seed, subject, 5])
    half_height, half_width = shape.normal(0.76, 0.03), shape.normal(0.6, 0.03)
    white = shape.uniform(0.72, 0.9)
    grey, fluid = white * shape.uniform(0.6, 0.75), white * shape.uniform(0.12, 0.25)
    ventricle = shape.normal(2.0 if label == "AD" else 1.0, 0.15)
    folds, phases = shape.normal(0, 0.012, 7), shape.uniform(0, 2 * np.pi, 7)
    y, x = _grid(256, 256)
    angle = np.arctan2(x, y)
    waves = sum(a * np.cos((5 + 2 * k) * angle + p) for k, (a, p) in enumerate(zip(folds, phases)))
    images = []
    for number in range(slices):
        random = np.random.default_rng([seed, subject, 6 + visit, number])
        depth = (number + 0.5) / slices * 2 - 1
        scale = np.sqrt(1 - 0.35 * depth**2)
        warp = waves + 0.012 * _smooth_noise(random, 256, 256, 30)
        image = np.zeros(y.shape)
        for shrink, value in ((1.0, fluid), (0.95, grey), (0.84, white)):
            image = _over(image, _ellipse(y * (1 + warp), x * (1 + warp), (0, 0),
                                          (half_height * scale * shrink, half_width * scale * shrink)), value)  # fmt: skip
        image = _over(image, _ellipse(y, x, (0, 0), (half_height * scale * 0.95, 0.012)), fluid)  # between the halves
        for sign in (-1, 1):
            image = _over(image, _ellipse(y, x, (0.08, sign * 0.22), (0.14, 0.08), sign * 0.2), grey)
            radii = (0.2 * scale * np.sqrt(ventricle), 0.045 * ventricle * scale)
            image = _over(image, _ellipse(y, x, (-0.02, sign * (0.03 + radii[1])), radii, sign * 0.18), fluid)
        images.append(_finished(image, random, 0.02))
    return np.stack(images)


def demo_brains() -> Brain:
    """Brains of the built-in demo (the MNI152 template, warped): atrophy for AD, control for NC. Needs nilearn."""
    from stylescan.data.demo_anatomy import load_template, ventricle_flow
    from stylescan.data.demo_subject import draw_subject, render_subject

    template = load_template()
    flow = ventricle_flow(template)

    def brain(seed: int, subject: int, visit: int, label: str, slices: int) -> Bytes:
        wanted = {"AD": "atrophy", "NC": "control"}[label]
        # Of each pair of the demo's subjects one has the class.
        pair = (draw_subject(seed, 2 * subject + k) for k in range(2))
        drawn = next(one for one in pair if one.label == wanted)
        return render_subject(drawn, template, flow, seed=seed + visit, resolution=256, slices=slices).images

    return brain


def tissue_mask(images: Bytes) -> Bytes:
    """A mask of four values for every image, by grey value alone."""
    return np.asarray(TISSUES, np.uint8)[np.digitize(images, (20, 70, 150))]


def main() -> None:
    """Write one look-alike."""
    parser = argparse.ArgumentParser(description="a small look-alike of a public set")
    parser.add_argument("kind", choices=("akoa", "oasis", "adni"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--demo-brains", action="store_true", help="the demo's anatomy in place of ellipses")
    asked = parser.parse_args()
    plain = (asked.folder, asked.subjects, asked.slices, asked.seed)
    brain = demo_brains() if asked.demo_brains and asked.kind != "akoa" else None
    if asked.kind == "akoa":
        print(write_akoa(*plain))
    else:
        print({"oasis": write_oasis, "adni": write_adni}[asked.kind](*plain, brain=brain))


if __name__ == "__main__":
    main()
