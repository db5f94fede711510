"""Features kept by what they were computed from, never by path or date: of real images by the data's content hash,
of any other images by a hash of their pixels. The folder is bounded; what was not used for longest goes first, and
features of real images only after all others.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.features import Extractor
from stylescan.files import is_leftover, write_bytes_atomic

Progress = Callable[[int, int, str], None]
MOST_PIXEL_FILES = 64  # about 5 MB each for 1,000 images and 1,280 features
MOST_BYTES = 2 * 2**30
_REAL, _PIXELS, _END = "features-", "pixels-", ".safetensors"
_CHUNK = 64
_ABANDONED_S = 86_400.0


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

    def compute() -> NDArray[np.float32]:
        return _in_chunks(extractor, len(indices), lambda low, high: dataset.read(indices[low:high]), progress, what)

    return _recalled(cache_dir, _REAL, key, (len(indices), extractor.dim), compute)


def cached_extract(
    extractor: Extractor,
    images: NDArray[Any],
    cache_dir: Path | None,
    *,
    progress: Progress | None = None,
    what: str = "features",
) -> NDArray[np.float32]:
    """`extract`, from `cache_dir` where the same pixels went through the same extractor before.

    For generated, blurred or any other images, uint8 or uint16 [N, C, H, W]; the key is extractor hash + `pixel_hash`.
    Otherwise as `cached_features`. Storing prunes the folder (`prune`).
    """
    key = {"extractor": extractor.hash, "pixels": pixel_hash(images)}
    shape = (len(images), extractor.dim)
    return _recalled(cache_dir, _PIXELS, key, shape, lambda: extract(extractor, images, progress=progress, what=what))


def pixel_hash(images: NDArray[Any]) -> str:
    """Hex SHA-256 of type, shape and values: the same on every machine, whatever the array's memory looks like."""
    little = np.ascontiguousarray(images, dtype=images.dtype.newbyteorder("<"))
    digest = hashlib.sha256(json.dumps([images.dtype.name, list(images.shape)]).encode())
    digest.update(little.data if little.size else b"")
    return digest.hexdigest()


def prune(cache_dir: Path, *, most_pixel_files: int = MOST_PIXEL_FILES, most_bytes: int = MOST_BYTES) -> list[Path]:
    """Remove features until the folder is within its bounds; what was removed.

    First features kept by pixels, least recently used first, down to `most_pixel_files`; then more of them until all
    files together take at most `most_bytes`; only when none is left, features of real images. The most recently used
    file stays. Also what killed writers left a day ago. Other files are not touched.
    """
    now = time.time()
    kept: list[tuple[bool, float, int, Path]] = []
    with contextlib.suppress(OSError):
        for path in cache_dir.iterdir():
            with contextlib.suppress(OSError):
                stat = path.stat()
                if is_leftover(path) and now - stat.st_mtime > _ABANDONED_S:
                    path.unlink()
                elif path.name.endswith(_END) and path.name.startswith((_REAL, _PIXELS)):
                    kept.append((path.name.startswith(_REAL), stat.st_mtime, stat.st_size, path))
    if not kept:
        return []
    newest = max(kept, key=lambda entry: entry[1])[3]
    pixel_files, total = sum(not real for real, *_ in kept), sum(size for _, _, size, _ in kept)
    removed = []
    for real, _, size, path in sorted(kept):
        if path == newest or (total <= most_bytes and (real or pixel_files <= most_pixel_files)):
            continue
        with contextlib.suppress(OSError):
            path.unlink()
            removed.append(path)
            total, pixel_files = total - size, pixel_files - (not real)
    return removed


def _recalled(
    cache_dir: Path | None,
    prefix: str,
    key: dict[str, str],
    shape: tuple[int, int],
    compute: Callable[[], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """What is stored under `key` in `cache_dir`; else what `compute` gives, stored."""
    if cache_dir is None:
        return compute()
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_dir / f"{prefix}{name}{_END}"
    stored = _load(path, key, shape)
    if stored is not None:
        with contextlib.suppress(OSError):
            os.utime(path)  # recently used: kept longer
        return stored
    features = compute()
    _store(path, key, features)
    prune(cache_dir)
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
