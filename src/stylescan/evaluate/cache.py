"""Features of real images, kept by what they were computed from: never by path, never by date."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.features import Extractor
from stylescan.files import write_bytes_atomic

Progress = Callable[[int, int, str], None]
_CHUNK = 64


class ImageSource(Protocol):
    """What is needed of a prepared dataset to extract features."""

    @property
    def content_hash(self) -> str: ...

    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]: ...


def extract(
    extractor: Extractor, images: NDArray[Any], *, progress: Progress | None = None, what: str = "features"
) -> NDArray[np.float32]:
    """Features [N, dim] of images in memory, uint8 or uint16 [N, C, H, W]."""
    return _in_chunks(extractor, len(images), lambda low, high: images[low:high], progress, what)


def cached_features(
    extractor: Extractor,
    dataset: ImageSource,
    indices: NDArray[np.int64],
    cache_dir: Path | None,
    *,
    progress: Progress | None = None,
    what: str = "features of real images",
) -> NDArray[np.float32]:
    """Features [k, dim] of the images at `indices`, from `cache_dir` where they were computed before.

    The key is extractor hash + the data's content hash + indices. A stored file counts only if key, shape, type and
    checksum fit; otherwise it is computed again and replaced. A folder that cannot be written means no cache, and so
    does None.
    """
    indices = np.ascontiguousarray(indices, dtype=np.int64)
    key = {
        "extractor": extractor.hash,
        "content": dataset.content_hash,
        "indices": hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest(),
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    path = None if cache_dir is None else cache_dir / f"features-{name}.safetensors"
    stored = None if path is None else _load(path, key, (len(indices), extractor.dim))
    if stored is not None:
        return stored
    features = _in_chunks(extractor, len(indices), lambda low, high: dataset.read(indices[low:high]), progress, what)
    if path is not None:
        _store(path, key, features)
    return features


def _in_chunks(
    extractor: Extractor,
    n: int,
    read: Callable[[int, int], NDArray[Any]],
    progress: Progress | None,
    what: str,
) -> NDArray[np.float32]:
    out = np.empty((n, extractor.dim), np.float32)
    for low in range(0, n, _CHUNK):
        high = min(low + _CHUNK, n)
        out[low:high] = extractor(read(low, high))
        if progress is not None:
            progress(high, n, what)
    return out


def _checksum(features: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(features, dtype="<f4").tobytes()).hexdigest()


def _store(path: Path, key: dict[str, str], features: NDArray[np.float32]) -> None:
    from safetensors.numpy import save

    metadata = {**key, "sha256": _checksum(features)}
    try:
        write_bytes_atomic(path, save({"features": np.ascontiguousarray(features)}, metadata=metadata))
    except OSError:
        return  # a read-only or full disk costs time at the next call, not the result


def _load(path: Path, key: dict[str, str], shape: tuple[int, int]) -> NDArray[np.float32] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            features = file.get_tensor("features")
    except (OSError, SafetensorError):
        return None
    if any(metadata.get(name) != value for name, value in key.items()):
        return None
    if features.shape != shape or features.dtype != np.float32 or metadata.get("sha256") != _checksum(features):
        return None
    result: NDArray[np.float32] = features
    return result
