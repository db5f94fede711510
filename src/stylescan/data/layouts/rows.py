"""Rows of separated text, for lists of scans and for tables beside them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from stylescan.errors import DataError


def likely_separator(first: str) -> str:
    """The separator that the first line uses most."""
    return max(",;\t", key=first.count)


def filled_rows(
    file: Path, text: str, separator: str, *, quotes: bool = True, remedy: str
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Header and (line number, row) of every filled line of `text`, without blanks at the ends of values.

    quotes : whether quotes hold values together. Raises csv.Error for broken quotes, DataError naming the line where it
    has more or fewer values than the header; `remedy` says what to do about that.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True,
                        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)  # fmt: skip
    header = [name.strip() for name in next(reader, [])]
    rows = []
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(header):
            raise DataError(f"{file}, line {reader.line_num}: {len(values)} values, the header names {len(header)}",
                            remedy=remedy)  # fmt: skip
        rows.append((reader.line_num, dict(zip(header, (value.strip() for value in values)))))
    return header, rows
