"""Convolution with derivatives of its own against torch's, to the second derivative."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylescan.nets.build import build_discriminator, build_generator, parse_spec
from stylescan.ops import convolution
from stylescan.ops.convolution import conv2d, conv_transpose2d, weight_gradient

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every convolution takes the path of large images, whatever its size and the machine; rows in many chunks."""
    monkeypatch.setattr(convolution, "_outgrows_cache", lambda x, image, weight: True)
    monkeypatch.setattr(convolution, "_CHUNK_BYTES", 1000)


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chunk", [1, 3000, 10**7])
@pytest.mark.parametrize("size", [(9, 9), (8, 7), (13, 6)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 1, 1), (3, 2, 0), (3, 2, 1), (4, 2, 1), (1, 1, 0), (1, 2, 0), (5, 3, 2), (2, 3, 0)],
)
def test_weight_gradient_equals_torchs(
    kernel: int, stride: int, padding: int, size: tuple[int, int], chunk: int, layout: torch.memory_format,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(convolution, "_CHUNK_BYTES", chunk)
    x = numbers(2, 3, *size).contiguous(memory_format=layout)
    weight = numbers(4, 3, kernel, kernel, seed=1).requires_grad_()
    y = F.conv2d(x, weight, stride=stride, padding=padding)
    g = numbers(*y.shape, seed=2).contiguous(memory_format=layout)
    (expected,) = torch.autograd.grad(y, weight, g)
    torch.testing.assert_close(weight_gradient(g, x, stride, padding, kernel), expected, rtol=1e-10, atol=1e-10)


def derivatives(f: Callable[..., Tensor], *leaves: Tensor) -> list[Tensor]:
    """Value, gradients of a nonlinear functional, and gradients of their energy."""
    inputs = [leaf.detach().requires_grad_() for leaf in leaves]
    y = f(*inputs)
    first = torch.autograd.grad((y**3).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
    return [y.detach(), *(g.detach() for g in first), *second]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 0), (1, 1, 0), (4, 2, 1)])
def test_conv2d_equals_torchs_in_value_gradient_and_double_gradient(
    always: None, kernel: int, stride: int, padding: int, layout: torch.memory_format
) -> None:
    x = numbers(2, 3, 8, 7).contiguous(memory_format=layout)
    leaves = x, numbers(4, 3, kernel, kernel, seed=1), numbers(4, seed=2)
    fast = derivatives(lambda x, w, b: conv2d(x, w, b, stride=stride, padding=padding), *leaves)
    plain = derivatives(lambda x, w, b: F.conv2d(x, w, b, stride=stride, padding=padding), *leaves)
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stride", [1, 2])
def test_conv_transpose2d_equals_torchs_in_value_gradient_and_double_gradient(always: None, stride: int) -> None:
    leaves = numbers(2, 4, 5, 6), numbers(4, 3, 3, 3, seed=1)
    fast = derivatives(lambda x, w: conv_transpose2d(x, w, stride=stride), *leaves)
    plain = derivatives(lambda x, w: F.conv_transpose2d(x, w, stride=stride), *leaves)
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_gradcheck_to_the_second_derivative(always: None) -> None:
    x, weight, bias = (
        numbers(*shape, seed=i).requires_grad_() for i, shape in enumerate([(1, 2, 5, 4), (3, 2, 3, 3), (3,)])
    )
    down = lambda x, w, b: conv2d(x, w, b, stride=2, padding=1)  # noqa: E731
    assert torch.autograd.gradcheck(down, (x, weight, bias))
    assert torch.autograd.gradgradcheck(down, (x, weight, bias))
    y = numbers(1, 3, 3, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda y, w: conv_transpose2d(y, w, stride=2), (y, weight))


