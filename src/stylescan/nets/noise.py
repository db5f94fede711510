"""The noise maps of style-based generators: one a layer, drawn, constant, given, or none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stylescan.errors import ConfigError
from stylescan.nets.protocols import Noise


def noise_maps(
    n: int,
    noise: Noise,
    rng: torch.Generator | None,
    *,
    shapes: Sequence[tuple[int, int]],
    constants: Sequence[Tensor],
    most: int,
    like: Tensor,
) -> list[Tensor | None]:
    """A map [n or 1, 1, H, W] for each of `shapes`, or None each. ConfigError for other words and numbers of maps.

    constants: the net's own maps [H, W]; most: maps that may be given, of which the first are taken. Random maps are
    drawn on the CPU, so that a seed means the same on every device, and come on the device and in the type of `like`.
    """
    if noise == "none":
        return [None] * len(shapes)
    if noise == "const":
        return [constant[None, None] for constant in constants]
    if noise == "random":
        sizes = [h * w for h, w in shapes]
        parts = torch.split(torch.randn(n, sum(sizes), generator=rng).to(like), sizes, dim=1)
        return [part.reshape(n, 1, h, w) for part, (h, w) in zip(parts, shapes)]
    if isinstance(noise, str) or not len(shapes) <= len(noise) <= most:
        found = repr(noise) if isinstance(noise, str) else f"{len(noise)} maps"
        needed = f"{most}" if len(shapes) == most else f"{len(shapes)} to {most}"
        raise ConfigError(
            f"noise: found {found}, expected 'random', 'const', 'none' or {needed} maps",
            remedy="Give one map a layer, or one of the three words.",
        )
    return list(noise[: len(shapes)])
