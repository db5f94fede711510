"""Stacks of images: `.npy` files, `.npz` archives with or without tables beside the images, and MedMNIST's archives.

A stack is a list of images, never one volume: nothing in the file could tell the two apart. An .npz may hold, beside
`images` [N, ...], the tables `labels`, `subjects`, `split` and `slices` of N entries each. MedMNIST's have
`train_images`, `val_images`, `test_images` and the labels of each; their split is taken as given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stylescan.data.formats.stack import (
    archive_headers,
    archive_table,
    check_type,
    check_unpacked,
    image_axes,
    npy_header,
)
from stylescan.data.layouts.csv_list import SPLIT_WORDS
from stylescan.data.layouts.found import Found, Listing, Progress
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source
from stylescan.errors import DataError

SUFFIXES = (".npy", ".npz")
_MEDMNIST = {"train": "train", "val": "select", "test": "holdout"}
_TABLES = ("labels", "subjects", "split", "slices")
_NOT_ONE_VOLUME = "arrays are stacks of images, each along its first axis: a volume belongs into a NIfTI file"


@dataclass(frozen=True)
class _Tables:
    """What is known of the images of one array, each a list as long as the array, or None."""

    label: list[str] | None = None
    subject: list[str] | None = None
    split: list[str] | None = None
    slice: list[int] | None = None


def detect_stacks(listing: Listing) -> str | None:
    """A .npy or .npz file, or a folder of nothing else."""
    names = listing.names
    if not names or not all(name.lower().endswith(SUFFIXES) for name in names):
        return None
    if listing.root.is_file() and names[0].lower().endswith(".npz") and _is_medmnist(archive_headers(listing.root)):
        return "a MedMNIST archive, with its own split"
    return "one stack of images" if len(names) == 1 else f"{len(names)} stacks of images"


def find_stacks(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """Every image of every stack. Nothing is guessed about subjects."""
    sources: list[Source] = []
    notes = [_NOT_ONE_VOLUME]
    for name, path in zip(listing.names, listing.files):
        if name.lower().endswith(".npy"):
            sources += _npy_sources(name, path)
        elif name.lower().endswith(".npz"):
            sources += _npz_sources(name, path, notes)
        else:
            raise DataError(f"{path}: expected only .npy and .npz files in {listing.root}", remedy="move it elsewhere")
    return Found(sources, notes=tuple(dict.fromkeys(notes)))


def _npy_sources(name: str, path: Path) -> list[Source]:
    header = npy_header(path)
    check_type(path, header.dtype)
    image_axes(path, header.shape, volumes=False)
    return _rows(name, path, "", header.shape[0], "picture", _Tables())


def _npz_sources(name: str, path: Path, notes: list[str]) -> list[Source]:
    headers = archive_headers(path)
    images = [f"{part}_images" for part in _MEDMNIST if f"{part}_images" in headers]
    medmnist = _is_medmnist(headers)
    if not medmnist:
        images = [_only_images(path, list(headers))]
    check_unpacked(path, images)
    sources = []
    for array in images:
        shape = headers[array].shape
        check_type(path, headers[array].dtype)
        axes = image_axes(path, shape, volumes=medmnist)
        part = array.removesuffix("_images") if medmnist else ""
        tables = _read_tables(path, list(headers), f"{part}_" if part else "", shape[0], notes)
        if part:
            tables = _Tables(label=tables.label, split=[_MEDMNIST[part]] * shape[0])
        sources += _rows(name, path, array, shape[0], "volume" if axes == "NXYZ" else "picture", tables)
    return sources


def _is_medmnist(headers: dict[str, Any]) -> bool:
    return "train_images" in headers


def _only_images(path: Path, names: list[str]) -> str:
    """The array of the images: `images`, else the only one that is no table."""
    rest = [name for name in names if name not in _TABLES]
    if "images" in rest:
        return "images"
    if len(rest) == 1:
        return rest[0]
    found = ", ".join(names) or "nothing"
    raise DataError(f"{path}: holds {found}; which are the images?", remedy="name the array of the images `images`")


def _read_tables(path: Path, names: list[str], prefix: str, count: int, notes: list[str]) -> _Tables:
    tables: dict[str, Any] = {}
    for table in _TABLES:
        if prefix + table not in names:
            continue
        values = archive_table(path, prefix + table)
        if table == "labels" and values.ndim == 2 and values.shape[1] > 1:
            notes.append(f"{values.shape[1]} labels an image: such sets are prepared without classes")
            continue
        column = _column(path, prefix + table, values, count)
        if table == "split":
            tables["split"] = [_split_word(path, word) for word in column]
        elif table == "slices":
            tables["slice"] = [_whole(path, word) for word in column]
        else:
            tables[table.removesuffix("s")] = column
    return _Tables(**tables)


def _column(path: Path, table: str, values: NDArray[Any], count: int) -> list[str]:
    """One text an image. Whole numbers and text only: other values are not names."""
    if values.shape not in ((count,), (count, 1)):
        raise DataError(f"{path}: {table} has shape {'x'.join(map(str, values.shape))}, expected {count} entries",
                        remedy="give one entry for each image, in the same order")  # fmt: skip
    if values.dtype.kind == "f" and not ((np.abs(values) < 2**53) & (values == np.floor(values))).all():
        raise DataError(
            f"{path}: {table} holds fractions, expected whole numbers or text", remedy="save it as integers"
        )
    if values.dtype.kind not in "iufU":
        raise DataError(f"{path}: {table} holds values of type {values.dtype}, expected whole numbers or text",
                        remedy="save it as integers or as an array of type str")  # fmt: skip
    flat = values.reshape(count)
    column = [str(v) for v in (flat.astype(np.int64) if flat.dtype.kind == "f" else flat).tolist()]
    if not all(text.strip() for text in column):
        raise DataError(f"{path}: {table} has empty entries", remedy="fill every entry, or leave the array out")
    return column


def _split_word(path: Path, word: str) -> str:
    if word.lower() not in SPLIT_WORDS:
        raise DataError(
            f"{path}: split {word!r}, expected train, select or holdout", remedy="correct the array `split`"
        )
    return SPLIT_WORDS[word.lower()]


def _whole(path: Path, word: str) -> int:
    if not word.lstrip("-").isdecimal():
        raise DataError(f"{path}: slice {word!r}, expected a whole number", remedy="correct the array `slices`")
    return int(word)


def _rows(
    name: str, path: Path, array: str, count: int, kind: Literal["picture", "volume"], tables: _Tables
) -> list[Source]:
    """One Source an image, named `file#array/row`, with as many digits as sort well."""
    digits = max(1, math.ceil(math.log10(max(count, 2))))
    prefix = f"{array}/" if array else ""
    return [
        Source(
            name=f"{name}#{prefix}{row:0{digits}d}",
            paths=(path,),
            kind=kind,
            format="stack",
            entry=f"{array}:{row}" if array else row,
            subject=tables.subject[row] if tables.subject else None,
            label=tables.label[row] if tables.label else None,
            split=tables.split[row] if tables.split else None,
            slice=tables.slice[row] if tables.slice else None,
        )
        for row in range(count)
    ]
