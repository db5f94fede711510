"""R3GAN: initial scales, one block recomputed, mirrored shapes, second derivatives."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylescan.errors import ConfigError
from stylescan.nets.protocols import one_hot
from stylescan.nets.r3gan import (
    Pointwise,
    R3GANDiscriminator,
    R3GANGenerator,
    R3GANSpec,
    ResidualBlock,
    fitting_group,
)
from stylescan.ops.spectral import apply_spectral_norm


def spec(**changes) -> R3GANSpec:
    values = {"z_dim": 8, "class_dim": 6, "channel_base": 512, "channel_max": 32, "resolution": 32, "img_channels": 1}
    return R3GANSpec(**{**values, **changes})


def nets(chosen: R3GANSpec) -> tuple[R3GANGenerator, R3GANDiscriminator]:
    torch.manual_seed(3)
    return R3GANGenerator(chosen), R3GANDiscriminator(chosen)


def shaken(net: nn.Module) -> nn.Module:
    """Move every parameter: what starts at zero would hide mistakes."""
    torch.manual_seed(4)
    for p in net.parameters():
        p.data.add_(torch.randn(p.shape) * 0.1)
    return net


@pytest.mark.parametrize(("resolution", "channels", "classes"), [(16, 1, 0), (32, 3, 2), (64, 2, 0)])
def test_shapes(resolution: int, channels: int, classes: int) -> None:
    G, D = nets(spec(resolution=resolution, img_channels=channels, num_classes=classes))
    c = one_hot([0, 1, 0], 2) if classes else None
    ws = G.mapping(torch.randn(3, 8), c)
    assert ws.shape == (3, 1, G.spec.w_dim)
    assert (G.num_ws, G.synthesis.noise_shapes, D.mbstd_group, D.whole_batch) == (1, (), 1, False)
    images = G.synthesis(ws)
    assert images.shape == (3, channels, resolution, resolution)
    assert D(images, c).shape == (3,)


def test_convolutions_start_at_the_scales_of_the_paper() -> None:
    chosen = spec(channel_base=4096, channel_max=128, blocks=3, z_dim=64)
    assert chosen.depth == 12  # three at 4, 8, 16 and 32
    gain = math.sqrt(2 / 1.04) * 12**-0.25
    for net in nets(chosen):
        blocks = [m for m in net.modules() if isinstance(m, ResidualBlock)]
        assert len(blocks) == 12
        for block in blocks:
            assert block.mix.weight.shape == (256, 16, 3, 3)
            assert block.expand.weight.std().item() == pytest.approx(gain / math.sqrt(128), rel=0.03)
            assert block.mix.weight.std().item() == pytest.approx(gain / math.sqrt(16 * 9), rel=0.03)
            assert not block.project.weight.any()
            assert not block.expand.bias.any()
            assert not block.mix.bias.any()
            assert block.project.bias is None
    G, D = nets(chosen)
    assert G.synthesis.scale.weight.std().item() == pytest.approx(1 / 8, rel=0.05)  # 64 inputs
    assert D.reduce.weight.std().item() == pytest.approx(1 / 4, rel=0.05)  # 16 pixels


def test_blocks_are_the_identity_at_the_start() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(32, spec())
    x = torch.randn(2, 32, 8, 8)
    assert torch.equal(block(x), x)


def test_a_block_equals_its_plain_computation() -> None:
    block = shaken(ResidualBlock(24, spec(expansion=2, group_width=16)))
    x = torch.randn(2, 24, 7, 7).contiguous(memory_format=torch.channels_last)
    h = F.conv2d(x, block.expand.weight[:, :, None, None], block.expand.bias)
    h = torch.where(h > 0, h, 0.2 * h)
    parts = []  # a group at a time: 48 channels are three groups of 16
    for i in range(0, 48, 16):
        rows = slice(i, i + 16)
        parts.append(F.conv2d(h[:, rows], block.mix.weight[rows], block.mix.bias[rows], padding=1))
    h = torch.cat(parts, dim=1)
    h = torch.where(h > 0, h, 0.2 * h)
    expected = x + F.conv2d(h, block.project.weight[:, :, None, None])
    y = block(x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_group_width_falls_to_the_nearest_divisor_below() -> None:
    assert [fitting_group(n, 16) for n in (64, 48, 40, 24, 10, 7)] == [16, 16, 10, 12, 10, 7]
    assert ResidualBlock(20, spec()).mix.groups == 4  # 40 channels, 10 a group


def sizes(net: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, tuple[int, ...]]:
    """What leaves the blocks of each resolution."""
    found: dict[str, tuple[int, ...]] = {}
    for name, blocks in net.blocks.items():
        blocks.register_forward_hook(lambda _m, _x, y, name=name: found.__setitem__(name, tuple(y.shape)))
    net(*inputs)
    return found


def test_D_mirrors_G() -> None:
    G, D = nets(spec())
    ours = sizes(G.synthesis, (torch.randn(2, 1, 8),))
    assert ours == {"r4": (2, 32, 4, 4), "r8": (2, 32, 8, 8), "r16": (2, 32, 16, 16), "r32": (2, 16, 32, 32)}
    assert sizes(D, (torch.randn(2, 1, 32, 32),)) == ours
    assert list(G.synthesis.widen) == list(D.narrow) == ["r32"]
    assert G.synthesis.widen["r32"].weight.shape == D.narrow["r32"].weight.t().shape


def test_at_the_start_G_enlarges_its_scaled_basis() -> None:
    G, _ = nets(spec(channel_base=2048, resolution=16))  # one width throughout, and blocks that do nothing yet
    ws = torch.randn(2, 1, 8)
    x = G.synthesis.basis * (ws[:, 0] @ G.synthesis.scale.weight.t())[:, :, None, None]
    image = torch.einsum("ic,nchw->nihw", G.synthesis.to_image["r16"].weight, x)
    for _ in range(2):  # [1, 3, 3, 1]: each new pixel is 3/4 of the nearer and 1/4 of the further one, on both axes
        image = F.pad(image, [1, 1, 1, 1])
        image = F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)[:, :, 2:-2, 2:-2]
    torch.testing.assert_close(G.synthesis(ws), image, rtol=1e-4, atol=1e-5)


def test_the_score_at_the_start_is_linear_in_the_mean_of_smoothed_pixels() -> None:
    _, D = nets(spec(img_channels=2))
    a, b = torch.randn(2, 2, 2, 32, 32).unbind()
    torch.testing.assert_close(D(2 * a - 3 * b), 2 * D(a) - 3 * D(b), rtol=1e-4, atol=1e-4)


def test_penalty_on_slopes_has_the_derivative_of_finite_differences() -> None:
    D = shaken(nets(spec(resolution=16, channel_base=128, channel_max=8, num_classes=2, attention=(8,)))[1]).double()
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    c = one_hot([0, 1], 2).double()

    def penalty() -> Tensor:
        (slope,) = torch.autograd.grad(D(x, c).sum(), x, create_graph=True)
        return slope.square().sum()

    parameters = [p for name, p in D.named_parameters() if not name.endswith("embed.weight")]
    slopes = torch.autograd.grad(penalty(), parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(p.shape, dtype=torch.float64, generator=generator) for p in parameters]
    values = []
    for step in (1e-8, -2e-8):  # so short that no leaky ReLU changes sides: the penalty jumps there
        for p, d in zip(parameters, directions):
            p.data.add_(d, alpha=step)
        values.append(penalty().item())
    expected = sum((s * d).sum().item() for s, d in zip(slopes, directions) if s is not None)
    assert (values[0] - values[1]) / 2e-8 == pytest.approx(expected, rel=1e-4)


def test_classes_reach_G_and_D() -> None:
    G, D = (shaken(net) for net in nets(spec(num_classes=2)))
    z, zero, one = torch.randn(2, 8), one_hot([0, 0], 2), one_hot([1, 1], 2)
    assert not torch.allclose(G(z, zero), G(z, one))
    x = torch.randn(2, 1, 32, 32)
    assert not torch.allclose(D(x, zero), D(x, one))
    with pytest.raises(ConfigError, match="2 classes"):
        G(z)


def test_truncation_and_noise_maps_are_refused() -> None:
    G, _ = nets(spec())
    with pytest.raises(ConfigError, match="psi is 0.7"):
        G(torch.randn(1, 8), psi=0.7)
    with pytest.raises(ConfigError, match="no layer of this family takes noise"):
        G.synthesis(torch.randn(1, 1, 8), noise=[torch.zeros(1, 1, 4, 4)])


def test_attention_beyond_the_image_is_refused_and_within_it_wakes() -> None:
    with pytest.raises(ValueError, match="attention at 64 px, but the images have 32"):
        spec(attention=(64,))
    for net, x in zip(nets(spec(attention=(16,))), (torch.randn(2, 8), torch.randn(2, 1, 32, 32))):
        before = net(x)
        (getattr(net, "synthesis", net)).attention["r16"].gamma.data.fill_(1.0)
        assert not torch.allclose(before, net(x))


def test_pointwise_is_a_1x1_convolution() -> None:
    layer = Pointwise(6, 4, bias=True)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight[:, :, None, None], layer.bias))


def test_spectral_norm_meets_no_weight_of_zeros() -> None:
    G, D = nets(spec(spectral_norm="both"))
    for net in (G.synthesis, D):
        apply_spectral_norm(net)
    assert D(G(torch.randn(2, 8))).isfinite().all()
    G, _ = nets(spec(spectral_norm="D"))
    assert not G.synthesis.blocks["r4"][0].project.weight.any()
