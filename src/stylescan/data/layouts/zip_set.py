"""The field's interchange form: a zip of PNGs, or its unpacked folder, with a `dataset.json` of labels.

`{"labels": [["00000/img00000000.png", 6], ...]}`, or `"labels": null`, as StyleGAN2-ADA, StyleGAN3 and R3GAN read it.
Keys that stylescan's own export adds: `class_names`, `claim`, `plane`, `symmetry`, `anatomy`, and tables in the form of
`labels`: `subjects`, `splits` (for all images), `sides`, `slices` (for some or all).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from stylescan.data.formats.table import FORMATS, format_of, suffix_of
from stylescan.data.formats.zipped import entry_bytes, entry_names
from stylescan.data.layouts.found import Found, Listing, Progress
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source, some
from stylescan.errors import DataError
from stylescan.files import require_file

DOCUMENT = "dataset.json"
MAX_DOCUMENT = 2**28
_CHOICES = {
    "plane": ("axial", "coronal", "sagittal"),
    "symmetry": ("none", "left-right"),
    "anatomy": ("brain", "knee"),
    "claim": ("subject-wise", "scan-wise", "image-wise"),
}
_SPLITS = ("train", "select", "holdout")
_CORRECT = f"correct {DOCUMENT}, or leave the key out"
# key: whether one of its values is right, and in words what they are.
_TABLES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "labels": (lambda v: type(v) is int and v >= 0, "a whole number from 0"),
    "subjects": (lambda v: isinstance(v, str) and bool(v.strip()), "a name"),
    "splits": (lambda v: v in _SPLITS, f"one of {', '.join(_SPLITS)}"),
    "sides": (lambda v: v in ("left", "right"), "left or right"),
    "slices": (lambda v: type(v) is int, "a whole number"),
}
_FOR_SOME = {"sides", "slices"}


def detect_zip_set(listing: Listing) -> str | None:
    """A .zip file, or a folder with a dataset.json whose `labels` are a list or null."""
    root = listing.root
    if root.is_file():
        return "a zip archive of images" if root.name.lower().endswith(".zip") else None
    if not (root / DOCUMENT).is_file():
        return None
    document = _parse(_folder_bytes(root), root / DOCUMENT)
    # Other tools name their files so, too; what labels look like tells them apart.
    ours = "labels" in document and isinstance(document["labels"], list | None)
    return f"images with their labels in {DOCUMENT}" if ours else None


def find_zip_set(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """The images of the archive or folder, with what dataset.json says of each."""
    root = listing.root
    if root.is_file():
        names = [name for name in entry_names(root) if not _hidden(name)]
        document = _parse(entry_bytes(root, DOCUMENT, MAX_DOCUMENT), root / DOCUMENT) if DOCUMENT in names else {}
        _refuse_nested(root, names)
        images = [name for name in names if _is_picture(name)]
    else:
        document = _parse(_folder_bytes(root), root / DOCUMENT)
        images = [name for name in listing.names if _is_picture(name)]
    if not images:
        raise DataError(f"{root}: no images in it (looked for {', '.join(FORMATS['picture'].suffixes)})",
                        remedy="check the archive")  # fmt: skip
    notes = [] if document else [f"no {DOCUMENT} in the archive: images without classes"]
    tables = {key: _table(root, key, document, images) for key in _TABLES}
    if document.get("claim") == "image-wise":
        tables["subjects"] = {}  # groups of look-alikes, which must not become people
    chosen = {key: _choice(root, key, document) for key in _CHOICES}
    classes = _class_names(root, document, tables["labels"])
    sources = [_source(root, name, tables, classes) for name in images]
    return Found(
        sources,
        plane=chosen["plane"],
        symmetry=chosen["symmetry"],
        anatomy=chosen["anatomy"],
        scan_wise=chosen["claim"] == "scan-wise",
        notes=tuple(notes),
    )


def _source(root: Path, name: str, tables: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> Source:
    known = {key: table.get(name) for key, table in tables.items()}
    label = known["labels"]
    return Source(
        name=name,
        paths=(root,) if root.is_file() else (root / name,),
        kind="picture",
        format="zip" if root.is_file() else format_of(name),
        entry=name if root.is_file() else None,
        subject=known["subjects"],
        label=None if label is None else classes[label] if classes else str(label),
        split=known["splits"],
        side=known["sides"],
        slice=known["slices"],
    )


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _is_picture(name: str) -> bool:
    return suffix_of(name) in FORMATS["picture"].suffixes


def _refuse_nested(root: Path, names: Collection[str]) -> None:
    nested = [name for name in names if name.endswith("/" + DOCUMENT)]
    if nested and DOCUMENT not in names:
        raise DataError(f"{root}: {nested[0]}, expected {DOCUMENT} at the top of the archive",
                        remedy="pack the content of the folder, not the folder")  # fmt: skip


def _folder_bytes(root: Path) -> bytes:
    file = root / DOCUMENT
    require_file(file, DataError, remedy=f"write {DOCUMENT}, or prepare the folder as --layout flat")
    if file.stat().st_size > MAX_DOCUMENT:
        raise DataError(f"{file}: {file.stat().st_size} bytes, expected at most {MAX_DOCUMENT}", remedy=_CORRECT)
    return file.read_bytes()


def _parse(data: bytes, where: Path) -> dict[str, Any]:
    """The document as strict JSON. Raises DataError for anything that is no object, or holds a key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key occurs twice")
        return dict(pairs)

    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{where}: not valid JSON ({problem})", remedy="write it again") from None
    if not isinstance(document, dict) or "labels" not in document:
        raise DataError(f"{where}: no `labels` in it", remedy='write {"labels": [["00000/img00000000.png", 0], ...]}, '
                        'or {"labels": null}')  # fmt: skip
    return document


