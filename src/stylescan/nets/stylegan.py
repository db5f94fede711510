"""StyleGAN (Karras et al. 2019): specification and generator, grown resolution by resolution.

Styles enter by adaptive instance normalisation. Every resolution has its own 1x1 to the image; only the newest is shown,
blended with the one below while it fades in. Everything runs channels-last.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from stylescan.errors import ConfigError
from stylescan.nets.growing import Reached, blend, enlarge
from stylescan.nets.mapping import MappingNetwork
from stylescan.nets.noise import noise_maps
from stylescan.nets.options import ChannelOptions, DataShape
from stylescan.nets.protocols import Generator, Noise, Stage
from stylescan.ops.adain import adain
from stylescan.ops.attention import SelfAttention
from stylescan.ops.convolution import conv_transpose2d
from stylescan.ops.layers import LRELU_GAIN, LRELU_SLOPE, Conv2d, Linear, without_equalised_lr
from stylescan.ops.resample import blur, fir_filter


class StyleGANOptions(ChannelOptions):
    """What a user or preset chooses; the data give the rest."""

    family: Literal["stylegan"] = "stylegan"
    z_dim: int = Field(512, ge=1, le=16384, description="size of the input latent z")
    w_dim: int = Field(512, ge=1, le=16384, description="size of the mapped latent w")
    mapping_layers: int = Field(8, ge=1, le=64, description="fully connected layers of the mapping network")
    mbstd_group: int = Field(4, ge=1, description="images a group in the minibatch standard deviation")
    equalised_lr: bool = Field(
        True, description="keep weights at unit scale, so that all learn at one pace, the mapping at a hundredth of it"
    )
    blur: bool = Field(True, description="low-pass [1, 2, 1] after doubling in G and before halving in D")
    noise: bool = Field(True, description="a noise map a layer in G, with learned strengths from 0")


class StyleGANSpec(DataShape, StyleGANOptions):
    """Everything that fixes the networks: the options and the shape of the data."""

    @property
    def max_depth(self) -> int:
        """Depth of the last stage, that of the full resolution."""
        return len(self.resolutions) - 1


def at_resolution(resolution: int) -> str:
    """The key of a resolution's modules, which does not depend on how many there are."""
    return f"r{resolution}"


def checked_stage(stage: Stage | None, reached: Reached, max_depth: int) -> Stage:
    """`stage`, or the one that the net has reached; ConfigError outside 0..max_depth."""
    at = reached.read() if stage is None else stage
    if not 0 <= at.depth <= max_depth:
        raise ConfigError(
            f"stage: found depth {at.depth} ({at.resolution} px), expected 0 to {max_depth}",
            remedy="Grow no further than the model's resolution.",
        )
    return at


def resampling_filter(blurred: bool) -> Tensor:
    """The filter of a doubling or halving convolution.

    Repeating pixels, or the mean of 2x2, is the filter [1, 1]; with the paper's [1, 2, 1] behind it [1, 3, 3, 1].
    """
    return fir_filter((1.0, 3.0, 3.0, 1.0) if blurred else (1.0, 1.0))


