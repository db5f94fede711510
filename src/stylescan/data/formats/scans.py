"""What a reader gives back: a picture or a volume, in the source's own values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["picture", "volume"]


@dataclass(frozen=True)
class Picture:
    """A 2D image: `pixels` uint8, uint16, int32 or float32 [C, H, W], C = 1 or 3; `mode`: how the file stores it.

    `spacing_mm`: (row, column), where the file states it. `window`: the (low, high) in which the file asks to be shown.
    `units`: of the values, such as 'HU'. `notes`: what a user should know about this file.
    """

    pixels: NDArray[Any]
    mode: str
    spacing_mm: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    units: str | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Volume:
    """`voxels` float32 [X, Y, Z], axes rising to the right, the front and the top (RAS); `spacing_mm` along each.

    Several contrasts have `voxels` [X, Y, Z, C]. Other fields as in `Picture`.
    """

    voxels: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    notes: tuple[str, ...] = field(default=())
    window: tuple[float, float] | None = None
    units: str | None = None

    @property
    def contrasts(self) -> list[NDArray[np.float32]]:
        """One array [X, Y, Z] a contrast."""
        return [self.voxels] if self.voxels.ndim == 3 else [self.voxels[..., k] for k in range(self.voxels.shape[3])]
