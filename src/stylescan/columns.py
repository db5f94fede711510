"""Tables as lines of text."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], *, gap: str = "  ") -> list[str]:
    """Rows of as many cells each as lines: the first column to the left, the others, numbers mostly, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        gap.join([f"{row[0]:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:]))]).rstrip()
        for row in rows
    ]