def test_derivatives_of_the_third_order(always: None) -> None:
    results = []
    for conv in (lambda x, w: conv2d(x, w, padding=1), lambda x, w: F.conv2d(x, w, padding=1)):
        x, w = numbers(1, 2, 4, 4).requires_grad_(), numbers(2, 2, 3, 3, seed=1).requires_grad_()
        grads: tuple[Tensor, ...] = (conv(x, w).pow(4).sum(),)
        for _ in range(3):
            grads = torch.autograd.grad(sum(g.square().sum() for g in grads), (x, w), create_graph=True)
        results.append([g.detach() for g in grads])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_large_images_in_single_precision_give_torchs_gradients_in_the_weights_layout(avx2: None) -> None:
    x = numbers(2, 32, 64, 64, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    weight = numbers(32, 32, 3, 3, seed=1, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    grads = []
    for conv in (conv2d, conv2d, F.conv2d):
        w = weight.clone(memory_format=torch.preserve_format).requires_grad_()
        y = conv(x, w, padding=1)
        taken = type(y.grad_fn).__name__
        assert taken == ("ConvolutionBackward0" if conv is F.conv2d else "_ConvolutionBackward")
        grads.extend(torch.autograd.grad(y.square().mean(), w))
    again, fast, plain = grads
    assert fast.stride() == weight.stride()
    assert torch.equal(again, fast)  # bit for bit: the order of the sums is fixed
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "side", "kernel"), [(32, 32, 3), (16, 128, 3), (32, 64, 1)], ids=["small", "narrow", "1x1"]
)
def test_what_torch_does_as_well_is_left_to_it(avx2: None, channels: int, side: int, kernel: int) -> None:
    x, weight = torch.zeros(1, channels, side, side), torch.zeros(channels, channels, kernel, kernel).requires_grad_()
    assert type(conv2d(x, weight, padding=kernel // 2).grad_fn).__name__ == "ConvolutionBackward0"


def test_in_autocast_and_with_avx512_it_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.zeros(1, 32, 64, 64), torch.zeros(32, 32, 3, 3).requires_grad_()
    for capability, own in (("AVX512", False), ("AVX2", True)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda name=capability: name)
        assert (type(conv2d(x, weight, padding=1).grad_fn).__name__ == "_ConvolutionBackward") == own
        assert (type(conv_transpose2d(x, weight, stride=2).grad_fn).__name__ == "_AdjointBackward") == own
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = conv2d(x, weight, padding=1)
    assert mixed.dtype == torch.bfloat16
    mixed.sum().backward()
    assert weight.grad.dtype == torch.float32


def test_whole_nets_have_the_same_gradients_and_penalty_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8}
    spec = parse_spec({"family": "stylegan2", **options, "resolution": 16, "img_channels": 1})
    G, D = build_generator(spec).double(), build_discriminator(spec).double()
    z = numbers(3, 8)
    results = []
    for own in (False, True):
        monkeypatch.setattr(convolution, "_outgrows_cache", lambda x, image, weight, own=own: own)
        ws = G.mapping(z)
        images = G.synthesis(ws, noise="const")
        (slope,) = torch.autograd.grad((images * numbers(*images.shape, seed=5)).sum(), ws, create_graph=True)
        scores = D(images)
        (by_images,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
        loss = scores.square().sum() + by_images.square().sum() + slope.square().sum()
        G.zero_grad()
        D.zero_grad()
        loss.backward()
        results.append({name: p.grad for net in (G, D) for name, p in net.named_parameters() if p.grad is not None})
    plain, fast = results
    assert plain.keys() == fast.keys()
    assert len(plain) > 40
    for name, expected in plain.items():
        torch.testing.assert_close(fast[name], expected, rtol=1e-7, atol=1e-9, msg=name)


def test_sampling_and_compiling_never_meet_the_path(avx2: None, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.zeros(1, 32, 64, 64), torch.zeros(32, 32, 3, 3)
    monkeypatch.setattr(convolution, "_Convolution", None)
    with torch.no_grad():
        assert conv2d(x, weight, padding=1).shape == x.shape
    with pytest.raises(AttributeError):
        conv2d(x, weight, padding=1)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert conv2d(x, weight, padding=1).shape == x.shape


def test_gradients_by_inputs_alone_leave_the_weights_out_and_are_the_same(always: None) -> None:
    x, weight, bias = (
        numbers(2, 3, 8, 8).requires_grad_(),
        numbers(4, 3, 3, 3).requires_grad_(),
        numbers(4).requires_grad_(),
    )
    y = conv2d(x, weight, bias, padding=1)
    (expected,) = torch.autograd.grad(y.square().sum(), x, retain_graph=True)
    with convolution.inputs_alone():
        found = torch.autograd.grad(y.square().sum(), (x, weight, bias), retain_graph=True, allow_unused=True)
    assert torch.equal(found[0], expected)
    assert found[1:] == (None, None)
    by_weight = torch.autograd.grad(y.square().sum(), weight)[0]  # outside it is as it was
    assert by_weight.any()
