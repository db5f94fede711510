"""Other generators' images: PNG files that must fit the data in size, channels and depth, or are refused by name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from stylescan.data.prepared import PreparedDataset
from stylescan.errors import DataError

_CHANNEL = re.compile(r"(.+)_channel-(\d{1,3})\.png$")
_MODES = ("L", "I;16", "RGB")


def group_channels(files: Sequence[Path], dataset: PreparedDataset) -> list[tuple[Path, ...]]:
    """One tuple of files an image: a single file, or `NAME_channel-0.png`, `NAME_channel-1.png`, ... in order.

    Raises DataError where the channels of an image are not those of the data.
    """
    groups: dict[Path, dict[int, Path]] = {}
    for file in files:
        found = _CHANNEL.match(file.name)
        key, number = (file.with_name(found[1]), int(found[2])) if found else (file, 0)
        groups.setdefault(key, {})[number] = file
    for key, members in groups.items():
        if _CHANNEL.match(members[min(members)].name) and sorted(members) != list(range(dataset.channels)):
            raise _wrong_channels(
                members[min(members)], f"one of the channels {sorted(members)} of {key.name}", dataset
            )
    return [tuple(members[number] for number in sorted(members)) for members in groups.values()]


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """The PNG in `file`; DataError naming it for anything that Pillow cannot read, now or while it is used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(file, formats=["PNG"])
        with picture:
            yield picture
    except (
        UnidentifiedImageError, OSError, SyntaxError, ValueError,
        Image.DecompressionBombError, Image.DecompressionBombWarning,
    ) as problem:  # fmt: skip
        raise DataError(f"{file}: not a whole PNG image ({problem})", remedy="Remove it or make it again.") from None


def class_text(file: Path) -> str | None:
    """The file's own text `class`, as `stylescan generate` writes it."""
    with _opened(file) as picture:
        return str(picture.info.get("class"))


def check_headers(files: Sequence[Path], dataset: PreparedDataset) -> None:
    """Raise DataError for the first file whose header does not fit the data; no pixel is unpacked."""
    for file in files:
        with _opened(file) as picture:
            _check_header(file, picture, dataset)


def _check_header(file: Path, picture: Image.Image, dataset: PreparedDataset) -> None:
    size, plan = dataset.resolution, dataset.output_geometry()
    if picture.size not in ((size, size), (plan.resampled_width, plan.resampled_height)):
        raise DataError(
            f"{file}: {picture.width}x{picture.height} px, the data is {size}x{size}",
            remedy="Generate at the data's size, and keep contact sheets out of the folder.",
        )
    if picture.mode not in _MODES:
        raise _wrong_channels(file, f"mode {picture.mode}", dataset)


def read_image(files: Sequence[Path], dataset: PreparedDataset) -> NDArray[Any]:
    """One image [C, R, R] at the data's depth, from one file or one a channel.

    Padding that `prepare` added to the data is put back. Raises DataError naming the file for another size, other
    channels, or a file that is not a whole PNG.
    """
    planes = np.concatenate([_planes(file, dataset) for file in files])
    if len(planes) != dataset.channels:
        raise _wrong_channels(files[0], f"{len(planes)} channels", dataset)
    size, plan = dataset.resolution, dataset.output_geometry()
    if planes.shape[1:] != (size, size):
        planes = np.pad(planes, ((0, 0), (plan.pad_top, plan.pad_bottom), (plan.pad_left, plan.pad_right)))
    return _to_depth(planes, dataset.bits)


def _planes(file: Path, dataset: PreparedDataset) -> NDArray[Any]:
    """[C, H, W]; a colour file with three equal planes counts as grey, except for data in colour."""
    with _opened(file) as picture:
        _check_header(file, picture, dataset)
        pixels = np.asarray(picture)
    planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    if dataset.channels != 3 and len(planes) == 3 and (planes == planes[:1]).all():
        planes = planes[:1]
    return planes


def _wrong_channels(file: Path, found: str, dataset: PreparedDataset) -> DataError:
    return DataError(
        f"{file}: {found}, the data has {dataset.channels} channel(s) of {dataset.bits} bits",
        remedy="Save 8- or 16-bit grey (one file a channel, NAME_channel-0.png and so on), or RGB for data with three "
        "channels, without alpha or palette.",
    )


def _to_depth(planes: NDArray[Any], bits: int) -> NDArray[Any]:
    if bits == 8:
        return planes if planes.dtype == np.uint8 else np.rint(planes / 257.0).astype(np.uint8)
    return planes.astype(np.uint16) * 257 if planes.dtype == np.uint8 else planes.astype(np.uint16)
