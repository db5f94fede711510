"""Decoded pixels kept on disk between the two passes, so that a picture is decoded once.

A spool is written as a shard would be: where nothing is left to be done to its pictures (8 bits, already squares of the
size that is asked for) it *becomes* the shard. It lies in the private work folder and is believed within one call of
`prepare` only: what an interrupted call left is never read.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FOLDER = "spool"
# What decoded pixels may take beside their files: PNG of scans shrink to between a third and an eighth.
LIKELY_GROWTH = 8
DARK, DARK_SHARE = 0.02, 0.01  # dark: less than 1 % of the pixels reach 2 % of the range
EMPTY = 0.004  # and one whose values span less than this (one step of 8 bits) is empty


def array_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The first bytes of a .npy file of this shape and type."""
    stream = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def look_of(image: NDArray[Any], bits: int) -> str:
    """'ok', 'dark' or 'empty', by the values of one prepared image."""
    largest = 2**bits - 1
    span = (float(image.max()) - float(image.min())) / largest
    if span < EMPTY:
        return "empty"
    bright = np.count_nonzero(image >= int(np.ceil(DARK * largest))) / image.size
    return "dark" if bright < DARK_SHARE else "ok"


@dataclass(frozen=True)
class Spooled:
    """Where the pixels of one picture lie: `shape` [C, H, W] of `dtype` (numpy's name) at byte `offset` of `file`."""

    file: Path
    offset: int
    shape: tuple[int, int, int]
    dtype: str

    def read(self) -> NDArray[Any]:
        """The pixels. Raises OSError or ValueError where the file is not whole."""
        count = self.shape[0] * self.shape[1] * self.shape[2]
        return np.fromfile(self.file, np.dtype(self.dtype), count, offset=self.offset).reshape(self.shape)


@dataclass(frozen=True)
class SpooledShard:
    """A spool of equal 8-bit pictures, `shape` [C, H, W] each, which is a whole .npy file: see render.ShardResult."""

    file: Path
    names: tuple[str, ...]
    shape: tuple[int, int, int]
    sha256: str
    pixel_hashes: list[str]
    looks: list[str]


class SpoolWriter:
    """Appends pictures to a new file; use it in a `with` block. `count`: how many there are, if all can be read."""

    def __init__(self, file: Path, count: int) -> None:
        self._file, self._count, self._offset = file, count, 0
        self._digest = hashlib.sha256()
        self._names: list[str] = []
        self._pixel_hashes: list[str] = []
        self._looks: list[str] = []
        self._shape: tuple[int, ...] | None = None
        self._alike = True

    def __enter__(self) -> Self:
        self._stream = self._file.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def add(self, name: str, pixels: NDArray[Any]) -> Spooled:
        """Write `pixels` [C, H, W]."""
        data = np.ascontiguousarray(pixels)
        if self._shape is None:
            self._shape = data.shape
            self._write(array_header((self._count, *data.shape), data.dtype))
        self._alike &= data.shape == self._shape and data.dtype == np.uint8
        if self._alike:
            self._names.append(name)
            self._pixel_hashes.append(hashlib.sha256(data.data).hexdigest())
            self._looks.append(look_of(data, 8))
        channels, height, width = data.shape
        place = Spooled(self._file, self._offset, (channels, height, width), data.dtype.str)
        self._write(data.data)
        return place

    def shard(self) -> SpooledShard | None:
        """What was written as a shard; None where a picture is missing or unlike the others."""
        if not self._alike or len(self._names) != self._count or self._shape is None:
            return None
        channels, height, width = self._shape
        return SpooledShard(self._file, tuple(self._names), (channels, height, width), self._digest.hexdigest(),
                            self._pixel_hashes, self._looks)  # fmt: skip

    def _write(self, data: bytes | memoryview) -> None:
        self._stream.write(data)
        if self._alike:
            self._digest.update(data)
        self._offset += len(data) if isinstance(data, bytes) else data.nbytes
