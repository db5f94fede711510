"""The generator made ready for sampling: the same images from every family, and the given net left as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stylescan.generate.frozen import FrozenLinear, FrozenSynthesisLayer, frozen
from stylescan.nets.build import FAMILIES, build_generator, parse_spec
from stylescan.nets.growing import reached_by
from stylescan.nets.protocols import Generator, Noise, Stage, one_hot
from stylescan.ops.layers import EqualisedLayer

STYLED = {"z_dim": 8, "w_dim": 6, "mapping_layers": 2, "channel_base": 256, "channel_max": 12}
PLAIN = {"z_dim": 8, "class_dim": 4}
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "stylegan2": {
        "as it is": STYLED,
        "true scale": {**STYLED, "equalised_lr": False, "blur": "none"},
        "coefficients": {**STYLED, "haar": 1, "convolutions": 1},
        "excitation": {**STYLED, "excitation": True},
    },
    "stylegan": {"as it is": STYLED, "bare": {**STYLED, "noise": False, "blur": False, "equalised_lr": False}},
    "stylegan2-lite": {
        "as it is": {**PLAIN, "filters_G": 16},
        "plain": {**PLAIN, "filters_G": 16, "generator": "plain", "norm_G": "none", "blur": True},
    },
    "r3gan": {"as it is": {**PLAIN, "channel_base": 256, "channel_max": 12}},
    "dcgan": {
        "as it is": {**PLAIN, "channel_base": 256, "channel_max": 12},
        "no norm": {**PLAIN, "channel_base": 256, "channel_max": 12, "norm_G": "none"},
    },
}
CASES = [(family, name) for family, kinds in OPTIONS.items() for name in kinds]


def lively(family: str, options: dict[str, Any], *, classes: int = 0, channels: int = 1, **more: Any) -> Generator:
    """A generator each of whose numbers has an effect: no bias, strength or statistic is at its start."""
    values = {"family": family, "resolution": 32, "img_channels": channels, "num_classes": classes, **options, **more}
    generator = build_generator(parse_spec(values), seed=5)
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in generator.state_dict().items():
            if name.endswith(("bias", "strength", "gamma", "w_avg", "running_mean")):
                tensor.add_(torch.randn(tensor.shape, generator=random), alpha=0.3)
            if name.endswith("running_var"):
                tensor.add_(torch.rand(tensor.shape, generator=random))
    return generator.eval()


def drawn(generator: Generator, n: int = 3) -> tuple[Tensor, Tensor | None]:
    """z [n, z_dim] and classes, one a row in turn."""
    kinds = generator.spec.num_classes
    z = torch.randn(n, generator.spec.z_dim, generator=torch.Generator().manual_seed(1))
    return z, one_hot([k % kinds for k in range(n)], kinds) if kinds else None


def images(generator: Generator, *, noise: Noise = "random", stage: Stage | None = None, **options: Any) -> Tensor:
    with torch.no_grad():
        ws = generator.mapping(*drawn(generator), **options)
        return generator.synthesis(ws, noise=noise, rng=torch.Generator().manual_seed(2), stage=stage)


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert expected.std() > 1e-3  # an even grey would equal anything
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_every_family_is_here() -> None:
    assert set(OPTIONS) == set(FAMILIES)


@pytest.mark.parametrize(("family", "kind"), CASES)
@pytest.mark.parametrize("spectral_norm", ["none", "both"])
def test_images_are_the_given_nets_to_rounding(family: str, kind: str, spectral_norm: str) -> None:
    generator = lively(family, OPTIONS[family][kind], spectral_norm=spectral_norm, attention=[16])
    ready = frozen(generator)
    words: tuple[Noise, ...] = ("random", "const", "none") if generator.synthesis.noise_shapes else ("random",)
    for noise in words:
        assert_same(images(ready, noise=noise), images(generator, noise=noise))


@pytest.mark.parametrize("family", FAMILIES)
def test_with_classes_and_several_channels(family: str) -> None:
    generator = lively(family, OPTIONS[family]["as it is"], classes=2, channels=3)
    assert_same(images(frozen(generator)), images(generator))


@pytest.mark.parametrize("family", ["stylegan2", "stylegan"])
def test_truncated(family: str) -> None:
    generator = lively(family, STYLED, classes=2)
    ready = frozen(generator)
    for options in ({"psi": 0.5}, {"psi": 0.5, "cutoff": 2}):
        assert_same(images(ready, **options), images(generator, **options))
        assert not torch.equal(images(ready, **options), images(ready))


@pytest.mark.parametrize("family", ["stylegan", "stylegan2-lite"])
def test_while_growing(family: str) -> None:
    generator = lively(family, OPTIONS[family]["as it is"])
    depth = 2 if family == "stylegan" else 3
    reached = reached_by(generator)
    assert reached is not None
    reached.note(Stage(depth, 0.4))
    ready = frozen(generator)
    assert_same(images(ready), images(generator))
    assert_same(images(ready, stage=Stage(depth, 0.7)), images(generator, stage=Stage(depth, 0.7)))


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_the_given_net_is_left_as_it_was_and_trains_on(family: str, kind: str) -> None:
    generator = lively(family, OPTIONS[family][kind], spectral_norm="both", attention=[16]).train()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    modules = {name: type(module) for name, module in generator.named_modules()}
    ready = frozen(generator)
    images(ready)
    after = generator.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name: type(module) for name, module in generator.named_modules()} == modules
    assert generator.training
    assert all(parameter.requires_grad for parameter in generator.parameters())

    made = images(ready)
    generator(*drawn(generator)).square().mean().backward()
    assert sum(parameter.grad is not None for parameter in generator.parameters()) > 3
    torch.optim.SGD(generator.parameters(), lr=0.5).step()
    assert any(not torch.equal(generator.state_dict()[name], tensor) for name, tensor in before.items())
    assert torch.equal(images(ready), made)  # no memory is shared


def test_layers_of_other_classes_are_kept() -> None:
    class Doubled(type(lively("stylegan2", STYLED).synthesis.layers[0])):  # type: ignore[misc]
        def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
            return 2 * super().forward(x, w, noise)

    generator = lively("stylegan2", STYLED)
    generator.synthesis.layers[1].__class__ = Doubled
    ready = frozen(generator)
    assert type(ready.synthesis.layers[1]) is Doubled
    assert type(ready.synthesis.layers[2]) is FrozenSynthesisLayer
    assert_same(images(ready), images(generator))


def test_nothing_is_left_to_fold_or_train() -> None:
    for family, kinds in OPTIONS.items():
        ready = frozen(lively(family, kinds["as it is"], spectral_norm="both", attention=[16]))
        for module in ready.modules():
            assert not isinstance(module, nn.BatchNorm2d)
            assert not isinstance(module, EqualisedLayer)
            assert "parametrizations" not in dict(module.named_children())
        assert not ready.training
        assert not any(parameter.requires_grad for parameter in ready.parameters())
    assert isinstance(frozen(lively("stylegan2", STYLED)).mapping.layers[0], FrozenLinear)
