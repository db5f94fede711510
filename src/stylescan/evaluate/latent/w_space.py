"""Where a generator's own w lie: their mean, their principal directions, and how far out they reach.

Styles found by optimisation may leave this region, where the generator was never trained. Whitened coordinates u, in
which the generator's w have mean 0 and unit variance along every direction (Zhu et al. 2020, "Improved StyleGAN
Embedding: Where are the Good Latents?", section 3, there after an inverse leaky ReLU), make that distance a length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from stylescan.generate.sample import apportion
from stylescan.generate.snapshot import Snapshot
from stylescan.nets.protocols import one_hot
from stylescan.randomness import numpy_generator, torch_generator

SAMPLES = 10_000  # as Karras et al. 2020, appendix D
INSIDE = 0.95
_NEGLIGIBLE = 1e-5  # of the largest standard deviation: rounding, not a direction


@torch.no_grad()
def sample_w(snapshot: Snapshot, n: int, seed: int) -> Tensor:
    """w [n, w_dim] of random z, in random order, with classes in the training frequencies to within one image."""
    generator, meta = snapshot.generator, snapshot.meta
    device = next(generator.parameters()).device
    z = torch.randn(n, generator.spec.z_dim, generator=torch_generator(seed, "projection_z")).to(device)
    c = None
    if meta.class_names:
        labels = numpy_generator(seed, "projection_classes").permutation(apportion(meta.class_frequencies, n))
        c = one_hot(labels.tolist(), generator.spec.num_classes)
    return generator.mapping(z, None if c is None else c.to(device))[:, 0].clone()


@dataclass(frozen=True)
class WSpace:
    """mean [w_dim]; basis [w_dim, k]: principal directions times their standard deviations; reach [n]: the generated
    w's own squared lengths in u over k, ascending."""

    mean: Tensor
    basis: Tensor
    reach: Tensor

    @classmethod
    def of(cls, w: Tensor) -> Self:
        """The space that w [n, w_dim] span."""
        mean = w.mean(dim=0)
        # In double precision: the smallest directions are differences of large sums.
        centred = (w - mean).double()
        variances, directions = torch.linalg.eigh(centred.T @ centred / max(len(w) - 1, 1))  # ascending
        deviation = variances.clamp(min=0).sqrt().flip(0)
        directions = directions.flip(1)  # [w_dim, w_dim], a direction a column
        kept = deviation > _NEGLIGIBLE * deviation[0]
        basis = (directions[:, kept] * deviation[kept]).to(w)  # [w_dim, k]
        space = cls(mean, basis, w.new_zeros(0))
        return cls(mean, basis, space.remoteness(space.encode(w)).sort().values)

    @property
    def edge(self) -> float:
        """The remoteness within which 95 % of the generated w lie."""
        # Never zero, for models whose w are all alike: lengths are divided by it.
        return max(float(torch.quantile(self.reach, INSIDE)), 1e-6)

    def decode(self, u: Tensor) -> Tensor:
        """w [..., w_dim] of u [..., k]."""
        return self.mean + u @ self.basis.T

    def encode(self, w: Tensor) -> Tensor:
        """u [..., k] of w [..., w_dim]; what lies outside the span is dropped."""
        return (w - self.mean) @ (self.basis / self.basis.square().sum(dim=0))

    def remoteness(self, u: Tensor) -> Tensor:
        """Squared Mahalanobis distance from the mean over the dimensions: about 1 for the generator's own w. [...]"""
        return u.square().sum(dim=-1) / max(u.shape[-1], 1)

    def share_farther(self, u: Tensor) -> Tensor:
        """Share of the generated w that lie farther out than u [..., k], from 0 to 1. [...]"""
        inside = torch.searchsorted(self.reach, self.remoteness(u).contiguous(), right=True)
        return 1 - inside / max(len(self.reach), 1)
