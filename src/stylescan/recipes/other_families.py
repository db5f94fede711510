"""R3GAN and the DCGAN baseline."""

from __future__ import annotations

from typing import Any

from stylescan.config import DataFingerprint
from stylescan.recipes.common import ADA_BELOW, Machine, few, on_cpu, rhythm

# Gamma at the end of the burn-in by size (Huang et al. 2024, appendix); 128 px lies between its neighbours.
R3GAN_GAMMA = {32: 0.05, 64: 2.0, 128: 17.0, 256: 150.0}


def _nearest_row(resolution: int) -> int:
    return min(R3GAN_GAMMA, key=lambda side: abs(side.bit_length() - resolution.bit_length()))


def r3gan(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
    """Relativistic pairing with R1 and R2 every step on a plain modern backbone (Huang et al. 2024).

    Source: the paper's numbers, gamma by image size (32, 64, 256 px published). Data: any; no w, so no style mixing,
    truncation or directions. Cost: penalties on both kinds at every step, about three times a StyleGAN2 step of equal
    width. Expect: the paper's gains need long runs; in a quarter of an hour on a core it was far behind `small`
    (benchmarks/README.md). The burn-in takes half of the run, as runs here are far shorter than the paper's.
    """
    cpu = on_cpu(machine)
    gamma = R3GAN_GAMMA[_nearest_row(data.resolution)]
    share = 0.5
    return {
        "model": {
            "family": "r3gan",
            "z_dim": 64,
            "channel_base": 2048 if cpu else 32768,
            "channel_max": 64 if cpu else 768,
        },
        "objective": {
            "loss": "relativistic-pairing",
            "r1_gamma": gamma / 10,
            "r1_interval": 1,
            "r2_gamma": gamma / 10,
            "r2_interval": 1,
            "pl_weight": 0.0,
            "mixing": 0.0,
        },
        "augment": {
            "mode": "scheduled",
            "p": 0.55 if data.resolution <= 32 else 0.3,
            "ramp_kimg": share * total_kimg,
            "ramp_shape": "cosine",
        },
        "burn_in": {"share": share, "lr_factor": 4.0, "beta2": 0.9, "gamma_factor": 10.0, "ema_from_zero": True},
        "train": {
            "batch": 16 if cpu else 256,
            "lr": 2e-4 if cpu else 5e-5,
            "beta2": 0.99,
            "ema_half_life_kimg": 1.0 if cpu else 500.0,
            "ema_rampup": 0.05,
            **rhythm(total_kimg, scores=8 if cpu else 50),
        },
    }


def r3gan_remarks(data: DataFingerprint, machine: Machine) -> list[str]:
    """Which row of the paper is taken."""
    row = _nearest_row(data.resolution)
    words = [] if row == data.resolution else [
        f"r3gan: no row for {data.resolution} px; R1 and R2 gamma are those of {row} px"
    ]  # fmt: skip
    return words + few(data, machine)


def dcgan(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
    """The baseline before styles: transposed convolutions, batch norm, cross-entropy (Radford et al. 2016).

    Source: the paper's numbers (z 100, Adam .0002, beta1 .5, batch 128). Data: any size, though it was made for 64 px.
    Cost: the cheapest here. Expect: believable small images in minutes (benchmarks/README.md), and no styles. It is what the
    others are compared with.
    """
    cpu = on_cpu(machine)
    return {
        "model": {"family": "dcgan", "z_dim": 100, "channel_base": 4096, "channel_max": 128 if cpu else 512},
        "objective": {"loss": "cross-entropy", "r1_gamma": 0.0, "pl_weight": 0.0, "mixing": 0.0},
        "augment": {"mode": "ada" if data.train_images < ADA_BELOW else "none"},
        "train": {
            "batch": 16 if cpu else 128,
            "lr": 0.0002,
            "beta1": 0.5,
            "beta2": 0.999,
            "ema_half_life_kimg": 1.0 if cpu else 10.0,
            "ema_rampup": 0.05,
            **rhythm(total_kimg),
        },
    }
