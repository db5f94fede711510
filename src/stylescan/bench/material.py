"""What a bench measures on: a preset resolved for images of noise, or for a prepared dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylescan.bench.images import NOMINAL_IMAGES, POOL_BYTES, noise_fingerprint, noise_images
from stylescan.config import DataFingerprint, RunConfig, merge
from stylescan.data.loader import ImageSource
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError
from stylescan.presets import build_config
from stylescan.recipes.common import Machine
from stylescan.train.start import fingerprint

DEFAULT_RESOLUTION, DEFAULT_CHANNELS = 64, 1


@dataclass(frozen=True)
class Material:
    """A configuration, and the images `indices` of `source` that it is measured on; `images`: what they are."""

    config: RunConfig
    source: ImageSource
    indices: np.ndarray
    images: str


@contextmanager
def open_material(
    preset: str,
    *,
    device: torch.device,
    data: Path | None = None,
    resolution: int | None = None,
    channels: int | None = None,
    batch: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    count: int = NOMINAL_IMAGES,
    pool_bytes: int = POOL_BYTES,
) -> Iterator[Material]:
    """The preset on `data`, or on `count` images of noise of the size asked for (64 px, 1 channel if left out).

    batch : images a step instead of the preset's. overrides : nested values of the configuration. pool_bytes : of noise
    on disk. Raises ConfigError and DataError where that cannot be.
    """
    if data is not None:
        for name, value in (("resolution", resolution), ("channels", channels)):
            if value is not None:
                raise ConfigError(f"--{name} with --data: the data decide it", remedy=f"Leave out --{name} or --data.")
        dataset = PreparedDataset.open(data)
        config = _resolve(preset, fingerprint(dataset), device, batch, overrides)
        yield Material(config, dataset, dataset.indices("train"), "prepared")
        return
    side = DEFAULT_RESOLUTION if resolution is None else resolution
    planes = DEFAULT_CHANNELS if channels is None else channels
    with noise_images(side, planes, count=count, pool_bytes=pool_bytes) as source:
        config = _resolve(preset, noise_fingerprint(side, planes, count=count), device, batch, overrides)
        yield Material(config, source, np.arange(count), "noise")


def _resolve(
    preset: str, data: DataFingerprint, device: torch.device, batch: int | None, overrides: Mapping[str, Any] | None
) -> RunConfig:
    values = dict(overrides or {})
    if batch is not None:
        values = merge(values, {"train": {"batch": batch}})
    config = build_config(preset, data, machine=Machine(device.type), overrides=values)
    if batch is not None and config.growth.batch:
        raise ConfigError(
            f"--batch {batch}: preset {preset} has a batch for each level of growing",
            remedy="Leave --batch out, or give --set growth.batch=[...] with a number a level.",
        )
    return config
