"""The machine's ceiling: how fast it convolves when nothing else is asked of it.

3x3 convolutions of 128 to 128 channels, 16 images, channels-last, at 64x64 and 32x32; the faster of the two counts. What
a net reaches of this says how much is left to win on this machine, whatever the machine is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F

from stylescan.bench.flops import conv_flops
from stylescan.bench.rounds import Timed, Work
from stylescan.train.precision import Precision

CHANNELS, IMAGES, SIDES = 128, 16, (64, 32)


def ceiling_dtype(precision: Precision) -> torch.dtype:
    """The number format in which training convolves."""
    return torch.bfloat16 if precision.bf16 else torch.float32


def ceiling_works(device: torch.device, precision: Precision) -> list[Work]:
    """The convolutions, in the precision of training."""
    return [_convolution(side, device, precision) for side in SIDES]


def _convolution(side: int, device: torch.device, precision: Precision) -> Work:
    dtype = ceiling_dtype(precision)
    x = torch.ones(IMAGES, CHANNELS, side, side, device=device, dtype=dtype)
    weight = torch.full((CHANNELS, CHANNELS, 3, 3), 0.01, device=device, dtype=dtype)
    x, weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, weight))

    def convolve() -> None:
        with torch.no_grad(), precision.kernels():
            F.conv2d(x, weight, padding=1)

    return Work(f"ceiling_{side}", "ceiling", IMAGES, convolve)


def ceiling_gflops(timed: Mapping[str, Timed]) -> dict[int, float]:
    """GFLOP/s at each side, from the medians."""
    return {
        side: conv_flops(IMAGES, side, CHANNELS, CHANNELS, 3) / timed[f"ceiling_{side}"].median / 1e9 for side in SIDES
    }
