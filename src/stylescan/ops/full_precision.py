"""Float32 inside mixed precision: what loses too much in bfloat16 steps out of autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

_OFF = nullcontext()


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Operations on `x` keep its type, whatever autocast says outside. Free where autocast is off, as always on CPUs."""
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return _OFF
    return torch.autocast(kind, enabled=False)


def widened(x: Tensor) -> Tensor:
    """`x` in float32 where it is bfloat16, else `x` itself."""
    return x.float() if x.dtype == torch.bfloat16 else x
