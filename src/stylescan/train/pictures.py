"""Pictures of a run: real and fake grids, loss and score curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stylescan.data.prepared import PreparedDataset
from stylescan.files import write_bytes_atomic
from stylescan.generate.images import encode_png, grid
from stylescan.generate.sample import NoiseKind, sample_batches
from stylescan.nets.protocols import Generator
from stylescan.randomness import numpy_generator

GRID_COLUMNS = 8
ALL_PENALTIES = ("r1_penalty", "r2_penalty", "gp_penalty", "drift_penalty", "pl_penalty")


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


def save_curves(path: Path, log: list[dict[str, Any]]) -> None:
    """Losses, D's scores and the select scores over kimg, as one PNG."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(9, 7), layout="constrained")
        panels = figure.subplots(3, 1, sharex=True)
        lines = [line for line in log if "G_loss" in line]
        groups = (
            ("loss", ("G_loss", "D_loss", *(name for name in ALL_PENALTIES if any(name in line for line in lines)))),
            ("D's score", ("score_real", "score_fake")),
        )
        for panel, (label, names) in zip(panels, groups):
            for name in names:
                points = [(line["nimg"] / 1000, line[name]) for line in lines if name in line]
                if points:
                    panel.plot(*zip(*points), label=name, linewidth=1)
            panel.set_ylabel(label)
            if lines:
                panel.legend(loc="upper right", frameon=False, ncols=4)
        scored = [(line["nimg"] / 1000, line["kid"]) for line in log if "kid" in line]
        if scored:
            panels[2].plot(*zip(*scored), marker="o", color="black", linewidth=1)
        panels[2].set_ylabel("KID on select")
        panels[2].set_xlabel("kimg (thousand real images shown)")
        for panel in panels:
            panel.grid(alpha=0.3)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
    write_bytes_atomic(path, buffer.getvalue())
