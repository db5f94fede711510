"""From a slice of any size to a square power of two, and back: every step recorded, so that outputs can be un-padded.

The order is crop (source pixels) -> resample, antialiased (to whole output pixels) -> pad (output pixels). Padding
comes last so that the anatomy covers whole pixels and `undo` is an exact crop.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

MAX_CROP = 0.05  # cutting up to this share off keeps every pixel sharp; more could cost anatomy
MIN_FILL = 0.75  # images that fill at least this share of the square are padded instead of enlarged
MIN_SIDE, MAX_SIDE = 16, 1024


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
    def keeps_pixels(self) -> bool:
        """Whether nothing is resampled: pixels are cropped and padded alone."""
        rows = self.source_height - self.crop_top - self.crop_bottom
        columns = self.source_width - self.crop_left - self.crop_right
        return (rows, columns) == (self.resampled_height, self.resampled_width)

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


def choose_resolution(longest: float) -> tuple[int, bool]:
    """The power of two for images of `longest` pixels, and whether they keep their pixels (no resampling).

    Next power above where the image fills three quarters of it (padded); the power below where at most 5 % would be cut
    off (cropped); else the power below, by resampling. Always within 16..1024.
    """
    above = MIN_SIDE
    while above < longest and above < MAX_SIDE:
        above *= 2
    if MIN_FILL * above <= longest <= above:
        return above, True
    below = above if longest > above else max(above // 2, MIN_SIDE)
    return below, below <= longest <= below * (1 + MAX_CROP)


def plan_picture(
    height: int, width: int, resolution: int, *, exact: bool, spacing_mm: tuple[float, float] | None = None
) -> Geometry:
    """Geometry of one picture: its longest side becomes `resolution`, the other is padded evenly.

    Up to 5 % too large is cropped instead of resampled; with `exact` (see `choose_resolution`), up to a quarter too
    small is padded instead.
    """
    longest = max(height, width)
    keep = resolution <= longest <= resolution * (1 + MAX_CROP)
    if keep or (exact and MIN_FILL * resolution <= longest <= resolution):
        return _assemble(height, width, (1.0, 1.0), resolution, spacing_mm)
    scale = resolution / longest
    return _assemble(height, width, (scale, scale), resolution, spacing_mm)


def plan_volume(
    height: int, width: int, spacing_mm: tuple[float, float], resolution: int, field_of_view_mm: float
) -> Geometry:
    """Geometry of a volume's slices: `field_of_view_mm` fills the square, so anatomy keeps its scale in the whole set.

    Rows and columns are scaled apart, which makes pixels isotropic. What is larger than the field of view is cropped
    evenly, what is smaller is padded.
    """
    per_mm = resolution / field_of_view_mm
    return _assemble(height, width, (per_mm * spacing_mm[0], per_mm * spacing_mm[1]), resolution, spacing_mm)


def _assemble(
    height: int, width: int, scale: tuple[float, float], resolution: int, spacing_mm: tuple[float, float] | None
) -> Geometry:
    """Crop what leaves the square, resample the rest, pad to the square; odd remainders go to the bottom and right."""
    cut_rows, cut_columns = (_surplus(n, s, resolution) for n, s in zip((height, width), scale))
    rows = min(resolution, max(1, round((height - cut_rows) * scale[0])))
    columns = min(resolution, max(1, round((width - cut_columns) * scale[1])))
    pad_rows, pad_columns = resolution - rows, resolution - columns
    return Geometry(
        source_height=height,
        source_width=width,
        crop_top=cut_rows // 2,
        crop_bottom=cut_rows - cut_rows // 2,
        crop_left=cut_columns // 2,
        crop_right=cut_columns - cut_columns // 2,
        resampled_height=rows,
        resampled_width=columns,
        pad_top=pad_rows // 2,
        pad_bottom=pad_rows - pad_rows // 2,
        pad_left=pad_columns // 2,
        pad_right=pad_columns - pad_columns // 2,
        spacing_mm=spacing_mm,
    )


def _surplus(length: int, scale: float, resolution: int) -> int:
    """Source pixels beyond the square: none where the length fits within half an output pixel."""
    if length * scale <= resolution + 0.5:
        return 0
    return min(length - 1, length - math.floor(resolution / scale + 1e-6))


def apply(image: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """`image` [C, H, W] in [0, 1] through `geometry`: [C, R, R] in [0, 1]. Padding is 0, the lowest value.

    Resampling is bicubic and antialiased (the kernel widens with the reduction). Raises ValueError where the image's
    size is not the geometry's.
    """
    image = _cropped(image, geometry)
    if not geometry.keeps_pixels:
        size = (geometry.resampled_width, geometry.resampled_height)
        resized = [Image.fromarray(c).resize(size, Image.Resampling.BICUBIC) for c in np.ascontiguousarray(image)]
        image = np.stack([np.asarray(c, np.float32) for c in resized]).clip(0.0, 1.0)
    return _padded(image, geometry)


def place(image: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """`image` [C, H, W] of any type, cropped and padded with 0 alone: [C, R, R] of the same type.

    For integers and masks whose values must stay. Raises ValueError where the geometry resamples.
    """
    if not geometry.keeps_pixels:
        raise ValueError("the geometry resamples, so that values would change")
    return _padded(_cropped(image, geometry), geometry)


def apply_nearest(mask: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """`mask` [H, W] through `geometry` without new values: each output pixel takes the source pixel under its middle."""
    mask = _cropped(mask[None], geometry)[0]
    rows = (np.arange(geometry.resampled_height) + 0.5) * mask.shape[0] / geometry.resampled_height
    columns = (np.arange(geometry.resampled_width) + 0.5) * mask.shape[1] / geometry.resampled_width
    nearest = mask[np.ix_(rows.astype(np.int64), columns.astype(np.int64))]
    square: NDArray[Any] = _padded(nearest[None], geometry)[0]
    return square


def _cropped(image: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    _, height, width = image.shape
    if (height, width) != (geometry.source_height, geometry.source_width):
        expected = f"{geometry.source_height}x{geometry.source_width}"
        raise ValueError(f"image is {height}x{width}, the geometry is for {expected}")
    rows = slice(geometry.crop_top, height - geometry.crop_bottom)
    return image[:, rows, geometry.crop_left : width - geometry.crop_right]


def _padded(image: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    if (geometry.output_height, geometry.output_width) == image.shape[1:]:
        return image
    out = np.zeros((len(image), geometry.output_height, geometry.output_width), image.dtype)
    rows = slice(geometry.pad_top, geometry.pad_top + image.shape[1])
    out[:, rows, geometry.pad_left : geometry.pad_left + image.shape[2]] = image
    return out
