"""Decoded pixels kept on disk between the two passes, so that a picture is decoded once.

A spool lives in the private work folder and is believed within one call of `prepare` only: what an interrupted call left
is never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FOLDER = "spool"
# What decoded pixels may take beside their files: PNG of scans shrink to between a third and an eighth.
LIKELY_GROWTH = 8


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


class SpoolWriter:
    """Appends pictures to a new file; use it in a `with` block."""

    def __init__(self, file: Path) -> None:
        self._file, self._offset = file, 0

    def __enter__(self) -> Self:
        self._stream = self._file.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def add(self, pixels: NDArray[Any]) -> Spooled:
        """Write `pixels` [C, H, W]."""
        data = np.ascontiguousarray(pixels)
        self._stream.write(data.data)
        channels, height, width = data.shape
        place = Spooled(self._file, self._offset, (channels, height, width), data.dtype.str)
        self._offset += data.nbytes
        return place
