"""Feature extractors: images in, vectors out. A new extractor is one more row of `EXTRACTORS`, or a file of the user's.

Weights come from installed packages or from a file that the user names; nothing is ever downloaded. An extractor's hash
covers the weights and the preprocessing, and two results with different hashes are not comparable.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stylescan.errors import ConfigError
from stylescan.evaluate.extractors.fidelity import TorchFidelity
from stylescan.evaluate.extractors.from_file import SUFFIXES, open_file
from stylescan.evaluate.extractors.lite0 import EfficientNetLite0
from stylescan.evaluate.extractors.radiomics import Radiomics


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


EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "efficientnet-lite0": EfficientNetLite0,
    "radiomics": Radiomics,
    "inception-v3": TorchFidelity,
}


def get_extractor(extractor: str | Path | Extractor) -> Extractor:
    """The extractor of that name or in that file (`.pt`, `.ts`, `.torchscript`, `.onnx`), or the object itself.

    A name goes before a file of the same name (write `./NAME` for the file). ConfigError: no such name, no such file,
    or a file that cannot serve.
    """
    if not isinstance(extractor, str | Path):
        return extractor
    if isinstance(extractor, str) and extractor in EXTRACTORS:
        return EXTRACTORS[extractor]()
    if isinstance(extractor, Path) or _means_a_file(extractor):
        return open_file(Path(extractor).expanduser())
    close = difflib.get_close_matches(extractor, EXTRACTORS, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise ConfigError(
        f"extractor: found {extractor!r}, expected one of {', '.join(EXTRACTORS)}, or a file{hint}",
        remedy=f"Choose one of these, or give the path of a TorchScript or ONNX file ({', '.join(SUFFIXES)}).",
    )


def _means_a_file(text: str) -> bool:
    separators = [os.sep, *([os.altsep] if os.altsep else [])]
    return Path(text).suffix.lower() in (*SUFFIXES, ".pt2", ".pth", ".pkl", ".safetensors") or any(
        separator in text for separator in separators
    )
