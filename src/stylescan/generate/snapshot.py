"""The snapshot: a shareable generator as safetensors and JSON. No time, path or host inside: equal weights, equal bytes.

```
RUN/snapshot/generator.safetensors   G_ema
RUN/snapshot/snapshot.json           what it is: specification, classes, data preparation, hash of the weights
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from stylescan.data.geometry import Geometry
from stylescan.errors import ConfigError, SnapshotError, first_fault
from stylescan.files import file_sha256, read_json, require_file, write_bytes_atomic, write_json_atomic
from stylescan.generate.value_range import ValueRange
from stylescan.nets.build import build_generator, parse_spec
from stylescan.nets.protocols import Generator

FORMAT_VERSION = 1
WEIGHTS_NAME = "generator.safetensors"
META_NAME = "snapshot.json"
_EXPECTED = "Give a run folder or a snapshot folder made by `stylescan train`."
_LIMIT, _LIMITS = 2**20, {"resolution": 4096, "img_channels": 64, "mapping_layers": 256}  # beyond any real network


class SnapshotMeta(BaseModel):
    """What a snapshot says of itself.

    spec: the networks' specification; class_frequencies: shares in the training data, from which classes are drawn;
    geometry: how the prepared images were padded and scaled, so that output can be undone; values: the source values
    that the ends of the range stand for, None where that is not known; nimg: images shown to D.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = FORMAT_VERSION
    family: str
    spec: dict[str, Any]
    class_names: list[str] = Field(default_factory=list)
    class_frequencies: list[float] = Field(default_factory=list)
    bits: Literal[8, 16] = 8
    plane: str | None = None
    geometry: dict[str, Any] | None = None
    values: ValueRange | None = None
    data_content_hash: str
    preparation_hash: str
    preset: str
    seed: int
    nimg: int
    weights_sha256: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.geometry is not None:
            geometry = Geometry.model_validate(self.geometry)
            if geometry.output_height != geometry.output_width:
                raise ValueError(f"geometry gives {geometry.output_height}x{geometry.output_width}, expected a square")
        if len(self.class_frequencies) != len(self.class_names):
            raise ValueError(f"{len(self.class_frequencies)} class_frequencies for {len(self.class_names)} class_names")
        if self.class_names and not (min(self.class_frequencies) >= 0 and sum(self.class_frequencies) > 0):
            raise ValueError("class_frequencies must not be negative, nor all zero")
        return self


@dataclass(frozen=True)
class Snapshot:
    """A loaded generator in evaluation mode, its record, and the SHA-256 of its weights; made by `load_snapshot`.

    Example
    -------
    >>> snapshot.meta.class_names, snapshot.generator.spec.resolution
    (['kind 0', 'kind 1'], 16)
    >>> len(snapshot.model_hash)
    64
    """

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
        field, said = first_fault(problem)
        raise SnapshotError(f"{path}, {field or 'content'}: {said}", remedy=_EXPECTED) from None


def load_snapshot(path: str | Path, *, device: torch.device | None = None) -> Snapshot:
    """Load the generator that `path` (a run or snapshot folder) names.

    Weights are safetensors alone; nothing is ever unpickled.

    Parameters
    ----------
    path
        Run folder, or the folder `snapshot` in it.
    device
        Where the generator shall compute; the CPU if left out.

    Raises
    ------
    SnapshotError
        For anything missing, damaged, of another version, or whose weights do not fit its specification.

    Example
    -------
    >>> load_snapshot(run.path).meta.family
    'stylegan2'
    """
    folder = find_snapshot(Path(path))
    meta = read_meta(folder)
    weights = folder / WEIGHTS_NAME
    require_file(weights, SnapshotError, remedy=_EXPECTED)
    try:
        found = file_sha256(weights)
        stored = load_file(weights)
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
    spec = _checked_spec(folder / META_NAME, meta)
    # The skeleton costs nothing, whatever sizes the specification claims: memory is taken for weights that fit alone.
    with torch.device("meta"):
        _check_weights(weights, build_generator(spec).state_dict(), stored)
    generator = build_generator(spec)
    with torch.no_grad():
        for name, tensor in generator.state_dict().items():
            tensor.copy_(stored[name])
    generator.requires_grad_(False).eval()
    return Snapshot(generator.to(device) if device else generator, meta, found, folder)


def _checked_spec(file: Path, meta: SnapshotMeta) -> Any:
    """The networks' specification; SnapshotError where no net is like that, or it does not go with the classes."""
    for name, value in meta.spec.items():
        limit = _LIMITS.get(name, _LIMIT)
        if isinstance(value, int) and value > limit:
            raise SnapshotError(f"{file}, spec.{name}: {value}, expected at most {limit}", remedy=_EXPECTED)
    try:
        spec = parse_spec(meta.spec)
    except ConfigError as problem:
        raise SnapshotError(f"{file}: {problem.message}", remedy=problem.remedy) from None
    if spec.num_classes != len(meta.class_names):
        raise SnapshotError(
            f"{file}: {len(meta.class_names)} class_names, the specification has {spec.num_classes} classes",
            remedy=_EXPECTED,
        )
    return spec


def _check_weights(file: Path, expected: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """SnapshotError naming the first tensor that is missing, too many, of another shape or type, or not finite."""
    for name in sorted(set(expected) | set(stored)):
        have, want = (_kind(tensors.get(name)) for tensors in (stored, expected))
        if have != want:
            raise SnapshotError(f"{file}, {name}: found {have}, expected {want}", remedy=_EXPECTED)
        if not torch.isfinite(stored[name]).all():
            raise SnapshotError(
                f"{file}, {name}: holds NaN or infinite weights",
                remedy="Take an earlier snapshot: this one is of a run that diverged.",
            )


def _kind(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
