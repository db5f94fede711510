"""Spectral normalisation (Miyato et al. 2018, section 2): every weight divided by its largest singular value.

The matrix of a convolution is its weight as [out, in * taps], as in the paper. torch's parametrization does the
division and one power iteration a forward pass in train() mode, none in eval(); its vectors are part of the state dict.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from stylescan.ops.layers import EqualisedLayer

LAYERS = (EqualisedLayer, nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


def apply_spectral_norm(net: nn.Module) -> None:
    """Give every convolution, linear layer and embedding of `net` weights of norm 1, in place; twice is once.

    The class embedding of a projection head is normalised too, as in Miyato & Koyama (2018). Layers with an equalised
    learning rate lose their gain, that of the leaky ReLU included, so that the weight that acts has norm 1; their biases
    keep theirs. Demodulated layers are left alone: demodulation divides any factor out again.
    """
    for module in net.modules():
        if not isinstance(module, LAYERS) or parametrize.is_parametrized(module, "weight"):
            continue
        spectral_norm(module, "weight", dim=_out_dim(module))
        if isinstance(module, EqualisedLayer):
            module.weight_gain = 1.0
    settle_spectral_norm(net)  # torch's first 15 iterations leave the norms up to 1.07


@torch.no_grad()
def settle_spectral_norm(net: nn.Module) -> None:
    """Set the vectors of all normalised layers of `net` to the exact singular vectors, so that all norms are 1.

    One iteration a pass follows slow changes only: when another direction overtakes the first, norms rise to 1.03 (Adam,
    learning rate 2e-4) or 1.16 (2.5e-3) until it has caught up. Averaged weights never had vectors of their own.
    """
    for module in net.modules():
        if not isinstance(module, LAYERS) or not parametrize.is_parametrized(module, "weight"):
            continue
        state = dict(module.named_parameters()) | dict(module.named_buffers())
        weight = state["parametrizations.weight.original"]
        u, v = _first_singular_vectors(weight.movedim(_out_dim(module), 0).flatten(1))  # of [out, in * taps]
        state["parametrizations.weight.0._u"].copy_(u)
        state["parametrizations.weight.0._v"].copy_(v)


def _out_dim(module: nn.Module) -> int:
    return 1 if isinstance(module, nn.ConvTranspose2d) else 0


def _first_singular_vectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """u [A] and v [B] of [A, B], from the smaller Gram matrix, faster than a decomposition of all."""
    if matrix.shape[0] > matrix.shape[1]:
        v, u = _first_singular_vectors(matrix.t())
        return u, v
    wide = matrix.double()
    u = torch.linalg.eigh(wide @ wide.t()).eigenvectors[:, -1]  # eigenvalues ascend
    return u, nn.functional.normalize(wide.t() @ u, dim=0)
