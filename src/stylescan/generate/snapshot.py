"""The snapshot: a shareable generator as safetensors and JSON. No time, path or host inside: equal weights, equal bytes.

```
RUN/snapshot/generator.safetensors   G_ema
RUN/snapshot/snapshot.json           what it is: specification, classes, data preparation, hash of the weights
```
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from stylescan.errors import ConfigError, SnapshotError
from stylescan.files import file_sha256, read_json, write_bytes_atomic, write_json_atomic
from stylescan.nets.build import build_generator, parse_spec
from stylescan.nets.protocols import Generator

FORMAT_VERSION = 1
WEIGHTS_NAME = "generator.safetensors"
META_NAME = "snapshot.json"
_EXPECTED = "Give a run folder or a snapshot folder made by `stylescan train`."


class SnapshotMeta(BaseModel):
    """What a snapshot says of itself.

    spec: the networks' specification; class_frequencies: shares in the training data, from which classes are drawn;
    geometry: how the prepared images were padded and scaled, so that output can be undone; nimg: images shown to D.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = FORMAT_VERSION
    family: str
    spec: dict[str, Any]
    class_names: list[str] = Field(default_factory=list)
    class_frequencies: list[float] = Field(default_factory=list)
    bits: int = 8
    plane: str | None = None
    geometry: dict[str, Any] | None = None
    data_content_hash: str
    preparation_hash: str
    preset: str
    seed: int
    nimg: int
    weights_sha256: str = ""


@dataclass(frozen=True)
class Snapshot:
    """A loaded generator in evaluation mode, its record, and the SHA-256 of its weights."""

    generator: Generator
    meta: SnapshotMeta
    model_hash: str
    folder: Path


def with_bits(snapshot: Snapshot, bits: int | None) -> Snapshot:
    """The same generator writing 8- or 16-bit images; None keeps the depth of the training data."""
    return snapshot if bits is None else replace(snapshot, meta=snapshot.meta.model_copy(update={"bits": bits}))


def save_snapshot(folder: Path, generator: Generator, meta: SnapshotMeta) -> Path:
    """Write the snapshot; the JSON, which names the weights' hash, comes last."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in generator.state_dict().items()}
    weights = folder / WEIGHTS_NAME
    write_bytes_atomic(weights, save(tensors))
    filled = meta.model_copy(update={"weights_sha256": file_sha256(weights)})
    write_json_atomic(folder / META_NAME, filled.model_dump(mode="json"))
    return folder


def find_snapshot(path: Path) -> Path:
    """The snapshot folder that `path` names: itself, or RUN/snapshot; SnapshotError where there is none."""
    for folder in (path, path / "snapshot"):
        if (folder / META_NAME).is_file():
            return folder
    if not path.exists():
        raise SnapshotError(f"{path}: no such file or folder", remedy=_EXPECTED)
    if path.is_file():
        raise SnapshotError(f"{path}: a file, expected a folder with {META_NAME} in it", remedy=_EXPECTED)
    if (path / "config.yaml").is_file():
        raise SnapshotError(
            f"{path}: a run without a snapshot yet", remedy="Train on (--resume) until its first checkpoint is written."
        )
    raise SnapshotError(f"{path}: no {META_NAME} in it", remedy=_EXPECTED)


def read_meta(folder: Path) -> SnapshotMeta:
    """The record of the snapshot in `folder`, validated."""
    path = folder / META_NAME
    values = read_json(path, SnapshotError, remedy=_EXPECTED)
    if isinstance(values, dict) and isinstance(values.get("format"), int) and values["format"] > FORMAT_VERSION:
        raise SnapshotError(
            f"{path}: format {values['format']}, this version reads up to {FORMAT_VERSION}", remedy="Update stylescan."
        )
    try:
        return SnapshotMeta.model_validate(values)
    except ValidationError as problem:
        first = problem.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "content"
        raise SnapshotError(f"{path}, {field}: {first['msg']}", remedy=_EXPECTED) from None


def load_snapshot(path: Path, *, device: torch.device | None = None) -> Snapshot:
    """Load the generator that `path` (a run or snapshot folder) names.

    Raises SnapshotError for anything missing, damaged, of another version, or whose weights do not fit its
    specification. Weights are safetensors alone; nothing is ever unpickled.
    """
    folder = find_snapshot(path)
    meta = read_meta(folder)
    weights = folder / WEIGHTS_NAME
    try:
        found = file_sha256(weights)
        stored = load_file(weights)
    except FileNotFoundError:
        raise SnapshotError(f"{weights}: no such file", remedy=_EXPECTED) from None
    except (OSError, SafetensorError) as problem:
        raise SnapshotError(
            f"{weights}: not a safetensors file ({problem})",
            remedy="Export the weights as safetensors; pickled files (.pkl, .pt) are never opened.",
        ) from None
    if found != meta.weights_sha256:
        raise SnapshotError(
            f"{weights}: SHA-256 {found[:12]}, {META_NAME} says {meta.weights_sha256[:12]}",
            remedy="Copy both files of the snapshot again: they do not belong together, or one is damaged.",
        )
    try:
        spec = parse_spec(meta.spec)
    except ConfigError as problem:
        raise SnapshotError(f"{folder / META_NAME}: {problem.message}", remedy=problem.remedy) from None
    generator = build_generator(spec)
    expected = generator.state_dict()
    for name in sorted(set(expected) | set(stored)):
        if name not in stored or name not in expected or expected[name].shape != stored[name].shape:
            have = list(stored[name].shape) if name in stored else "nothing"
            want = list(expected[name].shape) if name in expected else "nothing"
            raise SnapshotError(f"{weights}, {name}: found {have}, expected {want}", remedy=_EXPECTED)
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(stored[name])
    generator.requires_grad_(False).eval()
    return Snapshot(generator.to(device) if device else generator, meta, found, folder)
