"""2D convolution whose weights' gradient is as fast as itself where torch's is not, differentiable any number of times.

Without AVX-512, oneDNN's gradient of a convolution's weights falls behind where an image outgrows a core's cache: two to
four times slower than the convolution. There it is summed from matrix products here, a few rows of pixels at a time. A
convolution, its adjoint and its weights' gradient are each linear in two arguments, and the derivatives of any of the
three are the other two: that gives all higher derivatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_CACHED_BYTES = 400_000  # from this size of an image on, oneDNN's gradient of the weights falls behind
_LEAST_CHANNELS = 32  # narrower matrices leave the product's kernels half empty
_CHUNK_BYTES = 1_000_000  # of copied pixels a thread: still in the cache when the matrix products read them


_inputs_alone: ContextVar[bool] = ContextVar("inputs_alone", default=False)


@contextmanager
def inputs_alone() -> Iterator[None]:
    """Around a gradient by images or styles: Python's autograd functions are not told that nobody asks for the weights'
    gradient, and would compute it for nothing."""
    token = _inputs_alone.set(True)
    try:
        yield
    finally:
        _inputs_alone.reset(token)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0) -> Tensor:
    """F.conv2d with square kernels. x: [N, C_in, H, W]; weight: [C_out, C_in, k, k]; bias: [C_out] or None.

    Returns [N, C_out, (H + 2 padding - k) // stride + 1, ...].
    """
    if not _outgrows_cache(x, x.shape[1:].numel(), weight):
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)
    out: Tensor = _Convolution.apply(x, weight, bias, stride, padding)  # type: ignore[no-untyped-call]
    return out


def conv_transpose2d(x: Tensor, weight: Tensor, *, stride: int) -> Tensor:
    """The adjoint of `conv2d` without padding. x: [N, C_out, H, W]; weight: [C_out, C_in, k, k].

    Returns [N, C_in, (H - 1) stride + k, (W - 1) stride + k].
    """
    kernel = weight.shape[2]
    size = ((x.shape[2] - 1) * stride + kernel, (x.shape[3] - 1) * stride + kernel)
    if not _outgrows_cache(x, weight.shape[1] * size[0] * size[1], weight):
        return F.conv_transpose2d(x, weight, stride=stride)
    return _adjoint(x, weight, stride, 0, size)


def _outgrows_cache(x: Tensor, image: int, weight: Tensor) -> bool:
    """Whether matrix products give the weights' gradient sooner than torch; image: elements of one on the larger side.

    As measured on AVX2. cuDNN has good kernels of its own, and autocast's choice of types is torch's own affair.
    """
    wide = weight.shape[2] > 1 and min(weight.shape[:2]) >= _LEAST_CHANNELS
    large = wide and image * x.element_size() > _CACHED_BYTES
    if not large or x.device.type != "cpu" or not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    if torch.compiler.is_compiling():  # which would unroll the loop over rows
        return False
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def _asked(needed: bool) -> bool:
    return needed and not _inputs_alone.get()


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding)
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        g, (stride, padding), needed = grads[0], ctx.geometry, ctx.needs_input_grad
        by_x = _adjoint(g, weight, stride, padding, x.shape[2:]) if needed[0] else None
        by_weight = _by_weight(g, x, stride, padding, weight.shape[2]) if _asked(needed[1]) else None
        by_bias = g.permute(0, 2, 3, 1).flatten(0, 2).sum(dim=0) if _asked(needed[2]) else None
        return by_x, by_weight, by_bias, None, None


class _Adjoint(torch.autograd.Function):
    """From a gradient by the output [N, C_out, h, w] to that by the input, [N, C_in, *size]."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, stride: int, padding: int, size: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(g, weight)
        ctx.geometry = (stride, padding)
        k = weight.shape[2]
        beyond = [full - ((n - 1) * stride - 2 * padding + k) for full, n in zip(size, g.shape[2:])]
        return F.conv_transpose2d(g, weight, stride=stride, padding=padding, output_padding=beyond)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        g, weight = ctx.saved_tensors
        v, (stride, padding), needed = grads[0], ctx.geometry, ctx.needs_input_grad
        by_g = conv2d(v, weight, stride=stride, padding=padding) if needed[0] else None
        by_weight = _by_weight(g, v, stride, padding, weight.shape[2]) if _asked(needed[1]) else None
        return by_g, by_weight, None, None, None


class _ByWeight(torch.autograd.Function):
    """From a gradient by the output [N, C_out, h, w] and the input [N, C_in, H, W] to that by the weight."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, stride: int, padding: int, kernel: int) -> Tensor:
        ctx.save_for_backward(g, x)
        ctx.geometry = (stride, padding)
        return weight_gradient(g, x, stride, padding, kernel)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        g, x = ctx.saved_tensors
        v, (stride, padding), needed = grads[0], ctx.geometry, ctx.needs_input_grad
        by_g = conv2d(x, v, stride=stride, padding=padding) if needed[0] else None
        by_x = _adjoint(g, v, stride, padding, x.shape[2:]) if needed[1] else None
        return by_g, by_x, None, None, None


# torch's `apply` is untyped; these two say what it takes and gives
def _adjoint(g: Tensor, weight: Tensor, stride: int, padding: int, size: tuple[int, int]) -> Tensor:
    out: Tensor = _Adjoint.apply(g, weight, stride, padding, size)  # type: ignore[no-untyped-call]
    return out


def _by_weight(g: Tensor, x: Tensor, stride: int, padding: int, kernel: int) -> Tensor:
    out: Tensor = _ByWeight.apply(g, x, stride, padding, kernel)  # type: ignore[no-untyped-call]
    return out


def weight_gradient(g: Tensor, x: Tensor, stride: int, padding: int, kernel: int) -> Tensor:
    """Gradient by the weight of `conv2d` as matrix products. g: [N, C_out, h, w]; x: [N, C_in, H, W].

    A few rows at a time, the columns that each tap meets are laid side by side; the rows that it meets are then a mere
    offset into that copy. Returns [C_out, C_in, k, k], channels-last.
    """
    n, c_out, h, w = g.shape
    c_in = x.shape[1]
    row_bytes = stride * w * kernel * c_in * x.element_size()
    rows = max(1, min(h, _CHUNK_BYTES * torch.get_num_threads() // row_bytes))
    below = (kernel - 1) // stride
    taps = x.new_zeros(stride, rows + below, w, kernel, c_in)  # rows of x by remainder, then columns by tap
    out = x.new_zeros(kernel, c_out, kernel * c_in)
    images, gs = x.permute(0, 2, 3, 1), g.permute(0, 2, 3, 1)
    for image in range(n):
        for first in range(0, h, rows):
            count = min(rows, h - first)
            for phase in range(stride):
                start = first * stride + phase - padding
                _lay_taps(taps[phase, : count + below], images[image], start, stride, padding)
            pixels = gs[image, first : first + count].reshape(count * w, c_out).t()
            for i in range(kernel):
                below_i = i // stride
                met = taps[i % stride, below_i : below_i + count].view(count * w, kernel * c_in)
                out[i].addmm_(pixels, met)
    by_weight = out.view(kernel, c_out, kernel, c_in).permute(1, 3, 0, 2)
    return by_weight.contiguous(memory_format=torch.channels_last)


def _lay_taps(taps: Tensor, image: Tensor, first: int, stride: int, padding: int) -> None:
    """Fill taps [rows, w, k, C] with the pixels of image [H, W, C]: row r and tap j at column c meet the pixel at
    (first + r stride, c stride + j - padding), or zero beyond the border."""
    rows, w, kernel, _ = taps.shape
    height, width = image.shape[:2]
    top, bottom = _within(rows, first, stride, height)
    taps[:top].zero_()  # left there by the chunk before
    taps[bottom:].zero_()
    if bottom <= top:
        return
    source = image[first + top * stride : first + (bottom - 1) * stride + 1 : stride]
    for j in range(kernel):
        left, right = _within(w, j - padding, stride, width)
        if right > left:
            start = left * stride + j - padding
            taps[top:bottom, left:right, j] = source[:, start : start + (right - left - 1) * stride + 1 : stride]


def _within(count: int, first: int, stride: int, size: int) -> tuple[int, int]:
    """The range of k in [0, count) for which first + k stride lies in [0, size)."""
    start = max(0, -(first // stride))
    stop = min(count, (size - 1 - first) // stride + 1)
    return min(start, count), max(stop, min(start, count))