def _table(root: Path, key: str, document: Mapping[str, Any], images: Sequence[str]) -> dict[str, Any]:
    """What `key` says of each image; {} where it says nothing. Raises DataError where it does not fit the images."""
    rows = document.get(key)
    if rows is None:
        return {}
    right, words = _TABLES[key]
    if not isinstance(rows, list):
        raise DataError(f"{root}: `{key}` is no list, expected [[name, value], ...]", remedy=_CORRECT)
    for number, row in enumerate(rows):
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and _hashable(row[1], right)):
            raise DataError(f"{root}: {key}[{number}] is {json.dumps(row)[:80]}, expected [name, {words}]",
                            remedy=_CORRECT)  # fmt: skip
    found: dict[str, Any] = dict(rows)
    if len(found) < len(rows):
        name = Counter(name for name, _ in rows).most_common(1)[0][0]
        raise DataError(f"{root}: `{key}` names {name} twice", remedy=_CORRECT)
    if gone := sorted(found.keys() - set(images)):
        raise DataError(f"{root}: `{key}` names {len(gone)} images that are not there: {some(gone)}", remedy=_CORRECT)
    if key not in _FOR_SOME and (without := sorted(set(images) - found.keys())):
        raise DataError(f"{root}: {len(without)} images are missing in `{key}`: {some(without)}", remedy=_CORRECT)
    return found


def _hashable(value: Any, right: Callable[[Any], bool]) -> bool:
    return isinstance(value, str | int) and right(value)


def _class_names(root: Path, document: Mapping[str, Any], labels: Mapping[str, int]) -> list[str]:
    names = document.get("class_names")
    if names is None:
        return []
    named = isinstance(names, list) and all(isinstance(name, str) and name.strip() for name in names)
    if not named or len(set(names)) < len(names):
        raise DataError(f"{root}: `class_names` is no list of different names", remedy=_CORRECT)
    if labels and max(labels.values()) >= len(names):
        raise DataError(f"{root}: label {max(labels.values())} with {len(names)} class names", remedy=_CORRECT)
    return list(names)


def _choice(root: Path, key: str, document: Mapping[str, Any]) -> Any:
    value = document.get(key)
    if value is not None and value not in _CHOICES[key]:
        raise DataError(f"{root}: `{key}` is {json.dumps(value)[:80]}, expected one of {', '.join(_CHOICES[key])}",
                        remedy=_CORRECT)  # fmt: skip
    return value
