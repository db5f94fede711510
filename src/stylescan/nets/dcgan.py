"""DCGAN (Radford et al. 2016): the baseline. Strided 4x4 convolutions, batch normalisation, no styles, no growing.

Batch normalisation in D ties one image's score to all others of the pass: reals and fakes then go through D apart, and a
penalty on the gradient of single scores (R1, WGAN-GP) no longer is what its paper says, although it can be computed. Take
norm_D "none" with those. In evaluation mode the running statistics make every image and score independent again.
"""

from __future__ import annotations

from typing import Literal, Self, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from stylescan.nets.latent import LatentMapping, latent_width, refuse_noise_maps
from stylescan.nets.options import ChannelOptions, DataShape
from stylescan.nets.protocols import Discriminator, Generator, Noise, Stage
from stylescan.ops.attention import attention_at
from stylescan.ops.layers import LRELU_SLOPE, Linear

INIT_STD = 0.02  # of all weights, and of the scales of batch normalisation around 1 (section 4)

Norm = Literal["batch", "none"]
Conv = TypeVar("Conv", nn.Conv2d, nn.ConvTranspose2d)


class DCGANOptions(ChannelOptions):
    """What a user or preset chooses; the data give the rest. The defaults are the paper's at 64 px."""

    family: Literal["dcgan"] = "dcgan"
    z_dim: int = Field(100, ge=1, le=16384, description="size of the input latent z")
    class_dim: int = Field(32, ge=1, le=16384, description="size of the class embedding beside z, with classes")
    channel_base: int = Field(4096, ge=16, description="channels at a resolution: channel_base / resolution ...")
    channel_max: int = Field(1024, ge=1, le=16384, description="... but never more than this")
    norm_G: Norm = Field("batch", description="normalisation in G: over the batch, or none")
    norm_D: Norm = Field("batch", description="normalisation in D: over the batch, or none (take it with penalties)")


class DCGANSpec(DataShape, DCGANOptions):
    """Everything that fixes the networks: the options and the shape of the data."""

    @model_validator(mode="after")
    def _attention_fits(self) -> Self:
        wrong = [side for side in self.attention if side not in self.inner]
        if wrong:
            raise ValueError(
                f"attention at {wrong[0]}: the inner layers of this net have {self.inner[1:]} pixels a side"
            )
        return self

    @property
    def inner(self) -> list[int]:
        """Sides of the inner layers: 4, 8, ... half the image's."""
        return self.resolutions[:-1]

    @property
    def w_dim(self) -> int:
        """What G reads an image: z and the embedded class."""
        return latent_width(z_dim=self.z_dim, num_classes=self.num_classes, class_dim=self.class_dim)


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """Batch normalisation with scales N(1, .02), or nothing."""
    if norm == "none":
        return nn.Identity()
    layer = nn.BatchNorm2d(channels)
    nn.init.normal_(layer.weight, 1.0, INIT_STD)
    return layer


def draw_weights(layer: Conv, std: float = INIT_STD) -> Conv:
    """`layer` with weights N(0, std) and bias 0."""
    nn.init.normal_(layer.weight, 0.0, std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class UpLayer(nn.Module):
    """Transposed 4x4 convolution, normalisation, ReLU: [N, in, H, W] to [N, out, 2H, 2W], or 1 px to 4."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm, first: bool = False) -> None:
        super().__init__()
        stride, padding = (1, 0) if first else (2, 1)
        # batch normalisation has a bias of its own
        self.conv = draw_weights(nn.ConvTranspose2d(in_channels, out_channels, 4, stride, padding, bias=norm == "none"))
        self.norm = make_norm(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class DownLayer(nn.Module):
    """4x4 convolution of stride 2, normalisation, leaky ReLU: [N, in, H, W] to [N, out, H/2, W/2]."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm) -> None:
        super().__init__()
        self.conv = draw_weights(nn.Conv2d(in_channels, out_channels, 4, 2, 1, bias=norm == "none"))
        self.norm = make_norm(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), LRELU_SLOPE)


class DCGANSynthesis(nn.Module):
    """ws [N, 1, w_dim] to images [N, C, R, R] in [-1, 1]; `layers` by the side that they give."""

    noise_shapes: tuple[tuple[int, int], ...] = ()

    def __init__(self, spec: DCGANSpec) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        before = spec.w_dim
        for r in spec.inner:
            self.layers[f"r{r}"] = UpLayer(before, spec.width(r), norm=spec.norm_G, first=r == 4)
            before = spec.width(r)
        self.attention = attention_at({r: spec.width(r) for r in spec.attention})
        last = draw_weights(nn.ConvTranspose2d(before, spec.img_channels, 4, 2, 1))
        self.to_image = nn.ModuleDict({f"r{spec.resolution}": last})

    def forward(
        self, ws: Tensor, *, noise: Noise = "random", rng: torch.Generator | None = None, stage: Stage | None = None
    ) -> Tensor:
        """noise, rng, stage: of other families; the images are those of ws alone. ConfigError on noise maps."""
        refuse_noise_maps(noise)
        x = ws[:, 0, :, None, None].contiguous(memory_format=torch.channels_last)  # [N, w_dim, 1, 1]
        for name, layer in self.layers.items():
            x = layer(x)  # [N, width, r, r]
            if name in self.attention:
                x = self.attention[name](x)
        (to_image,) = self.to_image.values()
        return torch.tanh(to_image(x))


class DCGANGenerator(Generator):
    """z itself as the latent, and the synthesis network of one specification."""

    num_ws = 1
    mapping: LatentMapping
    synthesis: DCGANSynthesis

    def __init__(self, spec: DCGANSpec) -> None:
        super().__init__()
        self.spec = spec
        self.mapping = LatentMapping(z_dim=spec.z_dim, num_classes=spec.num_classes, class_dim=spec.class_dim)
        self.synthesis = DCGANSynthesis(spec)


class DCGANDiscriminator(Discriminator):
    """Images [N, C, R, R] to scores [N]; with classes, a projection head (Miyato & Koyama 2018, equation 3).

    `layers` by the side that they take. No normalisation in the first layer and in the last.
    """

    def __init__(self, spec: DCGANSpec) -> None:
        super().__init__()
        self.spec = spec
        self.whole_batch = spec.norm_D == "batch"
        widths = {r: spec.width(r) for r in spec.inner}
        first = DownLayer(spec.img_channels, widths[spec.resolution // 2], norm="none")
        self.from_image = nn.ModuleDict({f"r{spec.resolution}": first})
        self.layers = nn.ModuleDict(
            {f"r{r}": DownLayer(widths[r], widths[r // 2], norm=spec.norm_D) for r in reversed(spec.inner[1:])}
        )
        self.attention = attention_at({r: widths[r] for r in spec.attention})
        self.out = draw_weights(nn.Conv2d(widths[4], 1, 4))
        self.embed = Linear(spec.num_classes, widths[4], bias=False) if spec.num_classes else None

    def forward(
        self, x: Tensor, c: Tensor | None = None, *, group: int | None = None, stage: Stage | None = None
    ) -> Tensor:
        """group, stage: of other families."""
        (from_image,) = self.from_image.values()
        x = from_image(x).contiguous(memory_format=torch.channels_last)  # the layout of one channel is ambiguous
        for name, layer in self.layers.items():
            if name in self.attention:
                x = self.attention[name](x)
            x = layer(x)  # [N, width, r/2, r/2]
        score: Tensor = self.out(x)[:, 0, 0, 0]  # [N]
        return self.with_class(score, x.mean(dim=(2, 3)), c)
