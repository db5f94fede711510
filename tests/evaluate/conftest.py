"""A small prepared dataset made on the spot, and an extractor that needs no weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stylescan.data.geometry import Geometry
from stylescan.data.prepared import ImageRecord, IntensityRecord, Manifest, PreparedDataset, ShardRecord
from stylescan.files import file_sha256, write_json_atomic

RESOLUTION = 16


def write_dataset(
    path: Path,
    images: NDArray[Any],
    subjects: Sequence[str],
    splits: Sequence[str],
    labels: Sequence[int] | None = None,
    class_names: Sequence[str] = ("disc", "square"),
) -> PreparedDataset:
    """A prepared dataset holding `images` uint8 or uint16 [n, C, R, R]."""
    resolution = images.shape[-1]
    geometry = Geometry(
        source_height=resolution, source_width=resolution, resampled_height=resolution, resampled_width=resolution
    )
    records = [
        ImageRecord(
            subject=subject,
            label=None if labels is None else labels[i],
            split=split,
            source=f"{i}.png",
            source_sha256="0" * 64,
            geometry=geometry,
        )
        for i, (subject, split) in enumerate(zip(subjects, splits, strict=True))
    ]
    (path / "shards").mkdir(parents=True)
    np.save(path / "shards" / "images-00000.npy", images)
    shard = ShardRecord(
        file="shards/images-00000.npy", count=len(images), sha256=file_sha256(path / "shards" / "images-00000.npy")
    )
    manifest = Manifest(
        content_hash=hashlib.sha256(images.tobytes()).hexdigest(),
        preparation={},
        preparation_hash="b" * 64,
        resolution=resolution,
        channels=images.shape[1],
        bits=16 if images.dtype == np.uint16 else 8,
        class_names=list(class_names) if labels is not None else [],
        claim="subject-wise",
        intensity=IntensityRecord(),
        shards=[shard],
        images=records,
    )
    write_json_atomic(path / "manifest.json", manifest.model_dump(mode="json"))
    return PreparedDataset.open(path)


def draw_shapes(n: int, labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Discs (label 0) and squares (1) of random size and brightness, uint8 [n, 1, 16, 16]."""
    grid = np.arange(RESOLUTION) - RESOLUTION / 2 + 0.5
    out = np.empty((n, 1, RESOLUTION, RESOLUTION), np.uint8)
    for i in range(n):
        size, level = rng.uniform(3, 6), rng.uniform(120, 220)
        y, x = np.abs(grid[:, None] - rng.uniform(-1, 1)), np.abs(grid[None, :] - rng.uniform(-1, 1))
        inside = np.hypot(x, y) < size if labels[i] == 0 else np.maximum(x, y) < size
        out[i, 0] = np.clip(inside * level + rng.normal(20, 4, inside.shape), 0, 255)
    return out


@pytest.fixture
def shapes(tmp_path: Path) -> PreparedDataset:
    """40 train, 8 select and 16 held-out subjects of 5 slices each, two classes, 16 px."""
    splits = np.repeat(["train"] * 40 + ["select"] * 8 + ["holdout"] * 16, 5)
    subjects = np.repeat([f"s{i:02d}" for i in range(64)], 5)
    labels = np.repeat(np.arange(64) % 2, 5)
    images = draw_shapes(320, labels, np.random.default_rng(0))
    return write_dataset(tmp_path / "data", images, subjects.tolist(), splits.tolist(), labels.tolist())


@pytest.fixture
def more_shapes() -> Callable[[int], tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """n -> further images of the same population, and their classes."""

    def make(n: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        labels = np.arange(n) % 2
        return draw_shapes(n, labels, np.random.default_rng(1)), labels

    return make


class PooledPixels:
    """Means of 4 x 4 blocks: 16 features of a 16-px image, counting how many images it was given."""

    name = "pooled-pixels"
    hash = "c" * 64
    dim = 16

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        self.seen += len(images)
        unit = images.astype(np.float32) / np.iinfo(images.dtype).max
        blocks = unit.mean(axis=1).reshape(len(images), 4, RESOLUTION // 4, 4, RESOLUTION // 4).mean(axis=(2, 4))
        return blocks.reshape(len(images), 16)


@pytest.fixture
def pooled() -> PooledPixels:
    return PooledPixels()


@pytest.fixture
def make_dataset() -> Callable[..., PreparedDataset]:
    return write_dataset
