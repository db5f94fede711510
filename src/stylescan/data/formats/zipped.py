"""Pictures inside a zip archive, read one by one by name; nothing is ever extracted to disk."""

from __future__ import annotations

import os
import stat
import threading
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

from stylescan.data.formats.checks import REPLACE
from stylescan.data.formats.pictures import decode_picture
from stylescan.data.formats.scans import Picture
from stylescan.errors import DataError
from stylescan.files import require_file

MAX_ENTRY = 2**27  # bytes of one unpacked entry
MAX_ENTRIES = 2**22
# A whole archive that unpacks to more than so many times its size, and to more than so many bytes, is a bomb.
MAX_GROWTH, HARMLESS = 200, 2**30
_REPACK = "pack the pictures again, for instance with `zip -r set.zip .` inside their folder"
_FAULTS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError)
# Opening an archive reads its whole directory: kept open, one a thread, as threads must not share a file's position.
_OPEN = threading.local()


def read_entry(path: Path, entry: int | str) -> Picture:
    """The picture `entry` of the archive `path`. Raises DataError naming both. Safe in threads and processes."""
    data = entry_bytes(path, str(entry), MAX_ENTRY)
    if not data:
        raise DataError(f"{path}/{entry}: is empty", remedy=REPLACE)
    try:
        return decode_picture(data, path)
    except DataError as problem:
        raise DataError(problem.message.replace(str(path), f"{path}/{entry}", 1), remedy=problem.remedy) from None


def entry_bytes(path: Path, name: str, most: int) -> bytes:
    """The content of one entry of at most `most` bytes, its checksum verified."""
    archive = _opened(path)
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise DataError(f"{path}: no entry {name}", remedy=_REPACK) from None
    _check_entry(path, info)
    if info.file_size > most:
        raise DataError(f"{path}: {name} unpacks to {info.file_size} bytes, expected at most {most}", remedy=REPLACE)
    try:
        data = archive.read(info)
    except _FAULTS as problem:
        raise DataError(f"{path}: {name} is damaged ({problem})", remedy=REPLACE) from None
    if len(data) != info.file_size:
        raise DataError(f"{path}: {name} has {len(data)} bytes, {info.file_size} were promised", remedy=REPLACE)
    return data


def entry_names(path: Path) -> list[str]:
    """The names of all files in the archive, in its order, after checks of the whole directory.

    Raises DataError for names that lead elsewhere or occur twice, links, encrypted entries, and decompression bombs.
    """
    files = [info for info in _opened(path).infolist() if not info.is_dir()]
    if len(files) > MAX_ENTRIES:
        raise DataError(f"{path}: {len(files)} entries, expected at most {MAX_ENTRIES}", remedy=_REPACK)
    for info in files:
        _check_entry(path, info)
    name, count = Counter(info.filename for info in files).most_common(1)[0] if files else ("", 1)
    if count > 1:
        raise DataError(f"{path}: {name} occurs {count} times", remedy=_REPACK)
    size, packed, whole = path.stat().st_size, sum(i.compress_size for i in files), sum(i.file_size for i in files)
    if packed > size:
        raise DataError(f"{path}: entries of {packed} bytes in a file of {size}: they overlap", remedy=REPLACE)
    if whole > max(HARMLESS, MAX_GROWTH * size):
        raise DataError(f"{path}: {size} bytes that unpack to {whole} (a decompression bomb?)", remedy=REPLACE)
    return [info.filename for info in files]


def _check_entry(path: Path, info: zipfile.ZipInfo) -> None:
    name, parts = info.orig_filename, PurePosixPath(info.orig_filename).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or not name.isprintable():
        raise DataError(f"{path}: the entry {name!r} leads out of the archive or has no plain name", remedy=_REPACK)
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DataError(f"{path}: {name} is a link, expected a file", remedy="pack the files themselves")
    if info.flag_bits & 1:
        raise DataError(f"{path}: {name} is encrypted", remedy="pack the pictures again without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{path}: {name} is packed by method {info.compress_type}, expected stored or deflated",
                        remedy=_REPACK)  # fmt: skip
    if info.file_size > MAX_ENTRY:
        raise DataError(f"{path}: {name} unpacks to {info.file_size} bytes, expected at most {MAX_ENTRY}",
                        remedy="leave it out, or save it smaller")  # fmt: skip


def _opened(path: Path) -> zipfile.ZipFile:
    """The archive, opened once a thread and process; opened again where the file changed."""
    require_file(path, DataError, remedy="check the path of the archive")
    found = path.stat()
    key = (path, found.st_size, found.st_mtime_ns, os.getpid())
    if getattr(_OPEN, "key", None) != key:
        _OPEN.key = None
        try:
            # The one before is left to the garbage collector: a forked process must not move its parent's file.
            _OPEN.archive = zipfile.ZipFile(path)
        except _FAULTS as problem:
            raise DataError(f"{path}: cannot be read as a zip archive ({problem})", remedy=REPLACE) from None
        _OPEN.key = key
    archive: zipfile.ZipFile = _OPEN.archive
    return archive
