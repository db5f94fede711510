"""Shared fixtures: one thread a worker, and the real scans where they are at hand."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from stylescan.config import RunConfig
from stylescan.data.geometry import Geometry
from stylescan.data.prepared import ImageRecord, IntensityRecord, Manifest, PreparedDataset, ShardRecord
from stylescan.files import file_sha256, write_json_atomic
from stylescan.presets import build_config
from stylescan.train.start import fingerprint


def pytest_configure(config: pytest.Config) -> None:
    # Two cores are shared by parallel workers; results also depend on the thread count, so fix it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans: STYLESCAN_DATA, or `../shared/data` beside the project. Skips where it is absent."""
    named = os.environ.get("STYLESCAN_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("STYLESCAN_REQUIRE_DATA"):
            pytest.fail(f"real scans are required here, and {folder} does not exist")
        pytest.skip(f"no real scans at {folder}: set STYLESCAN_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PreparedDataset]:
    """A function that writes a small prepared dataset of blobs: ellipses whose size depends on the class."""

    def make(*, subjects: int = 12, slices: int = 4, resolution: int = 16, classes: int = 2) -> PreparedDataset:
        rng = np.random.default_rng(7)
        axis = np.linspace(-1, 1, resolution)
        images, records = [], []
        for subject in range(subjects):
            split = "holdout" if subject % 6 == 4 else "select" if subject % 6 == 5 else "train"
            label = subject % classes if classes else None
            for number in range(slices):
                a, b = rng.uniform(0.4, 0.6, 2) + (0.25 * label if label else 0)
                disc = (axis[:, None] / a) ** 2 + (axis[None] / b) ** 2 < 1
                images.append(np.clip(disc * 170 + rng.normal(0, 8, disc.shape), 0, 255).astype(np.uint8)[None])
                geometry = Geometry(
                    source_height=resolution, source_width=resolution,
                    resampled_height=resolution, resampled_width=resolution,
                )  # fmt: skip
                records.append(
                    ImageRecord(
                        subject=f"sub-{subject:02d}",
                        label=label,
                        slice=number,
                        split=split,
                        source=f"{subject}_{number}",
                        source_sha256="0" * 64,
                        geometry=geometry,
                    )  # fmt: skip
                )
        folder = tmp_path_factory.mktemp("prepared")
        (folder / "shards").mkdir()
        shard = folder / "shards" / "images-00000.npy"
        np.save(shard, np.stack(images))
        manifest = Manifest(
            content_hash=hashlib.sha256(np.stack(images).tobytes()).hexdigest(), preparation={}, preparation_hash="p" * 64,
            resolution=resolution, channels=1, bits=8, class_names=[f"kind {k}" for k in range(classes)],
            claim="subject-wise", intensity=IntensityRecord(),
            shards=[ShardRecord(file="shards/images-00000.npy", count=len(images), sha256=file_sha256(shard))],
            images=records,
        )  # fmt: skip
        write_json_atomic(folder / "manifest.json", manifest.model_dump(mode="json"))
        return PreparedDataset.open(folder)

    return make


WIDTHS = {
    "stylegan2": {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8},
    "stylegan": {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8, "mapping_layers": 2},
    "stylegan2-lite": {"z_dim": 8, "filters_G": 8, "filters_D": 4, "filters_D_max": 8},
    "dcgan": {"z_dim": 8, "channel_base": 128, "channel_max": 8},
    "r3gan": {"z_dim": 8, "channel_base": 128, "channel_max": 8, "group_width": 4},
}
GROWTH = {
    "stylegan": {"start": 4, "images": [1, 2, 3], "fade": 0.5, "batch": [8, 4, 4], "lr": [0.002, 0.003, 0.004]},
    "stylegan2-lite": {"fade": 1.5},
}


def make_family_config(
    family: str, dataset: PreparedDataset, *, kimg: float = 0.12, **sections: dict[str, Any]
) -> RunConfig:
    overrides: dict[str, dict[str, Any]] = {
        "model": {"family": family, **WIDTHS[family]},
        "objective": {"pl_weight": 0.0, "mixing": 0.5, "r1_interval": 3},
        "augment": {"mode": "fixed", "p": 0.3},
        "train": {"batch": 4, "checkpoint_kimg": 0.02, "keep_checkpoints": 50, "log_kimg": 0.02, "grid_kimg": 1.0,
                  "score_kimg": None, "ema_half_life_kimg": 0.02, "ema_rampup": None},
        "growth": GROWTH.get(family, {}),
    }  # fmt: skip
    for name, values in sections.items():
        overrides[name] = {**overrides.get(name, {}), **values}
    return build_config("small", fingerprint(dataset), kimg=kimg, overrides=overrides)


@pytest.fixture(scope="session")
def family_config() -> Callable[..., RunConfig]:
    """`family_config(family, dataset, kimg=..., **sections)`: narrow nets of any family; growing ones grow from 4 px."""
    return make_family_config


@pytest.fixture(scope="session")
def look_alikes() -> ModuleType:
    """tests/helpers/look_alikes.py: writers of small folders like those of public sets."""
    import look_alikes

    module: ModuleType = look_alikes
    return module
