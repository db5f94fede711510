"""Modulation by scaling activations against per-sample weights, to the second derivative."""

from __future__ import annotations

import pytest
import torch

from stylescan.ops.modulated_conv import (
    DEMOD_EPS,
    demodulation,
    modulated_conv2d,
    modulated_conv2d_plain,
    modulated_to_image,
)
from stylescan.ops.resample import fir_filter


def inputs(k: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    make = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=g)  # noqa: E731
    return make(3, 4, 8, 8), make(5, 4, k, k), make(3, 4)


@pytest.mark.parametrize("up", [False, True])
def test_fast_equals_plain_in_value_gradient_and_double_gradient(up: bool) -> None:
    f = fir_filter().double() if up else None

    def fast(x, w, s):
        return modulated_conv2d(x, w, s, f=f) * demodulation(w, s)[:, :, None, None]

    def plain(x, w, s):
        return modulated_conv2d_plain(x, w, s, f=f)

    results = []
    for conv in (fast, plain):
        leaves = [t.clone().requires_grad_() for t in inputs()]
        y = conv(*leaves)
        first = torch.autograd.grad((y**3).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
        results.append([y, *first, *second])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_demodulated_weights_have_unit_norm() -> None:
    _, weight, s = inputs()
    d = demodulation(weight, s)
    per_sample = weight[None] * s[:, None, :, None, None] * d[:, :, None, None, None]
    energy = (weight[None] * s[:, None, :, None, None]).square().sum(dim=(2, 3, 4))
    torch.testing.assert_close(per_sample.square().sum(dim=(2, 3, 4)), energy / (energy + DEMOD_EPS))
    torch.testing.assert_close(per_sample.square().sum(dim=(2, 3, 4)), torch.ones(3, 5, dtype=torch.float64))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_to_image_equals_plain(layout: torch.memory_format) -> None:
    x, weight, s = inputs(k=1)
    fast = modulated_to_image(x.contiguous(memory_format=layout), weight[:, :, 0, 0], s)
    torch.testing.assert_close(fast, modulated_conv2d_plain(x, weight, s, demodulate=False))
