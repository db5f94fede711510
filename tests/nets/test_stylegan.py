"""StyleGAN: instance styles, growing by resolution, continuity of the fade-in, derivatives for the penalties."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from stylescan.errors import ConfigError
from stylescan.nets.growing import enlarge, halve
from stylescan.nets.protocols import Stage, one_hot
from stylescan.nets.stylegan import StyleGANGenerator, StyleGANSpec, UpConv2d, resampling_filter
from stylescan.nets.stylegan_discriminator import StyleGANDiscriminator
from stylescan.ops.adain import adain
from stylescan.ops.layers import Conv2d
from stylescan.ops.resample import fir_filter, upfirdn_plain


def tiny(resolution: int = 16, channels: int = 1, classes: int = 0, **options: object) -> StyleGANSpec:
    values = {
        "z_dim": 8, "w_dim": 12, "mapping_layers": 2, "channel_base": 128, "channel_max": 8,
        "resolution": resolution, "img_channels": channels, "num_classes": classes,
    }  # fmt: skip
    return StyleGANSpec.model_validate({**values, **options})


def built(spec: StyleGANSpec, seed: int = 3, *, shaken: bool = True) -> tuple[StyleGANGenerator, StyleGANDiscriminator]:
    """Both nets; shaken: biases, noise strengths and gamma start at zero and would hide mistakes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        G = StyleGANGenerator(spec).to(memory_format=torch.channels_last)
        D = StyleGANDiscriminator(spec).to(memory_format=torch.channels_last)
        for p in itertools.chain(G.parameters(), D.parameters()) if shaken else ():
            p.data.add_(torch.randn(p.shape) * 0.2)
    return G, D


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# adaptive instance normalisation


