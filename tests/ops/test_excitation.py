"""Skip-layer excitation: one factor an image and channel, made of the low-resolution features."""

from __future__ import annotations

import torch

from stylescan.ops.excitation import SkipExcitation


def test_every_pixel_of_a_channel_is_weighed_alike_and_only_the_low_features_decide() -> None:
    torch.manual_seed(0)
    layer = SkipExcitation(3, 5)
    x, low = torch.randn(2, 5, 32, 32), torch.randn(2, 3, 4, 4)
    out = layer(x, low)
    factors = (out / x).mean(dim=(2, 3))
    torch.testing.assert_close(out, x * factors[:, :, None, None])
    assert ((factors > 0) & (factors < 2)).all()
    assert factors.std() > 0.05
    assert not torch.allclose(layer(x, low.flip(0)), out)
    torch.testing.assert_close(layer(2 * x, low), 2 * out)


def test_mixed_precision_does_not_widen_the_features() -> None:
    layer = SkipExcitation(3, 5)
    x, low = torch.randn(2, 5, 8, 8).bfloat16(), torch.randn(2, 3, 4, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x, low).dtype == torch.bfloat16


def test_it_is_what_the_formula_says() -> None:
    torch.manual_seed(1)
    layer, x, low = SkipExcitation(2, 4), torch.randn(1, 4, 16, 16), torch.randn(1, 2, 8, 8)
    pooled = low.reshape(1, 2, 4, 2, 4, 2).mean(dim=(3, 5)).flatten(1)
    hidden = pooled @ (layer.pooled.weight.t() / 32**0.5)
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden) * 2**0.5
    factors = 2 / (1 + torch.exp(-(hidden @ (layer.factors.weight.t() / 2))))
    torch.testing.assert_close(layer(x, low), x * factors[:, :, None, None], rtol=1e-4, atol=1e-5)
