"""A prepared dataset: square slices in memory-mapped shards, and a manifest that says where every one came from.

```
DATA/manifest.json            what is inside, written last: a folder without it is an unfinished preparation
DATA/shards/images-00000.npy  [n, C, R, R] uint8 or uint16
DATA/shards/masks-00000.npy   [n, 1, R, R] uint8, where the scans came with masks
DATA/audit.json  contact_sheet.png
```
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from stylescan.data.geometry import Geometry
from stylescan.errors import DataError, first_fault
from stylescan.files import file_sha256, read_json, require_file

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
WORK_FOLDER = ".prepare"  # journal and units of a preparation under way
SHARD_FOLDER = "shards"

Split = Literal["train", "select", "holdout"]
SPLITS: tuple[Split, ...] = get_args(Split)
# Whom the splits keep apart: people; scans, of which one person may have several; or groups of look-alike images.
Claim = Literal["subject-wise", "scan-wise", "image-wise"]
UNITS: dict[Claim, str] = {
    "subject-wise": "subjects",
    "scan-wise": "scans",
    "image-wise": "groups of similar images",
}
Plane = Literal["axial", "coronal", "sagittal"]
Symmetry = Literal["none", "left-right"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ImageRecord(_Frozen):
    """One image: whose it is, what it shows, and what was done to it.

    `slice`: number of the slice in its volume; `depth`: the same as a fraction in (0, 1) where the volume's length is
    known. `value_low`, `value_high`: the source values that became 0 and the largest integer. `extra`: the user's own
    columns; for volumes of several contrasts also `value_low_1`, `value_high_1`, ... of the channels beyond the first.
    """

    subject: str = Field(min_length=1)
    label: int | None = Field(default=None, ge=0)
    side: str | None = None
    slice: int | None = None
    depth: float | None = None
    split: Split
    source: str
    source_sha256: str
    geometry: Geometry
    value_low: float = 0.0
    value_high: float = 255.0
    extra: dict[str, float | str] = Field(default_factory=dict)


class IntensityRecord(_Frozen):
    """How source values became integers. 'as-is': 8-bit values kept. 'percentile': linear between two percentiles of
    each `scope`, clipped; the two values stand in every image's record. 'mixed': both occur. 'window': linear within
    `window` (windows.py). `units`: of the source's values, such as 'HU', where all files state the same."""

    mapping: Literal["as-is", "percentile", "mixed", "window"] = "as-is"
    window: str | None = None
    units: str | None = None
    percentiles: tuple[float, float] | None = None
    scope: Literal["volume", "subject", "image"] | None = None


class ShardRecord(_Frozen):
    """One .npy file of the dataset, by a name relative to it."""

    file: str
    count: int = Field(ge=1)
    sha256: str

    @field_validator("file")
    @classmethod
    def _inside(cls, name: str) -> str:
        parts = PurePosixPath(name).parts
        if not name.endswith(".npy") or "\\" in name or ":" in name or name.startswith("/") or ".." in parts:
            raise ValueError(f"shard name {name!r} must be a relative .npy path inside the dataset")
        return name


class Manifest(_Frozen):
    """Everything that is known about a prepared dataset. See the module's docstring for the files."""

    schema_version: int = SCHEMA_VERSION
    content_hash: str
    preparation: dict[str, Any]
    preparation_hash: str
    resolution: int = Field(ge=4, le=4096)
    channels: int = Field(ge=1, le=16)
    bits: Literal[8, 16]
    class_names: list[str]
    claim: Claim
    plane: Plane | None = None
    symmetry: Symmetry = "none"
    anatomy: str | None = None
    intensity: IntensityRecord
    shards: list[ShardRecord]
    masks: list[ShardRecord] = Field(default_factory=list)
    images: list[ImageRecord] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.resolution & (self.resolution - 1):
            raise ValueError(f"resolution {self.resolution} is not a power of two")
        if sum(shard.count for shard in self.shards) != len(self.images):
            raise ValueError("the shards' counts do not add up to the number of images")
        if self.masks and [mask.count for mask in self.masks] != [shard.count for shard in self.shards]:
            raise ValueError("the masks' counts are not those of the shards")
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError("class_names holds a name twice")
        splits: dict[str, str] = {}
        for image in self.images:
            if splits.setdefault(image.subject, image.split) != image.split:
                raise ValueError(f"the split leaks: subject {image.subject} stands in {splits[image.subject]} and "
                                 f"{image.split}")  # fmt: skip
        for number, image in enumerate(self.images):
            if image.label is not None and image.label >= len(self.class_names):
                raise ValueError(f"images[{number}].label is {image.label}, with {len(self.class_names)} class names")
            if (image.geometry.output_height, image.geometry.output_width) != (self.resolution, self.resolution):
                raise ValueError(f"images[{number}].geometry does not give {self.resolution}x{self.resolution}")
        return self


