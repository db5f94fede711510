"""The mapping of families without w: their generators read z itself, with the class embedded beside it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stylescan.errors import ConfigError
from stylescan.nets.mapping import check_classes
from stylescan.nets.protocols import Noise
from stylescan.ops.layers import normalise_second_moment


def latent_width(*, z_dim: int, num_classes: int, class_dim: int) -> int:
    """What `LatentMapping` gives an image: z_dim, and class_dim more with classes. A spec's w_dim."""
    return z_dim + (class_dim if num_classes else 0)


class LatentMapping(nn.Module):
    """z [N, z_dim] and c [N, num_classes] to ws [N, 1, w_dim]: z, and behind it the class's embedding.

    Parameters: class_dim: size of the embedding, learned, of standard normal numbers like z at the start; normalise_z:
    scale each z to a mean square of one. `w_avg` [max(num_classes, 1), w_dim] stays at zero, the mean of z.
    """

    w_avg: Tensor

    def __init__(self, *, z_dim: int, num_classes: int, class_dim: int, normalise_z: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.normalise_z = normalise_z
        self.embed: nn.Linear | None = None
        if num_classes:
            self.embed = nn.Linear(num_classes, class_dim, bias=False)
            nn.init.normal_(self.embed.weight)
        w_dim = latent_width(z_dim=z_dim, num_classes=num_classes, class_dim=class_dim)
        self.register_buffer("w_avg", torch.zeros(max(num_classes, 1), w_dim))

    def forward(self, z: Tensor, c: Tensor | None = None, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """psi: 1 alone; cutoff: without meaning where nothing is truncated.

        Raises ConfigError on another psi, and where classes are missing or given to a model without them.
        """
        if psi != 1:
            raise ConfigError(
                f"psi is {psi}, expected 1: this family has no w, its latent is z itself, so there is no mean style to "
                "truncate to",
                remedy="Leave psi at 1, or train a style-based family.",
            )
        check_classes(c, self.num_classes)
        w = normalise_second_moment(z) if self.normalise_z else z
        if self.embed is not None and c is not None:
            w = torch.cat([w, self.embed(c)], dim=1)
        return w[:, None]  # [N, 1, w_dim]

    def update_w_avg(self, ws: Tensor, c: Tensor | None, *, total: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Nothing to follow: there is no w."""


def refuse_noise_maps(noise: Noise) -> None:
    """ConfigError on given maps: the three words mean the same where no layer takes noise."""
    if not isinstance(noise, str) and len(noise):
        raise ConfigError(
            f"noise: found {len(noise)} maps, expected none: no layer of this family takes noise",
            remedy="Leave the maps out.",
        )
