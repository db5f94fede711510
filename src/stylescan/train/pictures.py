"""Sample grids of a run: real and generated images, alike in order from first to last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stylescan.data.prepared import PreparedDataset
from stylescan.files import write_bytes_atomic
from stylescan.generate.file_formats import encode_png
from stylescan.generate.images import grid
from stylescan.generate.sample import NoiseKind, sample_batches
from stylescan.nets.protocols import Generator
from stylescan.randomness import numpy_generator

GRID_COLUMNS = 8


def _grid_rows(num_classes: int, rows: int | None) -> list[int]:
    """The class of each row: in turn; without a number of rows at least four, every class the same number of them."""
    k = max(num_classes, 1)
    if rows is not None:
        return [row % k for row in range(rows)]
    return [row % k for row in range(k * -(-4 // k))][: max(4, k)]


def save_grid(path: Path, images: np.ndarray, *, columns: int = GRID_COLUMNS) -> None:
    """Images uint8 or uint16 [N, C, H, W] as one 8-bit PNG."""
    eight = images if images.dtype == np.uint8 else (images >> 8).astype(np.uint8)
    if eight.shape[1] not in (1, 3):  # several contrasts: side by side, each grey
        n, c, h, w = eight.shape
        eight = eight.transpose(0, 2, 1, 3).reshape(n, 1, h, c * w)
    write_bytes_atomic(path, encode_png(grid(eight, columns=columns), {"Title": "training grid, not for diagnosis"}))


def real_grid(
    dataset: PreparedDataset, indices: np.ndarray, *, seed: int, columns: int = GRID_COLUMNS, rows: int | None = None
) -> np.ndarray:
    """Real training images, spread over subjects, a class a row: [N, C, H, W]."""
    rng = numpy_generator(seed, "real_grid")
    chosen: list[int] = []
    for row in _grid_rows(dataset.num_classes, rows):
        mine = indices if dataset.num_classes == 0 else indices[dataset.labels[indices] == row]
        fresh = np.setdiff1d(mine, chosen)
        pool = fresh if len(fresh) >= columns else mine
        if len(pool):
            chosen += rng.choice(pool, columns, replace=len(pool) < columns).tolist()
    return dataset.read(np.array(chosen))


def fake_images(G: Generator, labels: Sequence[int], *, bits: int, noise: NoiseKind = "const") -> np.ndarray:
    """Images of the seeds 0, 1, ... with the given classes: uint8 or uint16 [len(labels), C, H, W]."""
    batches = sample_batches(G, range(len(labels)), labels, bits=bits, noise=noise, batch_size=32)
    return np.concatenate([images for _, _, images in batches])


def fake_grid(G: Generator, *, bits: int, columns: int = GRID_COLUMNS, rows: int | None = None) -> np.ndarray:
    """The same latents at every call, a class a row, so that grids of a run can be compared."""
    return fake_images(G, [row for row in _grid_rows(G.spec.num_classes, rows) for _ in range(columns)], bits=bits)
