"""Feature extractors: images in, vectors out. A new extractor is one more row of `EXTRACTORS`.

Weights come from installed packages only; nothing is ever downloaded. An extractor's hash covers the weights and
the preprocessing, and two results with different hashes are not comparable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stylescan.errors import ConfigError
from stylescan.evaluate.extractors.lite0 import EfficientNetLite0


class Extractor(Protocol):
    """Maps images to features of a fixed dimension, each image independently of the others in the call."""

    @property
    def name(self) -> str: ...

    @property
    def hash(self) -> str:
        """Hex SHA-256 over weights and preprocessing."""
        ...

    @property
    def dim(self) -> int: ...

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """uint8 or uint16 [N, C, H, W], full integer range = the data's intensity window -> float32 [N, dim]."""
        ...


EXTRACTORS: dict[str, Callable[[], Extractor]] = {"efficientnet-lite0": EfficientNetLite0}


def get_extractor(extractor: str | Extractor) -> Extractor:
    """The extractor of that name, or the object itself; ConfigError with the known names otherwise."""
    if not isinstance(extractor, str):
        return extractor
    if extractor not in EXTRACTORS:
        raise ConfigError(
            f"extractor: found {extractor!r}, expected one of {', '.join(EXTRACTORS)}",
            remedy="Choose one of these, or pass your own object to stylescan.evaluate.judge.evaluate.",
        )
    return EXTRACTORS[extractor]()
