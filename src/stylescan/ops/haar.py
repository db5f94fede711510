"""The Haar wavelet transform between an image and the nets (Gal et al. 2021, section 3: SWAGAN).

Each level halves the side and has four bands for every channel before it: the mean of each 2x2 square, and its three
differences. The mean has weight 1/4 and the differences weight 1: of anatomy, whose details are faint beside its
shades (a seventh to a twentieth in orthonormal bands), all bands then come out at about the same scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stylescan.ops.full_precision import full_precision, widened

# rows: mean, and differences along columns, rows and diagonals; columns: the pixels of a 2x2 square
_BANDS = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))
_WEIGHTS = (0.25, 1.0, 1.0, 1.0)


def _bands(like: Tensor) -> Tensor:
    return torch.tensor(_BANDS, dtype=like.dtype, device=like.device)  # symmetric; its square is 4


def _weights(like: Tensor) -> Tensor:
    return torch.tensor(_WEIGHTS, dtype=like.dtype, device=like.device)


def haar(x: Tensor, levels: int = 1) -> Tensor:
    """Images [N, C, H, W] to coefficients [N, 4^levels C, H / 2^levels, W / 2^levels], channels-last.

    All bands are transformed again at every level (wavelet packets). Channel c's mean band is at 4^levels c.
    """
    with full_precision(x):  # differences would lose their digits
        x = widened(x)
        for _ in range(levels):
            n, c, h, w = x.shape
            squares = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, h // 2, w // 2, c, 4)
            x = (squares @ (_bands(x) * _weights(x))).flatten(3).permute(0, 3, 1, 2)
    return x


def inverse_haar(x: Tensor, levels: int = 1) -> Tensor:
    """What `haar` was made of: [N, 4^levels C, h, w] to [N, C, 2^levels h, 2^levels w]."""
    with full_precision(x):
        x = widened(x)
        for _ in range(levels):
            n, c, h, w = x.shape
            squares = x.permute(0, 2, 3, 1).reshape(n, h, w, c // 4, 4) @ (_bands(x) / (4 * _weights(x))[:, None])
            x = squares.reshape(n, h, w, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(n, c // 4, 2 * h, 2 * w)
    return x
