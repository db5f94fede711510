"""StyleGAN2 (Karras et al. 2020): options, specification and the output-skip generator; no growing.

Everything runs channels-last. Gains of the leaky ReLU are folded into the factors that stand before it.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from stylescan.nets.mapping import MappingNetwork
from stylescan.nets.noise import noise_maps
from stylescan.nets.options import ChannelOptions, DataShape
from stylescan.nets.protocols import Generator, Noise, Stage
from stylescan.ops.attention import attention_at
from stylescan.ops.excitation import SkipExcitation
from stylescan.ops.haar import inverse_haar
from stylescan.ops.layers import (
    LRELU_GAIN,
    LRELU_SLOPE,
    EqualisedLayer,
    Linear,
    without_equalised_lr,
)
from stylescan.ops.modulated_conv import demodulation, modulated_conv2d, modulated_to_image
from stylescan.ops.resample import fir_filter, upsample2

# [1, 2, 1] after doubling by repetition, as in StyleGAN, is [1, 3, 3, 1] after doubling by zeros: two names of one blur
BLUR_TAPS = {"1331": (1.0, 3.0, 3.0, 1.0), "121": (1.0, 3.0, 3.0, 1.0), "none": (1.0, 1.0)}


class StyleGAN2Options(ChannelOptions):
    """What a user or preset chooses; the data give the rest."""

    family: Literal["stylegan2"] = "stylegan2"
    z_dim: int = Field(512, ge=1, le=16384, description="size of the input latent z")
    w_dim: int = Field(512, ge=1, le=16384, description="size of the mapped latent w")
    mapping_layers: int = Field(2, ge=1, le=64, description="fully connected layers of the mapping network")
    mbstd_group: int = Field(4, ge=1, description="images a group in the minibatch standard deviation")
    equalised_lr: bool = Field(True, description="store weights at unit scale, so that all layers learn alike")
    blur: Literal["1331", "121", "none"] = Field(
        "1331", description="filter of doubling and halving: [1,3,3,1], the same in StyleGAN's terms, or none"
    )

    haar: int = Field(
        0, ge=0, le=3, description="levels of the Haar transform between nets and image: each halves the nets' sides"
    )
    convolutions: Literal[1, 2] = Field(2, description="3x3 convolutions a resolution, in G and D")
    start: Literal["constant", "latent"] = Field(
        "constant",
        description="what G's first 4x4 features are: learned and the same for all, or made of each image's w",
    )
    excitation: bool = Field(False, description="low resolutions of G weigh the channels of eight times higher ones")

    @field_validator("blur", mode="before")
    @classmethod
    def _digits_are_a_name(cls, value: object) -> object:
        """YAML reads 1331 as a number."""
        return str(value) if type(value) is int else value


class StyleGAN2Spec(DataShape, StyleGAN2Options):
    """Everything that fixes the networks: the options and the shape of the data."""

    @property
    def fir(self) -> Tensor:
        """The filter of doubling and halving, [K, K]."""
        return fir_filter(BLUR_TAPS[self.blur])

    @property
    def levels(self) -> list[int]:
        """The sides that the nets work at: 4, 8, ... up to that of the image, or of its Haar coefficients."""
        return self.resolutions[: max(len(self.resolutions) - self.haar, 1)]

    @model_validator(mode="after")
    def _levels_hold_what_is_asked(self) -> Self:
        if self.resolution >> self.haar < 4:
            raise ValueError(f"haar {self.haar} leaves {self.resolution >> self.haar} px, the nets need 4")
        beyond = [side for side in self.attention if side > self.levels[-1]]
        if beyond:
            raise ValueError(
                f"attention at {beyond[0]} px, but with haar {self.haar} the nets end at {self.levels[-1]}"
            )
        return self


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU: [N, in, H, W] to [N, out, H or 2H, W or 2W].

    Demodulation divides by the weight's own scale, so its gain and its spectral norm are without effect: not an
    `EqualisedLayer`. fir: [K, K], K even. `equalised`: the scale at which the weight is stored.
    """

    fir: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        resolution: int,
        up: bool,
        fir: Tensor,
        equalised: bool = True,
    ) -> None:
        super().__init__()
        self.up = up
        self.affine = Linear(w_dim, in_channels, bias_init=1.0, equalised=equalised)
        scale = 1.0 if equalised else 1 / math.sqrt(9 * in_channels)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3) * scale)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("fir", fir.clone(), persistent=False)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """w: [N, w_dim]; noise: [N or 1, 1, H', W'] or None."""
        s = self.affine(w)  # [N, in]
        d = demodulation(self.weight, s) * LRELU_GAIN  # [N, out]
        x = modulated_conv2d(x, self.weight, s, f=self.fir if self.up else None)
        x = torch.addcmul((self.bias * LRELU_GAIN).to(x.dtype)[None, :, None, None], x, d.to(x.dtype)[:, :, None, None])
        if noise is not None:
            x = x.add_((noise * (self.noise_strength * LRELU_GAIN)).to(x.dtype))
        return F.leaky_relu_(x, LRELU_SLOPE)


