"""A prepared dataset as the field's interchange form: a zip of PNGs with a dataset.json (see layouts/zip_set.py).

StyleGAN2-ADA, StyleGAN3 and R3GAN read it as it stands; `prepare` reads it back with subjects, splits, sides, slices and
what the images show. Masks, extra columns and the way back to source values stay behind. Equal datasets give equal bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stylescan.data.prepared import ImageRecord, PreparedDataset, Split
from stylescan.errors import ConfigError, DataError
from stylescan.files import storage_error, written_aside

_BATCH = 64
_LEAST_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can state


def export_zip(
    dataset: PreparedDataset,
    out: Path,
    *,
    split: Split | Literal["all"] = "train",
    bits: Literal[8, 16] | None = None,
    ignore_classes: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> int:
    """Write the images of `split` to the archive `out` (.zip); returns how many.

    bits : 8 or 16 a value, the dataset's own if None; most other programs read 8. ignore_classes : write no labels.
    The archive appears whole or not at all. Subjects are named as in the manifest. Raises DataError or ConfigError where
    the images cannot be PNGs, the split is empty, an image has no class while others have one, or `out` exists.
    """
    _check_target(out, overwrite)
    indices = np.arange(len(dataset)) if split == "all" else dataset.indices(split)
    if not len(indices):
        raise DataError(f"{dataset.path}: no images in the split {split}", remedy="choose another --split")
    bits = bits or dataset.bits
    _check_pictures(dataset, bits)
    names = [f"{number:08d}"[:5] + f"/img{number:08d}.png" for number in range(len(indices))]
    document = _document(dataset, indices, names, ignore_classes)
    try:
        with written_aside(out) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for start in range(0, len(indices), _BATCH):
                images = dataset.read(indices[start : start + _BATCH])
                for name, image in zip(names[start : start + _BATCH], images):
                    archive.writestr(_entry(name), _png(_as_bits(image, dataset.bits, bits)))
                if progress is not None:
                    progress(start + len(images), len(indices), "exporting")
            archive.writestr(_entry("dataset.json"), document)
    except OSError as problem:
        raise storage_error(str(out), problem, then="export again") from None
    return len(indices)


def _check_target(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() != ".zip":
        raise ConfigError(f"{out}: not the name of a zip archive", remedy=f"Name it {out.name}.zip.")
    if out.is_dir() or (out.exists() and not overwrite):
        remedy = "Choose another name." if out.is_dir() else "Choose another name, or replace it with --overwrite."
        raise DataError(f"{out}: exists already", remedy=remedy)


def _check_pictures(dataset: PreparedDataset, bits: int) -> None:
    if dataset.channels not in (1, 3):
        raise DataError(f"{dataset.path}: {dataset.channels} channels, and a PNG holds 1 or 3",
                        remedy="prepare one contrast, or three")  # fmt: skip
    if bits == 16 and dataset.channels == 3:
        raise DataError(f"{dataset.path}: 3 channels of 16 bits, expected 8 for colour", remedy="export with --bits 8")


def _document(
    dataset: PreparedDataset, indices: NDArray[np.integer[Any]], names: Sequence[str], ignore_classes: bool
) -> bytes:
    """dataset.json: `labels` first, as others know it, then what only stylescan reads."""
    manifest = dataset.manifest
    images = [manifest.images[k] for k in indices.tolist()]
    unlabelled = sum(image.label is None for image in images)
    classes = bool(dataset.num_classes) and not ignore_classes
    if classes and unlabelled:
        raise DataError(f"{dataset.path}: {unlabelled} of {len(images)} images have no class, and labels are for all or none",
                        remedy="export with --ignore-classes")  # fmt: skip
    document: dict[str, Any] = {"labels": _table(names, images, "label") if classes else None}
    if classes:
        document["class_names"] = list(dataset.class_names)
    document["claim"] = manifest.claim
    if manifest.claim != "image-wise":  # groups of look-alikes are nobody's names
        document["subjects"] = _table(names, images, "subject")
    document["splits"] = _table(names, images, "split")
    for key, field in (("sides", "side"), ("slices", "slice")):
        if rows := _table(names, images, field):
            document[key] = rows
    for key in ("plane", "symmetry", "anatomy"):
        if (value := getattr(manifest, key)) is not None:
            document[key] = value
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


def _table(names: Sequence[str], images: Sequence[ImageRecord], field: str) -> list[list[Any]]:
    values = (getattr(image, field) for image in images)
    return [[name, value] for name, value in zip(names, values, strict=True) if value is not None]


def _as_bits(image: NDArray[Any], given: int, wanted: int) -> NDArray[Any]:
    """uint8 or uint16 [C, H, W] at another depth: 255 and 65535 are the same white."""
    if given == wanted:
        return image
    if wanted == 16:
        return image.astype(np.uint16) * np.uint16(257)
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _png(image: NDArray[Any]) -> bytes:
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(np.moveaxis(image, 0, -1))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    """Stored, since PNG is compressed already; the same on every machine and day."""
    info = zipfile.ZipInfo(name, _LEAST_TIME)
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    return info
