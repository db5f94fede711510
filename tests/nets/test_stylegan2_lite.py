"""StyleGAN2-lite: shapes and widths, plain computations, its fade-in, each switch alone, refusals."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from stylescan.errors import ConfigError
from stylescan.nets.growing import at_stage, enlarge, halve
from stylescan.nets.protocols import Stage, one_hot
from stylescan.nets.stylegan2_lite import (
    Resample,
    StyleGAN2LiteDiscriminator,
    StyleGAN2LiteGenerator,
    StyleGAN2LiteSpec,
)
from stylescan.ops.resample import blur, fir_filter

PLAIN = {"generator": "plain", "discriminator": "plain", "mbstd_group": 1}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def tiny(resolution: int = 32, channels: int = 1, classes: int = 0, **options: object) -> StyleGAN2LiteSpec:
    small = {"z_dim": 8, "class_dim": 5, "filters_G": 16, "filters_D": 4, "filters_D_max": 8}
    return StyleGAN2LiteSpec(**{**small, **options}, resolution=resolution, img_channels=channels, num_classes=classes)


def normal(net: torch.nn.Module) -> torch.nn.Module:
    """Weights, biases and running statistics away from where they start, which would hide mistakes."""
    for p in net.parameters():
        p.data.add_(torch.randn(p.shape) * 0.2)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return net


def pair(**options: object) -> tuple[StyleGAN2LiteGenerator, StyleGAN2LiteDiscriminator]:
    spec = tiny(**options)
    return normal(StyleGAN2LiteGenerator(spec)).eval(), normal(StyleGAN2LiteDiscriminator(spec)).eval()


@pytest.mark.parametrize("resolution", [16, 32, 64])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("options", [{}, PLAIN, {"blur": True, "first_resolution": 4, "norm_G": "none"}])
def test_shapes_and_range(resolution: int, channels: int, classes: int, options: dict) -> None:
    spec = tiny(resolution, channels, classes, **options)
    c = one_hot([0, 2], classes)
    images = StyleGAN2LiteGenerator(spec)(torch.randn(2, 8), c)
    assert images.shape == (2, channels, resolution, resolution)
    assert images.abs().max() <= 1
    assert StyleGAN2LiteDiscriminator(spec)(images, c).shape == (2,)


def test_the_sources_widths_at_256() -> None:
    with torch.device("meta"):
        spec = StyleGAN2LiteSpec(resolution=256, img_channels=1)
        G, D = StyleGAN2LiteGenerator(spec).synthesis, StyleGAN2LiteDiscriminator(spec)
    assert {r: layer.conv.weight.shape[0 if r != "r8" else 1] for r, layer in G.layers.items()} == {
        "r8": 512, "r16": 256, "r32": 128, "r64": 64, "r128": 32, "r256": 16,
    }  # fmt: skip
    assert G.layers["r8"].conv.weight.shape == (100, 512, 8, 8)
    assert {r: tuple(block.conv.weight.shape[1::-1]) for r, block in D.blocks.items()} == {
        "r256": (32, 64), "r128": (64, 128), "r64": (128, 256), "r32": (256, 512), "r16": (512, 512),
    }  # fmt: skip
    assert D.out.in_features == 512 * 8 * 8
    assert list(G.to_images) == ["r8", "r16", "r32", "r64", "r128", "r256"]


def test_generator_sums_its_images_as_the_plain_computation() -> None:
    G, _ = pair(channels=2)
    z, S = torch.randn(3, 8), G.synthesis
    x, total = z[:, :, None, None], None
    for name, layer in S.layers.items():
        if name == "r8":
            x = F.conv_transpose2d(x, layer.conv.weight)
        else:
            x = F.conv2d(F.interpolate(x, scale_factor=2), layer.conv.weight, padding=1)
        n = layer.norm
        x = F.relu(F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias))
        part = F.conv2d(x, S.to_images[name].weight, S.to_images[name].bias)
        total = part if total is None else F.interpolate(total, scale_factor=2) + part
    torch.testing.assert_close(G(z), torch.tanh(total), atol=1e-5, rtol=1e-4)


def test_a_plain_generator_shows_its_last_layer_alone() -> None:
    G, _ = pair(generator="plain")
    assert list(G.synthesis.to_images) == ["r32"]


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_discriminator_block_equals_the_plain_computation(kind: str) -> None:
    _, D = pair(discriminator=kind)
    block, x = D.blocks["r32"], torch.randn(2, 4, 32, 32)
    expected = F.avg_pool2d(F.leaky_relu(F.conv2d(x, block.conv.weight, block.conv.bias, padding=1), 0.2), 2)
    if kind == "residual":
        expected = (expected + F.conv2d(F.avg_pool2d(x, 2), block.skip.weight)) / math.sqrt(2)
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-4)


def test_blur_is_121_beside_repeating_and_averaging() -> None:
    x, taps = torch.randn(2, 3, 8, 8), fir_filter((1.0, 2.0, 1.0))
    resample = Resample(blur=True)
    torch.testing.assert_close(resample.up(x), blur(enlarge(x), taps, padding=1))
    torch.testing.assert_close(resample.down(x), halve(blur(x, taps, padding=1)))
    G, _ = pair(blur=True)
    G.synthesis.layers["r16"].resample.blur = False
    images = G(torch.ones(1, 8))
    G.synthesis.layers["r16"].resample.blur = True
    assert not torch.allclose(G(torch.ones(1, 8)), images, atol=1e-4)


def test_fade_of_the_generator_runs_from_the_level_below_to_its_own_image() -> None:
    G, _ = pair()
    ws = G.mapping(torch.randn(3, 8), None)
    at = {alpha: G.synthesis(ws, stage=Stage(3, alpha)) for alpha in (0.0, 1e-6, 0.5, 1.0 - 1e-6, 1.0)}
    # what a net that ends at 16 px and has the same weights makes of the same ws
    below = StyleGAN2LiteGenerator(tiny(16)).eval()
    below.load_state_dict(G.state_dict(), strict=False)
    torch.testing.assert_close(at[0.0], enlarge(below.synthesis(ws, stage=Stage(2))), atol=1e-6, rtol=0)
    torch.testing.assert_close(at[1.0], G.synthesis(ws), atol=1e-6, rtol=0)
    torch.testing.assert_close(at[0.5], (at[0.0] + at[1.0]) / 2, atol=1e-6, rtol=0)
    torch.testing.assert_close(at[1e-6], at[0.0], atol=4e-6, rtol=0)
    torch.testing.assert_close(at[1.0 - 1e-6], at[1.0], atol=4e-6, rtol=0)
    assert (at[1.0] - at[0.0]).abs().max() > 0.1


def test_fade_of_the_discriminator_runs_from_the_shortcut_to_the_whole_block() -> None:
    _, D = pair(mbstd_group=1)
    x, read = torch.randn(3, 1, 32, 32), D.from_image["r32"]
    below = enlarge(halve(x))
    scores = {alpha: D(at_stage(x, Stage(3, alpha)), stage=Stage(3, alpha)) for alpha in (0.0, 1e-6, 1.0 - 1e-6, 1.0)}
    torch.testing.assert_close(scores[1.0], D(x), atol=1e-6, rtol=0)
    # at 0 the images of the level below are read by the first layer and the shortcut, nothing else
    h = F.leaky_relu(F.conv2d(halve(x), read.weight, read.bias), 0.2)
    h = D.blocks["r16"](F.conv2d(h, D.blocks["r32"].skip.weight))
    h = F.leaky_relu(F.conv2d(h, D.conv.weight, D.conv.bias, padding=1), 0.2)
    torch.testing.assert_close(scores[0.0], D.out(h.flatten(1))[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores[0.0], D(below, stage=Stage(3, 0.0)), atol=1e-6, rtol=0)
    scale = max(s.abs().max().item() for s in scores.values())
    torch.testing.assert_close(scores[1e-6], scores[0.0], atol=1e-5 * scale, rtol=0)
    torch.testing.assert_close(scores[1.0 - 1e-6], scores[1.0], atol=1e-5 * scale, rtol=0)
    assert (scores[1.0] - scores[0.0]).abs().max() > 1e-2


def test_calls_without_a_stage_take_the_one_that_was_reached() -> None:
    G, D = pair()
    stage, x, ws = Stage(3, 0.25), torch.randn(4, 1, 32, 32), torch.randn(2, 1, 8)
    G.synthesis.reached.note(stage)
    D.reached.note(stage)
    torch.testing.assert_close(G.synthesis(ws), G.synthesis(ws, stage=stage))
    torch.testing.assert_close(D(x), D(at_stage(x, stage), stage=stage))
    assert not torch.allclose(D(x), D(x, stage=stage), atol=1e-4)  # the caller blends what comes with a stage


@pytest.mark.parametrize("options", [{"generator": "plain"}, {"discriminator": "plain"}])
def test_fades_and_stages_that_cannot_be_are_refused(options: dict) -> None:
    G, D = pair(**options)
    assert not G.spec.fades
    calls = {"generator": lambda s: G(torch.randn(1, 8)) if s is None else G.synthesis(torch.randn(1, 1, 8), stage=s)}
    calls["discriminator"] = lambda s: D(torch.randn(1, 1, 32, 32), stage=s)
    (which,) = options
    with pytest.raises(ConfigError, match="needs generator 'skip' and discriminator 'residual'"):
        calls[which](Stage(3, 0.5))
    calls[which](Stage(3, 1.0))
    for call in calls.values():
        with pytest.raises(ConfigError, match="16 px, expected 32: this family does not grow"):
            call(Stage(2, 1.0))


@pytest.mark.parametrize(
    ("options", "alone", "whole"),
    [({"mbstd_group": 1}, True, False), ({}, False, False), ({"mbstd_group": 1, "norm_D": "batch"}, False, True)],
)
def test_what_a_score_depends_on(options: dict, alone: bool, whole: bool) -> None:
    _, D = pair(**options)
    D.train()
    x = torch.randn(4, 1, 32, 32)
    assert torch.allclose(D(x)[:2], D(x[:2]), atol=1e-5) == alone
    assert D.whole_batch == whole


def test_group_of_the_call_sets_the_minibatch_statistics() -> None:
    _, D = pair()
    x = torch.randn(4, 1, 32, 32)
    torch.testing.assert_close(D(x, group=2)[[0, 2]], D(x[[0, 2]]))
    assert not torch.allclose(D(x, group=2), D(x), atol=1e-5)


def test_images_of_evaluation_do_not_depend_on_their_batch() -> None:
    G, _ = pair()
    z = torch.randn(5, 8)
    torch.testing.assert_close(G(z)[1:2], G(z[1:2]))
    torch.testing.assert_close(G(z), G(z), rtol=0, atol=0)
    assert not torch.allclose(G.train()(z)[1:2], G(z[1:2]), atol=1e-3)


@pytest.mark.parametrize("options", [{}, PLAIN, {"blur": True}, {"attention": (16,)}])
def test_penalty_on_gradients_is_finite_and_reaches_every_layer(options: dict) -> None:
    _, D = pair(**options)
    x = torch.randn(4, 1, 32, 32, requires_grad=True)
    (grad,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    grad.square().sum((1, 2, 3)).mean().backward()
    for name, p in D.named_parameters():
        if name.endswith("weight"):
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name
            assert p.grad.abs().max() > 0, name


def test_classes_change_images_and_scores() -> None:
    G, D = pair(classes=3, mbstd_group=1)
    z, a, b = torch.randn(2, 8), one_hot([0, 0], 3), one_hot([0, 1], 3)
    images = G(z, a)
    torch.testing.assert_close(G(z, b)[0], images[0])
    assert (G(z, b)[1] - images[1]).abs().max() > 1e-2
    changed = (D(images, b) - D(images, a)).abs()
    assert changed[0] == 0
    assert changed[1] > 1e-4
    with pytest.raises(ConfigError, match="no mean style"):
        G(z, a, psi=0.5)


def test_attention_is_where_it_was_asked_for() -> None:
    G, D = pair(attention=(8, 32))
    for net in (G, D):
        sides = [name for name, module in net.named_modules() if type(module).__name__ == "SelfAttention"]
        assert len(sides) == 2
    names = [name for name in G.state_dict() if name.endswith("gamma")]
    assert names == ["synthesis.layers.r8.attention.gamma", "synthesis.layers.r32.attention.gamma"]
    for net, call in ((G, lambda: G(torch.ones(1, 8))), (D, lambda: D(torch.ones(1, 1, 32, 32)))):
        for name, p in net.named_parameters():
            if name.endswith("gamma"):
                before = call()
                p.data.add_(2.0)
                assert not torch.allclose(call(), before, atol=1e-4), name


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"first_resolution": 12}, "power of two"),
        ({"first_resolution": 2}, "greater than or equal to 4"),
        ({"first_resolution": 32}, "below the image's side 32"),
        ({"attention": (64,)}, "attention at 64"),
        ({"first_resolution": 16, "attention": (8,)}, "attention at 8"),
        ({"layers": 3}, "layers"),
    ],
)
def test_options_that_cannot_be_name_their_field(options: dict, word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        tiny(**options)
