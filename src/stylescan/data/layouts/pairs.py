"""Analyze and NIfTI pairs among the files of a folder: two files, one scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stylescan.data.formats.analyze import find_pair
from stylescan.data.formats.table import FORMATS, format_of, suffix_of
from stylescan.data.layouts.found import Listing
from stylescan.data.sources import Source, file_source, some
from stylescan.errors import DataError


def listed_sources(listing: Listing) -> list[Source]:
    """A Source of each file of the listing, a pair of .hdr and .img being one, named by the .img.

    Raises DataError naming a half whose other half is missing, and files that have layouts of their own.
    """
    sources, seen = [], set()
    apart = [name for name in listing.names if suffix_of(name) is None or FORMATS[format_of(name)].kind is None]
    if apart:
        raise DataError(f"{listing.root}: {len(apart)} of {len(listing.names)} files are DICOM, stacks or archives: "
                        f"{some(apart)}",
                        remedy="move them elsewhere, and prepare them by themselves")  # fmt: skip
    for path in listing.files:
        source = file_source(listing.root, path)
        if source.format != "analyze":
            sources.append(source)
            continue
        header, image = find_pair([path])
        if image not in seen:
            seen.add(image)
            sources.append(pair_source(listing.root, header, image))
    return sources


def pair_source(root: Path, header: Path, image: Path) -> Source:
    """The Source of one pair, its header first among the paths."""
    if root.is_file():
        root = root.parent
    return replace(file_source(root, image), paths=(header, image))
