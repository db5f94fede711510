"""From the integers that a model makes back to the values that the scanner wrote, as far as they are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stylescan.data.prepared import ImageRecord, Manifest

Limits = tuple[float, float]
_LONGEST = 64  # letters of a name of units; DICOM allows no more


class ValueRange(BaseModel):
    """The source values that 0 and the largest integer stand for; `further`: those of the channels beyond the first.

    scope : 'all' where every training image has this range (8-bit values as they were, or one window), 'typical' where
    each had its own and these are the medians: absolute values are then indicative only.
    units : of the values, such as HU, where the scans state them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: float
    high: float
    further: list[Limits] = Field(default_factory=list)
    units: str | None = Field(default=None, max_length=_LONGEST)
    scope: Literal["all", "typical"]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for low, high in [(self.low, self.high), *self.further]:
            if not low < high:
                raise ValueError(f"values from {low:g} to {high:g}, expected a rising range")
        return self

    def of_channel(self, channel: int) -> Limits:
        """(low, high) of one channel; channels without a range of their own share the first one's."""
        return self.further[channel - 1] if 0 < channel <= len(self.further) else (self.low, self.high)

    def only(self, channel: int) -> ValueRange:
        """The range of one channel as that of an image of its own."""
        low, high = self.of_channel(channel)
        return self.model_copy(update={"low": low, "high": high, "further": []})

    def is_plain(self, bits: int) -> bool:
        """Whether the integers are the source's values themselves."""
        return not self.further and (self.low, self.high) == (0.0, 2.0**bits - 1)

    def words(self) -> str:
        """For people who open a file: what the ends of the range are, and how far to believe them."""
        units = f" {self.units}" if self.units else ""
        ends = " and ".join(f"{low:g} to {high:g}{units}" for low, high in [(self.low, self.high), *self.further])
        if self.scope == "all":
            return f"{ends} (the range of every training image)"
        return f"{ends} (typical: medians over training images with ranges of their own, so indicative only)"


def training_range(manifest: Manifest) -> ValueRange | None:
    """The range of the training images of a prepared set; None where they share no meaning.

    That is so where 8-bit images, which kept their values, and scaled ones are mixed, and where an image is flat.
    """
    if manifest.intensity.mapping == "mixed":
        return None
    images = [image for image in manifest.images if image.split == "train"]
    channels = [_limits(images, k) for k in range(manifest.channels)]
    if not images or channels[0] is None:
        return None
    found = [channel for channel in channels if channel is not None]
    same = all(len(set(channel)) == 1 for channel in found)
    middles = [tuple(np.median(np.array(channel, np.float64), axis=0).tolist()) for channel in found]
    if not all(math.isfinite(low) and math.isfinite(high) and low < high for low, high in middles):
        return None
    (low, high), *further = middles
    units = (manifest.intensity.units or "")[:_LONGEST] or None
    return ValueRange(low=low, high=high, further=further, units=units, scope="all" if same else "typical")


def _limits(images: Sequence[ImageRecord], channel: int) -> list[Limits] | None:
    """(low, high) of each image's channel; None where they have none of their own."""
    if channel == 0:
        return [(image.value_low, image.value_high) for image in images]
    keys = f"value_low_{channel}", f"value_high_{channel}"
    if not all(key in image.extra for image in images for key in keys):
        return None
    return [(float(image.extra[keys[0]]), float(image.extra[keys[1]])) for image in images]


def in_source_values(image: NDArray[Any], values: ValueRange) -> NDArray[np.float32]:
    """uint8 or uint16 [C, H, W] as source values: v becomes low + v / (2^bits - 1) * (high - low), float32."""
    largest = float(np.iinfo(image.dtype).max)
    limits = np.array([values.of_channel(k) for k in range(len(image))], np.float64)[:, :, None, None]
    scaled: NDArray[np.float64] = limits[:, 0] + image / largest * (limits[:, 1] - limits[:, 0])
    return scaled.astype(np.float32)
