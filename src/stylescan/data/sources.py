"""What a layout hands on: one `Source` for each picture or volume, and the small words that layouts share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stylescan.data.formats.pictures import read_bytes
from stylescan.data.formats.scans import Kind, Picture, Volume
from stylescan.data.formats.table import FORMATS, Entry, format_of
from stylescan.errors import DataError
from stylescan.files import file_sha256, require_file

SHOWN = 20  # names printed in a refusal; the rest are counted


@dataclass(frozen=True)
class Source:
    """One picture or volume before it is read.

    `name`: unique, readable, relative to the source. `paths`: its files. `format`: the row of formats.table.FORMATS that
    reads them. `entry`: which scan of the file, where it holds many. `split`: train, select or holdout, where the layout
    gives one. `mask`: a picture or volume of small integers on the same grid. `extra`: whatever else is known.
    """

    name: str
    paths: tuple[Path, ...]
    kind: Kind
    format: str
    entry: Entry | None = None
    subject: str | None = None
    label: str | None = None
    split: str | None = None
    side: str | None = None
    slice: int | None = None
    mask: Path | None = None
    extra: dict[str, float | str] = field(default_factory=dict)


def file_source(root: Path, path: Path) -> Source:
    """A Source of one file, named by its path below `root` (by its own name where `root` is the file)."""
    name = path.name if path == root else path.relative_to(root).as_posix()
    form = format_of(path.name)
    return Source(name, (path,), FORMATS[form].kind or "picture", form)


def read_source(source: Source) -> Picture | Volume:
    """The picture or volume of `source`, through the reader of its format. Raises DataError naming the file."""
    _check_files(source)
    form = FORMATS[source.format]
    if source.entry is not None and form.read_entry is not None:
        return form.read_entry(source.paths[0], source.entry)
    if form.read is None:
        raise DataError(f"{source.paths[0]}: holds many scans, expected to be told which",
                        remedy="pass the file itself to prepare")  # fmt: skip
    return form.read(source.paths)


def read_hashed(source: Source) -> tuple[Picture | Volume, str]:
    """`read_source`, and the SHA-256 of what was read, the file being read once where it can.

    Of several files it is the hash of their hashes. Of one scan of a file that holds many it is the hash of its values:
    the file would be hashed once a scan.
    """
    form = FORMATS[source.format]
    if source.entry is None and form.decode is not None:
        data = read_bytes(source.paths[0])
        return form.decode(data, source.paths[0]), hashlib.sha256(data).hexdigest()
    scan = read_source(source)
    if source.entry is None:
        digests = [file_sha256(path) for path in source.paths]
        return scan, digests[0] if len(digests) == 1 else hashlib.sha256("+".join(digests).encode()).hexdigest()
    values = np.ascontiguousarray(scan.pixels if isinstance(scan, Picture) else scan.voxels)
    return scan, hashlib.sha256(f"{values.shape} {values.dtype.str}".encode() + values.tobytes()).hexdigest()


def _check_files(source: Source) -> None:
    for path in source.paths:
        require_file(path, DataError, remedy="leave it out, or replace it by a file")


def normal_side(text: str) -> str:
    """'left' or 'right' for their common spellings, else the text in lower case."""
    plain = text.strip().lower().replace("_", "")
    return {"l": "left", "r": "right", "lh": "left", "rh": "right"}.get(plain, plain)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorting key that puts slice 9 before slice 10."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def some(names: Sequence[str]) -> str:
    """Up to 20 names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f", and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
