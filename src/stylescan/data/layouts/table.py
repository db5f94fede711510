"""How users keep their scans: `LAYOUTS` maps a layout's name to its rules; `auto` takes the first that recognises them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from stylescan.data.formats.table import known_suffixes
from stylescan.data.layouts.adni import detect_adni, find_adni
from stylescan.data.layouts.adni_raw import detect_adni_raw, find_adni_raw
from stylescan.data.layouts.akoa import detect_akoa, find_akoa
from stylescan.data.layouts.bids import detect_bids, find_bids
from stylescan.data.layouts.csv_list import detect_list, find_listed
from stylescan.data.layouts.dicom_tree import detect_dicom, find_dicom
from stylescan.data.layouts.found import Found, Layout, Listing, Progress
from stylescan.data.layouts.generic import (
    SPLIT_NAMES,
    class_folders,
    detect_classes,
    detect_flat,
    detect_volumes,
    find_classes,
    find_flat,
    find_volumes,
)
from stylescan.data.layouts.oasis import detect_oasis, find_oasis
from stylescan.data.layouts.oasis_raw import detect_oasis1, find_oasis1
from stylescan.data.layouts.stacks import detect_stacks, find_stacks
from stylescan.data.layouts.zip_set import detect_zip_set, find_zip_set
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source, natural_key, normal_side, some
from stylescan.errors import ConfigError, DataError

# `auto` asks them in this order: those with rules of their own before the general ones.
LAYOUTS: dict[str, Layout] = {
    "csv": Layout(detect_list, find_listed),
    "zip": Layout(detect_zip_set, find_zip_set),
    "akoa": Layout(detect_akoa, find_akoa),
    "oasis": Layout(detect_oasis, find_oasis),
    "adni": Layout(detect_adni, find_adni),
    "oasis1": Layout(detect_oasis1, find_oasis1),
    "adni-raw": Layout(detect_adni_raw, find_adni_raw),
    "bids": Layout(detect_bids, find_bids),
    "dicom": Layout(detect_dicom, find_dicom),
    "stack": Layout(detect_stacks, find_stacks),
    "nifti": Layout(detect_volumes, find_volumes),
    "classes": Layout(detect_classes, find_classes),
    "flat": Layout(detect_flat, find_flat),
}
_TAKE_FILES = {"csv", "zip", "dicom", "stack", "nifti"}
# Those that have a table beside the scans, or scans of several kinds: elsewhere the options would be passed over.
_HAVE_TABLES = {"oasis1", "adni-raw", "bids", "dicom"}


def find_sources(source: Path, options: PrepareOptions, progress: Progress | None = None) -> tuple[Found, str, str]:
    """The scans in `source` in a fixed order, the layout's name, and a sentence on what was seen and why.

    Raises DataError or ConfigError, with a remedy, where nothing or something ambiguous is found.
    """
    if not source.exists():
        raise DataError(f"{source}: no such file or folder", remedy="check the path of the scans")
    listing = Listing(source)
    if options.layout == "auto":
        name, seen = _detect(listing)
    elif options.layout in LAYOUTS:
        name, seen = options.layout, "as asked"
    else:
        raise ConfigError(f"layout {options.layout!r} is not known", remedy=f"use one of auto, {', '.join(LAYOUTS)}")
    if source.is_file() and name not in _TAKE_FILES:
        raise DataError(f"{source}: a file, and layout {name} expects a folder", remedy="pass the folder of the scans")
    for option, asked in (("--label-column", options.label_column), ("--modality", options.modality)):
        if asked and name not in _HAVE_TABLES:
            raise ConfigError(f"{option}: layout {name} has no use for it (only {', '.join(sorted(_HAVE_TABLES))})",
                              remedy="leave it out; classes come from folders, --pattern or a CSV list")  # fmt: skip
    found = LAYOUTS[name].find(listing, options, progress)
    if not found.sources:
        raise DataError(f"{source}: no scans found (looked for {', '.join(known_suffixes())})",
                        remedy="check the folder, or convert the scans to one of these")  # fmt: skip
    sources = found.sources
    volumes = sum(item.kind == "volume" for item in sources)
    if 0 < volumes < len(sources):
        raise DataError(f"{source}: {volumes} volumes and {len(sources) - volumes} images, expected one kind",
                        remedy="prepare them one after the other")  # fmt: skip
    if options.pattern is not None:
        sources = [_match(item, re.compile(options.pattern)) for item in _require_match(sources, options.pattern)]
    sources = sorted(sources, key=lambda item: natural_key(item.name))
    return replace(found, sources=sources), name, f"layout {name}: {seen}"


def _detect(listing: Listing) -> tuple[str, str]:
    source = listing.root
    for name, layout in LAYOUTS.items():
        seen = layout.detect(listing)
        if seen is not None:
            return name, seen
    folders, loose = class_folders(listing)
    named = sorted(name for name in folders if name.lower() in SPLIT_NAMES)
    if named:
        raise DataError(f"{source}: the folders {', '.join(named)} look like splits, not classes",
                        remedy="write a CSV list with the columns path,subject,label,split, or use --layout classes "
                               "or flat to ignore them as splits")  # fmt: skip
    if loose and folders:
        raise DataError(f"{source}: images lie both here and in folders ({', '.join(folders[:4])})",
                        remedy="say --layout flat (no classes), or move the loose ones into a folder")  # fmt: skip
    raise DataError(f"{source}: no scans found (looked for {', '.join(known_suffixes())}, or a CSV list with a `path` "
                    "column)", remedy="check the path, or convert the scans to one of these")  # fmt: skip


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
