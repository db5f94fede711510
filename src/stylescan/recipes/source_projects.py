"""The five published student systems that this project grew out of, each as it was reported, on any data.

Layout, loss, schedule and widths are the source's; where a description is silent, our reading stands in the docstring.
On a CPU nets are narrowed and batches cut (`narrowed` says so). All schedules are shares of the run's length, so that a
run of minutes reaches its last resolution too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from stylescan.config import DataFingerprint
from stylescan.recipes.common import ADA_BELOW, Machine, narrowed, on_cpu, rhythm

# StyleGAN's schedule for one device (Karras et al. 2019, appendix C), by resolution.
STYLEGAN_BATCH = {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4, 1024: 4}
STYLEGAN_LR = {4: 1e-3, 8: 1e-3, 16: 1e-3, 32: 1e-3, 64: 1e-3, 128: 1.5e-3, 256: 2e-3, 512: 3e-3, 1024: 3e-3}
KNEE_EPOCHS = (2, 4, 8, 8, 16, 24, 32, 40)  # from 4 px up
CPU_BATCH, CPU_LR = 8, 3e-3


def _sides(start: int, data: DataFingerprint) -> list[int]:
    return [2**k for k in range(int(math.log2(start)), int(math.log2(data.resolution)) + 1)]


def _growth(sides: Sequence[int], lengths: Sequence[float], lr: dict[int, float], machine: Machine) -> dict[str, Any]:
    """Levels at `sides`, each fading in over half of its length, with StyleGAN's batch at each."""
    cpu = on_cpu(machine)
    return {
        "start": sides[0],
        "images": tuple(lengths),
        "fade": 0.5,
        "batch": tuple(min(STYLEGAN_BATCH[side], CPU_BATCH if cpu else 128) for side in sides),
        "lr": tuple(CPU_LR if cpu else lr[side] for side in sides),
    }


def _stylegan(machine: Machine, *, mapping_layers: int) -> dict[str, Any]:
    narrow = {"z_dim": 64, "w_dim": 64, "channel_base": 2048, "channel_max": 64}
    wide = {"z_dim": 512, "w_dim": 512, "channel_base": 16384, "channel_max": 512}
    return {"family": "stylegan", "mapping_layers": mapping_layers, **(narrow if on_cpu(machine) else wide)}


def _train(growth: dict[str, Any], total_kimg: float, machine: Machine) -> dict[str, Any]:
    return {
        "batch": growth["batch"][-1],
        "lr": growth["lr"][-1],
        "ema_half_life_kimg": 1.0 if on_cpu(machine) else 10.0,
        "ema_rampup": 0.05,
        **rhythm(total_kimg),
    }


def _scheduled(data: DataFingerprint) -> dict[str, Any]:
    """Augmentation for losses that leave D's zero free: small sets alone, to a fixed p."""
    return {"mode": "scheduled", "p": 0.3} if data.train_images < ADA_BELOW else {"mode": "none"}


def _ada(data: DataFingerprint) -> dict[str, Any]:
    return {"mode": "ada" if data.train_images < ADA_BELOW else "none"}


_WGAN_GP = {"loss": "wasserstein", "gp_weight": 10.0, "drift_weight": 0.001, "r1_gamma": 0.0, "pl_weight": 0.0}


