"""What recipes have in common: the record of a preset, the machine it plans for, and what small sets need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stylescan.config import DataFingerprint
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
    machine): the length where none is asked for; remarks(fingerprint, machine): what a user should know of this recipe
    on these data. summary, cost, expect: a line each for `stylescan presets`.
    """

    summary: str
    cost: str
    expect: str
    values: Callable[[DataFingerprint, float, Machine], dict[str, Any]]
    kimg: Callable[[DataFingerprint, Machine], float]
    remarks: Callable[[DataFingerprint, Machine], list[str]] = lambda data, machine: []


def rhythm(total_kimg: float, *, scores: int = 8) -> dict[str, Any]:
    """What is written when: a share of the length, so that short and long runs show as many pictures."""
    return {
        "checkpoint_kimg": max(total_kimg / 20, 0.001),
        "grid_kimg": max(total_kimg / 20, 0.001),
        "score_kimg": max(total_kimg / scores, 0.001),
        "log_kimg": max(total_kimg / 200, 0.001),
    }


def few(data: DataFingerprint, machine: Machine) -> list[str]:
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


def on_cpu(machine: Machine) -> bool:
    """Whether nets must be narrow and batches small to learn anything in minutes."""
    return machine.device == "cpu"


def narrowed(data: DataFingerprint, machine: Machine) -> list[str]:
    """What a CPU run of a recipe made for GPUs changes: said by every such preset."""
    if not on_cpu(machine):
        return few(data, machine)
    words = (
        "on a CPU the nets are narrowed and batches cut to learn in minutes; --device cuda takes the source's numbers"
    )
    return [words, *few(data, machine)]
