"""From a slice of any size to a square power of two, and back: every step recorded, so that outputs can be un-padded.

The order is crop (source pixels) -> resample, antialiased (to whole output pixels) -> pad (output pixels). Padding
comes last so that the anatomy covers whole pixels and `undo` is an exact crop.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class Geometry(BaseModel):
    """What happened to one slice on its way to a square.

    `source_height/width`: pixels of the slice as read (after orientation). `crop_*`: source pixels cut off first.
    `resampled_height/width`: output pixels that the rest was resampled to. `pad_*`: output pixels added around it.
    `spacing_mm`: (row, column) spacing of the source slice in millimetres, where the header states it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source_height: int = Field(ge=1)
    source_width: int = Field(ge=1)
    crop_top: int = Field(default=0, ge=0)
    crop_bottom: int = Field(default=0, ge=0)
    crop_left: int = Field(default=0, ge=0)
    crop_right: int = Field(default=0, ge=0)
    resampled_height: int = Field(ge=1)
    resampled_width: int = Field(ge=1)
    pad_top: int = Field(default=0, ge=0)
    pad_bottom: int = Field(default=0, ge=0)
    pad_left: int = Field(default=0, ge=0)
    pad_right: int = Field(default=0, ge=0)
    spacing_mm: tuple[float, float] | None = None

    @property
    def output_height(self) -> int:
        """Rows after padding: the dataset's resolution."""
        return self.resampled_height + self.pad_top + self.pad_bottom

    @property
    def output_width(self) -> int:
        """Columns after padding: the dataset's resolution."""
        return self.resampled_width + self.pad_left + self.pad_right

    @property
    def output_spacing_mm(self) -> tuple[float, float] | None:
        """(row, column) spacing of the prepared image in millimetres, or None where the source states none."""
        if self.spacing_mm is None:
            return None
        rows = self.source_height - self.crop_top - self.crop_bottom
        columns = self.source_width - self.crop_left - self.crop_right
        return (
            self.spacing_mm[0] * rows / self.resampled_height,
            self.spacing_mm[1] * columns / self.resampled_width,
        )


def undo(image: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """`image` [..., R, R] without its padding: [..., resampled_height, resampled_width], a view.

    An image at another power of two (a smaller or larger generator) is cropped in proportion.
    Raises ValueError when `image` is not square or has no rows left.
    """
    height, width = image.shape[-2:]
    full = geometry.output_height
    if height != width or geometry.output_width != full:
        raise ValueError(f"undo expects square images, got {height}x{width} for a {full}x{geometry.output_width} plan")
    scale = height / full
    top, left = round(geometry.pad_top * scale), round(geometry.pad_left * scale)
    bottom = max(top + 1, height - round(geometry.pad_bottom * scale))
    right = max(left + 1, width - round(geometry.pad_right * scale))
    return image[..., top:bottom, left:right]
