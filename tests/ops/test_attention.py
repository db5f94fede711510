"""Self-attention against torch's own attention, in value and in first and second derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from stylescan.ops.attention import SelfAttention


def awake(channels: int, gamma: float = 0.7) -> SelfAttention:
    torch.manual_seed(3)
    layer = SelfAttention(channels).double()
    layer.gamma.data.fill_(gamma)
    return layer


def plain(layer: SelfAttention, x: Tensor) -> Tensor:
    """The paper's block of 1x1 convolutions around torch's attention."""
    n, _, h, w = x.shape
    q, k, v = (F.conv2d(x, m.weight[:, :, None, None]) for m in (layer.query, layer.key, layer.value))
    if h % 2 == 0 and w % 2 == 0:
        k, v = (t.reshape(n, -1, h // 2, 2, w // 2, 2).amax(dim=(3, 5)) for t in (k, v))
    q, k, v = (t.flatten(2).transpose(1, 2)[:, None] for t in (q, k, v))
    with sdpa_kernel(SDPBackend.MATH):
        seen = F.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0]
    out = F.conv2d(seen.transpose(1, 2).reshape(n, -1, h, w), layer.out.weight[:, :, None, None])
    return x + layer.gamma * out


@pytest.mark.parametrize(("channels", "h", "w"), [(16, 8, 8), (3, 4, 4), (24, 5, 7), (1, 4, 6)])
def test_equals_torchs_attention_in_value_and_both_derivatives(channels: int, h: int, w: int) -> None:
    layer = awake(channels)
    start = torch.randn(2, channels, h, w, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    found = []
    for compute in (layer, lambda x: plain(layer, x)):
        layer.zero_grad()
        x = start.clone().requires_grad_()
        y = compute(x)
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        first.square().sum().backward()  # the shape of the R1 penalty
        found.append([y.detach(), first.detach(), x.grad.clone(), *(p.grad.clone() for p in layer.parameters())])
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_equals_multi_head_attention_with_the_same_weights() -> None:
    c, d = 8, 8
    layer = awake(c)
    layer.query, layer.key, layer.value, layer.out = (nn.Linear(c, d, bias=False).double() for _ in range(4))
    theirs = nn.MultiheadAttention(c, 1, bias=False, batch_first=True).double()
    scale = d**0.5  # theirs divides by it, the paper does not
    theirs.in_proj_weight.data.copy_(torch.cat([layer.query.weight * scale, layer.key.weight, layer.value.weight]))
    theirs.out_proj.weight.data.copy_(layer.out.weight)
    x = torch.randn(2, c, 5, 5, dtype=torch.float64)  # odd sides: no pooling
    tokens = x.flatten(2).transpose(1, 2)
    expected = x + 0.7 * theirs(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(layer(x), expected, rtol=1e-6, atol=1e-6)


def test_moving_pixels_moves_the_answer_alike() -> None:
    layer = awake(8)
    x = torch.randn(2, 8, 5, 7, dtype=torch.float64)
    order = torch.randperm(35)
    moved = x.flatten(2)[:, :, order].reshape(x.shape)
    torch.testing.assert_close(layer(moved), layer(x).flatten(2)[:, :, order].reshape(x.shape))


def test_identity_at_initialisation_with_a_gradient_that_wakes_it() -> None:
    layer = SelfAttention(16)
    x = torch.randn(2, 16, 8, 8)
    y = layer(x)
    assert torch.equal(y, x)
    y.square().sum().backward()
    assert layer.gamma.grad.abs() > 0


def test_stays_channels_last() -> None:
    x = torch.randn(2, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    assert awake(16).float()(x).is_contiguous(memory_format=torch.channels_last)


def test_second_derivative_of_a_trained_layer_is_that_of_finite_differences() -> None:
    layer = awake(4)
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))