class UpConv2d(Conv2d):
    """Doubling, 3x3 convolution and low-pass, without bias: [N, in, H, W] to [N, out, 2H, 2W].

    A transposed convolution, whose kernel is the mirrored one, then the filter of `resampling_filter`: the same linear
    map at a quarter of the products.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight * self.weight_gain).transpose(0, 1)
        x = conv_transpose2d(x, weight, stride=2)  # [N, out, 2H + 1, 2W + 1]
        return blur(x, self.fir, padding=self.fir.shape[0] // 2 - 1, gain=4.0)


class StyleLayer(nn.Module):
    """Convolution, noise, bias, leaky ReLU, then the style: [N, in, H, W] to [N, out, H, W], or doubled by `conv`.

    conv: None for the layer on the constant input, which changes x in place.
    """

    noise_const: Tensor

    def __init__(self, conv: Conv2d | None, channels: int, *, w_dim: int, resolution: int, noise: bool) -> None:
        super().__init__()
        self.conv = conv
        self.bias = nn.Parameter(torch.zeros(channels))
        self.affine = Linear(w_dim, 2 * channels)
        self.noise_strength = nn.Parameter(torch.zeros(channels)) if noise else None
        if noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """w: [N, w_dim]; noise: [N or 1, 1, H', W'] or None."""
        x = x if self.conv is None else self.conv(x)
        x = x.add_(self.bias[:, None, None])
        if noise is not None and self.noise_strength is not None:
            x = x.addcmul_(noise, self.noise_strength[:, None, None])
        x = F.leaky_relu_(x, LRELU_SLOPE)
        scale, shift = self.affine(w).chunk(2, dim=1)  # [N, out] each
        return adain(x, scale, shift)


class SynthesisBlock(nn.Module):
    """The two style layers of a resolution, and attention where it is asked for."""

    def __init__(self, spec: StyleGANSpec, resolution: int) -> None:
        super().__init__()
        width, first = spec.width(resolution), None
        if resolution > 4:
            fir = resampling_filter(spec.blur)
            first = UpConv2d(spec.width(resolution // 2), width, 3, fir=fir, bias=False, gain=LRELU_GAIN)
        second = Conv2d(width, width, 3, fir=fir_filter(), bias=False, activation="linear", gain=LRELU_GAIN)
        self.layers = nn.ModuleList(
            StyleLayer(conv, width, w_dim=spec.w_dim, resolution=resolution, noise=spec.noise)
            for conv in (first, second)
        )
        self.attention = SelfAttention(width) if resolution in spec.attention else None

    def forward(self, x: Tensor, ws: Tensor, maps: list[Tensor | None]) -> Tensor:
        """ws: [N, 2, w_dim]; maps: two noise maps or None."""
        for layer, w, noise in zip(self.layers, ws.unbind(dim=1), maps, strict=True):
            x = layer(x, w, noise)
        return x if self.attention is None else self.attention(x)


class SynthesisNetwork(nn.Module):
    """ws [N, num_ws, w_dim] to images [N, C, r, r] of the stage's resolution r, two styles a resolution."""

    def __init__(self, spec: StyleGANSpec) -> None:
        super().__init__()
        self.resolution = spec.resolution
        self.max_depth = spec.max_depth
        self.num_ws = 2 * len(spec.resolutions)
        self.noise_shapes = tuple((r, r) for r in spec.resolutions for _ in range(2)) if spec.noise else ()
        self.const = nn.Parameter(torch.ones(spec.width(4), 4, 4))
        self.blocks = nn.ModuleDict({at_resolution(r): SynthesisBlock(spec, r) for r in spec.resolutions})
        # 1x1 convolutions as products over pixels: a convolution to one channel would answer in rows of planes
        self.to_images = nn.ModuleDict(
            {at_resolution(r): Linear(spec.width(r), spec.img_channels) for r in spec.resolutions}
        )
        self.reached = Reached(self.max_depth)

    def styles_at(self, stage: Stage | None) -> int:
        """How many of the styles, from the first on, reach an image of `stage`; None: of the stage reached."""
        return 2 * (checked_stage(stage, self.reached, self.max_depth).depth + 1)

    def noise_maps(self, n: int, noise: Noise, rng: torch.Generator | None, layers: int) -> list[Tensor | None]:
        """Maps or None for the first `layers` layers; random ones are drawn for these layers alone."""
        shapes = self.noise_shapes[:layers]
        constants = [layer.noise_const for layer in self._style_layers()[: len(shapes)]]
        most = len(self.noise_shapes)
        maps = noise_maps(n, noise, rng, shapes=shapes, constants=constants, most=most, like=self.const)
        return maps if shapes else [None] * layers

    def _style_layers(self) -> list[StyleLayer]:
        return [layer for layer in self.blocks.modules() if isinstance(layer, StyleLayer)]

    def forward(
        self, ws: Tensor, *, noise: Noise = "random", rng: torch.Generator | None = None, stage: Stage | None = None
    ) -> Tensor:
        at = checked_stage(stage, self.reached, self.max_depth)
        n = ws.shape[0]
        maps = self.noise_maps(n, noise, rng, 2 * (at.depth + 1))
        x = below = self.const[None].repeat(n, 1, 1, 1).contiguous(memory_format=torch.channels_last)
        for depth in range(at.depth + 1):
            two = slice(2 * depth, 2 * depth + 2)
            below, x = x, self.blocks[at_resolution(4 * 2**depth)](x, ws[:, two], maps[two])  # [N, width, r, r]
        image = self._to_image(x)
        if at.depth > 0 and at.alpha < 1:
            image = blend(enlarge(self._to_image(below)), image, at.alpha)
        return enlarge(image, self.resolution // at.resolution) if stage is None else image

    def _to_image(self, x: Tensor) -> Tensor:
        """The image that a resolution shows by itself: [N, width, r, r] to [N, C, r, r]."""
        out: Tensor = self.to_images[at_resolution(x.shape[2])](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class StyleGANGenerator(Generator):
    """Mapping and synthesis network of one specification."""

    mapping: MappingNetwork
    synthesis: SynthesisNetwork

    def __init__(self, spec: StyleGANSpec) -> None:
        super().__init__()
        self.spec = spec
        self.synthesis = SynthesisNetwork(spec)
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork.of(spec, self.num_ws)
        if not spec.equalised_lr:
            without_equalised_lr(self)

    def styles_at(self, stage: Stage | None) -> int:
        """How many of the styles, from the first on, reach an image of `stage`; None: of the stage reached."""
        return self.synthesis.styles_at(stage)