def test_adain_gives_each_channel_the_mean_and_deviation_asked_for() -> None:
    x = (normal(3, 5, 8, 8) * 4 + 50).contiguous(memory_format=torch.channels_last)
    scale, shift = normal(3, 5, seed=1), normal(3, 5, seed=2)
    y = adain(x, scale, shift)
    torch.testing.assert_close(y.mean(dim=(2, 3)), shift, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(y.std(dim=(2, 3), correction=0), (scale + 1).abs(), rtol=1e-4, atol=1e-5)
    assert y.is_contiguous(memory_format=torch.channels_last)
    flat = torch.full((1, 5, 4, 4), 7.0)
    torch.testing.assert_close(adain(flat, scale[:1], shift[:1]), shift[:1, :, None, None].expand(1, 5, 4, 4))


def test_adain_equals_instance_norm_in_value_and_two_derivatives() -> None:
    x, scale, shift = normal(2, 3, 5, 6).double() + 2, normal(2, 3, seed=1).double(), normal(2, 3, seed=2).double()
    g, h = normal(2, 3, 5, 6, seed=3).double(), normal(2, 3, 5, 6, seed=4).double()

    def plain(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return F.instance_norm(x, eps=1e-8) * (scale[:, :, None, None] + 1) + shift[:, :, None, None]

    results = []
    for function in (adain, plain):
        inputs = [t.clone().requires_grad_() for t in (x, scale, shift)]
        y = function(*inputs)
        fast = torch.autograd.grad((y * g).sum(), inputs, retain_graph=True)  # the path without a second derivative
        first = torch.autograd.grad((y * g).sum(), inputs, create_graph=True)
        second = torch.autograd.grad((first[0] * h).sum() + first[1].square().sum(), inputs[:2])
        results.append([y, *fast, *first, *second])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b)


def test_adain_derivatives_against_finite_differences() -> None:
    inputs = [normal(2, 2, 3, 3), normal(2, 2, seed=1), normal(2, 2, seed=2)]
    inputs = [t.double().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(adain, inputs)
    assert torch.autograd.gradgradcheck(adain, inputs)


# doubling and halving convolutions against the paper's order of operations


@pytest.mark.parametrize("blurred", [True, False])
def test_up_and_down_convolutions_equal_the_separate_steps(blurred: bool) -> None:
    x, inner = normal(2, 3, 8, 8), slice(2, -2) if blurred else slice(None)  # at the border the order of padding shows
    steps = fir_filter((1.0, 2.0, 1.0)) if blurred else torch.ones(1, 1)
    pad = (1, 1) if blurred else (0, 0)
    fir = resampling_filter(blurred)
    up = UpConv2d(3, 4, 3, fir=fir, bias=False)
    weight = (up.weight * up.weight_gain).flip([2, 3])
    plain = upfirdn_plain(F.conv2d(enlarge(x), weight, padding=1), steps, pad=pad)
    torch.testing.assert_close(up(x)[:, :, inner, inner], plain[:, :, inner, inner], rtol=1e-4, atol=1e-5)

    down = Conv2d(3, 4, 3, fir=fir, down=True)
    weight = down.weight * down.weight_gain
    plain = F.leaky_relu(halve(F.conv2d(upfirdn_plain(x, steps, pad=pad), weight, padding=1)), 0.2)
    inner = slice(1, -1) if blurred else slice(None)
    torch.testing.assert_close(down(x)[:, :, inner, inner], plain[:, :, inner, inner], rtol=1e-4, atol=1e-5)


def test_a_stage_equals_the_plain_computation() -> None:
    G, _ = built(tiny(16, 2, blur=False))
    S, ws = G.synthesis, normal(3, G.num_ws, 12)
    x = S.const[None].repeat(3, 1, 1, 1)
    images = []
    for depth, r in enumerate((4, 8)):
        for k, layer in enumerate(S.blocks[f"r{r}"].layers):
            if layer.conv is not None:
                weight = layer.conv.weight * layer.conv.weight_gain
                weight = weight.flip([2, 3]) if isinstance(layer.conv, UpConv2d) else weight
                x = F.conv2d(enlarge(x) if k == 0 else x, weight, padding=1)
            x = x + layer.bias[:, None, None] + layer.noise_const * layer.noise_strength[:, None, None]
            scale, shift = layer.affine(ws[:, 2 * depth + k])[:, :, None, None].chunk(2, dim=1)
            x = F.instance_norm(F.leaky_relu(x, 0.2), eps=1e-8) * (scale + 1) + shift
        to_image = S.to_images[f"r{r}"]
        images.append(F.conv2d(x, (to_image.weight * to_image.weight_gain)[:, :, None, None], to_image.bias))
    expected = 0.7 * enlarge(images[0]) + 0.3 * images[1]
    torch.testing.assert_close(S(ws, noise="const", stage=Stage(1, 0.3)), expected, rtol=1e-3, atol=1e-4)


# growing


@pytest.mark.parametrize(
    ("resolution", "channels", "classes"), [(16, 1, 0), (16, 3, 3), (32, 2, 3), (32, 1, 0), (64, 1, 3), (64, 3, 0)]
)
def test_shapes_at_every_stage(resolution: int, channels: int, classes: int) -> None:
    spec = tiny(resolution, channels, classes)
    G, D = built(spec)
    assert G.num_ws == 2 * len(spec.resolutions) == len(G.synthesis.noise_shapes)
    c = one_hot([0, 2, 1], classes) if classes else None
    z = normal(3, 8)
    assert G(z, c).shape == (3, channels, resolution, resolution)
    for depth, alpha in itertools.product(range(spec.max_depth + 1), (0.4, 1.0)):
        stage = Stage(depth, alpha)
        images = G.synthesis(G.mapping(z, c), stage=stage)
        assert images.shape == (3, channels, stage.resolution, stage.resolution)
        assert images.isfinite().all()
        assert D(images, c, stage=stage).shape == (3,)
        assert G.synthesis.styles_at(stage) == 2 * depth + 2


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_new_resolution_starts_as_the_one_below(depth: int) -> None:
    G, D = built(tiny(32, 2, 2, attention=[16]))
    ws = normal(4, G.num_ws, 12)
    new, old = Stage(depth, 0.0), Stage(depth - 1, 1.0)
    images = G.synthesis(ws, noise="const", stage=new)
    torch.testing.assert_close(images, enlarge(G.synthesis(ws, noise="const", stage=old)), rtol=0, atol=1e-6)
    x, c = normal(4, 2, new.resolution, new.resolution), one_hot([0, 1, 1, 0], 2)
    torch.testing.assert_close(D(x, c, stage=new), D(halve(x), c, stage=old), rtol=0, atol=1e-6)


def test_no_jump_just_after_and_just_before_the_ends_of_a_fade() -> None:
    G, D = built(tiny(16))
    ws, x = normal(2, G.num_ws, 12), normal(4, 1, 16, 16)
    for end, near in ((0.0, 1e-6), (1.0, 1 - 1e-6)):
        a, b = (G.synthesis(ws, noise="const", stage=Stage(2, alpha)) for alpha in (end, near))
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)
        torch.testing.assert_close(D(x, stage=Stage(2, end)), D(x, stage=Stage(2, near)), rtol=0, atol=1e-4)
    halfway = G.synthesis(ws, noise="const", stage=Stage(2, 0.5))
    ends = [G.synthesis(ws, noise="const", stage=Stage(2, alpha)) for alpha in (0.0, 1.0)]
    torch.testing.assert_close(halfway, (ends[0] + ends[1]) / 2, rtol=1e-5, atol=1e-5)


def test_a_grown_resolution_no_longer_reads_the_layers_of_the_fade() -> None:
    G, D = built(tiny(16))
    ws, x = normal(2, G.num_ws, 12), normal(4, 1, 16, 16)

    def both(alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
        return G.synthesis(ws, noise="const", stage=Stage(2, alpha)), D(x, stage=Stage(2, alpha))

    grown, fading = both(1.0), both(0.5)
    for p in [*G.synthesis.to_images["r8"].parameters(), *D.from_images["r8"].parameters()]:
        p.data.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(grown, both(1.0)))
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(fading, both(0.5)))


