"""Images as a network takes them: how many channels become the planes of its input, and at what size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Window = Callable[[torch.Tensor], torch.Tensor]


def windows(channels: int, planes: int) -> list[Window]:
    """How to make `planes` (1 or 3) of `channels`: one function a pass, [b, C, H, W] -> [b, planes, H, W].

    For 3 planes: 1 channel is repeated; 3 enter as they are; of 2, the third plane is their mean; more than 3 enter as
    windows of three consecutive channels, the last one wrapping round. For 1 plane: every channel by itself. So every
    channel counts; the features of the passes are averaged.
    """
    if planes == 1:
        return [lambda x, c=c: x[:, c : c + 1] for c in range(channels)]  # type: ignore[misc]
    if channels == 1:
        return [lambda x: x.expand(-1, 3, -1, -1)]
    if channels == 2:
        return [lambda x: torch.cat([x, x.mean(dim=1, keepdim=True)], dim=1)]
    starts = range(0, channels, 3)
    return [lambda x, s=s: x[:, [(s + k) % channels for k in range(3)]] for s in starts]  # type: ignore[misc]


def resized(x: torch.Tensor, size: tuple[int, int], mode: str, largest: float) -> torch.Tensor:
    """[b, C, H, W] in [0, `largest`] at `size` (height, width), antialiased, clipped to the range."""
    if tuple(x.shape[-2:]) == size:
        return x
    return nn.functional.interpolate(x, size=size, mode=mode, antialias=True).clamp_(0.0, largest)


def mean_over_windows(
    images: NDArray[Any],
    *,
    dim: int,
    batch: int,
    planes: int,
    feed: Callable[[NDArray[Any]], torch.Tensor],
    network: Window,
) -> NDArray[np.float32]:
    """Features [N, dim] of images uint8 or uint16 [N, C, H, W], a few at a time, averaged over their windows.

    feed : integers [b, C, H, W] -> what the windows are cut from. network : [b, planes, H, W] -> [b, dim].
    """
    if images.ndim != 4 or images.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"images are {images.dtype} {images.shape}, expected uint8 or uint16 [N, C, H, W]")
    passes = windows(images.shape[1], planes)
    out = np.empty((len(images), dim), np.float32)
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            x = feed(images[start : start + batch])
            out[start : start + batch] = torch.stack([network(window(x)) for window in passes]).mean(dim=0).numpy()
    return out
