"""StyleGAN2's options: attention, equalised learning rate, blur; what is off leaves the nets as they were."""

from __future__ import annotations

import pytest
import torch

from stylescan.errors import ConfigError
from stylescan.nets.build import build_discriminator, build_generator, parse_spec
from stylescan.nets.protocols import Stage
from stylescan.nets.stylegan2 import StyleGAN2Spec
from stylescan.ops.layers import EqualisedLayer
from stylescan.ops.resample import fir_filter, upsample2


def spec(**changes) -> StyleGAN2Spec:
    values = {"z_dim": 8, "w_dim": 12, "channel_base": 256, "channel_max": 16, "resolution": 32, "img_channels": 2}
    return StyleGAN2Spec(**{**values, **changes})


def images_and_scores(chosen: StyleGAN2Spec) -> tuple[torch.Tensor, torch.Tensor]:
    G, D = build_generator(chosen, seed=3), build_discriminator(chosen, seed=3)
    images = G(torch.randn(4, 8, generator=torch.Generator().manual_seed(1)), noise="const")
    return images, D(images)


def test_without_equalised_lr_the_nets_start_as_the_same_functions_at_their_true_scale() -> None:
    for a, b in zip(images_and_scores(spec()), images_and_scores(spec(equalised_lr=False))):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    G, D = build_generator(spec(equalised_lr=False)), build_discriminator(spec(equalised_lr=False))
    layers = [m for net in (G, D) for m in net.modules() if isinstance(m, EqualisedLayer)]
    assert len(layers) > 20
    assert all((m.weight_gain, m.bias_gain) == (1.0, 1.0) for m in layers)
    assert G.synthesis.layers[1].weight.std().item() == pytest.approx(1 / 12, rel=0.1)  # 16 channels of 9 taps
    assert G.mapping.layers[0].weight.std().item() == pytest.approx((2 / 8) ** 0.5, rel=0.25)  # He: 8 inputs


def test_attention_changes_nothing_until_it_is_learned_and_then_both_nets() -> None:
    plain, attentive = spec(), spec(attention=(8, 32))
    names = {k for k in build_discriminator(attentive).state_dict() if k.startswith("attention.")}
    assert names == {
        f"attention.r{r}.{part}"
        for r in (8, 32)
        for part in ("gamma", "query.weight", "key.weight", "value.weight", "out.weight")
    }
    ws = torch.randn(2, build_generator(plain).num_ws, 12)
    images = torch.randn(2, 2, 32, 32)
    G, D = build_generator(attentive, seed=3), build_discriminator(attentive, seed=3)
    for net, call in ((G.synthesis, lambda: G.synthesis(ws, noise="none")), (D, lambda: D(images))):
        same = build_generator(plain, seed=3).synthesis if net is G.synthesis else build_discriminator(plain, seed=3)
        before = call()
        torch.testing.assert_close(before, same(ws, noise="none") if net is G.synthesis else same(images))
        for side in (8, 32):
            net.attention[f"r{side}"].gamma.data.fill_(1.0)
            after = call()
            assert not torch.allclose(before, after)
            before = after


def test_attention_beyond_the_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="attention at 64 px, but the images have 32"):
        parse_spec({**spec().model_dump(), "attention": [64]})