def test_without_a_stage_the_nets_are_where_they_were_trained_to() -> None:
    G, D = built(tiny(32))
    ws, x = normal(2, G.num_ws, 12), normal(4, 1, 32, 32)
    full = G.synthesis(ws, noise="const")
    torch.testing.assert_close(full, G.synthesis(ws, noise="const", stage=Stage(3)))
    torch.testing.assert_close(D(x), D(x, stage=Stage(3)))
    stage = Stage(1, 0.25)
    for net in (G.synthesis, D):
        net.reached.note(stage)
    assert G.synthesis.styles_at(None) == 4
    small = G.synthesis(ws, noise="const", stage=stage)
    assert small.shape[2] == 8
    assert torch.equal(G.synthesis(ws, noise="const"), enlarge(small, 4))
    torch.testing.assert_close(D(x), D(halve(halve(x)), stage=stage))
    again = StyleGANGenerator(tiny(32))
    again.load_state_dict(G.state_dict())
    assert again.synthesis.reached.read() == stage  # it travels with the weights


def test_a_stage_reads_its_own_styles_and_noise_alone() -> None:
    G, _ = built(tiny(32))
    S, stage = G.synthesis, Stage(1)
    ws = normal(2, G.num_ws, 12)
    maps = [normal(2, 1, h, w, seed=h) for h, w in S.noise_shapes]
    image = S(ws, noise=maps, stage=stage)
    cut = ws.clone()
    cut[:, S.styles_at(stage) :] = 9.0
    assert torch.equal(image, S(cut, noise=maps[:4], stage=stage))
    for k in range(S.styles_at(stage)):  # and all of its own
        other = ws.clone()
        other[:, k] += 1
        assert (S(other, noise=maps, stage=stage) - image).abs().max() > 1e-4, k
        changed = [*maps[:k], maps[k] + normal(*maps[k].shape, seed=99), *maps[k + 1 :]]
        assert (S(ws, noise=changed, stage=stage) - image).abs().max() > 1e-4, k
    used, expected = (torch.Generator().manual_seed(1) for _ in range(2))
    S(ws, noise="random", rng=used, stage=stage)
    torch.randn(2, 2 * 16 + 2 * 64, generator=expected)
    assert torch.equal(used.get_state(), expected.get_state())


