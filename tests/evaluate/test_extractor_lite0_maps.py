"""Feature maps of the default extractor: what a perceptual distance descends on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stylescan.evaluate.extractors.lite0 import EfficientNetLite0


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite0:
    return EfficientNetLite0()


def picture(channels: int, height: int, width: int, n: int = 1) -> torch.Tensor:
    """Waves in [-1, 1]: smooth, so that a finite difference sees few kinks of the activations."""
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    planes = [torch.sin(y * (1 + c) + c) * torch.cos(x * (2 + i)) for i in range(n) for c in range(channels)]
    return 0.9 * torch.stack(planes).reshape(n, channels, height, width)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96), (33, 47), (16, 16), (9, 70)])
def test_shapes(lite0: EfficientNetLite0, height: int, width: int) -> None:
    maps = lite0.feature_maps(picture(1, height, width, n=2))
    h, w = max(height, 32), max(width, 32)
    expected = [(2, c, h // s, w // s) for c, s in zip((16, 24, 40, 112, 320), (2, 4, 8, 16, 32), strict=True)]
    assert [tuple(one.shape) for one in maps] == expected


@pytest.mark.parametrize("channels", [1, 4])
def test_gradient_equals_finite_differences(channels: int) -> None:
    """Each map apart, along a random direction, in double precision: a wrong in-place step would show at once."""
    net = EfficientNetLite0()
    net._net.double()
    x = picture(channels, 32, 32).double()
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    direction /= direction.norm()
    target = [one.detach() for one in net.feature_maps(picture(channels, 32, 32).double().flip(-1))]

    def loss(at: torch.Tensor, stage: int) -> torch.Tensor:
        return (net.feature_maps(at)[stage] - target[stage]).square().mean()

    for stage in range(5):
        at = x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(at, stage), at)
        step = 1e-6
        with torch.no_grad():
            ahead, behind = loss(x + step * direction, stage), loss(x - step * direction, stage)
        found, expected = float((gradient * direction).sum()), float((ahead - behind) / (2 * step))
        assert math.isclose(found, expected, rel_tol=1e-3, abs_tol=1e-7), (stage, found, expected)
        assert float(gradient.norm()) > 1e-4


def test_maps_are_those_of_the_features(lite0: EfficientNetLite0) -> None:
    """At 224 px the head on top of the last map gives the features that the evaluation uses."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 56, 56), dtype=np.uint8).repeat(4, 2).repeat(4, 3)
    net = lite0._net.net
    with torch.no_grad():
        last = lite0.feature_maps(torch.from_numpy(pixels).float() / 127.5 - 1.0)[-1]
        pooled = net._swish(net._bn1(net._conv_head(last))).mean(dim=(2, 3))
    np.testing.assert_allclose(pooled.numpy(), lite0(pixels), atol=1e-4)


def test_descending_the_maps_finds_the_image_again(lite0: EfficientNetLite0) -> None:
    """Many steps through one set of weights, all maps at once: the distance falls, the weights keep no gradient."""
    wanted = [one.detach() for one in lite0.feature_maps(picture(1, 32, 32))]
    x = torch.zeros(1, 1, 32, 32, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=0.05)
    distances = []
    for _ in range(20):
        found = lite0.feature_maps(x)
        distance = torch.stack([(a - b).square().mean() for a, b in zip(found, wanted, strict=True)]).sum()
        optimiser.zero_grad()
        distance.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        distances.append(float(distance.detach()))
    assert distances[-1] < 0.6 * distances[0]
    assert all(weight.grad is None for weight in lite0._net.parameters())


def test_wrong_images_are_refused(lite0: EfficientNetLite0) -> None:
    with pytest.raises(ValueError, match="expected float"):
        lite0.feature_maps(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))
