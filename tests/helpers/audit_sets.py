"""Prepared sets drawn from arithmetic, for the audit's tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stylescan.data.geometry import Geometry
from stylescan.data.prepared import SPLITS, ImageRecord, IntensityRecord, Manifest, PreparedDataset, ShardRecord

Bytes = NDArray[np.uint8]


def shell(side: int, rings: Sequence[tuple[float, float]], shift: float = 0.0, high: float = 1.15) -> Bytes:
    """Ellipses within each other, (radius, grey value) from the outside; half a unit is half of the image."""
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    radius = np.hypot(axis[:, None] / high, axis[None] - shift)
    out = np.zeros((side, side))
    for size, value in rings:
        edge = np.clip((size - radius) * side / 2 + 0.5, 0, 1)
        out = out * (1 - edge) + value * edge
    return np.rint(out).astype(np.uint8)


def brains(count: int, side: int) -> tuple[Bytes, list[str]]:
    """Bright upright ellipses with a dark lake in the upper part, each of another person, and their names."""
    images = []
    for number in range(count):
        random = np.random.default_rng([5, number])
        size, lake = random.normal(0.62, 0.02), random.normal(0.2, 0.03)
        image = shell(side, ((size, 150), (size - 0.08, 190)), high=1.4).astype(float)
        axis = (np.arange(side) + 0.5) / side * 2 - 1
        hole = np.hypot(axis[:, None] + 0.3, (axis[None]) * 1.5) < lake
        image[hole] = 40
        coarse = random.normal(0, 6, (8, 8)).repeat(side // 8, 0).repeat(side // 8, 1)
        images.append(np.clip(image + coarse * (image > 20), 0, 255).astype(np.uint8))
    return np.stack(images), [f"sub-{number:03d}" for number in range(count)]


def assemble(
    folder: Path, images: Bytes, subjects: Sequence[str], labels: Sequence[int | None] = (), names: Sequence[str] = (),
    **changes: object,
) -> PreparedDataset:  # fmt: skip
    """A prepared dataset of uint8 [n, R, R] in `folder`; the split goes by subject."""
    side, order = images.shape[1], {name: number for number, name in enumerate(dict.fromkeys(subjects))}
    square = Geometry(source_height=side, source_width=side, resampled_height=side, resampled_width=side)
    records = [
        ImageRecord(subject=name, label=labels[k] if labels else None, slice=k, source=f"img-{k}.png", source_sha256="x",
                    split=SPLITS[(0, 0, 0, 1, 2)[order[name] % 5]], geometry=square)
        for k, name in enumerate(subjects)
    ]  # fmt: skip
    (folder / "shards").mkdir(parents=True)
    np.save(folder / "shards" / "a.npy", images[:, None])
    manifest = Manifest(
        content_hash="c", preparation={"seed": 0, "window": "<b>lung</b>"}, preparation_hash="p", resolution=side, channels=1,
        bits=8, class_names=list(names), claim="subject-wise", intensity=IntensityRecord(),
        shards=[ShardRecord(file="shards/a.npy", count=len(images), sha256="0")], images=records,
    )  # fmt: skip
    return PreparedDataset.assemble(folder, manifest.model_copy(update=changes))
