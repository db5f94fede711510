"""What lies in a folder or a list: which files are scans, and whose. `LAYOUTS` maps a layout's name to its rules.

A layout has two functions: `detect(source)` says in words what it recognised, or None; `find(source)` lists the scans.
Symbolic links to folders are not followed; a link to a file that lies outside the source is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from stylescan.data.options import PrepareOptions
from stylescan.data.readers import READERS, stem_of, suffix_of
from stylescan.data.sources import Source, kind_of, natural_key, normal_side, some
from stylescan.errors import ConfigError, DataError

_SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validate", "validation", "holdout", "select"}


@dataclass(frozen=True)
class Layout:
    """See the module's docstring."""

    detect: Callable[[Path], str | None]
    find: Callable[[Path], list[Source]]


def scan_files(root: Path) -> list[Path]:
    """Every readable-looking file below `root`, in a fixed order; hidden files and folders are left out."""
    found: list[Path] = []
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or suffix_of(name) is None:
                continue
            path = Path(folder) / name
            if path.is_symlink() and not _resolved(path).is_relative_to(root.resolve()):
                raise DataError(f"{path}: a link that leads out of {root}",
                                remedy="copy the file here, or name it by its full path in a CSV list")  # fmt: skip
            if not os.fsencode(path.relative_to(root)).decode("utf-8", "replace") == str(path.relative_to(root)):
                raise DataError(f"{str(path)!r}: the name is not valid UTF-8", remedy="rename it")
            found.append(path)
    return found


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except RuntimeError:  # how Python before 3.13 reports a link that leads to itself
        raise DataError(f"{path}: a link that leads round in a circle", remedy="remove it") from None


def file_source(root: Path, path: Path) -> Source:
    """A Source of one file, named by its path below `root`."""
    return Source(path.relative_to(root).as_posix(), (path,), kind_of(path.name))


def _class_folders(root: Path) -> tuple[list[str], bool]:
    """Names of the folders directly below `root` that hold scans, and whether scans also lie in `root` itself."""
    files = scan_files(root) if root.is_dir() else []
    parts = [path.relative_to(root).parts for path in files]
    return sorted({p[0] for p in parts if len(p) > 1}), any(len(p) == 1 for p in parts)


def _detect_nifti(root: Path) -> str | None:
    files = scan_files(root) if root.is_dir() else []
    volumes = sum(kind_of(path.name) == "volume" for path in files)
    return f"{volumes} NIfTI volumes" if volumes and volumes == len(files) else None


def _detect_classes(root: Path) -> str | None:
    folders, loose = _class_folders(root)
    if len(folders) < 2 or loose or {name.lower() for name in folders} & _SPLIT_NAMES:
        return None
    return (
        f"{len(folders)} folders of images ({', '.join(folders[:6])}{', ...' if len(folders) > 6 else ''}): the classes"
    )


def _detect_flat(root: Path) -> str | None:
    folders, loose = _class_folders(root)
    if (loose and not folders) or (len(folders) == 1 and not loose):
        return "one folder of images, no classes"
    return None


def _find_all(root: Path) -> list[Source]:
    return [file_source(root, path) for path in scan_files(root)]


def _find_classes(root: Path) -> list[Source]:
    sources = _find_all(root)
    loose = [source.name for source in sources if "/" not in source.name]
    if loose:
        raise DataError(f"{root}: {len(loose)} images lie beside the class folders ({loose[0]})",
                        remedy="move them into a class folder, or use --layout flat")  # fmt: skip
    return [replace(source, label=source.name.split("/", 1)[0]) for source in sources]


def _find_nifti(root: Path) -> list[Source]:
    sources = [file_source(root, root)] if root.is_file() else _find_all(root)
    if root.is_file():
        sources = [replace(sources[0], name=root.name)]
    wrong = [source.name for source in sources if source.kind != "volume"]
    if wrong:
        raise DataError(f"{root}: {len(wrong)} files are not NIfTI ({wrong[0]})", remedy="move them elsewhere")
    return [replace(source, subject=_volume_subject(source.name)) for source in sources]


def _volume_subject(name: str) -> str:
    """BIDS names put the subject first, and sessions of one person must not part; else a file is a subject."""
    stem = stem_of(name)
    bids = re.match(r"sub-[A-Za-z0-9]+(?=_|$)", stem)
    return bids.group() if bids else (name.rsplit("/", 1)[0] + "/" if "/" in name else "") + stem


def _detect_csv(source: Path) -> str | None:
    from stylescan.data.csv_list import find_list

    return find_list(source)


