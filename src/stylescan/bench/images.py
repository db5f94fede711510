"""Images to measure with where there are no data: grey noise, mapped from a temporary file as a prepared set is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stylescan.config import DataFingerprint
from stylescan.data.spool import array_header
from stylescan.errors import ConfigError
from stylescan.files import storage_error
from stylescan.randomness import numpy_generator

NOMINAL_IMAGES = 2000
POOL_BYTES = 2**26


class MappedImages:
    """`count` images without classes over a memory-mapped pool [k, C, R, R] uint8, k <= count, repeated in turn."""

    num_classes = 0

    def __init__(self, pool: NDArray[np.uint8], count: int) -> None:
        self.pool = pool
        self.labels: NDArray[np.int64] = np.full(count, -1, np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Images at `indices`: uint8 [n, C, R, R], a copy."""
        return np.array(self.pool[np.asarray(indices) % len(self.pool)])


@contextmanager
def noise_images(
    resolution: int, channels: int, *, count: int = NOMINAL_IMAGES, pool_bytes: int = POOL_BYTES
) -> Iterator[MappedImages]:
    """`count` images of noise; on disk as many of them as `pool_bytes` hold, at least 16. Gone at the end.

    ConfigError for sizes that a prepared set cannot have, StylescanError where the temporary folder is full.
    """
    if not 4 <= resolution <= 4096 or resolution & (resolution - 1):
        raise ConfigError(
            f"--resolution {resolution}: expected a power of two from 4 to 4096", remedy="Give for instance 64."
        )
    if not 1 <= channels <= 16:
        raise ConfigError(f"--channels {channels}: expected 1 to 16", remedy="Give for instance 1.")
    pool = min(count, max(pool_bytes // (channels * resolution**2), 16))
    with tempfile.TemporaryDirectory(prefix="stylescan-bench-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "images.npy"
        try:
            _write_noise(file, (pool, channels, resolution, resolution))
        except OSError as problem:
            raise storage_error(
                "the temporary images", problem, then="run again, or set TMPDIR to another folder"
            ) from None
        yield MappedImages(np.load(file, mmap_mode="r", allow_pickle=False), count)


def _write_noise(file: Path, shape: tuple[int, int, int, int]) -> None:
    """Through an ordinary handle: on a full disk, writing to mapped memory ends the process without a word."""
    rng = numpy_generator(0, "bench/images")
    with file.open("wb") as stream:
        stream.write(array_header(shape, np.dtype(np.uint8)))
        for _ in range(shape[0]):
            stream.write(rng.integers(0, 256, shape[1:], dtype=np.uint8).tobytes())


def noise_fingerprint(resolution: int, channels: int, *, count: int = NOMINAL_IMAGES) -> DataFingerprint:
    """What a preset is told of `noise_images`."""
    return DataFingerprint(
        content_hash="noise",
        preparation_hash="noise",
        resolution=resolution,
        channels=channels,
        bits=8,
        train_images=count,
        select_images=0,
        holdout_images=0,
    )
