"""Layouts without a name: a folder of volumes, a folder a class, one folder of images, and the list."""

from __future__ import annotations

import re
from dataclasses import replace

from stylescan.data.formats.table import FORMATS, format_of, stem_of
from stylescan.data.layouts.found import Found, Listing, Progress
from stylescan.data.layouts.pairs import listed_sources
from stylescan.data.options import PrepareOptions
from stylescan.errors import DataError

_NAMES = {"nifti": "NIfTI", "analyze": "Analyze"}
SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validate", "validation", "holdout", "select"}


def class_folders(listing: Listing) -> tuple[list[str], bool]:
    """Names of the folders directly below the root that hold scans, and whether scans also lie in the root itself."""
    parts = [name.split("/") for name in listing.names]
    return sorted({p[0] for p in parts if len(p) > 1}), any(len(p) == 1 for p in parts)


def detect_volumes(listing: Listing) -> str | None:
    """A folder, or a file, of volumes and nothing else."""
    volumes = sum(FORMATS[format_of(name)].kind == "volume" for name in listing.names)
    if not volumes or volumes != len(listing.files):
        return None
    kinds = sorted({_NAMES[format_of(name)] for name in listing.names})
    return f"one {kinds[0]} volume" if listing.root.is_file() else f"{volumes} files of {' and '.join(kinds)} volumes"


def find_volumes(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """Every file a volume; a file is a subject, or a BIDS name's `sub-...`."""
    sources = listed_sources(listing)
    wrong = [source.name for source in sources if source.kind != "volume"]
    if wrong:
        raise DataError(f"{listing.root}: {len(wrong)} files are not NIfTI ({wrong[0]})", remedy="move them elsewhere")
    sources = [replace(source, subject=_volume_subject(source.name)) for source in sources]
    alone = len({source.subject for source in sources}) == len(sources) and not options.pattern
    note = "every volume counts as a subject of its own: name subjects with --pattern if one has several"
    return Found(sources, notes=(note,) if alone else ())


def _volume_subject(name: str) -> str:
    """BIDS names put the subject first, and sessions of one person must not part; else a file is a subject."""
    stem = stem_of(name)
    bids = re.match(r"sub-[A-Za-z0-9]+(?=_|$)", stem)
    return bids.group() if bids else (name.rsplit("/", 1)[0] + "/" if "/" in name else "") + stem


def detect_classes(listing: Listing) -> str | None:
    """Two or more folders, none of them named like a split, and nothing beside them."""
    folders, loose = class_folders(listing)
    if len(folders) < 2 or loose or {name.lower() for name in folders} & SPLIT_NAMES:
        return None
    more = ", ..." if len(folders) > 6 else ""
    return f"{len(folders)} folders of images ({', '.join(folders[:6])}{more}): the classes"


def find_classes(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """The first folder of each path is the class."""
    sources = listed_sources(listing)
    loose = [source.name for source in sources if "/" not in source.name]
    if loose:
        raise DataError(f"{listing.root}: {len(loose)} images lie beside the class folders ({loose[0]})",
                        remedy="move them into a class folder, or use --layout flat")  # fmt: skip
    return Found([replace(source, label=source.name.split("/", 1)[0]) for source in sources])


def detect_flat(listing: Listing) -> str | None:
    """All in one folder."""
    folders, loose = class_folders(listing)
    if (loose and not folders) or (len(folders) == 1 and not loose):
        return "one folder of images, no classes"
    return None


def find_flat(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """Every file, whatever the folder."""
    return Found(listed_sources(listing))
