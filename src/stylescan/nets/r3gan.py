"""R3GAN (Huang et al. 2024, 'The GAN is dead; long live the GAN!', section 4): a plain residual backbone without styles.

No mapping network, noise, normalisation, minibatch statistics or equalised learning rate; biases only before
activations. Made for the relativistic pairing loss with R1 and R2, which it needs twice differentiable.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from stylescan.nets.latent import LatentMapping, latent_width, refuse_noise_maps
from stylescan.nets.options import ChannelOptions, DataShape
from stylescan.nets.protocols import Discriminator, Generator, Noise, Stage
from stylescan.ops.attention import attention_at
from stylescan.ops.layers import LRELU_SLOPE
from stylescan.ops.resample import downsample2, fir_filter, upsample2

MSR_GAIN = math.sqrt(2 / (1 + LRELU_SLOPE**2))  # He et al. 2015, equation 15


class R3GANOptions(ChannelOptions):
    """What a user or preset chooses; the data give the rest."""

    family: Literal["r3gan"] = "r3gan"
    z_dim: int = Field(64, ge=1, le=16384, description="size of the input latent z, not normalised")
    class_dim: int = Field(64, ge=1, le=16384, description="size of the class embedding beside z, with classes")
    blocks: int = Field(2, ge=1, le=16, description="residual blocks a resolution")
    expansion: int = Field(2, ge=1, le=8, description="width of a block's 3x3 convolution: so many times the channels")
    group_width: int = Field(
        16, ge=1, description="channels a group of the 3x3 convolution; the nearest divisor below where it does not fit"
    )


class R3GANSpec(DataShape, R3GANOptions):
    """Everything that fixes the networks: the options and the shape of the data."""

    @property
    def w_dim(self) -> int:
        """What G reads an image: z and the embedded class."""
        return latent_width(z_dim=self.z_dim, num_classes=self.num_classes, class_dim=self.class_dim)

    @property
    def depth(self) -> int:
        """Residual blocks of each net."""
        return self.blocks * len(self.resolutions)


def fitting_group(channels: int, limit: int) -> int:
    """The largest divisor of `channels` not above `limit`."""
    return next(g for g in range(min(limit, channels), 0, -1) if channels % g == 0)


def msr(weight: Tensor, gain: float = 1.0) -> None:
    """Fill `weight` [out, in / groups, ...] with N(0, gain^2 / fan-in) (He et al. 2015)."""
    nn.init.normal_(weight, 0.0, gain / math.sqrt(weight[0].numel()))


class Pointwise(nn.Linear):
    """1x1 convolution as a product over pixels: [N, in, H, W] to [N, out, H, W], channels-last."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = False, gain: float = 1.0) -> None:
        super().__init__(in_channels, out_channels, bias=bias)
        if gain == 0:
            nn.init.zeros_(self.weight)
        else:
            msr(self.weight, gain)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + project(lrelu(grouped 3x3(lrelu(expand(x))))): [N, C, H, W] to the same, the identity at the start.

    The first two convolutions start scaled by depth^(-1/4), depth being the net's number of blocks (Zhang et al. 2019,
    'Fixup initialization', for branches of three), the last one at zero, which
    under spectral normalisation (`normalised`) has no direction to keep: there it starts like the others.
    """

    def __init__(self, channels: int, spec: R3GANSpec, *, normalised: bool = False) -> None:
        super().__init__()
        wide = channels * spec.expansion
        gain = MSR_GAIN * spec.depth**-0.25
        self.expand = Pointwise(channels, wide, bias=True, gain=gain)
        groups = wide // fitting_group(wide, spec.group_width)
        self.mix = nn.Conv2d(wide, wide, 3, padding=1, groups=groups)
        msr(self.mix.weight, gain)
        assert self.mix.bias is not None
        nn.init.zeros_(self.mix.bias)
        self.project = Pointwise(wide, channels, gain=gain if normalised else 0)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.expand(x), LRELU_SLOPE, inplace=True)  # [N, wide, H, W]
        h = F.leaky_relu(self.mix(h), LRELU_SLOPE, inplace=True)
        out: Tensor = x + self.project(h)
        return out


def residual_blocks(spec: R3GANSpec, *, normalised: bool) -> nn.ModuleDict:
    """The blocks of each resolution, "r4" first."""
    return nn.ModuleDict(
        {
            f"r{r}": nn.Sequential(
                *(ResidualBlock(spec.width(r), spec, normalised=normalised) for _ in range(spec.blocks))
            )
            for r in spec.resolutions
        }
    )


class R3GANSynthesis(nn.Module):
    """ws [N, 1, w_dim] to images [N, C, R, R]: a learned 4x4 basis scaled by linear(w), doubled from block to block.

    `widen` has the 1x1 convolutions into the resolutions where the width changes. They come before the doubling: the
    two commute, and there are fewer pixels.
    """

    fir: Tensor
    noise_shapes: tuple[tuple[int, int], ...] = ()

    def __init__(self, spec: R3GANSpec) -> None:
        super().__init__()
        first = spec.width(4)
        self.basis = nn.Parameter(torch.randn(first, 4, 4))
        self.scale = nn.Linear(spec.w_dim, first, bias=False)
        msr(self.scale.weight)
        self.widen = nn.ModuleDict()
        for r in spec.resolutions[1:]:
            if spec.width(r) != spec.width(r // 2):
                self.widen[f"r{r}"] = Pointwise(spec.width(r // 2), spec.width(r))
        self.blocks = residual_blocks(spec, normalised=spec.spectral_norm == "both")
        self.to_image = nn.ModuleDict(
            {f"r{spec.resolution}": Pointwise(spec.width(spec.resolution), spec.img_channels)}
        )
        self.attention = attention_at({r: spec.width(r) for r in spec.attention})
        self.register_buffer("fir", fir_filter(), persistent=False)

    def forward(
        self, ws: Tensor, *, noise: Noise = "random", rng: torch.Generator | None = None, stage: Stage | None = None
    ) -> Tensor:
        """noise, rng, stage: of other families; the images are those of ws alone. ConfigError on noise maps."""
        refuse_noise_maps(noise)
        x = self.basis * self.scale(ws[:, 0])[:, :, None, None]  # [N, width, 4, 4]
        x = x.contiguous(memory_format=torch.channels_last)
        for name, blocks in self.blocks.items():
            if name in self.widen:
                x = self.widen[name](x)
            if name != "r4":
                x = upsample2(x, self.fir)
            x = blocks(x)  # [N, width, r, r]
            if name in self.attention:
                x = self.attention[name](x)
        (to_image,) = self.to_image.values()
        images: Tensor = to_image(x)
        return images


class R3GANGenerator(Generator):
    """z itself as the latent, and the synthesis network of one specification."""

    num_ws = 1
    mapping: LatentMapping
    synthesis: R3GANSynthesis

    def __init__(self, spec: R3GANSpec) -> None:
        super().__init__()
        self.spec = spec
        self.mapping = LatentMapping(z_dim=spec.z_dim, num_classes=spec.num_classes, class_dim=spec.class_dim)
        self.synthesis = R3GANSynthesis(spec)


class R3GANDiscriminator(Discriminator):
    """Images [N, C, R, R] to scores [N], the mirror of G; with classes, a projection head (Miyato & Koyama 2018, eq. 3).

    `narrow` has the 1x1 convolutions out of the resolutions where the width changes, after the halving.
    """

    fir: Tensor

    def __init__(self, spec: R3GANSpec) -> None:
        super().__init__()
        self.spec = spec
        self.from_image = nn.ModuleDict(
            {f"r{spec.resolution}": Pointwise(spec.img_channels, spec.width(spec.resolution))}
        )
        self.narrow = nn.ModuleDict()
        for r in spec.resolutions[1:]:
            if spec.width(r) != spec.width(r // 2):
                self.narrow[f"r{r}"] = Pointwise(spec.width(r), spec.width(r // 2))
        self.blocks = residual_blocks(spec, normalised=spec.spectral_norm != "none")
        last = spec.width(4)
        self.reduce = nn.Conv2d(last, last, 4, groups=last, bias=False)  # depthwise: 4x4 to 1x1
        self.out = nn.Linear(last, 1, bias=False)
        msr(self.reduce.weight)
        msr(self.out.weight)
        self.embed = None
        if spec.num_classes:
            self.embed = nn.Linear(spec.num_classes, last, bias=False)
            nn.init.normal_(self.embed.weight)
        self.attention = attention_at({r: spec.width(r) for r in spec.attention})
        self.register_buffer("fir", fir_filter(), persistent=False)

    def forward(
        self, x: Tensor, c: Tensor | None = None, *, group: int | None = None, stage: Stage | None = None
    ) -> Tensor:
        """group, stage: of other families."""
        (from_image,) = self.from_image.values()
        x = from_image(x)  # [N, width, R, R]
        for name, blocks in reversed(list(self.blocks.items())):
            x = blocks(x)
            if name in self.attention:
                x = self.attention[name](x)
            if name != "r4":
                x = downsample2(x, self.fir)
            if name in self.narrow:
                x = self.narrow[name](x)
        # a depthwise convolution over all of its pixels is a sum of products, and fast to differentiate twice
        h = (x * self.reduce.weight[:, 0]).sum(dim=(2, 3))  # [N, width]
        score: Tensor = self.out(h)[:, 0]  # [N]
        return self.with_class(score, h, c)
