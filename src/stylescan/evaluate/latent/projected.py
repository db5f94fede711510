"""Projected w of real slices, kept on disk as they are made: a projection takes seconds an image.

```
OUT/projections/<key>/<slices>.safetensors    w, perceptual, rmse and positions of some slices
```
The key names model, data and settings; every file repeats it and carries a checksum. What does not fit is made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset, json_hash
from stylescan.evaluate.targets import check_snapshot
from stylescan.files import write_bytes_atomic
from stylescan.generate.snapshot import Snapshot
from stylescan.randomness import numpy_generator

Progress = Callable[[int, int, str], None]
CHUNK = 32
Arrays = dict[str, NDArray[Any]]


class Found(Protocol):
    """What a projector gives for n images; `project.Projection` is one."""

    @property
    def ws(self) -> NDArray[np.float32]: ...
    @property
    def perceptual(self) -> NDArray[np.float32]: ...
    @property
    def rmse(self) -> NDArray[np.float32]: ...


class Projector(Protocol):
    """Finds w of images, blind to their class. `settings`: JSON values that decide the result."""

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def __call__(self, snapshot: Snapshot, images: NDArray[Any], progress: Progress | None) -> Found: ...


@dataclass(frozen=True)
class OptimisingProjector:
    """The projection into W by optimisation, `project.project`."""

    steps: int
    seed: int = 0

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"method": "optimisation", "space": "w", "steps": self.steps, "seed": self.seed, "version": 1}

    def __call__(self, snapshot: Snapshot, images: NDArray[Any], progress: Progress | None) -> Found:
        from stylescan.evaluate.latent.project import project

        return project(snapshot, images, steps=self.steps, seed=self.seed, batch_size=8, progress=progress)


@dataclass(frozen=True)
class RealW:
    """Real slices in W, a row each: positions in the dataset, w [n, w_dim], distances of image and projection [n]."""

    positions: NDArray[np.int64]
    w: NDArray[np.float32]
    perceptual: NDArray[np.float32]
    rmse: NDArray[np.float32]


def projected_w(
    projector: Projector,
    snapshot: Snapshot,
    dataset: PreparedDataset,
    positions: NDArray[np.int64],
    folder: Path,
    progress: Progress | None = None,
) -> RealW:
    """w of the slices at `positions`, from `folder` as far as they are there; new ones are stored 32 at a time.

    Raises SnapshotError where model and data do not go together: another size, depth or preparation.
    """
    check_snapshot(snapshot, dataset)
    key = json_hash({"model": snapshot.model_hash, "data": dataset.content_hash, "settings": dict(projector.settings)})
    home = folder / key[:32]
    known = _known(home, key)
    missing = np.array([p for p in positions if int(p) not in known], np.int64)
    for start in range(0, len(missing), CHUNK):
        some = missing[start : start + CHUNK]
        before = len(positions) - len(missing) + start

        def report(done: int, total: int, what: str, before: int = before, size: int = len(some)) -> None:
            if progress is not None:
                progress(before + done * size // max(total, 1), len(positions), "real slices projected")

        found = projector(snapshot, dataset.read(some), report)
        rows: Arrays = {
            "positions": some,
            "w": np.ascontiguousarray(found.ws[:, 0], np.float32),
            "perceptual": np.asarray(found.perceptual, np.float32),
            "rmse": np.asarray(found.rmse, np.float32),
        }
        _store(home, key, rows)
        known |= _by_position(rows)
    chosen = [known[int(p)] for p in positions]
    w = np.stack([w for w, _, _ in chosen]) if chosen else np.empty((0, snapshot.generator.spec.w_dim), np.float32)
    perceptual, rmse = (np.array([row[k] for row in chosen], np.float32) for k in (1, 2))
    return RealW(np.asarray(positions, np.int64), w, perceptual, rmse)


def spread_positions(
    dataset: PreparedDataset, rows: NDArray[np.int64], n: int, *, per_subject: int, seed: int, matched: bool
) -> NDArray[np.int64]:
    """About `n` of the slices at `rows`: `per_subject` of as many random subjects as that needs, else of all.

    A subject's slices are spread over its height (by depth, else by slice number): at the same shares of it for every
    subject if `matched`, so that subjects can be compared, else at shares of its own. Ascending positions.
    """
    rng = numpy_generator(seed, "projected_slices")
    names = rng.permutation(np.unique(dataset.subjects[rows]))
    if not len(names) or n < 1:
        return np.empty(0, np.int64)
    each = max(per_subject, -(-n // len(names)))
    chosen: list[int] = []
    for name in names[: -(-n // each)]:
        own = sorted(rows[dataset.subjects[rows] == name], key=lambda i: _height(dataset, int(i)))
        offset = 0.5 if matched else float(rng.uniform())
        count = min(each, len(own))
        chosen += [int(own[int((k + offset) * len(own) / count)]) for k in range(count)]
    return np.sort(np.array(chosen, np.int64))


def _height(dataset: PreparedDataset, position: int) -> tuple[float, int]:
    image = dataset.manifest.images[position]
    level = image.depth if image.depth is not None else image.slice
    return (0.0 if level is None else float(level), position)


def _by_position(rows: Arrays) -> dict[int, tuple[NDArray[np.float32], float, float]]:
    parts = zip(rows["positions"], rows["w"], rows["perceptual"], rows["rmse"])
    return {int(p): (w, float(a), float(b)) for p, w, a, b in parts}


def _known(home: Path, key: str) -> dict[int, tuple[NDArray[np.float32], float, float]]:
    known: dict[int, tuple[NDArray[np.float32], float, float]] = {}
    for file in sorted(home.glob("*.safetensors")):
        rows = _load(file, key)
        if rows is not None:
            known |= _by_position(rows)
    return known


def _checksum(rows: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(rows):
        digest.update(f"{name} {rows[name].dtype} {rows[name].shape}".encode() + rows[name].tobytes())
    return digest.hexdigest()


def _store(home: Path, key: str, rows: Arrays) -> None:
    from safetensors.numpy import save

    name = hashlib.sha256(rows["positions"].tobytes()).hexdigest()[:16]
    data = save(rows, metadata={"key": key, "sha256": _checksum(rows)})
    try:
        write_bytes_atomic(home / f"{name}.safetensors", data)
    except OSError:
        return  # a full disk costs time at the next call, not the result


def _load(file: Path, key: str) -> Arrays | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as stored:
            metadata = stored.metadata() or {}
            rows: Arrays = {name: stored.get_tensor(name) for name in ("positions", "w", "perceptual", "rmse")}
    except (OSError, SafetensorError):
        return None
    whole = metadata.get("key") == key and metadata.get("sha256") == _checksum(rows)
    return rows if whole else None
