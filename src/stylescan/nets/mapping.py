"""The mapping network from z and class to w (Karras et al. 2019, section 2; truncation: section 2 and appendix B)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from stylescan.errors import ConfigError
from stylescan.nets.protocols import NetSpec
from stylescan.ops.layers import Linear, normalise_second_moment

MAPPING_LR_MULTIPLIER = 0.01
W_AVG_BETA = 0.995


def check_classes(c: Tensor | None, num_classes: int) -> None:
    """ConfigError where classes are missing, or given to a model without them."""
    if (c is None) != (num_classes == 0):
        raise ConfigError(
            f"this model has {num_classes} classes and was called {'without' if c is None else 'with'} a class",
            remedy="Give a class to conditional models only.",
        )


class MappedSpec(NetSpec, Protocol):
    """A specification of a family with a mapping network."""

    @property
    def mapping_layers(self) -> int: ...


class MappingNetwork(nn.Module):
    """z [N, z_dim] and c [N, num_classes] to ws [N, num_ws, w_dim].

    Parameters: layers: number of fully connected layers, at least 1. z and the embedded class are each normalised to
    unit mean square and concatenated. `w_avg` [max(num_classes, 1), w_dim] holds a running mean of w a class.
    """

    w_avg: Tensor

    def __init__(self, *, z_dim: int, w_dim: int, num_classes: int, num_ws: int, layers: int) -> None:
        super().__init__()
        self.num_ws = num_ws
        self.num_classes = num_classes
        self.embed = Linear(num_classes, w_dim) if num_classes else None
        widths = [z_dim + (w_dim if num_classes else 0)] + [w_dim] * layers
        self.layers = nn.ModuleList(
            Linear(a, b, lr_multiplier=MAPPING_LR_MULTIPLIER, activation="lrelu") for a, b in pairwise(widths)
        )
        self.register_buffer("w_avg", torch.zeros(max(num_classes, 1), w_dim))

    @classmethod
    def of(cls, spec: MappedSpec, num_ws: int) -> Self:
        """The mapping network that a family's specification asks for."""
        return cls(
            z_dim=spec.z_dim, w_dim=spec.w_dim, num_classes=spec.num_classes, num_ws=num_ws, layers=spec.mapping_layers
        )

    def forward(self, z: Tensor, c: Tensor | None = None, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """psi: truncation towards the class's mean w, 1 = none; cutoff: number of first layers truncated, None = all.

        Raises ConfigError where classes are missing or given to a model without them.
        """
        check_classes(c, self.num_classes)
        x = normalise_second_moment(z)
        if self.embed is not None and c is not None:
            x = torch.cat([x, normalise_second_moment(self.embed(c))], dim=1)
        for layer in self.layers:
            x = layer(x)
        ws = x[:, None].expand(-1, self.num_ws, -1)  # [N, num_ws, w_dim]
        return ws if psi == 1 else self.truncate(ws, c, psi=psi, cutoff=cutoff)

    def truncate(self, ws: Tensor, c: Tensor | None, *, psi: float, cutoff: int | None = None) -> Tensor:
        """w_avg + psi (w - w_avg) in the first `cutoff` layers."""
        centre = (self.w_avg if c is None else c @ self.w_avg)[:, None]  # [1 or N, 1, w_dim]
        truncated = centre + psi * (ws - centre)
        if cutoff is None or cutoff >= self.num_ws:
            return truncated
        return torch.cat([truncated[:, :cutoff], ws[:, cutoff:]], dim=1)

    @torch.no_grad()
    def update_w_avg(self, ws: Tensor, c: Tensor | None, *, total: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Move each class's mean towards the mean of its w in this batch (beta .995); absent classes stay.

        total: sums a tensor over the processes that share the batch.
        """
        w = ws[:, 0].detach()  # [N, w_dim]
        members = w.new_ones(len(w), 1) if c is None else c  # [N, K]
        sums = total(torch.cat([members.t() @ w, members.sum(dim=0)[:, None]], dim=1))  # [K, w_dim + 1]
        counts = sums[:, -1:]  # [K, 1]
        means = sums[:, :-1] / counts.clamp(min=1)
        self.w_avg.copy_(torch.where(counts > 0, self.w_avg.lerp(means, 1 - W_AVG_BETA), self.w_avg))
