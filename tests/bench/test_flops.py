"""Counted operations against closed forms: 2 for a multiply-add, forward, backward and twice backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylescan.bench.flops import conv_flops, count_flops
from stylescan.ops import convolution
from stylescan.ops.resample import downsample2, fir_filter, upsample2
from stylescan.train.penalties import gradient_energy

N, SIDE, C_IN, C_OUT = 2, 8, 4, 6


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_costs_one_pass_forward_and_one_for_each_gradient(groups: int) -> None:
    x, weight = leaf(N, C_IN, SIDE, SIDE), leaf(C_OUT, C_IN // groups, 3, 3)
    once = conv_flops(N, SIDE, C_IN, C_OUT, 3, groups=groups)
    assert once == 2 * N * SIDE * SIDE * C_IN * C_OUT * 9 / groups

    def convolve(x: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=1, groups=groups)

    assert count_flops(lambda: convolve(x)) == once
    assert count_flops(lambda: convolve(x).sum().backward()) == 3 * once
    assert count_flops(lambda: convolve(x.detach()).sum().backward()) == 2 * once


def test_stride_counts_outputs_and_transposition_counts_inputs() -> None:
    x = leaf(N, C_IN, SIDE, SIDE)
    down, up = leaf(C_OUT, C_IN, 3, 3), leaf(C_IN, C_OUT, 3, 3)
    assert count_flops(lambda: F.conv2d(x, down, stride=2, padding=1)) == conv_flops(N, SIDE // 2, C_IN, C_OUT, 3)
    once = conv_flops(N, SIDE, C_IN, C_OUT, 3)
    assert count_flops(lambda: F.conv_transpose2d(x, up, stride=2)) == once
    assert count_flops(lambda: F.conv_transpose2d(x, up, stride=2).sum().backward()) == 3 * once


@pytest.mark.parametrize("groups", [1, 2])
def test_a_gradient_penalty_costs_six_passes_of_each_layer(groups: int) -> None:
    """Forward and gradient by the image: one each. Then, for the weights: one through each of these two passes; and on
    to what lies before: one through each again."""
    x = leaf(N, C_IN, SIDE, SIDE)
    first, second = leaf(C_OUT, C_IN // groups, 3, 3), leaf(2, C_OUT // groups, 3, 3)

    def penalty() -> None:
        hidden = F.conv2d(x, first, padding=1, groups=groups).square()
        score = F.conv2d(hidden, second, padding=1, groups=groups).square().sum()
        (by_image,) = torch.autograd.grad(score, x, create_graph=True)
        by_image.square().sum().backward()

    layers = conv_flops(N, SIDE, C_IN, C_OUT, 3, groups=groups) + conv_flops(N, SIDE, C_OUT, 2, 3, groups=groups)
    assert count_flops(penalty) == 6 * layers


@pytest.mark.parametrize(("resample", "inner"), [(downsample2, SIDE // 2), (upsample2, SIDE)])
def test_the_constant_filter_is_seen_through_its_own_derivatives(
    resample: Callable[[Tensor, Tensor], Tensor], inner: int
) -> None:
    """Depthwise, 4 x 4 taps on the smaller side; the filter has no gradient, so twice backward costs four passes."""
    x, f = leaf(N, C_IN, SIDE, SIDE), fir_filter()
    once = 2 * N * C_IN * inner**2 * 16

    def penalty() -> None:
        (by_image,) = torch.autograd.grad(resample(x, f).square().sum(), x, create_graph=True)
        by_image.square().sum().backward()

    assert count_flops(lambda: resample(x, f)) == once
    assert count_flops(lambda: resample(x, f).sum().backward()) == 2 * once
    assert count_flops(penalty) == 4 * once


def test_matrix_products_count_too_and_sums_do_not() -> None:
    a, b = leaf(3, 5), leaf(5, 7)
    assert count_flops(lambda: a @ b) == 2 * 3 * 5 * 7
    with torch.inference_mode():
        assert count_flops(lambda: F.linear(a.detach(), b.detach().t())) == 2 * 3 * 5 * 7
    assert count_flops(lambda: (a + 1).exp().sum().backward()) == 0


def test_products_in_place_count_as_the_others() -> None:
    a, b, into = torch.ones(3, 4, 5), torch.ones(3, 5, 6), torch.zeros(3, 4, 6)
    assert count_flops(lambda: into[0].addmm_(a[0], b[0])) == 2 * 4 * 5 * 6
    assert count_flops(lambda: into.baddbmm_(a, b)) == 2 * 3 * 4 * 5 * 6


def test_a_convolution_costs_the_same_by_whichever_way_its_gradients_are_had(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(2, 4, 8, 8, requires_grad=True), torch.randn(6, 4, 3, 3, requires_grad=True)

    def energy() -> None:
        y = convolution.conv2d(x, weight, padding=1)
        gradient_energy(y.square().sum(dim=(1, 2, 3)), x).sum().backward()

    counts = []
    for large in (False, True):
        monkeypatch.setattr(convolution, "_outgrows_cache", lambda *_, large=large: large)
        counts.append(count_flops(energy))
    assert counts[0] == counts[1] > 0