def akoa_stylegan(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
    """StyleGAN with WGAN-GP, grown from 8 px: the knee system on OAI AKOA.

    Source: OAI AKOA knee slices (18,680, 101 patients), mapping of 8 layers, WGAN-GP, grown from 8 to 256 px, an
    equal number of images a level; over 60,000 iterations, 40 h and more on two RTX 2080 Ti. Reported: poor at 20,000
    iterations, good at 60,000. Data: sagittal knees of 256 px; any other size. Batches and learning rates are
    StyleGAN's own. Chosen start: growth.start; images per level: growth.images; style mixing: objective.mixing.
    """
    sides = _sides(8, data)
    growth = _growth(sides, [1.0] * len(sides), STYLEGAN_LR, machine)
    return {
        "model": _stylegan(machine, mapping_layers=8),
        "objective": {**_WGAN_GP, "mixing": 0.9},
        "augment": _scheduled(data),
        "growth": growth,
        "train": _train(growth, total_kimg, machine),
    }


def knee_stylegan(data: DataFingerprint, total_kimg: float, machine: Machine, *, loss: str) -> dict[str, Any]:
    """StyleGAN grown from 4 px, logistic loss with R1 against the relativistic average hinge: the second knee system.

    Source: knee MRI at 256 and 512 px, latent 512, mapping of 4 layers, blur [1,2,1], Adam .003, epochs a level
    2, 4, 8, 8, 16, 24, 32 (40 at 512), each fading in over its first half, mixing .5, drift .001, 36 previews. Reported:
    the logistic loss won; the hinge bent the edges of bones. R1 gamma 10 with the logistic loss is that of its upstream; it
    runs every 16 steps here, at equal strength, and with the hinge too, so that the loss alone differs (as reported, the
    hinge had no gradient penalty: objective.r1_gamma=0). The two compare at equal kimg: `stylescan pictures RUN_A RUN_B`.
    """
    sides = _sides(4, data)
    lengths = [float(KNEE_EPOCHS[min(k, len(KNEE_EPOCHS) - 1)]) for k in range(len(sides))]
    growth = _growth(sides, lengths, dict.fromkeys(STYLEGAN_LR, 3e-3), machine)
    return {
        "model": _stylegan(machine, mapping_layers=4),
        "objective": {
            "loss": loss,
            "r1_gamma": 10.0,
            "r1_interval": 16,
            "drift_weight": 0.001,
            "pl_weight": 0.0,
            "mixing": 0.5,
        },
        "augment": _ada(data) if loss == "logistic" else _scheduled(data),
        "growth": growth,
        "train": {**_train(growth, total_kimg, machine), "grid_columns": 6, "grid_rows": 6},
    }


def oasis_stylegan_attention(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
    """Conditional StyleGAN grown from 4 px with self-attention and a spectrally normalised D: the third OASIS system.

    Source: OASIS brain slices, AdaIN, noise, scaled weights, spectral norm in D, self-attention, WGAN-GP with drift, 100
    epochs (30 on a laptop). Where attention sits is not said; ours is at 16 and 32 px. Levels have equal lengths. Spectral
    norm and the gradient penalty both bound D's slope: with both it stayed near .1, where the penalty asks for 1, and G
    learned nothing in 5 kimg. So spectral norm stands alone here; as reported: objective.gp_weight=10.
    """
    sides = _sides(4, data)
    growth = _growth(sides, [1.0] * len(sides), STYLEGAN_LR, machine)
    attention = tuple(side for side in (16, 32) if side <= data.resolution)
    return {
        "model": {**_stylegan(machine, mapping_layers=8), "spectral_norm": "D", "attention": attention},
        "objective": {**_WGAN_GP, "gp_weight": 0.0, "mixing": 0.9},
        "augment": _scheduled(data),
        "growth": growth,
        "train": _train(growth, total_kimg, machine),
    }


# epochs, batch, learning rate, base of the fade-in factor
LITE_ROWS = {64: (30, 128, 2e-4, 40), 128: (30, 64, 2e-4, 40), 256: (40, 64, 1e-4, 80)}


def _lite_row(resolution: int) -> int:
    return min(LITE_ROWS, key=lambda side: abs(side.bit_length() - resolution.bit_length()))


def oasis_stylegan2_lite(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
    """A DCGAN grown into a light StyleGAN2: output skips, residual D, minibatch std, no mapping: the first OASIS system.

    Source: OASIS brain slices at 64, 128 and 256 px; latent 100, one convolution a resolution, G from 8 px with 512
    filters, D down to 8 px from 32, cross-entropy, Adam beta1 .5; 30, 30 and 40 epochs at batch 128, 64, 64 and learning
    rate .0002, .0002, .0001; 3 h 1 min on a K80 at 256 px. Its fade-in factor is epoch / base (base 40, 40, 80); what it
    blends is not said: ours weighs the last resolution in G and D, as growing does, and ends at epochs / base (.75, .75,
    .5). The change from DCGAN step by step: model.generator, model.discriminator,
    model.mbstd_group, growth.fade.
    """
    row = _lite_row(data.resolution)
    epochs, batch, lr, base = LITE_ROWS[row]
    cpu = on_cpu(machine)
    return {
        "model": {
            "family": "stylegan2-lite",
            **({"filters_G": 128, "filters_D": 16, "filters_D_max": 128} if cpu else {}),
        },
        "objective": {"loss": "cross-entropy", "r1_gamma": 0.0, "pl_weight": 0.0, "mixing": 0.0},
        "augment": _ada(data),
        "growth": {"fade": base / epochs},
        "train": {
            "batch": 16 if cpu else batch,
            "lr": lr,
            "beta1": 0.5,
            "beta2": 0.999,
            "ema_half_life_kimg": 1.0 if cpu else 10.0,
            "ema_rampup": 0.05,
            **rhythm(total_kimg),
        },
    }


def lite_kimg(data: DataFingerprint, machine: Machine) -> float:
    """The row's epochs over these images."""
    return max(LITE_ROWS[_lite_row(data.resolution)][0] * data.train_images / 1000, 1.0)


def lite_remarks(data: DataFingerprint, machine: Machine) -> list[str]:
    """Which of the three rows is taken."""
    row = _lite_row(data.resolution)
    words = [] if row == data.resolution else [
        f"oasis-stylegan2-lite has rows for {', '.join(map(str, LITE_ROWS))} px; the images have {data.resolution}: the row "
        f"for {row} is taken"
    ]  # fmt: skip
    return words + narrowed(data, machine)


def adni_stylegan2(data: DataFingerprint, total_kimg: float, machine: Machine) -> dict[str, Any]:
    """StyleGAN2 with a mapping of 8 layers and WGAN-GP: the ADNI system.

    Source: ADNI AD/NC slices at 256 px, all of them, AD or NC alone; batch 32, learning rate .001, 'gradient penalty 10',
    which we read as WGAN-GP. Data: `prepare --only-class AD` (or NC) trains on one class, `--ignore-classes` on all
    without them; with the classes kept the model is conditional, which is what we advise: one w space in which AD and NC
    can be compared. Expect: as StyleGAN2 of this width; the Wasserstein loss takes no adaptive augmentation.
    """
    cpu = on_cpu(machine)
    narrow = {"z_dim": 64, "w_dim": 64, "channel_base": 1024 if data.resolution <= 64 else 2048, "channel_max": 64}
    return {
        "model": {"family": "stylegan2", "mapping_layers": 8, **(narrow if cpu else {})},
        "objective": {**_WGAN_GP, "mixing": 0.9},
        "augment": _scheduled(data),
        "train": {
            "batch": CPU_BATCH if cpu else 32,
            "lr": CPU_LR if cpu else 1e-3,
            "ema_half_life_kimg": 1.0 if cpu else 10.0,
            "ema_rampup": 0.05,
            **rhythm(total_kimg),
        },
    }


def project_kimg(gpu_kimg: float) -> Callable[[DataFingerprint, Machine], float]:
    """The source's length on a GPU, 100 kimg on a CPU."""
    return lambda data, machine: 100.0 if on_cpu(machine) else gpu_kimg
