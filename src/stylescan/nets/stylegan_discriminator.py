"""The discriminator of StyleGAN (Karras et al. 2018 and 2019), grown from 4 px together with the generator."""

from __future__ import annotations

from torch import Tensor, nn

from stylescan.errors import ConfigError
from stylescan.nets.growing import Reached, blend, halve
from stylescan.nets.protocols import Discriminator, Stage
from stylescan.nets.stylegan import (
    StyleGANSpec,
    at_resolution,
    checked_stage,
    resampling_filter,
)
from stylescan.ops.attention import SelfAttention
from stylescan.ops.layers import Conv2d, FromImage, Linear, minibatch_std, without_equalised_lr
from stylescan.ops.resample import fir_filter


class DiscriminatorBlock(nn.Module):
    """Two 3x3 convolutions, the second halving, with attention between them where it is asked for."""

    def __init__(self, spec: StyleGANSpec, resolution: int) -> None:
        super().__init__()
        width, narrower = spec.width(resolution), resolution // 2
        self.conv0 = Conv2d(width, width, 3, fir=fir_filter())
        self.attention = SelfAttention(width) if resolution in spec.attention else None
        self.conv1 = Conv2d(width, spec.width(narrower), 3, fir=resampling_filter(spec.blur), down=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        if self.attention is not None:
            x = self.attention(x)
        out: Tensor = self.conv1(x)
        return out


class StyleGANDiscriminator(Discriminator):
    """Images [N, C, r, r] to scores [N]; with classes, a projection head (Miyato & Koyama 2018, equation 3)."""

    def __init__(self, spec: StyleGANSpec) -> None:
        super().__init__()
        self.spec = spec
        self.max_depth = spec.max_depth
        self.mbstd_group = spec.mbstd_group
        self.from_images = nn.ModuleDict(
            {at_resolution(r): FromImage(spec.img_channels, spec.width(r)) for r in spec.resolutions}
        )
        self.blocks = nn.ModuleDict({at_resolution(r): DiscriminatorBlock(spec, r) for r in spec.resolutions if r > 4})
        last = spec.width(4)
        self.conv = Conv2d(last + 1, last, 3, fir=fir_filter())
        self.dense = Linear(last * 16, last, activation="lrelu")
        self.out = Linear(last, 1)
        self.embed = Linear(spec.num_classes, last, bias=False) if spec.num_classes else None
        self.reached = Reached(self.max_depth)
        if not spec.equalised_lr:
            without_equalised_lr(self)

    def forward(
        self, x: Tensor, c: Tensor | None = None, *, group: int | None = None, stage: Stage | None = None
    ) -> Tensor:
        at = checked_stage(stage, self.reached, self.max_depth)
        expected = self.spec.resolution if stage is None else at.resolution
        if x.shape[2:] != (expected, expected):
            raise ConfigError(
                f"images: found {x.shape[2]} x {x.shape[3]} px, expected {expected} x {expected}",
                remedy="Bring the images to the discriminator's stage, or leave the stage out for full-size images.",
            )
        while x.shape[2] > at.resolution:
            x = halve(x)
        x = self._grown(x, at)  # [N, width, 4, 4]
        x = minibatch_std(x, limit=group or self.mbstd_group)  # [N, width + 1, 4, 4]
        h = self.dense(self.conv(x).flatten(1))  # [N, width]
        score: Tensor = self.out(h)[:, 0]  # [N]
        return self.with_class(score, h, c)

    def _grown(self, images: Tensor, at: Stage) -> Tensor:
        """Images of the stage's resolution through its blocks: [N, C, r, r] to [N, width, 4, 4]."""
        r = at.resolution
        x: Tensor = self.from_images[at_resolution(r)](images)  # [N, width, r, r]
        if at.depth > 0:
            x = self.blocks[at_resolution(r)](x)
            if at.alpha < 1:
                x = blend(self.from_images[at_resolution(r // 2)](halve(images)), x, at.alpha)
        for depth in range(at.depth - 1, 0, -1):
            x = self.blocks[at_resolution(4 * 2**depth)](x)
        return x
