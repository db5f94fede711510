"""What a layout hands on: one `Source` for each picture or volume, and the small words that layouts share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from stylescan.data.readers import READERS, Kind, suffix_of
from stylescan.errors import DataError

SHOWN = 20  # names printed in a refusal; the rest are counted


@dataclass(frozen=True)
class Source:
    """One picture or volume before it is read. `name`: unique, readable, relative to the source. `paths`: its files."""

    name: str
    paths: tuple[Path, ...]
    kind: Kind
    subject: str | None = None
    label: str | None = None
    split: str | None = None
    side: str | None = None
    slice: int | None = None
    extra: dict[str, float | str] = field(default_factory=dict)


def kind_of(name: str) -> Kind:
    """Whether the file holds a picture or a volume, by its suffix. Raises DataError for an unknown one."""
    suffix = suffix_of(name)
    if suffix is None:
        raise DataError(
            f"{name}: none of the known suffixes ({', '.join(READERS)})", remedy="convert it, or leave it out"
        )
    return READERS[suffix].kind


def normal_side(text: str) -> str:
    """'left' or 'right' for their common spellings, else the text in lower case."""
    plain = text.strip().lower().replace("_", "")
    return {"l": "left", "r": "right", "lh": "left", "rh": "right"}.get(plain, plain)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorting key that puts slice 9 before slice 10."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def some(names: list[str]) -> str:
    """Up to 20 names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f", and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
