"""Tables that lie beside the scans (participants.tsv, ...): read with care, and only for the class that was asked for.

Nothing of them reaches a prepared set but the values of the one column that the user names.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stylescan.data.layouts.names import ABOVE, nearby
from stylescan.data.layouts.rows import filled_rows, likely_separator
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import natural_key, some
from stylescan.errors import ConfigError, DataError
from stylescan.files import require_file

TABLE_BYTES = 2**26
_NO_VALUE = {"", "n/a", "na", "nan", "."}


@dataclass(frozen=True)
class SideTable:
    """`rows`: by the value of the key column, then by column. `columns`: all but the key, in order."""

    file: Path
    columns: tuple[str, ...]
    rows: dict[str, dict[str, str]]

    def note(self) -> str:
        """For the audit: which classes could be had."""
        return f"{self.file.name} has the columns {', '.join(self.columns)}: --label-column makes one of them the class"


def read_table(file: Path, key: str) -> SideTable:
    """The table in a .csv or .tsv file, by its column `key`. Raises DataError naming the line, or the column.

    A row that stands twice is taken once; two rows of one key that differ are refused.
    """
    header, rows = _read_rows(file)
    if key not in header:
        raise DataError(f"{file}: columns {', '.join(header) or '(none)'}; `{key}` is missing",
                        remedy="restore the column, or move the table elsewhere")  # fmt: skip
    found: dict[str, dict[str, str]] = {}
    for line, row in rows:
        if found.setdefault(row[key], row) != row:
            raise DataError(f"{file}, line {line}: {row[key]} stands here a second time, with other values",
                            remedy=f"keep one line for each `{key}`")  # fmt: skip
    return SideTable(file, tuple(name for name in header if name != key), found)


def nearest_table(
    folders: Iterable[Path], tables_in: Callable[[Path], list[Path]], key: str, *, above: int = ABOVE
) -> SideTable | None:
    """The table in the nearest of `folders`, or up to `above` folders above them, in which `tables_in` finds one.

    Raises DataError where it finds several in one folder, and what `read_table` raises.
    """
    for folder in nearby(folders, above):
        tables = tables_in(folder)
        if len(tables) > 1:
            raise DataError(f"{folder}: {', '.join(file.name for file in tables)}: which of these tables?",
                            remedy="keep one of them here")  # fmt: skip
        if tables:
            return read_table(tables[0], key)
    return None


def refuse_without_table(column: str | None, absent: str, remedy: str) -> None:
    """ConfigError where a class column is asked for and there is no table; `absent` says which, and where."""
    if column is not None:
        raise ConfigError(f"label column {column!r}: no {absent}", remedy=remedy)


def header_of(file: Path) -> list[str]:
    """The names of the columns, [] for what is no table."""
    try:
        with file.open("rb") as stream:
            line = stream.readline(2**16).decode("utf-8-sig").rstrip("\r\n")
        return next(csv.reader([line], delimiter=_separator(file, line)), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _separator(file: Path, first: str) -> str:
    return "\t" if file.suffix.lower() == ".tsv" else likely_separator(first)


def _read_rows(file: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    remedy = "save the table again as text in UTF-8"
    require_file(file, DataError, remedy=remedy)
    if file.stat().st_size > TABLE_BYTES:
        raise DataError(f"{file}: {file.stat().st_size:,} bytes, expected at most {TABLE_BYTES:,}", remedy=remedy)
    try:
        text = file.read_text("utf-8-sig")
        separator = _separator(file, text.split("\n", 1)[0])
        # Tab-separated tables have no rules for quotes: there they are letters like others.
        header, rows = filled_rows(file, text, separator, quotes=separator != "\t", remedy="correct the line")
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"{file}: not a table ({problem})", remedy=remedy) from None
    if len(set(header)) != len(header):
        raise DataError(f"{file}: a column's name occurs twice ({', '.join(header)})", remedy="name every column once")
    return header, rows


def classes_from(table: SideTable, column: str, keys: Iterable[str], options: PrepareOptions) -> dict[str, str | None]:
    """The class of each of `keys`: its value in `column`.

    A key without a value is refused by name, unless `only_classes` leaves it out anyway: then its class is None.
    """
    if column not in table.columns:
        raise ConfigError(f"label column {column!r}: {table.file} has {', '.join(table.columns)}",
                          remedy="name one of these, as it is spelt there")  # fmt: skip
    classes = {key: value_in(table.rows, key, column) for key in keys}
    empty = sorted((key for key, value in classes.items() if value is None), key=natural_key)
    if empty and not options.only_classes:
        raise DataError(f"{table.file}: no `{column}` for {len(empty)} of {len(classes)}: {some(empty)}",
                        remedy="fill the column, or keep chosen classes alone with --only-class")  # fmt: skip
    return classes


def value_in(rows: Mapping[str, Mapping[str, str]], key: str, column: str) -> str | None:
    """The value of `column` in the row of `key`, None where there is none or it says so (n/a, ...)."""
    value = rows.get(key, {}).get(column, "")
    return None if value.lower() in _NO_VALUE else value
