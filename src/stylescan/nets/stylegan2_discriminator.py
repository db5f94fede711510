"""StyleGAN2's residual discriminator (Karras et al. 2020, section 4.1)."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from stylescan.nets.protocols import Discriminator, Stage
from stylescan.nets.stylegan2 import StyleGAN2Spec
from stylescan.ops.attention import attention_at
from stylescan.ops.haar import haar
from stylescan.ops.layers import Conv2d, FromImage, Linear, minibatch_std, without_equalised_lr


class ResidualBlock(nn.Module):
    """3x3 convolutions and a 1x1 shortcut, each scaled by sqrt(1/2): [N, in, H, W] to [N, out, H/2, W/2]."""

    def __init__(self, in_channels: int, out_channels: int, fir: Tensor, *, convolutions: int) -> None:
        super().__init__()
        half = math.sqrt(0.5)
        self.conv0 = Conv2d(in_channels, in_channels, 3, fir=fir) if convolutions == 2 else nn.Identity()
        self.conv1 = Conv2d(in_channels, out_channels, 3, fir=fir, down=True, gain=half)
        self.skip = Conv2d(in_channels, out_channels, 1, fir=fir, down=True, bias=False, activation="linear", gain=half)

    def forward(self, x: Tensor) -> Tensor:
        short = self.skip(x)
        out: Tensor = self.conv1(self.conv0(x)) + short
        return out


class StyleGAN2Discriminator(Discriminator):
    """Images [N, C, R, R] to scores [N]; with classes, a projection head (Miyato & Koyama 2018, equation 3)."""

    def __init__(self, spec: StyleGAN2Spec) -> None:
        super().__init__()
        self.spec = spec
        self.mbstd_group = spec.mbstd_group
        fir = spec.fir
        self.haar = spec.haar
        widths = [spec.width(r) for r in reversed(spec.levels)]  # from the highest side down to 4
        self.from_image = FromImage(spec.img_channels * 4**spec.haar, widths[0])
        self.blocks = nn.ModuleList(
            ResidualBlock(a, b, fir, convolutions=spec.convolutions) for a, b in pairwise(widths)
        )
        last = widths[-1]
        self.conv = Conv2d(last + 1, last, 3, fir=fir)
        self.dense = Linear(last * 16, last, activation="lrelu")
        self.out = Linear(last, 1)
        self.embed = Linear(spec.num_classes, last, bias=False) if spec.num_classes else None
        self.attention = attention_at({r: spec.width(r) for r in spec.attention})
        if not spec.equalised_lr:
            without_equalised_lr(self)

    def forward(
        self, x: Tensor, c: Tensor | None = None, *, group: int | None = None, stage: Stage | None = None
    ) -> Tensor:
        """group: images a group of the minibatch statistics; stage: without meaning here."""
        x = self.from_image(haar(x, self.haar))  # [N, width, R, R], R / 2^haar
        for block in self.blocks:
            if (key := f"r{x.shape[2]}") in self.attention:
                x = self.attention[key](x)
            x = block(x)
        x = minibatch_std(x, limit=group or self.mbstd_group)  # [N, width + 1, 4, 4]
        h = self.dense(self.conv(x).flatten(1))  # [N, width]
        score: Tensor = self.out(h)[:, 0]  # [N]
        return self.with_class(score, h, c)
