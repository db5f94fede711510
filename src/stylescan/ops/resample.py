"""Low-pass filtered resampling by two (Karras et al. 2019, section 2; Zhang 2019, 'Making CNNs shift-invariant again').

The fast path is a depthwise convolution with its padding and stride inside. The filter is symmetric and constant, so
the derivative of filtering is filtering again: `_Filter` says so to autograd, which otherwise takes the slow general
double backward of grouped convolutions in the R1 and path-length penalties.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylescan.ops.full_precision import full_precision

FIR_TAPS = (1.0, 3.0, 3.0, 1.0)


def fir_filter(taps: tuple[float, ...] = FIR_TAPS, *, device: torch.device | None = None) -> Tensor:
    """The separable low-pass filter as a [K, K] tensor that sums to one."""
    one = torch.tensor(taps, dtype=torch.float32, device=device)
    two = torch.outer(one, one)
    return two / two.sum()


def upfirdn_plain(
    x: Tensor, f: Tensor, *, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0), gain: float = 1
) -> Tensor:
    """Reference: insert zeros, pad, filter and decimate, each as its definition says.

    x: [N, C, H, W]; f: [K, K]; pad: (before, after) on both axes. Returns [N, C, H', W'] with
    H' = (H * up + pad[0] + pad[1] - K) // down + 1.
    """
    n, c, h, w = x.shape
    x = x.reshape(n, c, h, 1, w, 1)
    x = F.pad(x, [0, up - 1, 0, 0, 0, up - 1]).reshape(n, c, h * up, w * up)
    x = F.pad(x, [pad[0], pad[1], pad[0], pad[1]])
    kernel = (f * gain).flip([0, 1]).to(x)
    x = F.conv2d(x.reshape(n * c, 1, *x.shape[2:]), kernel[None, None])
    return x.reshape(n, c, *x.shape[2:])[:, :, ::down, ::down]


class _Filter(torch.autograd.Function):
    """Depthwise correlation with a constant filter; its derivative is the transposed correlation, and so on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.geometry = (stride, padding, x.shape[2])
        with full_precision(x):  # x keeps its type: its derivative must have it too
            return F.conv2d(x, weight, stride=stride, padding=padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        stride, padding, size = ctx.geometry
        return _transposed(grads[0], weight, stride, padding, size), None, None, None


class _FilterTransposed(torch.autograd.Function):
    """The adjoint of `_Filter`, giving an image of `size` pixels a side."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int, size: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.geometry = (stride, padding)
        natural = (x.shape[2] - 1) * stride - 2 * padding + weight.shape[2]
        with full_precision(x):
            return F.conv_transpose2d(
                x, weight, stride=stride, padding=padding, output_padding=size - natural, groups=x.shape[1]
            )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        stride, padding = ctx.geometry
        return _filtered(grads[0], weight, stride, padding), None, None, None, None


# torch's `apply` is untyped; these two say what it takes and gives
def _filtered(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    out: Tensor = _Filter.apply(x, weight, stride, padding)  # type: ignore[no-untyped-call]
    return out


def _transposed(x: Tensor, weight: Tensor, stride: int, padding: int, size: int) -> Tensor:
    out: Tensor = _FilterTransposed.apply(x, weight, stride, padding, size)  # type: ignore[no-untyped-call]
    return out


def _depthwise(f: Tensor, x: Tensor, gain: float) -> Tensor:
    channels = x.shape[1]
    return (
        (f * gain).to(x.dtype)[None, None].expand(channels, 1, *f.shape).contiguous(memory_format=torch.channels_last)
    )


def blur(x: Tensor, f: Tensor, *, padding: int, gain: float = 1) -> Tensor:
    """Low-pass filter `x` [N, C, H, W] with symmetric `f` [K, K]; square images. Returns side H + 2 padding - K + 1."""
    return _filtered(x, _depthwise(f, x, gain), 1, padding)


def downsample2(x: Tensor, f: Tensor) -> Tensor:
    """Filter and halve: [N, C, H, W] to [N, C, H/2, W/2]; a constant image stays constant away from the border."""
    return _filtered(x, _depthwise(f, x, 1.0), 2, (f.shape[0] - 2) // 2)


def upsample2(x: Tensor, f: Tensor) -> Tensor:
    """Double and filter: [N, C, H, W] to [N, C, 2H, 2W], gain 4 for the inserted zeros.

    The symmetric filter makes upsampling four times the adjoint of `downsample2`.
    """
    return _transposed(x, _depthwise(f, x, 4.0), 2, (f.shape[0] - 2) // 2, 2 * x.shape[2])
