"""What the layouts that go by names share: which files fit, which stand twice, and where a table may lie beside them."""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylescan.data.layouts.found import Listing, Progress
from stylescan.data.sources import natural_key, some
from stylescan.errors import DataError

# A set with a few strange files is still that set. Taken for a plain folder it would lose its subjects without a word, so
# it is recognised, and the strange files are refused by name.
MOST = 0.5
# System leftovers that hold copies or thumbnails of scans under the scans' own suffixes.
_NOT_SCANS = {"__macosx", "$recycle.bin", "@eadir"}
ABOVE = 3  # folders above the scans in which a table is looked for


@dataclass(frozen=True)
class Named:
    """A file whose name fits: `path`, its `name` relative to the source, and what the pattern found in it."""

    path: Path
    name: str
    match: re.Match[str]

    def __getitem__(self, group: str) -> str:
        return self.match[group] or ""


@dataclass(frozen=True)
class Sorted:
    """The files of a listing, told apart by a pattern: those that fit, and the names of those that do not."""

    fitting: list[Named]
    strays: list[str]

    @property
    def recognised(self) -> bool:
        """Whether most names fit."""
        return len(self.fitting) > 0 and len(self.fitting) >= MOST * self.total

    @property
    def total(self) -> int:
        """All files that were looked at."""
        return len(self.fitting) + len(self.strays)

    def share(self) -> str:
        """For instance '18,680 of 18,681 names'."""
        return f"{len(self.fitting):,} of {self.total:,} names"


def sort_names(listing: Listing, pattern: re.Pattern[str]) -> Sorted:
    """Search every name for `pattern`, with the source's own last two folders in front: it may be an inner folder."""
    if listing.root.is_file():
        return Sorted([], list(listing.names))
    front = "/".join(Path(os.path.abspath(listing.root)).parts[1:][-2:])
    fitting, strays = [], []
    for name, path in zip(listing.names, listing.files, strict=True):
        match = pattern.search(f"{front}/{name}")
        if match is not None:
            fitting.append(Named(path, name, match))
        elif not _NOT_SCANS & set(name.lower().split("/")[:-1]):
            strays.append(name)
    return Sorted(fitting, strays)


def require_all(found: Sorted, root: Path, expected: str) -> list[Named]:
    """The fitting files. Raises DataError where a name does not fit, or none does; `expected` says what would."""
    if not found.fitting:
        raise DataError(f"{root}: none of {found.total} names looks like {expected}",
                        remedy="check the folder, or leave --layout to be recognised")  # fmt: skip
    if found.strays:
        raise DataError(f"{root}: {len(found.strays)} of {found.total} scans do not look like {expected}: "
                        f"{some(found.strays)}", remedy="move these elsewhere")  # fmt: skip
    return found.fitting


def keep_one_copy(
    files: Sequence[Named], key: Callable[[Named], Hashable], root: Path, progress: Progress | None
) -> tuple[list[Named], list[str]]:
    """One file of each `key`, the outermost, and a warning where others were left out.

    Sets that are unpacked into themselves hold every file twice. The copies are compared byte by byte; raises DataError
    naming those that differ.
    """
    kept: dict[Hashable, Named] = {}
    pairs: list[tuple[Named, Named]] = []
    for file in sorted(files, key=lambda f: (f.name.count("/"), natural_key(f.name))):
        first = kept.setdefault(key(file), file)
        if first is not file:
            pairs.append((first, file))
    differing = []
    for number, (first, second) in enumerate(pairs):
        if not _equal(first.path, second.path):
            differing.append(f"{first.name} and {second.name}")
        if progress and number % 64 == 0:
            progress(number, len(pairs), "comparing doubled files")
    if differing:
        raise DataError(f"{root}: {len(differing)} files stand twice and differ: {some(differing)}",
                        remedy="keep one folder of the two, and move the other elsewhere")  # fmt: skip
    warning = f"{len(pairs):,} files stand twice, byte for byte, in different folders: one of each is taken"
    return list(kept.values()), [warning] if pairs else []


def _equal(first: Path, second: Path) -> bool:
    try:
        return filecmp.cmp(first, second, shallow=False)  # sizes first, then the bytes
    except OSError as problem:
        raise DataError(f"{problem.filename}: cannot be read ({problem.strerror})",
                        remedy="restore the permission to read it, or leave it out") from None  # fmt: skip


def nearby(folders: Iterable[Path], above: int = ABOVE) -> list[Path]:
    """The folders given, then the ones above each, up to `above` levels; each once, the nearest first."""
    level = {Path(os.path.abspath(folder)) for folder in folders}
    found: dict[Path, None] = {}
    for _ in range(above + 1):
        found.update(dict.fromkeys(sorted(level)))
        level = {folder.parent for folder in level}
    return list(found)


def folder_of(file: Named, group: str) -> Path:
    """The folder in which the path component that holds the pattern's `group` lies."""
    below = file.match.string[file.match.start(group) :].count("/")
    return Path(os.path.abspath(file.path)).parents[below]


def counted(count: int, what: str) -> str:
    """For instance '1 subject', '1,526 scans'."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
