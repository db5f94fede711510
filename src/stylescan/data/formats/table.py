"""Which format a file has, and who reads it. `FORMATS` is the table: a new format is a new row and a new module.

Readers give plain arrays in the source's own values (`scans.py`); anything unreadable is a DataError naming the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylescan.data.formats.analyze import read_analyze
from stylescan.data.formats.dicom import read_dicom
from stylescan.data.formats.nifti import read_nifti
from stylescan.data.formats.pictures import decode_picture, read_picture
from stylescan.data.formats.scans import Kind, Picture, Volume
from stylescan.data.formats.stack import read_entry as read_row
from stylescan.data.formats.tiff import read_tiff
from stylescan.data.formats.zipped import read_entry as read_zipped
from stylescan.errors import DataError

Entry = int | str  # which scan of a file that holds many: a row of a stack, a name in an archive


@dataclass(frozen=True)
class Format:
    """One way in which scans lie in files.

    suffixes: in lower case, with the dot. kind: what one file holds; None where the layout has to say. read(paths): the
    scan that the files make up. decode(data, name): the same from the bytes of one file. read_entry(path, entry): one
    scan of a file that holds many.
    """

    suffixes: tuple[str, ...]
    kind: Kind | None
    read: Callable[[Sequence[Path]], Picture | Volume] | None = None
    decode: Callable[[bytes, Path], Picture] | None = None
    read_entry: Callable[[Path, Entry], Picture | Volume] | None = None


FORMATS: dict[str, Format] = {
    "picture": Format((".png", ".jpg", ".jpeg"), "picture", read_picture, decode_picture),
    "tiff": Format((".tif", ".tiff"), "picture", read_tiff),
    "nifti": Format((".nii", ".nii.gz"), "volume", read_nifti),
    "analyze": Format((".img", ".img.gz", ".hdr", ".hdr.gz"), "volume", read_analyze),
    "dicom": Format((".dcm", ".dicom", ".ima"), None, read_dicom),
    "stack": Format((".npy", ".npz"), None, read_entry=read_row),
    "zip": Format((".zip",), None, read_entry=read_zipped),
}


_FORMAT_OF = {suffix: name for name, row in FORMATS.items() for suffix in row.suffixes}


def known_suffixes() -> list[str]:
    """Every suffix that is read, in the table's order."""
    return list(_FORMAT_OF)


def suffix_of(name: str) -> str | None:
    """The known suffix that `name` ends with, ignoring case, or None; `.nii.gz` before `.gz`."""
    pieces = name.rsplit("/", 1)[-1].lower().split(".")
    for count in (2, 1):
        suffix = "." + ".".join(pieces[-count:])
        if len(pieces) > count and suffix in _FORMAT_OF:
            return suffix
    return None


def format_of(name: str) -> str:
    """The row of FORMATS for a file of this name. Raises DataError for an unknown suffix."""
    suffix = suffix_of(name)
    if suffix is None:
        raise DataError(
            f"{name}: none of the known suffixes ({', '.join(known_suffixes())})", remedy="convert it, or leave it out"
        )
    return _FORMAT_OF[suffix]


def stem_of(name: str) -> str:
    """The file's name without its folder and without the suffix that names its format (`.nii.gz` as a whole)."""
    base = name.rsplit("/", 1)[-1]
    return base[: len(base) - len(suffix_of(base) or "")]
