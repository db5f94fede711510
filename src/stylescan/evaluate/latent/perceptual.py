"""A perceptual distance between images: how much the feature maps of an image network differ, place by place.

It has the form of LPIPS without learnt weights (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as
a Perceptual Metric", equation 1 with all w_l = 1): each place's channel vector is scaled to unit length, squared
differences are averaged over places, and the maps' values are averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylescan.data.tensors import to_unit_range

FeatureMaps = Callable[[Tensor], list[Tensor]]
"""Images float [N, C, H, W] in [-1, 1] to maps [N, c, h, w], each image's own, with gradients."""

_EPS = 1e-8


def unit_maps(feature_maps: FeatureMaps, images: Tensor) -> list[Tensor]:
    """The feature maps of `images`, each place's channel vector of unit length (zero where it was zero)."""
    # The root is of a sum that is never zero: its gradient at zero would be infinite.
    return [m * torch.rsqrt(m.square().sum(dim=1, keepdim=True) + _EPS) for m in feature_maps(images)]


def map_distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Distance [N] between images given by their `unit_maps`, from 0 (equal) to 4; one of N may be 1 for both."""
    each = [(x - y).square().sum(dim=1).mean(dim=(1, 2)) for x, y in zip(a, b, strict=True)]
    return torch.stack(each).mean(dim=0)


def pyramid(images: Tensor, smallest: int = 8) -> list[Tensor]:
    """Images [N, C, H, W] and their halved copies down to `smallest` pixels."""
    levels = [images]
    while min(levels[-1].shape[-2:]) >= 2 * smallest:
        levels.append(torch.nn.functional.avg_pool2d(levels[-1], 2))
    return levels


def pyramid_distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Mean squared difference [N] of two pyramids, averaged over their levels: coarse shapes weigh as fine ones."""
    each = [(x - y).square().mean(dim=(1, 2, 3)) for x, y in zip(a, b, strict=True)]
    return torch.stack(each).mean(dim=0)


def lite0_feature_maps() -> FeatureMaps:
    """The feature maps of EfficientNet-Lite0, the default extractor's network."""
    from stylescan.evaluate.extractors.lite0 import EfficientNetLite0

    maps: FeatureMaps = EfficientNetLite0().feature_maps
    return maps


@torch.no_grad()
def perceptual_distance(
    feature_maps: FeatureMaps, a: NDArray[Any], b: NDArray[Any], batch_size: int = 16
) -> NDArray[np.float32]:
    """Distance [N] of images to images, both uint8 or uint16 [N, C, H, W]."""
    parts = []
    for low in range(0, len(a), batch_size):
        pair = [unit_maps(feature_maps, to_unit_range(some[low : low + batch_size])) for some in (a, b)]
        parts.append(map_distance(*pair).numpy())
    return np.concatenate(parts)
