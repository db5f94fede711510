"""Floating point operations, counted while the work runs: 2 for a multiply-add of every convolution and matrix product.

Bias, activations, noise, sums and optimisers are left out: they are few, and bound by memory. Whatever autograd runs is
seen, second derivatives and the constant filters of resampling too.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

Shape = list[int]


def count_flops(work: Callable[[], object]) -> int:
    """The operations of one call of `work`: those of convolutions and matrix products, forward and backward."""
    aten = torch.ops.aten
    own = {
        aten.convolution_backward: _backward_of_conv,
        aten.addmm_: _product_in_place,
        aten.baddbmm_: _product_in_place,
    }
    counter: Any = FlopCounterMode(display=False, custom_mapping=own)
    counter.mod_tracker = _Whole()
    with counter:
        work()
    return int(counter.get_total_flops())


class _Whole:
    """In place of torch's table by module, whose hooks refuse the gradients by images that penalties take."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *problem: object) -> None: ...


def conv_flops(images: int, out_side: int, c_in: int, c_out: int, kernel: int, *, groups: int = 1) -> int:
    """The closed form for one pass of a convolution of square images, `out_side` pixels a side in the result.

    A transposed convolution takes the side of its input. The gradients by input and by weight cost one pass each.
    """
    return 2 * images * out_side**2 * (c_in // groups) * c_out * kernel**2


def _product_in_place(into: Shape, a: Shape, b: Shape, *scales: object, **more: object) -> int:
    """into += a b, of matrices or of batches of them: torch counts the forms that are not in place alone."""
    return 2 * prod(a) * b[-1]


def _backward_of_conv(
    grad_out: Shape,
    x: Shape,
    weight: Shape,
    bias: object,
    stride: object,
    padding: object,
    dilation: object,
    transposed: bool,
    output_padding: object,
    groups: int,
    output_mask: list[bool],
    out_shape: Any = None,
) -> int:
    """Each gradient that is asked for costs what the convolution did.

    torch's own formula forgets the groups in the weights' gradient, and so counts a grouped convolution's several times.
    """
    positions = prod((x if transposed else grad_out)[2:])
    once = 2 * x[0] * positions * prod(weight)
    return once * (output_mask[0] + output_mask[1])
