"""What a layout found, and the files among which it looks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from stylescan.data.formats.dicom_header import has_signature
from stylescan.data.formats.table import suffix_of
from stylescan.data.options import PrepareOptions
from stylescan.data.planes import Plane
from stylescan.data.sources import Source
from stylescan.errors import DataError

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Found:
    """The scans of a layout, and what holds for all of them.

    plane, symmetry: what the pictures show, where the layout knows it; training obeys it. anatomy: likewise.
    scan_wise: the subjects are scans, since nothing says which scans are one person's: claims say so.
    notes, warnings: sentences for the audit.
    """

    sources: list[Source]
    plane: Plane | None = None
    symmetry: Literal["none", "left-right"] | None = None
    anatomy: Literal["brain", "knee"] | None = None
    scan_wise: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Listing:
    """The files below `root` that look like scans, listed once for all layouts; `root` may be a single file.

    Hidden files and folders are left out. Symbolic links to folders are not followed; a link to a file that lies outside
    the root is refused.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def files(self) -> list[Path]:
        """Every readable-looking file, in a fixed order."""
        return [self.root] if self.root.is_file() else _scan_files(self.root)

    @cached_property
    def names(self) -> list[str]:
        """Their paths relative to the root, with forward slashes."""
        if self.root.is_file():
            return [self.root.name]
        # Strings: pathlib would take longer than the listing itself. "." is a root that its files do not begin with.
        start = 0 if str(self.root) == "." else len(os.path.join(self.root, ""))
        return [str(path)[start:].replace(os.sep, "/") for path in self.files]


@dataclass(frozen=True)
class Layout:
    """Rules for one way in which people keep scans.

    detect(listing) says in words what it recognised and why, or None. find(listing, options, progress) lists the scans;
    raises DataError or ConfigError, with a remedy, where they are not what the layout expects.
    """

    detect: Callable[[Listing], str | None]
    find: Callable[[Listing, PrepareOptions, Progress | None], Found]


def _scan_files(root: Path) -> list[Path]:
    found: list[Path] = []
    waiting = [str(root)]
    while waiting:
        folders = []
        # What the listing knows of each entry saves a call to the disk a file.
        for entry in _entries(waiting.pop(), root):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders += [] if entry.is_symlink() else [entry.path]
                continue
            path = Path(entry.path)
            if suffix_of(entry.name) is None and not _is_bare_dicom(path):
                continue
            if entry.is_symlink() and not _resolved(path).is_relative_to(root.resolve()):
                raise DataError(f"{path}: a link that leads out of {root}",
                                remedy="copy the file here, or name it by its full path in a CSV list")  # fmt: skip
            _check_name(entry.path)
            found.append(path)
        waiting += reversed(folders)
    return found


def _entries(folder: str, root: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listed:
            return sorted(listed, key=lambda entry: entry.name)
    except OSError as problem:
        raise DataError(f"{folder}: this folder cannot be listed ({problem.strerror})",
                        remedy=f"correct its permissions, or move it out of {root}") from None  # fmt: skip


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path!r}: the name is not valid UTF-8", remedy="rename it") from None


def _is_bare_dicom(path: Path) -> bool:
    """Whether a file without a known suffix is DICOM: scanners and archives name them by numbers, or not at all."""
    may_be = re.fullmatch(r"[^.]+|.*\.(?:\d+|ima|dicom|dcm30)", path.name, re.IGNORECASE) is not None
    # Indexes of media are DICOM too, and never an image.
    return may_be and not path.name.upper().startswith("DICOMDIR") and has_signature(path)


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except RuntimeError:  # how Python before 3.13 reports a link that leads to itself
        raise DataError(f"{path}: a link that leads round in a circle", remedy="remove it") from None
