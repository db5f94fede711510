"""StyleGAN2's recipes: `small` for CPUs, the published rows for GPUs, and `auto`, which chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stylescan.config import DataFingerprint, merge
from stylescan.recipes.common import ADA_BELOW, Machine, few, rhythm


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
            **rhythm(total_kimg),
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
            **rhythm(total_kimg, scores=50),
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
            **rhythm(total_kimg, scores=50),
        },
    }


def auto(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
    """`small` on a CPU; on a GPU the row for the images' size and the number of devices."""
    return (small if machine.device == "cpu" else accelerated)(data, total_kimg, machine)


def demo(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
    """`small`, scored less often and never augmented: the built-in population in about ten minutes, too short to overfit."""
    rarely = {**rhythm(total_kimg, scores=4), "score_images": 256}
    return merge(small(data, total_kimg, machine), {"augment": {"mode": "none"}, "train": rarely})


def auto_kimg(data: DataFingerprint, machine: Machine) -> float:
    """On a CPU an hour or so at 64 px. On a GPU 5,000 kimg, down to 1,000 where each image would be seen so often that
    D remembers it whatever the augmentation, and up to the paper's 25,000 for large sets."""
    if machine.device == "cpu":
        return 100.0
    return float(min(max(round(5.0 * data.train_images, -2), 1000), 25000))


def paper_remarks(size: int) -> Callable[[DataFingerprint, Machine], list[str]]:
    """What to know of a row for `size` pixels."""

    def remarks(data: DataFingerprint, machine: Machine) -> list[str]:
        other = [] if data.resolution == size else [
            f"paper{size} is a row for {size} px; the images have {data.resolution}: its numbers are kept, R1 gamma is "
            "scaled by the number of pixels"
        ]  # fmt: skip
        return other + few(data, machine)

    return remarks