@pytest.mark.parametrize("layer", [0, 3, 5])
def test_another_style_from_a_layer_on_leaves_the_layers_below_alone(layer: int) -> None:
    G, _ = built(tiny(16))
    layers = [module for block in G.synthesis.blocks.values() for module in block.layers]
    seen: list[list[torch.Tensor]] = []
    hooks = [module.register_forward_hook(lambda _m, _i, out: seen[-1].append(out.clone())) for module in layers]
    ws = normal(2, G.num_ws, 12)
    mixed = ws.clone()
    mixed[:, layer:] = normal(2, G.num_ws - layer, 12, seed=5)
    for styles in (ws, mixed):
        seen.append([])
        G.synthesis(styles, noise="const")
    for hook in hooks:
        hook.remove()
    assert [torch.equal(a, b) for a, b in zip(*seen)] == [k < layer for k in range(len(layers))]


# options


def test_noise_kinds_and_their_absence() -> None:
    G, _ = built(tiny(16), shaken=False)
    ws = normal(2, G.num_ws, 12)
    assert torch.equal(G.synthesis(ws, noise="const"), G.synthesis(ws, noise="none"))  # strengths start at zero
    G, _ = built(tiny(16))
    rng = lambda: torch.Generator().manual_seed(5)  # noqa: E731
    const, none = G.synthesis(ws, noise="const"), G.synthesis(ws, noise="none")
    drawn = G.synthesis(ws, noise="random", rng=rng())
    assert torch.equal(drawn, G.synthesis(ws, noise="random", rng=rng()))
    torch.testing.assert_close(
        none, G.synthesis(ws, noise=[torch.zeros(1, 1, h, w) for h, w in G.synthesis.noise_shapes])
    )
    assert min((a - b).abs().max() for a, b in ((const, none), (drawn, none), (drawn, const))) > 1e-3
    for wrong in ("loud", [torch.zeros(1, 1, 4, 4)], [torch.zeros(1, 1, 4, 4)] * 7):
        with pytest.raises(ConfigError, match="expected 'random'"):
            G.synthesis(ws, noise=wrong)
    without, _ = built(tiny(16, noise=False))
    assert without.synthesis.noise_shapes == ()
    assert not [name for name, _ in without.named_parameters() if "noise" in name]
    torch.testing.assert_close(without.synthesis(ws, noise="random"), without.synthesis(ws, noise=[]))


def mapping_scale(on: StyleGANGenerator, off: StyleGANGenerator) -> float:
    """Stored size of the mapping's first weight without equalised learning rate over that with it, fan-in taken out."""
    unit, true = (net.mapping.layers[0].weight for net in (on, off))
    return (true / unit).mean().item() / (2 / unit.shape[1]) ** 0.5


