"""Integers on disk to tensors in [-1, 1], and back. Apart from `prepared.py`, so that preparing needs no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def to_unit_range(images: NDArray[Any]) -> torch.Tensor:
    """uint8 or uint16 integers -> float32 tensor of the same shape in [-1, 1]; 0 -> -1, the largest integer -> 1."""
    if images.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"to_unit_range expects uint8 or uint16, got {images.dtype}")
    largest = float(np.iinfo(images.dtype).max)
    return torch.from_numpy(images.astype(np.float32)).mul_(2.0 / largest).sub_(1.0)


def to_integers(images: torch.Tensor, bits: int) -> NDArray[Any]:
    """Float tensor in [-1, 1] -> uint8 (`bits` 8) or uint16 (16), rounded and clipped; undoes `to_unit_range`."""
    if bits not in (8, 16):
        raise ValueError(f"bits is {bits}, expected 8 or 16")
    largest = 2.0**bits - 1.0
    scaled = images.detach().to("cpu", torch.float32).add(1.0).mul(largest / 2.0).round().clamp_(0.0, largest)
    return scaled.numpy().astype("<u2" if bits == 16 else "u1")
