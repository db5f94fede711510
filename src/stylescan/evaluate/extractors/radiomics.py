"""Features without weights, in the manner of radiomics: what a reader would call brightness, grain, edges, layout.

No network, no download, no training set: the same numbers on every machine. Families, in this order: first-order grey
statistics, edges, layout (`intensity`), grey-level co-occurrence (Haralick 1973), run lengths (Galloway 1975), local
binary patterns (Ojala 2002) (`texture`), Haar bands and power spectrum (`intensity`); definitions after the Image
Biomarker Standardisation Initiative (Zwanenburg 2020). These are not certified IBSI values: features are scaled.

Scaling is fixed, for every dataset alike: z = (value - centre) / scale, then 3 asinh(z / 3): linear up to about 3, a
logarithm beyond, so that images unlike any of the sets below do not run away with a distance or KID's cube. Centre and
scale of each feature lie in `radiomics_scales.json`, measured once on four image sets at 64 px, 300 images each (T1
brain slices, contrast-enhanced T1 brain slices, T1 hippocampus crops, MedNIST's six kinds of radiographs, CT and MR):
the mean of the sets' means, and the root of the mean of the variances within a set, rounded to two digits, the scale
not below 0.005. So no feature dominates a distance, and the hash does not depend on the data at hand.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.errors import ConfigError
from stylescan.evaluate.extractors.intensity import edges, first_order, layout, scales
from stylescan.evaluate.extractors.texture import Grey, binary_patterns, glcm, run_lengths

SMALLEST_PX = 16
_BEND = 3.0
_FAMILIES = (first_order, edges, layout, glcm, run_lengths, binary_patterns, scales)


def raw_features(image: Grey) -> dict[str, float]:
    """Every feature of one grey image [H, W] in [0, 1] by name, before scaling."""
    return {name: value for family in _FAMILIES for name, value in family(image).items()}


class Radiomics:
    """Scaled features of images without any weights; several channels: the mean of each channel's features.

    Exactly equal for any batch and order, and for 8 bits and the same values at 16 (v and 257 v).
    """

    name = "radiomics"
    version = "radiomics v1, 3 asinh(z / 3)"

    def __init__(self) -> None:
        text = (files("stylescan.evaluate.extractors") / "radiomics_scales.json").read_text("utf-8")
        table: dict[str, list[float]] = json.loads(text)
        self.names = tuple(table)
        self.dim = len(self.names)
        self.hash = hashlib.sha256(f"{self.version}\n{json.dumps(table, sort_keys=True)}".encode()).hexdigest()
        self._centre = np.array([centre for centre, _ in table.values()])
        self._scale = np.array([scale for _, scale in table.values()])

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """uint8 or uint16 [N, C, H, W], sides of at least 16 px -> float32 [N, dim]. ConfigError for smaller ones."""
        if images.ndim != 4 or images.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"images are {images.dtype} {images.shape}, expected uint8 or uint16 [N, C, H, W]")
        if min(images.shape[-2:]) < SMALLEST_PX:
            raise ConfigError(
                f"extractor radiomics: images are {images.shape[3]} x {images.shape[2]} px, expected at least "
                f"{SMALLEST_PX} a side",
                remedy="Use --extractor efficientnet-lite0, or prepare the data at a higher resolution.",
            )
        largest = float(np.iinfo(images.dtype).max)
        out = np.empty((len(images), self.dim), np.float32)
        for row, image in enumerate(images):
            raw = np.mean([self._raw(channel / largest) for channel in image], axis=0)
            out[row] = _BEND * np.arcsinh((raw - self._centre) / (_BEND * self._scale))
        return out

    def _raw(self, grey: Grey) -> Grey:
        found = raw_features(grey)
        return np.array([found[name] for name in self.names])
