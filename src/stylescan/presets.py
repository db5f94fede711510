"""Named recipes. A preset is a function of the data's fingerprint (and of the length), never a fixed table of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stylescan.config import DataFingerprint, RunConfig, did_you_mean, merge, validate_config
from stylescan.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """`values(fingerprint, total_kimg)` gives the model, objective and train sections."""

    summary: str
    values: Callable[[DataFingerprint, float], dict[str, Any]]
    default_kimg: float


def _rhythm(total_kimg: float, *, scores: int = 8) -> dict[str, Any]:
    """What is written when: a share of the length, so that short and long runs show as many pictures."""
    return {
        "checkpoint_kimg": max(total_kimg / 20, 0.001),
        "grid_kimg": max(total_kimg / 20, 0.001),
        "score_kimg": max(total_kimg / scores, 0.001),
        "log_kimg": max(total_kimg / 200, 0.001),
    }


def small(data: DataFingerprint, total_kimg: float) -> dict[str, Any]:
    """Anatomy in minutes on a laptop CPU: narrow nets, a high learning rate, strong R1, small batches.

    Screened at 64 px on the demo population (benchmarks/README.md): many small batches matter most. R1 grows with the
    number of pixels, as in StyleGAN2-ADA's `auto`.
    """
    area = (data.resolution / 64) ** 2
    return {
        "model": {
            "z_dim": 64,
            "w_dim": 64,
            "mapping_layers": 2,
            "channel_base": 1024 if data.resolution <= 64 else 2048,
            "channel_max": 64,
        },
        "objective": {"r1_gamma": 2.0 * area, "r1_interval": 8, "pl_weight": 0.0, "mixing": 0.0},
        "train": {
            "batch": 4,
            "lr": 0.004,
            "ema_half_life_kimg": 1.0,
            "ema_rampup": 0.05,
            **_rhythm(total_kimg),
        },
    }


def standard(data: DataFingerprint, total_kimg: float) -> dict[str, Any]:
    """StyleGAN2-ADA's `auto` row on one device (Karras et al. 2020, appendix C): for a GPU."""
    r = data.resolution
    batch = max(min(4096 // r, 32), 1)
    return {
        "model": {
            "z_dim": 512,
            "w_dim": 512,
            "mapping_layers": 2,
            "channel_base": 32768 if r >= 512 else 16384,
            "channel_max": 512,
        },
        "objective": {
            "r1_gamma": 0.0002 * r**2 / batch,
            "r1_interval": 16,
            "pl_weight": 2.0,
            "pl_interval": 4,
            "mixing": 0.9,
        },
        "train": {
            "batch": batch,
            "lr": 0.002 if r >= 1024 else 0.0025,
            "ema_half_life_kimg": batch * 10 / 32,
            "ema_rampup": 0.05,
            **_rhythm(total_kimg, scores=50),
        },
    }


def demo(data: DataFingerprint, total_kimg: float) -> dict[str, Any]:
    """`small`, scored less often: the built-in population in about ten minutes."""
    return merge(small(data, total_kimg), {"train": {**_rhythm(total_kimg, scores=4), "score_images": 256}})


PRESETS: dict[str, Preset] = {
    "small": Preset("narrow StyleGAN2: anatomy in minutes on a laptop CPU", small, 100.0),
    "standard": Preset("StyleGAN2-ADA's auto configuration: for a GPU", standard, 5000.0),
    "demo": Preset("small, for the built-in demo population", demo, 16.0),
}


def resolve_name(name: str, *, device: str) -> str:
    """`auto` is `small` on a CPU and `standard` elsewhere; ConfigError for an unknown preset."""
    if name == "auto":
        return "small" if device == "cpu" else "standard"
    if name not in PRESETS:
        raise ConfigError(f"--preset {name}: unknown preset", remedy=did_you_mean(name, ["auto", *PRESETS]))
    return name


def build_config(
    name: str,
    data: DataFingerprint,
    *,
    kimg: float | None = None,
    seed: int = 0,
    overrides: dict[str, Any] | None = None,
) -> RunConfig:
    """The resolved configuration of preset `name` (not `auto`) on `data`; `overrides` win over everything."""
    preset = PRESETS[name]
    overrides = overrides or {}
    total = kimg or overrides.get("train", {}).get("total_kimg") or preset.default_kimg
    if not isinstance(total, int | float) or not total > 0:
        raise ConfigError(
            f"total_kimg: found {total!r}, expected a number above 0", remedy="Give for instance --kimg 100."
        )
    values = merge(preset.values(data, float(total)), {"train": {"total_kimg": float(total)}})
    values = merge(values, {"preset": name, "seed": seed, "data": data.model_dump()})
    return validate_config(merge(values, overrides), source="configuration")
