"""Fast resampling against its definition, to the second derivative."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stylescan.ops.resample import blur, downsample2, fir_filter, upfirdn_plain, upsample2

F4 = fir_filter().double()
CASES = {
    "blur": (lambda x: blur(x, F4, padding=2), lambda x: upfirdn_plain(x, F4, pad=(2, 2))),
    "blur_gain": (lambda x: blur(x, F4, padding=1, gain=4.0), lambda x: upfirdn_plain(x, F4, pad=(1, 1), gain=4.0)),
    "down": (lambda x: downsample2(x, F4), lambda x: upfirdn_plain(x, F4, down=2, pad=(1, 1))),
    "up": (lambda x: upsample2(x, F4), lambda x: upfirdn_plain(x, F4, up=2, pad=(2, 1), gain=4.0)),
}


def derivatives(f, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient of a nonlinear functional, and gradient of the gradient's energy."""
    x = x.detach().requires_grad_()
    y = f(x)
    (first,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    return y.detach(), first.detach(), second


@pytest.mark.parametrize("name", CASES)
def test_fast_equals_plain_in_value_gradient_and_double_gradient(name: str) -> None:
    fast, plain = CASES[name]
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for a, b in zip(derivatives(fast, x), derivatives(plain, x)):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_filter_gain_is_one_inside() -> None:
    ones = torch.ones(1, 2, 16, 16, dtype=torch.float64)
    for out in (downsample2(ones, F4), upsample2(ones, F4), blur(ones, F4, padding=1)):
        inside = out[:, :, 2:-2, 2:-2]
        torch.testing.assert_close(inside, torch.ones_like(inside))


def test_upsampling_is_four_times_the_adjoint_of_downsampling() -> None:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, generator=g)
    y = torch.randn(1, 1, 16, 16, dtype=torch.float64, generator=g)
    torch.testing.assert_close((upsample2(x, F4) * y).sum(), 4 * (x * downsample2(y, F4)).sum())


def test_gradcheck_of_the_hand_written_derivative() -> None:
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: downsample2(v, F4), x)
    assert torch.autograd.gradgradcheck(lambda v: upsample2(v, F4), x)
