"""The number formats of a training step, chosen by what the device has units for.

State is float32 throughout: weights, Adam's moments, G_ema, scores, losses. Mixed precision runs the nets' convolutions
in bfloat16 under autocast, in the phases of every step. What stays float32 inside the nets says so itself
(ops/full_precision.py): mapping and other fully connected layers of style-based nets, demodulation, minibatch statistics.
Phases that come every few steps hold the penalties, whose second derivatives would meet the rounding twice: they are
float32 too, and cost little at one step in 4 to 16. A penalty of every step is part of its main phase, in bfloat16 as in
R3GAN (Huang et al. 2024).

Float16, which older GPUs have units for, is left out: it needs scaled losses, clamped activations and normalised styles
(Karras et al. 2020, 'Training GANs with limited data', appendix D), where bfloat16 has the range of float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stylescan.errors import ConfigError
from stylescan.runtime import DeviceFacts

PrecisionName = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Precision:
    """How a step computes on a kind of device; `Precision()` is float32 on a CPU, for which every method is free.

    kind: cpu, cuda, ...; bf16: the nets' convolutions are bfloat16, and what is left of float32 convolutions may be
    TF32 (10 bits after the point instead of 23), which the same units have.
    """

    kind: str = "cpu"
    bf16: bool = False

    def of_phase(self, interval: int) -> Precision:
        """That of a phase due every `interval` steps: float32 above 1."""
        return self if interval == 1 else Precision(self.kind)

    def nets(self) -> AbstractContextManager[object]:
        """Around one forward pass of a net, whose result goes through `result`; backward passes follow by themselves."""
        return torch.autocast(self.kind, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def result(self, x: Tensor) -> Tensor:
        """What came out of a net: float32 of a mixed pass, else `x` itself."""
        return x.float() if self.bf16 else x

    def kernels(self) -> AbstractContextManager[object]:
        """Around a phase: lets cuDNN time its kernels for these shapes, and TF32 with `bf16` only; then as it was before.

        cuDNN times nothing where deterministic algorithms are asked for. Nothing happens on other devices.
        """
        return _cudnn(tf32=self.bf16) if self.kind == "cuda" else nullcontext()


@contextmanager
def _cudnn(*, tf32: bool) -> Iterator[None]:
    cudnn = torch.backends.cudnn
    benchmark, allow_tf32 = cudnn.benchmark, cudnn.allow_tf32
    cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32 = benchmark, allow_tf32


def choose_precision(name: PrecisionName, facts: DeviceFacts) -> Precision:
    """The precision that `name` means on a device.

    auto: bf16 on CUDA devices with the units, else fp32, also on CPUs, whose runs repeat bit for bit. ConfigError where
    bf16 is asked of a device without the units, or that torch's autocast is not meant for here.
    """
    able = facts.bf16 and facts.kind in ("cpu", "cuda")
    if name == "bf16" and not able:
        slower = ", where it would be about ten times slower than fp32" if facts.kind == "cpu" else ""
        raise ConfigError(
            f"train.precision=bf16: {facts.name} ({facts.kind}) has no units for it{slower}",
            remedy="Set train.precision=auto, or train on a GPU of compute capability 8.0 or higher.",
        )
    return Precision(facts.kind, bf16=name == "bf16" or (name == "auto" and able and facts.kind == "cuda"))