def _find_csv(source: Path) -> list[Source]:
    from stylescan.data.csv_list import read_list

    return read_list(source)


LAYOUTS: dict[str, Layout] = {
    "csv": Layout(_detect_csv, _find_csv),
    "nifti": Layout(_detect_nifti, _find_nifti),
    "classes": Layout(_detect_classes, _find_classes),
    "flat": Layout(_detect_flat, _find_all),
}


def find_sources(source: Path, options: PrepareOptions) -> tuple[list[Source], str, str]:
    """The scans in `source` in a fixed order, the layout's name, and a sentence on what was seen and why.

    Raises DataError or ConfigError, with a remedy, where nothing or something ambiguous is found.
    """
    if not source.exists():
        raise DataError(f"{source}: no such file or folder", remedy="check the path of the scans")
    if options.layout == "auto":
        name, seen = _detect(source)
    elif options.layout in LAYOUTS:
        name, seen = options.layout, "as asked"
    else:
        raise ConfigError(f"layout {options.layout!r} is not known", remedy=f"use one of auto, {', '.join(LAYOUTS)}")
    if source.is_file() and name not in ("csv", "nifti"):
        raise DataError(f"{source}: a file, and layout {name} expects a folder", remedy="pass the folder of the scans")
    sources = LAYOUTS[name].find(source)
    if not sources:
        raise DataError(f"{source}: no scans found (looked for {', '.join(READERS)})",
                        remedy="check the folder, or convert the scans to one of these")  # fmt: skip
    kinds = {item.kind for item in sources}
    if len(kinds) > 1:
        volumes = sum(item.kind == "volume" for item in sources)
        raise DataError(f"{source}: {volumes} volumes and {len(sources) - volumes} images, expected one kind",
                        remedy="prepare them one after the other")  # fmt: skip
    if options.pattern is not None:
        sources = [_match(item, re.compile(options.pattern)) for item in _require_match(sources, options.pattern)]
    return sorted(sources, key=lambda item: natural_key(item.name)), name, f"layout {name}: {seen}"


def _detect(source: Path) -> tuple[str, str]:
    if source.is_file() and (suffix_of(source.name) or "").startswith(".nii"):
        return "nifti", "one NIfTI volume"
    for name, layout in LAYOUTS.items():
        seen = layout.detect(source)
        if seen is not None:
            return name, seen
    folders, loose = _class_folders(source)
    named = sorted(name for name in folders if name.lower() in _SPLIT_NAMES)
    if named:
        raise DataError(f"{source}: the folders {', '.join(named)} look like splits, not classes",
                        remedy="write a CSV list with the columns path,subject,label,split, or use --layout classes "
                               "or flat to ignore them as splits")  # fmt: skip
    if loose and folders:
        raise DataError(f"{source}: images lie both here and in folders ({', '.join(folders[:4])})",
                        remedy="say --layout flat (no classes), or move the loose ones into a folder")  # fmt: skip
    raise DataError(f"{source}: no scans found (looked for {', '.join(READERS)}, or a CSV list with a `path` column)",
                    remedy="check the path, or convert the scans to one of these")  # fmt: skip


def _require_match(sources: list[Source], pattern: str) -> list[Source]:
    failing = [item.name for item in sources if re.search(pattern, item.name) is None]
    if failing:
        count = f"{len(failing)} of {len(sources)} files"
        raise DataError(f"the pattern {pattern!r} does not match {count}: {some(failing)}",
                        remedy="correct the pattern, or move these files elsewhere")  # fmt: skip
    return sources


def _match(source: Source, pattern: re.Pattern[str]) -> Source:
    """Fill what the layout left open from the pattern's named groups."""
    match = pattern.search(source.name)
    groups = {key: value for key, value in (match.groupdict() if match else {}).items() if value is not None}
    number = groups.pop("slice", None)
    if number is not None and not number.isdecimal():
        raise DataError(f"{source.name}: the pattern's slice is {number!r}, expected a whole number",
                        remedy=r"write the group as (?P<slice>\d+)")  # fmt: skip
    # A pattern is the user's own word on subjects; the layout's is a guess, unless it came from a list.
    subject = groups.pop("subject", None)
    side = groups.pop("side", None)
    label = groups.pop("label", None)
    extra: dict[str, float | str] = {**groups, **source.extra}
    return replace(
        source,
        subject=subject or source.subject,
        label=source.label if label is None else label,
        side=source.side or (normal_side(side) if side else None),
        slice=source.slice if number is None else int(number),
        extra=extra,
    )
