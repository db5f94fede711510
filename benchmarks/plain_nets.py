"""StyleGAN2 by the reference operations: weights for every image in a grouped convolution, zeros inserted and filtered.

What the fast paths are measured against. `make_plain` swaps G's layers, `in_planes` lays out D's weights; call the nets under
`plain_operations`, which does the same for D and for the images between resolutions, and keeps all of them in planes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylescan.nets.protocols import Generator
from stylescan.nets.stylegan2 import SynthesisLayer, ToImage
from stylescan.ops.layers import LRELU_GAIN, LRELU_SLOPE
from stylescan.ops.modulated_conv import modulated_conv2d_plain
from stylescan.ops.resample import upfirdn_plain


class PlainLayer(nn.Module):
    """`SynthesisLayer` by the reference operations."""

    def __init__(self, layer: SynthesisLayer) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("noise_const", layer.noise_const)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        layer = self.layer
        x = modulated_conv2d_plain(x, layer.weight, layer.affine(w), f=layer.fir if layer.up else None)
        if noise is not None:
            x = x + noise * layer.noise_strength
        return F.leaky_relu(x + layer.bias[:, None, None], LRELU_SLOPE) * LRELU_GAIN


class PlainToImage(nn.Module):
    """`ToImage` by the reference operations."""

    def __init__(self, layer: ToImage) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        layer = self.layer
        weight = (layer.weight * layer.weight_gain)[:, :, None, None]
        return modulated_conv2d_plain(x, weight, layer.affine(w), demodulate=False) + layer.bias[:, None, None]


def make_plain(generator: Generator) -> Generator:
    """Swap its layers in place, around the same parameters, in planes."""
    for layers, kind in ((generator.synthesis.layers, PlainLayer), (generator.synthesis.to_images, PlainToImage)):
        for index, layer in enumerate(layers):
            layers[index] = kind(layer)
    in_planes(generator)
    return generator


def in_planes(net: nn.Module) -> None:
    """Lay out all weights plane by plane; the nets are built channels-last."""
    net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@contextmanager
def plain_operations() -> Iterator[None]:
    """Resampling and D's convolutions by the reference operations too."""

    def doubled(x: Tensor, f: Tensor) -> Tensor:
        return upfirdn_plain(x, f, up=2, pad=(f.shape[0] // 2, (f.shape[0] - 1) // 2), gain=4.0)

    def halved(x: Tensor, f: Tensor) -> Tensor:
        return upfirdn_plain(x, f, down=2, pad=((f.shape[0] - 1) // 2, (f.shape[0] - 2) // 2))

    def blurred(x: Tensor, f: Tensor, *, padding: int, gain: float = 1) -> Tensor:
        return upfirdn_plain(x, f, pad=(padding, padding), gain=gain)

    with ExitStack() as stack:
        for name, plain in (
            ("nets.stylegan2.upsample2", doubled),
            ("ops.layers.downsample2", halved),
            ("ops.layers.blur", blurred),
            ("ops.layers.conv2d", F.conv2d),
        ):
            stack.enter_context(patch(f"stylescan.{name}", plain))
        stack.enter_context(patch("torch.channels_last", torch.contiguous_format))  # what the nets ask for by this name
        yield