class ToImage(EqualisedLayer):
    """Modulated 1x1 convolution to the image's channels, without demodulation: [N, in, H, W] to [N, C, H, W]."""

    def __init__(self, in_channels: int, img_channels: int, *, w_dim: int) -> None:
        super().__init__()
        self.affine = Linear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(img_channels, in_channels))
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(img_channels))
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.bias_gain = 1.0

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return modulated_to_image(x, self.weight * self.weight_gain, self.affine(w)) + self.bias[None, :, None, None]


class SynthesisNetwork(nn.Module):
    """ws [N, num_ws, w_dim] to images [N, C, R, R]; each resolution adds its own image to the upsampled sum.

    With a Haar transform the last resolution gives coefficients, to whose mean band that sum is added.
    """

    fir: Tensor

    def __init__(self, spec: StyleGAN2Spec) -> None:
        super().__init__()
        self.haar = spec.haar
        self.convolutions = spec.convolutions
        self.const = nn.Parameter(torch.randn(spec.width(4), 4, 4))
        self.from_w = Linear(spec.w_dim, spec.width(4) * 16) if spec.start == "latent" else None
        layers: list[SynthesisLayer] = []
        to_images: list[ToImage] = []
        before = spec.width(4)
        for r in spec.levels:
            width = spec.width(r)
            for a, up in ((before, True), (width, False))[: spec.convolutions] if r > 4 else ((width, False),):
                layers.append(
                    SynthesisLayer(
                        a, width, w_dim=spec.w_dim, resolution=r, up=up, fir=spec.fir, equalised=spec.equalised_lr
                    )
                )
            bands = 4**spec.haar if r == spec.levels[-1] else 1
            to_images.append(ToImage(width, spec.img_channels * bands, w_dim=spec.w_dim))
            before = width
        self.num_ws = len(layers) + 1
        self.layers = nn.ModuleList(layers)
        self.to_images = nn.ModuleList(to_images)
        sides = [layer.noise_const.shape[0] for layer in layers]
        self.noise_shapes = tuple((side, side) for side in sides)
        self.register_buffer("fir", spec.fir, persistent=False)
        self.attention = attention_at({r: spec.width(r) for r in spec.attention})
        pairs = [(r // 8, r) for r in spec.levels if r >= 32] if spec.excitation else []
        self.excitation = nn.ModuleDict(
            {f"r{high}": SkipExcitation(spec.width(low), spec.width(high)) for low, high in pairs}
        )

    def noise_maps(self, n: int, noise: Noise, rng: torch.Generator | None) -> list[Tensor | None]:
        """One map a layer, or None."""
        constants = [layer.get_buffer("noise_const") for layer in self.layers]
        shapes = self.noise_shapes
        return noise_maps(n, noise, rng, shapes=shapes, constants=constants, most=len(shapes), like=self.const)

    def forward(
        self, ws: Tensor, *, noise: Noise = "random", rng: torch.Generator | None = None, stage: Stage | None = None
    ) -> Tensor:
        """noise: see `noise_maps`; stage: without meaning here."""
        n = ws.shape[0]
        maps = self.noise_maps(n, noise, rng)
        x = self.const[None].expand(n, -1, -1, -1)  # [N, width, 4, 4]
        if self.from_w is not None:
            x = x + self.from_w(ws[:, 0]).reshape(x.shape)
        x = x.contiguous(memory_format=torch.channels_last)
        image: Tensor | None = None
        sources: dict[int, Tensor] = {}
        layer = 0
        for block, to_image in enumerate(self.to_images):
            for _ in range(1 if block == 0 else self.convolutions):
                x = self.layers[layer](x, ws[:, layer], maps[layer])  # [N, width, r, r]
                layer += 1
            side = x.shape[2]
            if (key := f"r{side}") in self.attention:
                x = self.attention[key](x)
            if key in self.excitation:
                x = self.excitation[key](x, sources[side // 8])
            if f"r{8 * side}" in self.excitation:
                sources[side] = x
            # a block's image shares its style with the next block's first convolution
            part = to_image(x, ws[:, layer])  # [N, C, r, r], or the coefficients at last
            image = part if image is None else self._add(upsample2(image, self.fir), part)
        assert image is not None
        return inverse_haar(image, self.haar)

    def _add(self, image: Tensor, part: Tensor) -> Tensor:
        """image [N, C, r, r] and what a block adds: an image, or coefficients [N, 4^haar C, r, r]."""
        bands = part.shape[1] // image.shape[1]
        if bands == 1:
            return image + part
        n, c, h, w = image.shape
        means = F.pad(image[:, :, None], (0, 0, 0, 0, 0, bands - 1))  # [N, C, bands, r, r]
        return part + means.reshape(n, c * bands, h, w)


class StyleGAN2Generator(Generator):
    """Mapping and synthesis network of one specification."""

    mapping: MappingNetwork
    synthesis: SynthesisNetwork

    def __init__(self, spec: StyleGAN2Spec) -> None:
        super().__init__()
        self.spec = spec
        self.synthesis = SynthesisNetwork(spec)
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork.of(spec, self.num_ws)
        if not spec.equalised_lr:
            without_equalised_lr(self)  # where it is folded already, nothing is left to fold
