"""The networks as a whole: shapes, equality with a plain computation, truncation, noise, classes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from stylescan.errors import ConfigError
from stylescan.nets.build import build_discriminator, build_generator, parse_spec
from stylescan.nets.protocols import one_hot
from stylescan.nets.stylegan2 import StyleGAN2Generator, StyleGAN2Spec
from stylescan.ops.modulated_conv import modulated_conv2d_plain
from stylescan.ops.resample import upfirdn_plain


def tiny(resolution: int = 16, channels: int = 1, classes: int = 0) -> StyleGAN2Spec:
    return StyleGAN2Spec(
        z_dim=8, w_dim=12, mapping_layers=2, channel_base=128, channel_max=8,
        resolution=resolution, img_channels=channels, num_classes=classes,
    )  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([16, 32, 64]), st.integers(1, 4), st.sampled_from([0, 1, 3]), st.integers(1, 5))
def test_any_channels_classes_and_power_of_two(resolution: int, channels: int, classes: int, n: int) -> None:
    spec = tiny(resolution, channels, classes)
    G, D = build_generator(spec), build_discriminator(spec)
    c = one_hot([i % classes for i in range(n)], classes) if classes else None
    images = G(torch.randn(n, 8), c)
    assert images.shape == (n, channels, resolution, resolution)
    assert D(images, c).shape == (n,)
    assert G.num_ws == 2 * int(math.log2(resolution)) - 2


def plain_synthesis(G: StyleGAN2Generator, ws: torch.Tensor) -> torch.Tensor:
    """The paper's synthesis with per-sample weights and explicit gains, noise 'const'."""
    S = G.synthesis
    x, image, layer = S.const[None].repeat(ws.shape[0], 1, 1, 1), None, 0
    for block, to_image in enumerate(S.to_images):
        for _ in range(1 if block == 0 else 2):
            m = S.layers[layer]
            x = modulated_conv2d_plain(x, m.weight, m.affine(ws[:, layer]), f=m.fir if m.up else None)
            x = F.leaky_relu(x + m.noise_const * m.noise_strength + m.bias[:, None, None], 0.2) * math.sqrt(2)
            layer += 1
        w = (to_image.weight / math.sqrt(to_image.weight.shape[1]))[:, :, None, None]
        part = modulated_conv2d_plain(x, w, to_image.affine(ws[:, layer]), demodulate=False)
        part = part + to_image.bias[:, None, None]
        image = part if image is None else upfirdn_plain(image, S.fir, up=2, pad=(2, 1), gain=4.0) + part
    return image


def test_synthesis_equals_the_plain_computation_in_value_and_gradients() -> None:
    G = build_generator(tiny(32, 2), seed=3)
    for p in G.parameters():  # biases and noise strengths start at zero and would hide mistakes
        p.data.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.1)
    ws = torch.randn(3, G.num_ws, 12, generator=torch.Generator().manual_seed(4))
    values, grads = [], []
    for synthesis in (lambda w: G.synthesis(w, noise="const"), lambda w: plain_synthesis(G, w)):
        G.zero_grad()
        w = ws.clone().requires_grad_()
        images = synthesis(w)
        (first,) = torch.autograd.grad(images.square().sum(), w, create_graph=True)
        first.square().sum().backward()  # the shape of the path length penalty
        values.append([images.detach(), first.detach()])
        grads.append([p.grad.clone() for p in G.synthesis.parameters()])
    for a, b in zip(values[0] + grads[0], values[1] + grads[1]):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-4 * max(1.0, b.abs().max().item()))


def test_psi_moves_w_towards_its_class_mean_in_the_first_layers_only() -> None:
    G = build_generator(tiny(classes=2))
    G.mapping.w_avg.copy_(torch.stack([torch.ones(12), -torch.ones(12)]))
    z, c = torch.randn(4, 8), one_hot([0, 0, 1, 1], 2)
    ws = G.mapping(z, c)
    half = G.mapping(z, c, psi=0.5, cutoff=2)
    centre = torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None, None]
    torch.testing.assert_close(half[:, :2], centre + 0.5 * (ws[:, :2] - centre))
    torch.testing.assert_close(half[:, 2:], ws[:, 2:])
    torch.testing.assert_close(G.mapping(z, c, psi=0.0), centre.expand(4, G.num_ws, 12))


def test_w_avg_follows_each_class_on_its_own() -> None:
    G = build_generator(tiny(classes=3))
    ws = torch.stack([torch.full((G.num_ws, 12), v) for v in (1.0, 3.0, 5.0)])
    G.mapping.update_w_avg(ws, one_hot([0, 0, 2], 3))
    torch.testing.assert_close(G.mapping.w_avg[:, 0], torch.tensor([2.0, 0.0, 5.0]) * 0.005)


def test_noise_kinds() -> None:
    G = build_generator(tiny())
    for layer in G.synthesis.layers:
        layer.noise_strength.data.fill_(1.0)
    ws = G.mapping(torch.randn(2, 8))
    rng = lambda: torch.Generator().manual_seed(5)  # noqa: E731
    const, none = G.synthesis(ws, noise="const"), G.synthesis(ws, noise="none")
    drawn = G.synthesis(ws, noise="random", rng=rng())
    torch.testing.assert_close(drawn, G.synthesis(ws, noise="random", rng=rng()))
    torch.testing.assert_close(const, G.synthesis(ws, noise="const"))
    maps = [torch.zeros(2, 1, h, w) for h, w in G.synthesis.noise_shapes]
    torch.testing.assert_close(none, G.synthesis(ws, noise=maps))
    assert min((a - b).abs().max() for a, b in ((const, none), (drawn, none), (drawn, const))) > 1e-3
    with pytest.raises(ConfigError, match="expected 'random'"):
        G.synthesis(ws, noise="loud")


def test_score_depends_on_the_class_and_on_the_other_images() -> None:
    D = build_discriminator(tiny(classes=2))
    x = torch.randn(4, 1, 16, 16)
    assert not torch.allclose(D(x, one_hot([0] * 4, 2)), D(x, one_hot([1] * 4, 2)))
    alone = D(x[:1], one_hot([0], 2))
    assert not torch.allclose(D(x, one_hot([0] * 4, 2))[:1], alone)  # minibatch standard deviation


def test_equal_seeds_give_equal_weights_and_leave_the_callers_numbers_alone() -> None:
    torch.manual_seed(9)
    before = torch.random.get_rng_state()
    a, b, other = (build_generator(tiny(), seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["synthesis.const"], other["synthesis.const"])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"resolution": 48}, "power of two"),
        ({"family": "vae"}, "family"),
        ({"extra": 1}, "extra"),
        ({"z_dim": 0}, "z_dim"),
    ],
)
def test_a_specification_that_cannot_be_names_its_field(change: dict, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        parse_spec({**tiny().model_dump(), **change})


def test_missing_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 classes"):
        build_generator(tiny(classes=2))(torch.randn(1, 8))
    with pytest.raises(ConfigError, match="outside 0..1"):
        one_hot([2], 2)
