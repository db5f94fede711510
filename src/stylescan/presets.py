"""Named recipes. A preset is a function of the data's fingerprint (and of the length), never a fixed table of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from stylescan.config import DataFingerprint, RunConfig, did_you_mean, merge, validate_config
from stylescan.errors import ConfigError

# training images; in minutes on a CPU ADA nearly halves the KID on 500 and changes nothing on 1,000 (benchmarks/README.md)
ADA_BELOW = 1000
LEAST_A_CLASS = 50  # training images below which a class is called scarce


@dataclass(frozen=True)
class Machine:
    """What a run is planned for: the kind of device ("cpu", "cuda") and how many of them train together."""

    device: str = "cpu"
    devices: int = 1

    def __post_init__(self) -> None:
        if self.devices < 1:
            raise ConfigError(f"--devices {self.devices}: expected at least 1", remedy="Leave it out for one device.")


@dataclass(frozen=True)
class Preset:
    """A named recipe.

    values(fingerprint, total_kimg, machine): the model, objective, augment and train sections; kimg(fingerprint,
    machine): the length where none is asked for; remarks(fingerprint): what a user should know of this recipe on these
    data. summary, cost, expect: a line each for `stylescan presets`.
    """

    summary: str
    cost: str
    expect: str
    values: Callable[[DataFingerprint, float, Machine], dict[str, Any]]
    kimg: Callable[[DataFingerprint, Machine], float]
    remarks: Callable[[DataFingerprint], list[str]] = lambda data: []


def _rhythm(total_kimg: float, *, scores: int = 8) -> dict[str, Any]:
    """What is written when: a share of the length, so that short and long runs show as many pictures."""
    return {
        "checkpoint_kimg": max(total_kimg / 20, 0.001),
        "grid_kimg": max(total_kimg / 20, 0.001),
        "score_kimg": max(total_kimg / scores, 0.001),
        "log_kimg": max(total_kimg / 200, 0.001),
    }


def small(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
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
        "augment": {"mode": "ada" if data.train_images < ADA_BELOW else "none"},
        "train": {
            "batch": 4,
            "lr": 0.004,
            "ema_half_life_kimg": 1.0,
            "ema_rampup": 0.05,
            **_rhythm(total_kimg),
        },
    }


def paper(data: DataFingerprint, total_kimg: float, machine: Machine, *, size: int) -> dict[str, Any]:
    """The row `paper256` or `paper512` of StyleGAN2-ADA (Karras et al. 2020, appendix C): the StyleGAN2 paper's numbers.

    R1 gamma is the row's, scaled by the number of pixels where the data are of another size.
    """
    gamma = {256: 1.0, 512: 0.5}[size] * (data.resolution / size) ** 2
    return {
        "model": {
            "z_dim": 512,
            "w_dim": 512,
            "mapping_layers": 8,
            "channel_base": {256: 16384, 512: 32768}[size],
            "channel_max": 512,
            "mbstd_group": 8,
        },
        "objective": {"r1_gamma": gamma, "r1_interval": 16, "pl_weight": 2.0, "pl_interval": 4, "mixing": 0.9},
        "augment": {"mode": "ada"},
        "train": {
            "batch": 64,
            "lr": 0.0025,
            "ema_half_life_kimg": 20.0,
            "ema_rampup": None,
            **_rhythm(total_kimg, scores=50),
        },
    }


def accelerated(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
    """StyleGAN2-ADA's `auto` row for the size of the images and g devices (Karras et al. 2020, appendix C)."""
    r, g = data.resolution, machine.devices
    batch = max(min(g * min(4096 // r, 32), 64), g)
    return {
        "model": {
            "z_dim": 512,
            "w_dim": 512,
            "mapping_layers": 2,
            "channel_base": 32768 if r >= 512 else 16384,
            "channel_max": 512,
            "mbstd_group": min(batch // g, 4),
        },
        "objective": {
            "r1_gamma": 0.0002 * r**2 / batch,
            "r1_interval": 16,
            "pl_weight": 2.0,
            "pl_interval": 4,
            "mixing": 0.9,
        },
        "augment": {"mode": "ada"},
        "train": {
            "batch": batch,
            "lr": 0.002 if r >= 1024 else 0.0025,
            "ema_half_life_kimg": batch * 10 / 32,
            "ema_rampup": 0.05,
            **_rhythm(total_kimg, scores=50),
        },
    }


def auto(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
    """`small` on a CPU; on a GPU the row for the images' size and the number of devices."""
    return (small if machine.device == "cpu" else accelerated)(data, total_kimg, machine)


def demo(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
    """`small`, scored less often and never augmented: the built-in population in about ten minutes, too short to overfit."""
    rhythm = {**_rhythm(total_kimg, scores=4), "score_images": 256}
    return merge(small(data, total_kimg, machine), {"augment": {"mode": "none"}, "train": rhythm})


def _auto_kimg(data: DataFingerprint, machine: Machine) -> float:
    """On a CPU an hour or so at 64 px. On a GPU 5,000 kimg, down to 1,000 where each image would be seen so often that
    D remembers it whatever the augmentation, and up to the paper's 25,000 for large sets."""
    if machine.device == "cpu":
        return 100.0
    return float(min(max(round(5.0 * data.train_images, -2), 1000), 25000))


def _few(data: DataFingerprint) -> list[str]:
    """What small sets need: said by every preset."""
    remarks = []
    if 0 < data.train_images < 1000:
        remarks.append(
            f"{data.train_images} training images are few: --init RUN helps most, with a run on any organ (its generator "
            "and discriminator)"
        )
    scarce = [f"{name} ({count})" for name, count in zip(data.class_names, data.class_images) if count < LEAST_A_CLASS]
    if scarce:
        remarks.append(
            f"classes with fewer than {LEAST_A_CLASS} training images: {', '.join(scarce)}; their fakes will repeat "
            "what little was seen"
        )
    return remarks


def _row(size: int) -> Callable[[DataFingerprint], list[str]]:
    def remarks(data: DataFingerprint) -> list[str]:
        other = [] if data.resolution == size else [
            f"paper{size} is a row for {size} px; the images have {data.resolution}: its numbers are kept, R1 gamma is "
            "scaled by the number of pixels"
        ]  # fmt: skip
        return other + _few(data)

    return remarks


PRESETS: dict[str, Preset] = {
    "auto": Preset(
        summary="fits itself to the images' size and number, the classes and the device (the default)",
        cost="CPU: as small. One A100, as published for these nets: 7 s/kimg at 128 px, 13 at 256, 41 at 512, 90 at 1024",
        expect="CPU: as small. GPU: sharp anatomy from about 1,000 kimg; small sets converge by ADA, better with --init",
        values=auto,
        kimg=_auto_kimg,
        remarks=_few,
    ),
    "small": Preset(
        summary="narrow StyleGAN2 of 64 channels at most, with ADA below 1,000 images: anatomy in minutes on a laptop CPU",
        cost="about 25 images/s on one CPU core at 64 px, 1 h for 100 kimg; 4 times that a doubling of the size",
        expect="right anatomy and layout after 20 minutes at 64 px, coarse texture; not for 256 px and up",
        values=small,
        kimg=lambda data, machine: 100.0,
        remarks=_few,
    ),
    "paper256": Preset(
        summary="the StyleGAN2 paper's configuration for 256 px, with ADA; batch 64",
        cost="for GPUs with 16 GB and more; days on one, hours on eight",
        expect="published with transfer on medical sets of 256 to 512 px: FID 3.5 (chest X-ray) to 21 (cardiac MRI)",
        values=partial(paper, size=256),
        kimg=lambda data, machine: 25000.0,
        remarks=_row(256),
    ),
    "paper512": Preset(
        summary="the same for 512 px: twice the channels, half the R1 gamma",
        cost="for several GPUs; about four times paper256",
        expect="as paper256, at 512 px",
        values=partial(paper, size=512),
        kimg=lambda data, machine: 25000.0,
        remarks=_row(512),
    ),
    "demo": Preset(
        summary="small, for the built-in demo population",
        cost="8 minutes on two CPU cores",
        expect="brains with ventricles whose size follows the class",
        values=demo,
        kimg=lambda data, machine: 16.0,
    ),
}


def resolve_name(name: str) -> str:
    """`name` where there is such a preset; ConfigError otherwise."""
    if name not in PRESETS:
        raise ConfigError(f"--preset {name}: unknown preset", remedy=did_you_mean(name, list(PRESETS)))
    return name


def build_config(
    name: str,
    data: DataFingerprint,
    *,
    kimg: float | None = None,
    seed: int = 0,
    machine: Machine | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The resolved configuration of preset `name` on `data`, for `machine` (one CPU process if left out).

    overrides: nested values that win over everything. Raises ConfigError for unknown names, keys and impossible values.
    """
    preset, machine = PRESETS[resolve_name(name)], machine or Machine()
    overrides = overrides or {}
    total = kimg if kimg is not None else overrides.get("train", {}).get("total_kimg") or preset.kimg(data, machine)
    if not isinstance(total, int | float) or not total > 0:
        raise ConfigError(
            f"total_kimg: found {total!r}, expected a number above 0", remedy="Give for instance --kimg 100."
        )
    values = merge(preset.values(data, float(total), machine), {"train": {"total_kimg": float(total)}})
    values = merge(values, {"preset": name, "seed": seed, "data": data.model_dump()})
    return validate_config(merge(values, overrides), source="configuration")
