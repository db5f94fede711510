"""What training, sampling and evaluation expect of a family's networks, whatever is inside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from stylescan.errors import ConfigError

Noise = Literal["random", "const", "none"] | Sequence[Tensor]


class Stage(NamedTuple):
    """How far a growing pair of networks has come: the same for G, D and the reals.

    depth: resolutions grown above 4 px, 4 * 2 ** depth pixels a side; alpha: share of the newest resolution, from 0 (the
    level below, enlarged) to 1.
    """

    depth: int
    alpha: float = 1.0

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return int(4 * 2**self.depth)


class NetSpec(Protocol):
    """The numbers that fix a pair of networks; JSON-able, kept in checkpoints and snapshots."""

    @property
    def family(self) -> str: ...
    @property
    def resolution(self) -> int: ...
    @property
    def img_channels(self) -> int: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def z_dim(self) -> int: ...
    @property
    def w_dim(self) -> int: ...


class Mapping(Protocol):
    """z and class to styles."""

    w_avg: Tensor  # [max(num_classes, 1), w_dim]

    def __call__(self, z: Tensor, c: Tensor | None, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """z: [N, z_dim] standard normal; c: [N, num_classes] one-hot or None. Returns ws [N, num_ws, w_dim]."""
        ...

    def update_w_avg(self, ws: Tensor, c: Tensor | None, *, total: Callable[[Tensor], Tensor] = ...) -> None:
        """Move the running mean of w towards the batch's, each class its own.

        total: sums a tensor over the processes that share the batch.
        """
        ...


class Synthesis(Protocol):
    """Styles to images."""

    noise_shapes: tuple[tuple[int, int], ...]

    def __call__(
        self, ws: Tensor, *, noise: Noise = "random", rng: torch.Generator | None = None, stage: Stage | None = None
    ) -> Tensor:
        """ws: [N, num_ws, w_dim]; noise: drawn from `rng`, the net's constant maps, none, or given maps [N, 1, H, W].

        stage: of growing families alone; their images then have its resolution. Left out, they have come as far as they
        were trained, and images are enlarged to the full resolution. Returns images [N, C, H, W], nominally in [-1, 1].
        """
        ...


class Generator(nn.Module):
    """Base of the families' generators: the shared call, image = synthesis(mapping(z, c)).

    num_ws: styles an image takes, 1 for families without styles by layer.
    """

    spec: NetSpec
    num_ws: int
    mapping: Mapping
    synthesis: Synthesis

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        noise: Noise = "random",
        rng: torch.Generator | None = None,
    ) -> Tensor:
        ws = self.mapping(z, c, psi=psi, cutoff=cutoff)  # [N, num_ws, w_dim]
        return self.synthesis(ws, noise=noise, rng=rng)  # [N, C, H, W]

    def styles_at(self, stage: Stage | None) -> int:
        """How many of the styles an image takes at `stage`: all, but in families that grow."""
        return self.num_ws


class Discriminator(nn.Module):
    """Base of the families' discriminators: images [N, C, H, W] and classes to scores [N].

    `group` in the call: images a group for statistics over the batch; images i, i + N/group, ... belong together.
    `stage` in the call: of growing families alone, which then take images of its resolution; left out, they take images of
    the full resolution and reduce them to what they were trained on.
    `mbstd_group`: the largest group it takes by itself, 1 for families without such statistics. `whole_batch`: whether
    one image's score depends on all others of the pass (batch normalisation), so that reals and fakes must not share it.
    """

    spec: NetSpec
    embed: nn.Module | None  # [N, num_classes] to [N, width]; no default, which would hide the registered module
    mbstd_group: int = 1
    whole_batch: bool = False

    def with_class(self, score: Tensor, h: Tensor, c: Tensor | None) -> Tensor:
        """score [N] and, with classes, what h [N, width] says of c [N, num_classes] (Miyato & Koyama 2018, equation 3)."""
        if self.embed is None or c is None:
            return score
        told: Tensor = (self.embed(c) * h).sum(dim=1) / math.sqrt(h.shape[1])
        return score + told


def one_hot(labels: Iterable[int], num_classes: int) -> Tensor | None:
    """Classes as the nets take them: float [N, num_classes], or None for nets without classes."""
    if num_classes == 0:
        return None
    index = torch.as_tensor(list(labels), dtype=torch.int64)
    if index.numel() and not (int(index.min()) >= 0 and int(index.max()) < num_classes):
        raise ConfigError(
            f"class index {int(index.min())}..{int(index.max())} is outside 0..{num_classes - 1}",
            remedy="Give one of the classes that the model was trained with.",
        )
    return torch.nn.functional.one_hot(index, num_classes).float()
