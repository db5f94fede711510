"""DCGAN and the latent without w: shapes, equality with a plain computation, batch normalisation, classes, refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from stylescan.errors import ConfigError
from stylescan.nets.dcgan import DCGANDiscriminator, DCGANGenerator, DCGANSpec
from stylescan.nets.latent import LatentMapping
from stylescan.nets.protocols import one_hot


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def tiny(resolution: int = 16, channels: int = 1, classes: int = 0, **options: object) -> DCGANSpec:
    small = {"z_dim": 8, "class_dim": 5, "channel_base": 128, "channel_max": 16}
    return DCGANSpec(**{**small, **options}, resolution=resolution, img_channels=channels, num_classes=classes)


def normal(net: torch.nn.Module) -> torch.nn.Module:
    """Weights, biases and running statistics away from where they start, which would hide mistakes."""
    for p in net.parameters():
        p.data.add_(torch.randn(p.shape) * 0.2)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return net


@pytest.mark.parametrize("resolution", [16, 32, 64])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("classes", [0, 3])
def test_shapes_and_range(resolution: int, channels: int, classes: int) -> None:
    spec = tiny(resolution, channels, classes)
    c = one_hot([0, 2], classes)
    images = DCGANGenerator(spec)(torch.randn(2, 8), c)
    assert images.shape == (2, channels, resolution, resolution)
    assert images.abs().max() <= 1
    assert DCGANDiscriminator(spec)(images, c).shape == (2,)
    assert spec.w_dim == (13 if classes else 8)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_equals_the_plain_computation(norm: str) -> None:
    spec = tiny(norm_G=norm, norm_D=norm)
    G, D = normal(DCGANGenerator(spec)), normal(DCGANDiscriminator(spec))

    def normed(x: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
        if norm == "none":
            return x
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
        w, b = (p[:, None, None] for p in (layer.norm.weight, layer.norm.bias))
        return (x - mean) / (var + 1e-5).sqrt() * w + b

    z = torch.randn(3, 8)
    x = z[:, :, None, None]
    for layer, stride, padding in zip(G.synthesis.layers.values(), (1, 2), (0, 1)):
        x = F.conv_transpose2d(x, layer.conv.weight, layer.conv.bias, stride, padding)
        x = F.relu(normed(x, layer))
    last = G.synthesis.to_image["r16"]
    images = torch.tanh(F.conv_transpose2d(x, last.weight, last.bias, 2, 1))
    torch.testing.assert_close(G(z), images, atol=1e-5, rtol=1e-4)

    first, second = D.from_image["r16"], D.layers["r8"]
    h = F.leaky_relu(F.conv2d(images, first.conv.weight, first.conv.bias, 2, 1), 0.2)
    h = F.leaky_relu(normed(F.conv2d(h, second.conv.weight, second.conv.bias, 2, 1), second), 0.2)
    score = (h * D.out.weight).sum((1, 2, 3)) + D.out.bias
    torch.testing.assert_close(D(images), score, atol=1e-4, rtol=1e-4)


def test_the_papers_widths_and_initial_weights() -> None:
    spec = DCGANSpec(resolution=64, img_channels=3)
    assert [spec.width(r) for r in spec.inner] == [1024, 512, 256, 128]
    conv = DCGANDiscriminator(spec).layers["r8"].conv.weight
    assert conv.std().item() == pytest.approx(0.02, rel=0.01)
    scale = DCGANGenerator(spec).synthesis.layers["r4"].norm.weight
    assert (scale.mean().item(), scale.std().item()) == pytest.approx((1, 0.02), abs=2e-3)


def test_images_of_evaluation_do_not_depend_on_their_batch() -> None:
    G = normal(DCGANGenerator(tiny())).eval()
    z = torch.randn(5, 8)
    torch.testing.assert_close(G(z)[1:2], G(z[1:2]))
    torch.testing.assert_close(G(z), G(z), rtol=0, atol=0)
    G.train()
    assert not torch.allclose(G(z)[1:2], G(z[1:2]), atol=1e-3)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_whole_batch_says_whether_scores_depend_on_the_others(norm: str) -> None:
    D = normal(DCGANDiscriminator(tiny(norm_D=norm)))
    x = torch.randn(4, 1, 16, 16)
    together, alone = D(x)[:2], D(x[:2])
    assert D.whole_batch == (norm == "batch")
    assert torch.allclose(together, alone, atol=1e-5) != D.whole_batch


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_penalty_on_gradients_is_finite_and_moves_the_weights(norm: str) -> None:
    D = normal(DCGANDiscriminator(tiny(norm_D=norm, attention=(8,))))
    x = torch.randn(4, 1, 16, 16, requires_grad=True)
    (grad,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    grad.square().sum((1, 2, 3)).mean().backward()
    for name, p in D.named_parameters():
        assert p.grad is None or p.grad.isfinite().all(), name
    assert D.from_image["r16"].conv.weight.grad.abs().max() > 0


def test_classes_change_images_and_scores() -> None:
    spec = tiny(classes=3)
    G, D = normal(DCGANGenerator(spec)).eval(), normal(DCGANDiscriminator(spec)).eval()
    z, a, b = torch.randn(2, 8), one_hot([0, 0], 3), one_hot([0, 1], 3)
    images = G(z, a)
    torch.testing.assert_close(G(z, b)[0], images[0])
    assert (G(z, b)[1] - images[1]).abs().max() > 1e-2
    changed = (D(images, b) - D(images, a)).abs()
    assert changed[0] == 0
    assert changed[1] > 1e-4


def test_attention_is_where_it_was_asked_for() -> None:
    spec = tiny(32, attention=(8, 16))
    G, D = DCGANGenerator(spec), DCGANDiscriminator(spec)
    images = G(torch.randn(2, 8))
    scores = D(images)
    for net in (G.synthesis, D):
        assert list(net.attention) == ["r8", "r16"]
        for attention in net.attention.values():
            attention.gamma.data.fill_(2.0)
    assert not torch.allclose(D(images), scores)
    with pytest.raises(ValidationError, match="attention at 32"):
        tiny(32, attention=(32,))


def test_names_of_a_layer_do_not_depend_on_the_final_resolution() -> None:
    small, large = DCGANGenerator(tiny(16)).state_dict(), DCGANGenerator(tiny(32)).state_dict()
    common = {name for name in small if ".layers." in name}
    assert common
    assert all(small[name].shape == large[name].shape for name in common)
    assert "synthesis.to_image.r16.weight" not in large


def test_the_latent_is_z_and_the_class_beside_it() -> None:
    mapping = LatentMapping(z_dim=8, num_classes=3, class_dim=4)
    z = torch.randn(2, 8) * 3
    ws = mapping(z, one_hot([2, 0], 3), cutoff=1)
    assert ws.shape == (2, 1, 12)
    torch.testing.assert_close(ws[:, 0, :8], z)
    torch.testing.assert_close(ws[:, 0, 8:], mapping.embed.weight.t()[[2, 0]])
    mapping.update_w_avg(ws, None)
    assert mapping.w_avg.shape == (3, 12)
    assert not mapping.w_avg.any()
    unit = LatentMapping(z_dim=8, num_classes=0, class_dim=4, normalise_z=True)(z, None)
    torch.testing.assert_close(unit.square().mean(2), torch.ones(2, 1))


def test_truncation_classes_and_noise_maps_are_refused_with_the_reason() -> None:
    G = DCGANGenerator(tiny())
    with pytest.raises(ConfigError, match="no mean style to truncate to") as caught:
        G(torch.randn(1, 8), psi=0.7)
    assert caught.value.remedy == "Leave psi at 1, or train a style-based family."
    with pytest.raises(ConfigError, match="0 classes and was called with a class"):
        G(torch.randn(1, 8), torch.ones(1, 1))
    with pytest.raises(ConfigError, match="3 classes and was called without a class"):
        DCGANGenerator(tiny(classes=3))(torch.randn(1, 8))
    with pytest.raises(ConfigError, match="1 maps, expected none"):
        G(torch.randn(1, 8), noise=[torch.zeros(1, 1, 4, 4)])
    assert G(torch.randn(2, 8), noise=[]).shape == (2, 1, 16, 16)