def json_hash(value: object) -> str:
    """SHA-256 of `value` as canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def content_hash(pixel_hashes: Iterable[str], images: Sequence[ImageRecord], class_names: Sequence[str]) -> str:
    """Hash of the pixels (SHA-256 of each image's little-endian bytes, in order) and of the records.

    Subjects count by order of first appearance and file names not at all, so the salt that hides them leaves the
    hash alone: the same scans and settings give the same hash everywhere.
    """
    digest = hashlib.sha256(json.dumps(list(class_names)).encode())
    order: dict[str, int] = {}
    geometries: dict[Geometry, Any] = {}  # one for the whole set, most often
    for pixels, image in zip(pixel_hashes, images, strict=True):
        if image.geometry not in geometries:
            geometries[image.geometry] = image.geometry.model_dump(mode="json")
        # Its other fields are JSON values already; dumping them anew would take as long as hashing.
        record: dict[str, Any] = {**image.__dict__, "geometry": geometries[image.geometry]}
        del record["source"]
        record["subject"] = order.setdefault(image.subject, len(order))
        digest.update(f"{pixels} {json_hash(record)}\n".encode())
    return digest.hexdigest()


class PreparedDataset:
    """Read access to a prepared dataset; made by `open`. Images stay on disk until `read`.

    `labels`: int64 [n], -1 where an image has no class. `subjects`: str [n]. `num_classes` is 0 without classes.

    Example
    -------
    >>> dataset = PreparedDataset.open(data.path)
    >>> dataset.read(dataset.indices("train")[:5]).shape
    (5, 1, 16, 16)
    >>> dataset.class_names[dataset.labels[0]], dataset.bits
    ('kind 0', 8)
    """

    def __init__(self, path: Path, manifest: Manifest, shards: list[NDArray[Any]]) -> None:
        self.path = path
        self.manifest = manifest
        self._geometry: Geometry | None = None
        self.resolution = manifest.resolution
        self.channels = manifest.channels
        self.bits = manifest.bits
        self.class_names = tuple(manifest.class_names)
        self.num_classes = len(self.class_names)
        self.content_hash = manifest.content_hash
        self.preparation_hash = manifest.preparation_hash
        images = manifest.images
        self.labels: NDArray[np.int64] = np.array([-1 if i.label is None else i.label for i in images], np.int64)
        self.subjects: NDArray[np.str_] = np.array([i.subject for i in images])
        self._splits = np.array([i.split for i in images])
        self._shards = shards
        self._masks: list[NDArray[Any]] = []
        self._starts = np.cumsum([0] + [len(shard) for shard in shards])

    @classmethod
    def open(cls, path: str | Path) -> PreparedDataset:
        """The dataset in folder `path`. Raises DataError, with a remedy, for anything that is not a whole one."""
        path = Path(path)
        return cls.assemble(path, _read_manifest(path))

    @classmethod
    def assemble(cls, path: Path, manifest: Manifest) -> PreparedDataset:
        """The dataset that `manifest` describes, over the shards in `path` (whose manifest may not be written yet)."""
        shards = [_map_shard(path, shard, manifest) for shard in manifest.shards]
        dataset = cls(path, manifest, shards)
        dataset._masks = [_map_masks(path, shard, manifest) for shard in manifest.masks]
        return dataset

    def __reduce__(self) -> tuple[Any, ...]:
        # A memory map pickles as a full copy: worker processes open the files themselves.
        return (PreparedDataset.open, (self.path,))

    def __len__(self) -> int:
        return len(self.manifest.images)

    def indices(self, split: Split) -> NDArray[np.int64]:
        """Positions of the images of `split`, ascending, int64 [k]; k may be 0."""
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}, expected one of {SPLITS}")
        return np.flatnonzero(self._splits == split).astype(np.int64)

    def read(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[Any]:
        """Images at `indices`, in that order: uint8 or uint16 [k, C, R, R], a copy. IndexError beyond the set."""
        out = np.empty((len(indices), self.channels, self.resolution, self.resolution), _dtype(self.bits))
        return self._gather(indices, self._shards, out)

    @property
    def has_masks(self) -> bool:
        """Whether masks came with the scans."""
        return bool(self._masks)

    def read_masks(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """The masks of the images at `indices`: uint8 [k, R, R], the source's own values, 0 where an image has none.

        Raises DataError where the set has no masks, IndexError beyond it.
        """
        if not self._masks:
            raise DataError(f"{self.path}: no masks came with these scans", remedy="prepare scans that have masks")
        out = np.empty((len(indices), 1, self.resolution, self.resolution), np.uint8)
        masks: NDArray[np.uint8] = self._gather(indices, self._masks, out)[:, 0]
        return masks

    def _gather(
        self, indices: Sequence[int] | NDArray[np.integer[Any]], shards: list[NDArray[Any]], out: NDArray[Any]
    ) -> NDArray[Any]:
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"indices must lie in 0..{len(self) - 1}, got {wanted.min()}..{wanted.max()}")
        home = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(home):
            here = home == number
            out[here] = shards[number][wanted[here] - self._starts[number]]
        return out

    def output_geometry(self) -> Geometry:
        """The geometry that all images share, else the most frequent one (the earliest of equals)."""
        if self._geometry is None:
            self._geometry = Counter(image.geometry for image in self.manifest.images).most_common(1)[0][0]
        return self._geometry

    def verify(self) -> None:
        """Hash every shard. Raises DataError naming the first one whose bytes differ from the manifest."""
        for shard in (*self.manifest.shards, *self.manifest.masks):
            if file_sha256(self.path / shard.file) != shard.sha256:
                raise DataError(f"{self.path / shard.file}: content differs from the manifest", remedy=_AGAIN)


_AGAIN = "restore the folder from a copy, or run `stylescan prepare` on the scans again with --overwrite"


def _dtype(bits: int) -> np.dtype[Any]:
    return np.dtype("<u2") if bits == 16 else np.dtype("u1")


def _read_manifest(path: Path) -> Manifest:
    prepare = "make one with `stylescan prepare SRC --out DATA`, and pass that DATA folder"
    if not path.exists():
        raise DataError(f"{path}: no such folder, expected a prepared dataset", remedy=prepare)
    if not path.is_dir():
        raise DataError(f"{path}: a file, expected the folder of a prepared dataset", remedy=prepare)
    file = path / MANIFEST_NAME
    if not file.exists():
        if (path / WORK_FOLDER).is_dir():
            again = "run the same `stylescan prepare` command again, it continues where it stopped"
            raise DataError(f"{path}: an unfinished preparation (no {MANIFEST_NAME} yet)", remedy=again)
        raise DataError(f"{path}: not a prepared dataset (no {MANIFEST_NAME}); raw scans must be prepared first",
                        remedy=f"run `stylescan prepare {path} --out DATA`, and pass DATA instead")  # fmt: skip
    raw = read_json(file, DataError, remedy=_AGAIN)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise DataError(f"{file}: not the manifest of a prepared dataset (no schema_version)", remedy=prepare)
    if version > SCHEMA_VERSION:
        raise DataError(f"{file}: schema_version {version}, this stylescan reads up to {SCHEMA_VERSION}",
                        remedy="update stylescan, or prepare the scans again with this version")  # fmt: skip
    try:
        return Manifest.model_validate(raw)
    except ValidationError as problem:
        where, said = first_fault(problem)
        raise DataError(f"{file}: {where or 'manifest'}: {said}", remedy=_AGAIN) from None


def _map_shard(path: Path, shard: ShardRecord, manifest: Manifest) -> NDArray[Any]:
    return _map(path, shard, (manifest.channels, manifest.resolution, manifest.resolution), _dtype(manifest.bits))


def _map_masks(path: Path, shard: ShardRecord, manifest: Manifest) -> NDArray[Any]:
    return _map(path, shard, (1, manifest.resolution, manifest.resolution), np.dtype("u1"))


def _map(path: Path, shard: ShardRecord, each: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    file = path / shard.file
    if not file.resolve().is_relative_to(path.resolve()):
        raise DataError(f"{file}: leads out of the dataset's folder", remedy=_AGAIN)
    if file.exists():
        require_file(file, DataError, remedy=_AGAIN)
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{file}: shard is missing, {shard.count} images expected", remedy=_AGAIN) from None
    except (OSError, ValueError, EOFError, OverflowError, MemoryError, SyntaxError, RecursionError) as problem:
        raise DataError(f"{file}: shard is damaged or truncated ({problem})", remedy=_AGAIN) from None
    expected = (shard.count, *each)
    # np.load answers other magic bytes with an NpzFile, which has no shape.
    shape, found = getattr(array, "shape", None), getattr(array, "dtype", None)
    if shape != expected or found != dtype:
        raise DataError(f"{file}: holds {shape} {found}, expected {expected} {dtype}", remedy=_AGAIN)
    if not array.flags.c_contiguous:
        raise DataError(f"{file}: holds its values in column-major order, expected row-major", remedy=_AGAIN)
    result: NDArray[Any] = array
    return result
