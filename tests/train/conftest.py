"""A configuration in which every part of the training state moves within a few steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stylescan.config import RunConfig
from stylescan.data.prepared import PreparedDataset
from stylescan.presets import build_config
from stylescan.train.start import fingerprint


@pytest.fixture
def tiny_config() -> Callable[..., RunConfig]:
    """`tiny_config(dataset, kimg=..., **sections)`: narrow nets, path length, R1, mixing and ADA on."""

    def make(dataset: PreparedDataset, *, kimg: float = 0.096, **sections: Any) -> RunConfig:
        overrides = {
            "model": {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8},
            "objective": {"r1_interval": 3, "pl_weight": 1.0, "pl_interval": 2, "mixing": 0.5},
            "augment": {"mode": "ada", "p": 0.3, "interval": 5, "ramp_kimg": 1.0},
            "train": {"batch": 4, "checkpoint_kimg": 0.02, "log_kimg": 0.008, "grid_kimg": 0.048,
                      "score_kimg": 0.03, "score_images": 16, "ema_rampup": None, "ema_half_life_kimg": 0.02},
        }  # fmt: skip
        for name, values in sections.items():
            overrides.setdefault(name, {}).update(values)
        return build_config("small", fingerprint(dataset), kimg=kimg, overrides=overrides)

    return make
