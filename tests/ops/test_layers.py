"""Equalised layers and minibatch statistics against what their papers define."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stylescan.ops.layers import (
    Conv2d,
    FromImage,
    Linear,
    minibatch_group,
    minibatch_std,
    normalise_second_moment,
    without_equalised_lr,
)
from stylescan.ops.resample import fir_filter, upfirdn_plain


def test_linear_keeps_the_scale_of_its_input_whatever_the_width() -> None:
    torch.manual_seed(0)
    x = torch.randn(4096, 300)
    for multiplier in (1.0, 0.01):
        y = Linear(300, 200, lr_multiplier=multiplier)(x)
        assert y.std().item() == pytest.approx(1.0, abs=0.05)


def test_linear_takes_an_lr_multiplier_as_smaller_effective_steps() -> None:
    torch.manual_seed(0)
    layer = Linear(8, 1, bias_init=0.5, lr_multiplier=0.01)
    x = torch.randn(1, 8)
    assert layer(torch.zeros(1, 8)).item() == pytest.approx(0.5)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, x * 0.01 / math.sqrt(8))


@pytest.mark.parametrize(("kernel", "down"), [(1, False), (3, False), (3, True), (1, True)])
def test_conv_equals_filter_convolution_bias_activation_gain(kernel: int, down: bool) -> None:
    torch.manual_seed(1)
    fir = fir_filter()
    layer = Conv2d(3, 5, kernel, fir=fir, down=down, gain=0.7)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 8, 8)
    y = x
    if down:
        extra = 2 if kernel == 3 else 1
        y = upfirdn_plain(x, fir, pad=(extra, extra), down=2 if kernel == 1 else 1)
    weight = layer.weight / math.sqrt(3 * kernel**2)
    y = F.conv2d(y, weight, layer.bias, stride=2 if down and kernel == 3 else 1, padding=0 if down else kernel // 2)
    torch.testing.assert_close(layer(x), F.leaky_relu(y, 0.2) * math.sqrt(2) * 0.7, rtol=1e-5, atol=1e-5)


def test_minibatch_group_is_the_largest_divisor() -> None:
    assert [minibatch_group(n, 4) for n in (1, 2, 3, 5, 6, 7, 8, 9)] == [1, 2, 3, 1, 3, 1, 4, 3]


def test_minibatch_std_sees_the_spread_of_each_group() -> None:
    x = torch.zeros(4, 2, 2, 2)
    x[0] = 1.0  # with groups of 2, images 0 and 2 belong together
    extra = minibatch_std(x, limit=2)[:, 2]
    torch.testing.assert_close(extra[[0, 2]], torch.full((2, 2, 2), math.sqrt(0.25 + 1e-8)))
    torch.testing.assert_close(extra[[1, 3]], torch.full((2, 2, 2), 1e-4))


def test_second_moment_is_one() -> None:
    y = normalise_second_moment(torch.randn(5, 32) * 7)
    torch.testing.assert_close(y.square().mean(dim=1), torch.ones(5))


@pytest.mark.parametrize("channels", [1, 3])
def test_from_image_is_a_1x1_convolution_that_answers_channels_last(channels: int) -> None:
    torch.manual_seed(2)
    layer = FromImage(channels, 8)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, channels, 4, 4)
    y = F.conv2d(x, layer.weight[:, :, None, None] / math.sqrt(channels), layer.bias)
    torch.testing.assert_close(layer(x), F.leaky_relu(y, 0.2) * math.sqrt(2))
    assert layer(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "make",
    [
        lambda equalised: Linear(12, 7, bias_init=0.5, lr_multiplier=0.01, activation="lrelu", equalised=equalised),
        lambda equalised: Conv2d(12, 7, 3, fir=fir_filter(), down=True, gain=0.7, equalised=equalised),
        lambda equalised: FromImage(12, 7, equalised=equalised),
    ],
    ids=["Linear", "Conv2d", "FromImage"],
)
def test_without_equalised_lr_the_same_seed_is_the_same_function_at_its_true_scale(make: Callable) -> None:
    layers = []
    for equalised in (True, False):
        torch.manual_seed(4)
        layers.append(make(equalised))
    stored, true = layers
    true.bias.data.add_(0.1)
    stored.bias.data.add_(0.1 / stored.bias_gain)
    x = torch.randn(2, 12) if isinstance(true, Linear) else torch.randn(2, 12, 8, 8)
    torch.testing.assert_close(true(x), stored(x), rtol=1e-5, atol=1e-5)
    assert (true.weight_gain, true.bias_gain) == (1.0, 1.0)
    torch.testing.assert_close(true.weight, stored.weight * stored.weight_gain)


def test_without_equalised_lr_reaches_every_layer_of_a_net() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(Linear(8, 8, lr_multiplier=0.01), nn.Sequential(Linear(8, 4, activation="lrelu")))
    x = torch.randn(3, 8)
    before = net(x)
    without_equalised_lr(net)
    torch.testing.assert_close(net(x), before)
    assert [m.weight_gain for m in net.modules() if isinstance(m, Linear)] == [1.0, 1.0]


def test_filter_of_two_taps_halves_like_a_convolution_of_means() -> None:
    torch.manual_seed(1)
    box = fir_filter((1.0, 1.0))
    layer = Conv2d(3, 5, 1, fir=box, down=True, bias=False, activation="linear")
    x = torch.randn(2, 3, 8, 8)
    expected = F.conv2d(F.avg_pool2d(x, 2), layer.weight * layer.weight_gain)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
    three = Conv2d(3, 5, 3, fir=box, down=True)
    assert three(x).shape == (2, 5, 4, 4)
