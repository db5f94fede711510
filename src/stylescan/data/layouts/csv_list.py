"""A CSV list of scans: `path,subject,label,split` and whatever else is known about each.

Only `path` is required. `slice` (a whole number) and `side` fill the fields of that name; every further column is
carried into the manifest as `extra`, as numbers where all of its values are. A relative path starts at the list's
folder and may not climb out of it; an absolute path is taken as it stands, since the list is the user's own.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from stylescan.data.formats.table import FORMATS, format_of, known_suffixes, suffix_of
from stylescan.data.layouts.found import Found, Listing, Progress
from stylescan.data.layouts.rows import filled_rows, likely_separator
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source, normal_side, some
from stylescan.errors import DataError
from stylescan.files import require_file

_KNOWN = ("path", "subject", "label", "split", "side", "slice")
SPLIT_WORDS = {
    "train": "train", "training": "train",
    "select": "select", "val": "select", "valid": "select", "validate": "select", "validation": "select",
    "dev": "select",
    "holdout": "holdout", "hold-out": "holdout", "test": "holdout", "testing": "holdout",
}  # fmt: skip


def detect_list(listing: Listing) -> str | None:
    """A .csv file, or a folder with exactly one CSV that has a `path` column."""
    file = _list_file(listing.root)
    return f"the list {file.name}" if file else None


def find_listed(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """The layout's `find`: see `read_list`."""
    return Found(read_list(listing.root))


def _list_file(source: Path) -> Path | None:
    if source.is_file():
        return source if source.suffix.lower() in (".csv", ".tsv") else None
    lists = [file for file in sorted(source.glob("*.csv")) if not file.name.startswith(".")]
    lists = [file for file in lists if _has_path_column(file)]
    return lists[0] if len(lists) == 1 else None


def _has_path_column(file: Path) -> bool:
    try:
        return "path" in _read_rows(file)[0]
    except DataError:  # some other table that lies beside the scans
        return False


def read_list(source: Path) -> list[Source]:
    """The scans in the list `source` (or the one list inside a folder). Raises DataError naming line and column."""
    file = _list_file(source)
    if file is None:
        raise DataError(f"{source}: no CSV list with a `path` column",
                        remedy="write one with the header path,subject,label,split")  # fmt: skip
    header, rows = _read_rows(file)
    if "path" not in header:
        raise DataError(f"{file}: columns {', '.join(header) or '(none)'}; `path` is missing",
                        remedy="name the columns in the first line: path,subject,label,split")  # fmt: skip
    if len(set(header)) != len(header) or "" in header:
        raise DataError(f"{file}: a column's name is empty or occurs twice ({', '.join(header)})",
                        remedy="name every column once")  # fmt: skip
    _check_filled(file, header, rows)
    numeric = [name for name in header if name not in _KNOWN and all(_number(row[name]) for _, row in rows)]
    sources = [_source(file, line, row, numeric) for line, row in rows]
    missing = [str(item.name) for item in sources if not item.paths[0].is_file()]
    if missing:
        raise DataError(f"{file}: {len(missing)} of {len(sources)} files do not exist: {some(missing)}",
                        remedy=f"correct the paths; relative ones start at {file.parent}")  # fmt: skip
    seen: set[Path] = set()
    for item in sources:
        if item.paths[0] in seen:
            raise DataError(f"{file}: {item.name} is listed twice", remedy="keep one line for each file")
        seen.add(item.paths[0])
    return sources


def _read_rows(file: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Header and (line number, row) of every filled line; the separator is the one that the header uses most."""
    require_file(file, DataError, remedy="save the list as CSV in UTF-8")
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file}: not UTF-8 text", remedy="save the list as CSV in UTF-8") from None
    try:
        return filled_rows(file, text, likely_separator(text.split("\n", 1)[0]),
                           remedy="put quotes around values that contain the separator")  # fmt: skip
    except csv.Error as problem:
        raise DataError(f"{file}: not a CSV list ({problem})", remedy="save it as CSV in UTF-8") from None


def _check_filled(file: Path, header: list[str], rows: list[tuple[int, dict[str, str]]]) -> None:
    """`path` always; `subject` and `split` for all or for none: a gap there would be a leak."""
    for name in ("path", "subject", "split"):
        empty = [line for line, row in rows if name in header and not row[name]]
        if empty and (name == "path" or len(empty) < len(rows)):
            raise DataError(f"{file}, line {empty[0]}: `{name}` is empty ({len(empty)} of {len(rows)} lines)",
                            remedy=f"fill `{name}` on every line, or on none")  # fmt: skip


def _source(file: Path, line: int, row: dict[str, str], numeric: list[str]) -> Source:
    split = row.get("split", "").lower()
    if split and split not in SPLIT_WORDS:
        raise DataError(f"{file}, line {line}: split {row['split']!r}, expected train, select or holdout",
                        remedy="correct the column `split`, or leave it out to have a split drawn")  # fmt: skip
    number = row.get("slice", "")
    if number and not (_number(number) and float(number).is_integer()):
        raise DataError(f"{file}, line {line}: slice {number!r}, expected a whole number",
                        remedy="correct the column `slice`, or give it another name")  # fmt: skip
    extra = {name: float(value) if name in numeric else value for name, value in row.items() if name not in _KNOWN}
    if suffix_of(row["path"]) is None:
        raise DataError(f"{file}, line {line}: {row['path']}: none of the known suffixes",
                        remedy=f"correct the path, or convert the scan to one of {', '.join(known_suffixes())}")  # fmt: skip
    form = format_of(row["path"])
    return Source(
        name=row["path"].replace("\\", "/"),
        paths=(_resolve(file, line, row["path"]),),
        kind=FORMATS[form].kind or "picture",
        format=form,
        subject=row.get("subject") or None,
        label=row.get("label") or None,
        split=SPLIT_WORDS[split] if split else None,
        side=normal_side(row["side"]) if row.get("side") else None,
        slice=int(float(number)) if number else None,
        extra=extra,
    )


def _resolve(file: Path, line: int, name: str) -> Path:
    path = Path(name)
    if path.is_absolute():
        return path
    path = file.parent / path
    if not path.resolve().is_relative_to(file.parent.resolve()):
        raise DataError(f"{file}, line {line}: {name} leads out of the list's folder",
                        remedy="move the list above the scans, or write the full path")  # fmt: skip
    return path


def _number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