def test_blur_121_after_repetition_is_1331_and_none_is_a_box() -> None:
    x = torch.randn(1, 1, 6, 6)
    repeated = torch.nn.functional.pad(x.repeat_interleave(2, 2).repeat_interleave(2, 3), [1, 1, 1, 1])
    smooth = torch.nn.functional.conv2d(repeated, fir_filter((1.0, 2.0, 1.0))[None, None])
    torch.testing.assert_close(upsample2(x, spec(blur="121").fir), smooth)
    torch.testing.assert_close(upsample2(x, spec(blur="none").fir), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    a, b = (images_and_scores(spec(blur=name)) for name in ("1331", "121"))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    images, scores = images_and_scores(spec(blur="none"))
    assert images.shape == (4, 2, 32, 32)
    assert scores.shape == (4,)
    assert not torch.allclose(images, a[0])


def test_a_stage_is_accepted_and_ignored() -> None:
    G, D = build_generator(spec()), build_discriminator(spec())
    ws = torch.randn(2, G.num_ws, 12)
    images = G.synthesis(ws, noise="const")
    torch.testing.assert_close(G.synthesis(ws, noise="const", stage=Stage(1, 0.5)), images)
    torch.testing.assert_close(D(images, stage=Stage(1, 0.5)), D(images))


def test_a_blur_may_be_written_as_yaml_reads_it() -> None:
    shape = {"resolution": 16, "img_channels": 1}
    assert [StyleGAN2Spec(**shape, blur=blur).blur for blur in (1331, 121, "none")] == ["1331", "121", "none"]
    with pytest.raises(ValueError, match="blur"):
        StyleGAN2Spec(**shape, blur=12)


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_with_a_haar_transform_the_nets_work_at_smaller_sides(levels: int) -> None:
    chosen = spec(haar=levels)
    G, D = build_generator(chosen), build_discriminator(chosen)
    assert max(shape[0] for shape in G.synthesis.noise_shapes) == 32 >> levels == chosen.levels[-1]
    assert D.from_image.weight.shape == (chosen.width(32 >> levels), 2 * 4**levels)
    images, scores = images_and_scores(chosen)
    assert images.shape == (4, 2, 32, 32)
    assert scores.shape == (4,)
    assert 0.2 < images.std() < 3


def test_under_a_haar_transform_what_lower_resolutions_say_is_the_mean_of_each_square() -> None:
    chosen = spec(haar=1)
    G = build_generator(chosen, seed=3).synthesis
    ws = torch.randn(2, G.num_ws, 12, generator=torch.Generator().manual_seed(1))
    last = G.to_images[-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    smooth = G(ws, noise="none")
    squares = smooth.reshape(2, 2, 16, 2, 16, 2)
    torch.testing.assert_close(squares, squares[:, :, :, :1, :, :1].expand_as(squares))  # no details
    below = spec(resolution=16)
    same = build_generator(below, seed=3).synthesis
    state = {k: v for k, v in G.state_dict().items() if k in same.state_dict()}
    for k, v in same.state_dict().items():
        if v.shape != state[k].shape:  # the last picture's layer, which says nothing here
            state[k] = torch.zeros_like(v)
    same.load_state_dict(state)
    torch.testing.assert_close(squares[:, :, :, 0, :, 0], same(ws, noise="none"), rtol=1e-4, atol=1e-5)


def test_one_convolution_a_resolution_halves_the_layers_of_both_nets() -> None:
    one, two = spec(convolutions=1), spec()
    assert (build_generator(one).num_ws, build_generator(two).num_ws) == (5, 8)
    blocks = build_discriminator(one).blocks
    assert not any(name.startswith("conv0") for block in blocks for name, _ in block.named_parameters())
    images, scores = images_and_scores(one)
    assert images.shape == (4, 2, 32, 32)
    assert scores.shape == (4,)
    # every style still counts
    G = build_generator(one, seed=3)
    ws = torch.randn(1, G.num_ws, 12)
    plain = G.synthesis(ws, noise="none")
    for layer in range(G.num_ws):
        moved = ws.clone()
        moved[:, layer] += 1
        assert not torch.allclose(G.synthesis(moved, noise="none"), plain)


def test_excitation_weighs_channels_by_features_of_an_eighth_of_the_side() -> None:
    G = build_generator(spec(excitation=True), seed=3).synthesis
    assert list(G.excitation) == ["r32"]
    ws = torch.randn(2, G.num_ws, 12)
    plain = G(ws, noise="none")
    G.excitation["r32"].factors.bias.data.fill_(100.0)  # all factors 2
    assert not torch.allclose(G(ws, noise="none"), plain)


def test_a_latent_start_gives_every_image_features_of_its_own() -> None:
    G = build_generator(spec(start="latent"), seed=3).synthesis
    seen = []
    G.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    ws = torch.randn(2, G.num_ws, 12)
    G(ws, noise="none")
    (first,) = seen
    expected = G.const + (ws[:, 0] @ G.from_w.weight.t() / 12**0.5).reshape(2, 16, 4, 4)
    torch.testing.assert_close(first, expected)
    assert not torch.allclose(first[0], first[1])


def test_a_haar_transform_that_leaves_no_side_is_refused_by_name() -> None:
    values = {"family": "stylegan2", "resolution": 16, "img_channels": 1, "z_dim": 8, "w_dim": 8}
    with pytest.raises(ConfigError, match="haar 3 leaves 2 px") as refused:
        parse_spec({**values, "haar": 3})
    assert len(refused.value.message) < 100  # not the whole specification
    with pytest.raises(ConfigError, match="attention at 16 px, but with haar 1 the nets end at 8"):
        parse_spec({**values, "haar": 1, "attention": [16]})