def test_equalised_or_not_starts_as_the_same_function() -> None:
    on, off = (built(tiny(16, 2, 2, equalised_lr=flag), shaken=False) for flag in (True, False))
    z, c = normal(4, 8), one_hot([0, 1, 1, 0], 2)
    images = on[0](z, c, noise="const")
    torch.testing.assert_close(images, off[0](z, c, noise="const"), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(on[1](images, c), off[1](images, c), rtol=1e-4, atol=1e-5)
    # what is stored differs: unit scale against the scale of He et al., and of the mapping without its multiplier .01
    assert mapping_scale(on[0], off[0]) == pytest.approx(0.01, rel=1e-4)
    pairs = [(0, "synthesis.blocks.r16.layers.1.conv.weight")]
    pairs += [(1, name) for name in ("blocks.r16.conv0.weight", "dense.weight", "from_images.r16.weight")]
    for which, name in pairs:
        unit, true = (net[which].get_parameter(name) for net in (on, off))
        torch.testing.assert_close(true, unit * (2 / unit[0].numel()) ** 0.5)


def test_blur_and_class_change_the_result() -> None:
    z, x = normal(4, 8), normal(4, 1, 16, 16)
    blurred, sharp = built(tiny(16)), built(tiny(16, blur=False))
    assert (blurred[0](z, noise="const") - sharp[0](z, noise="const")).abs().max() > 1e-2
    assert (blurred[1](x) - sharp[1](x)).abs().max() > 1e-4
    G, D = built(tiny(16, classes=2))
    zero, one = (one_hot([k] * 4, 2) for k in (0, 1))
    assert (G(z, zero, noise="const") - G(z, one, noise="const")).abs().max() > 1e-4
    assert (D(x, zero) - D(x, one)).abs().max() > 1e-4
    assert not torch.allclose(D(x, zero)[:1], D(x[:1], zero[:1]))  # minibatch standard deviation


def test_attention_acts_at_its_resolution_from_its_stage_on() -> None:
    G, D = built(tiny(32, attention=[16]))
    ws, x = normal(2, G.num_ws, 12), normal(2, 1, 32, 32)
    stages = [Stage(depth) for depth in range(4)]

    def all_stages() -> list[torch.Tensor]:
        images = [G.synthesis(ws, noise="const", stage=stage) for stage in stages]
        return images + [D(F.avg_pool2d(x, 32 // stage.resolution), stage=stage) for stage in stages]

    before = all_stages()
    for attention in (G.synthesis.blocks["r16"].attention, D.blocks["r16"].attention):
        attention.gamma.data.add_(1.0)
    changed = [not torch.allclose(a, b) for a, b in zip(before, all_stages())]
    assert changed == [False, False, True, True] * 2
    assert G.synthesis.blocks["r8"].attention is None
    with pytest.raises(ValidationError, match="attention at 32 px"):
        tiny(16, attention=[32])


def test_stages_and_images_that_do_not_fit_are_refused() -> None:
    G, D = built(tiny(16))
    with pytest.raises(ConfigError, match="depth 3 .32 px., expected 0 to 2"):
        G.synthesis(normal(1, 6, 12), stage=Stage(3))
    with pytest.raises(ConfigError, match="found 16 x 16 px, expected 8 x 8"):
        D(normal(1, 1, 16, 16), stage=Stage(1))


@pytest.mark.parametrize("stage", [Stage(0), Stage(2, 0.5), Stage(3)])
@pytest.mark.parametrize("shaken", [True, False])
def test_penalties_have_finite_second_derivatives(stage: Stage, shaken: bool) -> None:
    G, D = built(tiny(32, attention=[8]), shaken=shaken)
    x = normal(4, 1, stage.resolution, stage.resolution).requires_grad_()
    (slope,) = torch.autograd.grad(D(x, stage=stage).sum(), x, create_graph=True)
    slope.square().sum().backward()
    ws = normal(4, G.num_ws, 12).requires_grad_()
    images = G.synthesis(ws, noise="const", stage=stage)
    (slope,) = torch.autograd.grad((images * normal(*images.shape, seed=7)).sum(), ws, create_graph=True)
    slope.square().sum(dim=2).mean(dim=1).sqrt().sum().backward()
    for net, key in (
        (D, f"from_images.r{stage.resolution}.weight"),
        (G, f"synthesis.to_images.r{stage.resolution}.weight"),
    ):
        grads = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
        assert all(g.isfinite().all() for g in grads.values())
        assert grads[key].abs().max() > 0


def test_names_of_tensors_do_not_depend_on_the_final_resolution() -> None:
    for small, large in zip(built(tiny(16)), built(tiny(64))):
        few, many = small.state_dict(), large.state_dict()
        assert set(few) < set(many)
        assert all(few[name].shape == many[name].shape for name in few if not name.startswith("mapping"))
