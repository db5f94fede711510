"""StyleGAN2-lite: a DCGAN on its way to StyleGAN2 (Karras et al. 2020), each change a switch of its own.

The changes: images summed over resolutions in G ("skip"), a residual D, minibatch standard deviation, blur, a fade-in of
the newest resolution. One 3x3 convolution a resolution; G starts with a projection of z, there is no mapping network.
All images end in tanh: cross-entropy leaves D's scores unbounded, and what leaves [-1, 1] would give the fakes away.

Fade-in, our reading of "a factor of epoch / base": alpha is the share of the highest resolution while the whole pair
trains. G's image is (1 - alpha) * the finished image of the resolutions below, enlarged, + alpha * the finished image of
all; D's first block gives (1 - alpha) * its shortcut + alpha * the whole block; reals are blended as in `growing`. So 0
is the pair one resolution lower, 1 the full pair, and nothing jumps. It takes the skip G and the residual D, which have an
image and a reading of the level below: the plain ones refuse alpha < 1.

Weights start as in He et al. 2015 rather than at N(0, .02), which without batch normalisation lets the signal fade out.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from stylescan.errors import ConfigError
from stylescan.nets.dcgan import Norm, draw_weights, make_norm
from stylescan.nets.growing import Reached, at_stage, blend, enlarge, halve
from stylescan.nets.latent import LatentMapping, latent_width, refuse_noise_maps
from stylescan.nets.options import DataShape, NetOptions
from stylescan.nets.protocols import Discriminator, Generator, Noise, Stage
from stylescan.ops.attention import SelfAttention
from stylescan.ops.layers import LRELU_SLOPE, Linear, minibatch_std
from stylescan.ops.resample import downsample2, fir_filter, upsample2


class StyleGAN2LiteOptions(NetOptions):
    """What a user or preset chooses; the data give the rest. The plain G and D with mbstd_group 1 are a DCGAN."""

    family: Literal["stylegan2-lite"] = "stylegan2-lite"
    z_dim: int = Field(100, ge=1, le=16384, description="size of the input latent z")
    class_dim: int = Field(32, ge=1, le=16384, description="size of the class embedding beside z, with classes")
    first_resolution: int = Field(8, ge=4, description="side where G starts and D ends, a power of two")
    filters_G: int = Field(512, ge=1, le=16384, description="channels of G at its start, halved a doubling")
    filters_D: int = Field(32, ge=1, le=16384, description="channels of D at the image, doubled a halving ...")
    filters_D_max: int = Field(512, ge=1, le=16384, description="... but never more than this")
    generator: Literal["plain", "skip"] = Field("skip", description="one image at the end, or a sum over resolutions")
    discriminator: Literal["plain", "residual"] = Field(
        "residual", description="shortcuts around the blocks of D or not"
    )
    mbstd_group: int = Field(4, ge=1, description="images a group in the minibatch standard deviation, 1 = off")
    norm_G: Norm = Field("batch", description="normalisation in G: over the batch, or none")
    norm_D: Norm = Field("none", description="normalisation in D: over the batch, or none")
    blur: bool = Field(False, description="filter [1, 2, 1] where layers double or halve the image")

    @field_validator("first_resolution")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"first_resolution must be a power of two from 4 up, found {value}")
        return value


class StyleGAN2LiteSpec(DataShape, StyleGAN2LiteOptions):
    """Everything that fixes the networks: the options and the shape of the data."""

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if self.first_resolution >= self.resolution:
            raise ValueError(
                f"first_resolution {self.first_resolution} must be below the image's side {self.resolution}"
            )
        wrong = [side for side in self.attention if side not in self.levels]
        if wrong:
            raise ValueError(f"attention at {wrong[0]}: this net works at {self.levels} pixels a side")
        return self

    @property
    def levels(self) -> list[int]:
        """Sides that the nets work at: first_resolution, twice that, ... the image's."""
        return [r for r in self.resolutions if r >= self.first_resolution]

    @property
    def depth(self) -> int:
        """Depth of every stage: this family fades its last resolution, and does not grow."""
        return len(self.resolutions) - 1

    @property
    def fades(self) -> bool:
        """Whether both nets take an alpha below 1."""
        return self.generator == "skip" and self.discriminator == "residual"

    @property
    def w_dim(self) -> int:
        """What G reads an image: z and the embedded class."""
        return latent_width(z_dim=self.z_dim, num_classes=self.num_classes, class_dim=self.class_dim)

    def width_G(self, resolution: int) -> int:
        """Channels of G at `resolution`."""
        return max(1, self.filters_G * self.first_resolution // resolution)

    def width_D(self, resolution: int) -> int:
        """Channels of D at `resolution`."""
        return min(self.filters_D * self.resolution // resolution, self.filters_D_max)

    def check_stage(self, stage: Stage, *, fading: bool) -> Stage:
        """`stage`; ConfigError where it is below the full resolution, or fades a net that cannot (`fading` False)."""
        if stage.depth != self.depth:
            raise ConfigError(
                f"stage of {stage.resolution} px, expected {self.resolution}: this family does not grow",
                remedy="Train a growing family, or train this one at the resolution that you want.",
            )
        if stage.alpha < 1 and not fading:
            raise ConfigError(
                f"a fade-in (alpha {stage.alpha:g}) needs generator 'skip' and discriminator 'residual', found "
                f"'{self.generator}' and '{self.discriminator}'",
                remedy="Choose those two, or train without the fade-in.",
            )
        return stage


def _conv(in_channels: int, out_channels: int, kernel: int, *, bias: bool = True) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)
    return draw_weights(layer, math.sqrt(2 / (in_channels * kernel**2)))


class Resample(nn.Module):
    """Doubling and halving of features [N, C, H, W]: repeated pixels and 2x2 means, with `blur` filtered by [1, 2, 1].

    [1, 2, 1] after repetition, or before the means, is [1, 3, 3, 1] in one go.
    """

    fir: Tensor

    def __init__(self, *, blur: bool) -> None:
        super().__init__()
        self.blur = blur
        self.register_buffer("fir", fir_filter((1.0, 3.0, 3.0, 1.0)), persistent=False)

    def up(self, x: Tensor) -> Tensor:
        """[N, C, 2H, 2W]."""
        return upsample2(x, self.fir) if self.blur else F.interpolate(x, scale_factor=2.0, mode="nearest")

    def down(self, x: Tensor) -> Tensor:
        """[N, C, H/2, W/2]."""
        return downsample2(x, self.fir) if self.blur else halve(x)


class GLayer(nn.Module):
    """Doubling, 3x3 convolution, normalisation, ReLU; the first one projects z instead: [N, in, ...] to [N, out, r, r]."""

    def __init__(self, spec: StyleGAN2LiteSpec, resolution: int) -> None:
        super().__init__()
        out_channels, bias = spec.width_G(resolution), spec.norm_G == "none"
        self.first = resolution == spec.first_resolution
        self.resample = Resample(blur=spec.blur)
        self.conv: nn.Module
        if self.first:
            project = nn.ConvTranspose2d(spec.w_dim, out_channels, resolution, bias=bias)
            self.conv = draw_weights(project, math.sqrt(2 / spec.w_dim))  # every pixel sees each number of z once
        else:
            self.conv = _conv(spec.width_G(resolution // 2), out_channels, 3, bias=bias)
        self.norm = make_norm(spec.norm_G, out_channels)
        self.attention = SelfAttention(out_channels) if resolution in spec.attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x if self.first else self.resample.up(x))
        out: Tensor = self.attention(F.relu(self.norm(x)))
        return out


class LiteSynthesis(nn.Module):
    """ws [N, 1, w_dim] to images [N, C, R, R] in [-1, 1]; `layers` and `to_images` by resolution."""

    noise_shapes: tuple[tuple[int, int], ...] = ()

    def __init__(self, spec: StyleGAN2LiteSpec) -> None:
        super().__init__()
        self.spec = spec
        self.layers = nn.ModuleDict({f"r{r}": GLayer(spec, r) for r in spec.levels})
        sides = spec.levels if spec.generator == "skip" else spec.levels[-1:]
        # small weights: the sum must not start where tanh is flat
        self.to_images = nn.ModuleDict(
            {f"r{r}": draw_weights(nn.Conv2d(spec.width_G(r), spec.img_channels, 1)) for r in sides}
        )
        self.reached = Reached(spec.depth)

    def forward(
        self, ws: Tensor, *, noise: Noise = "random", rng: torch.Generator | None = None, stage: Stage | None = None
    ) -> Tensor:
        """noise, rng: of other families. ConfigError on noise maps and on a stage that this family has not."""
        refuse_noise_maps(noise)
        alpha = self.spec.check_stage(stage or self.reached.read(), fading=self.spec.generator == "skip").alpha
        x = ws[:, 0, :, None, None].contiguous(memory_format=torch.channels_last)  # [N, w_dim, 1, 1]
        below, total = None, None
        for name, layer in self.layers.items():
            x = layer(x)  # [N, width, r, r]
            if name not in self.to_images:
                continue
            part = self.to_images[name](x)  # [N, C, r, r]
            below = None if total is None else enlarge(total)
            total = part if below is None else below + part
        assert total is not None
        image = torch.tanh(total)
        return image if below is None else blend(torch.tanh(below), image, alpha)


class StyleGAN2LiteGenerator(Generator):
    """z itself as the latent, and the synthesis network of one specification."""

    num_ws = 1
    mapping: LatentMapping
    synthesis: LiteSynthesis

    def __init__(self, spec: StyleGAN2LiteSpec) -> None:
        super().__init__()
        self.spec = spec
        self.mapping = LatentMapping(z_dim=spec.z_dim, num_classes=spec.num_classes, class_dim=spec.class_dim)
        self.synthesis = LiteSynthesis(spec)


class DBlock(nn.Module):
    """3x3 convolution, normalisation, leaky ReLU, halving; residual: plus a halved 1x1 shortcut, times sqrt(1/2).

    [N, in, r, r] to [N, out, r/2, r/2].
    """

    def __init__(self, spec: StyleGAN2LiteSpec, resolution: int) -> None:
        super().__init__()
        in_channels, out_channels = spec.width_D(resolution), spec.width_D(resolution // 2)
        self.resample = Resample(blur=spec.blur)
        self.attention = SelfAttention(in_channels) if resolution in spec.attention else nn.Identity()
        self.conv = _conv(in_channels, out_channels, 3, bias=spec.norm_D == "none")
        self.norm = make_norm(spec.norm_D, out_channels)
        residual = spec.discriminator == "residual"
        self.skip = _conv(in_channels, out_channels, 1, bias=False) if residual else None

    def forward(self, x: Tensor, alpha: float = 1.0) -> Tensor:
        """alpha: from the shortcut alone, 0, to the whole block, 1."""
        x = self.attention(x)
        main: Tensor = self.resample.down(F.leaky_relu(self.norm(self.conv(x)), LRELU_SLOPE))
        if self.skip is None:
            return main
        short: Tensor = self.skip(self.resample.down(x))
        return blend(short, (main + short) * math.sqrt(0.5), alpha)


class StyleGAN2LiteDiscriminator(Discriminator):
    """Images [N, C, R, R] to scores [N]; with classes, a projection head (Miyato & Koyama 2018, equation 3)."""

    spec: StyleGAN2LiteSpec

    def __init__(self, spec: StyleGAN2LiteSpec) -> None:
        super().__init__()
        self.spec = spec
        self.mbstd_group = spec.mbstd_group
        self.whole_batch = spec.norm_D == "batch"
        first, last = spec.first_resolution, spec.width_D(spec.first_resolution)
        side = spec.resolution
        self.from_image = nn.ModuleDict({f"r{side}": _conv(spec.img_channels, spec.width_D(side), 1)})
        self.blocks = nn.ModuleDict({f"r{r}": DBlock(spec, r) for r in reversed(spec.levels[1:])})
        self.attention = SelfAttention(last) if first in spec.attention else nn.Identity()
        self.conv = _conv(last + (spec.mbstd_group > 1), last, 3, bias=spec.norm_D == "none")
        self.norm = make_norm(spec.norm_D, last)
        self.out = nn.Linear(last * first**2, 1)
        self.embed = Linear(spec.num_classes, last, bias=False) if spec.num_classes else None
        self.reached = Reached(spec.depth)

    def _read(self, x: Tensor) -> Tensor:
        (from_image,) = self.from_image.values()
        x = F.leaky_relu(from_image(x), LRELU_SLOPE)  # [N, width, R, R]
        return x.contiguous(memory_format=torch.channels_last)  # the layout of one channel is ambiguous

    def forward(
        self, x: Tensor, c: Tensor | None = None, *, group: int | None = None, stage: Stage | None = None
    ) -> Tensor:
        """stage: given, x comes blended (`growing.at_stage`); left out, x is blended here, as D was trained."""
        asked = self.spec.check_stage(stage or self.reached.read(), fading=self.spec.discriminator == "residual")
        alpha = asked.alpha
        h = self._read(x if stage else at_stage(x, asked))
        for block in self.blocks.values():
            h, alpha = block(h, alpha), 1.0  # only the first block fades
        h = self.attention(h)
        if self.mbstd_group > 1:
            h = minibatch_std(h, limit=group or self.mbstd_group)  # [N, width + 1, r, r]
        h = F.leaky_relu(self.norm(self.conv(h)), LRELU_SLOPE)  # [N, width, r, r]
        score: Tensor = self.out(h.flatten(1))[:, 0]  # [N]
        return self.with_class(score, h.mean(dim=(2, 3)), c)
