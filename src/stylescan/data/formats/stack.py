"""Stacks of images in NumPy's files: `.npy`, and `.npz` archives such as MedMNIST's.

A .npy is mapped, so that one image is read without the others. The arrays of an .npz are compressed as a whole: each is
unpacked once a process and kept, up to 1 GB in all; beyond that only arrays stored without compression are taken, and
mapped. Pickled objects are never loaded.
"""

from __future__ import annotations

import ast
import math
import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stylescan.data.formats.checks import REPLACE, check_size, check_values, grey_if_equal
from stylescan.data.formats.scans import Picture, Volume
from stylescan.errors import DataError
from stylescan.files import require_file

MAX_UNPACKED = 2**30  # bytes of an .npz that a process keeps
MAX_TABLE = 2**26  # bytes of labels, subjects and the like
_DEFLATE_LIMIT = 1100  # deflate cannot shrink data by more than about 1032 to 1
_LONGEST_HEADER = 10_000
_UNPACKED = "save it again with numpy.savez, without compression: such arrays are read piece by piece"
_AGAIN = "save it again with numpy.save or numpy.savez"
_NO_ORIENTATION = "an array states no orientation and no spacing: its axes are taken as right, front, top, at 1 mm"

Axes = Literal["NHW", "NHWC", "NCHW", "NXYZ"]
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Header:
    """What a .npy header promises: the array, and the byte at which its values begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def read_entry(path: Path, entry: int | str) -> Picture | Volume:
    """One image of a stack: row `entry` of a .npy, or 'ARRAY:ROW' of an .npz. A row of 3 axes without colour is a volume.

    Raises DataError naming file and row. Safe to call from several threads.
    """
    name, _, row = str(entry).rpartition(":")
    array = stack_array(path, name)
    if not row.isdecimal() or int(row) >= len(array):
        raise DataError(f"{path}: no image {entry} (the stack has {len(array)})", remedy="prepare it again")
    axes, values = image_axes(path, array.shape, volumes=True), np.array(array[int(row)])
    where = path.with_name(f"{path.name}#{entry}")
    if axes == "NXYZ":
        voxels = check_values(where, values.astype(np.float32))
        return Volume(voxels, (1.0, 1.0, 1.0), (_NO_ORIENTATION,))
    values = values[None] if axes == "NHW" else np.moveaxis(values, -1, 0) if axes == "NHWC" else values
    check_size(where, values.shape[1:])
    return Picture(grey_if_equal(check_values(where, _narrow(where, values))), f"{array.dtype.name} stack")


def image_axes(path: Path, shape: tuple[int, ...], *, volumes: bool) -> Axes:
    """What the axes of a stack mean. Raises DataError where they are not those of images.

    volumes : whether four axes without colours are volumes (MedMNIST's 3D sets) or a fault.
    """
    text = "x".join(map(str, shape))
    if math.prod(shape) == 0:
        raise DataError(f"{path}: an array of shape {text}, which holds no images", remedy=REPLACE)
    if len(shape) == 3:
        return "NHW"
    if len(shape) == 4:
        last, second = shape[3] in (1, 3), shape[1] in (1, 3)
        if last != second:
            return "NHWC" if last else "NCHW"
        if volumes and not last:
            return "NXYZ"
    raise DataError(f"{path}: an array of shape {text}, expected [N, H, W], [N, H, W, 1 or 3] or [N, 1 or 3, H, W]",
                    remedy="save volumes as NIfTI, which states orientation and spacing")  # fmt: skip


def check_type(path: Path, dtype: np.dtype[Any]) -> None:
    """Images are integers or floats of up to 64 bits."""
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        what = "masks" if dtype.kind == "b" else f"values of type {dtype}"
        raise DataError(
            f"{path}: {what}, expected integers or floats", remedy="save images as uint8, uint16 or float32"
        )


def stack_array(path: Path, name: str) -> NDArray[Any]:
    """The array `name` of an .npz, or that of a .npy (name ''); read once a process. Raises DataError."""
    stamp = _stamp(path)
    if path.suffix.lower() == ".npy":
        return _mapped(path, stamp)
    with _LOCK:  # two threads must not unpack the same archive
        return _archive(path, stamp).images(name)


def archive_headers(path: Path) -> dict[str, Header]:
    """The arrays of an .npz by name, without unpacking them. Raises DataError for a damaged or unsafe archive."""
    with _LOCK:
        return dict(_archive(path, _stamp(path)).headers)


def check_unpacked(path: Path, names: Sequence[str]) -> None:
    """Refuse arrays of an .npz that would be more than 1 GB in memory. Raises DataError with what to do instead."""
    with _LOCK:
        archive = _archive(path, _stamp(path))
        size = sum(archive.headers[name].size for name in names if name not in archive.mapped)
    if size > MAX_UNPACKED:
        raise DataError(
            f"{path}: {size / 2**30:.1f} GB of images once unpacked, expected at most 1 GB", remedy=_UNPACKED
        )


def archive_table(path: Path, name: str) -> NDArray[Any]:
    """A small array of an .npz: labels, subjects and the like, at most 64 MB."""
    with _LOCK:
        return _archive(path, _stamp(path)).read(name, MAX_TABLE)


def npy_header(path: Path) -> Header:
    """The header of a .npy file, whose length must be what it promises."""
    require_file(path, DataError, remedy="check the path")
    with path.open("rb") as stream:
        return _parse_header(path, stream, path.stat().st_size)


def _stamp(path: Path) -> tuple[int, ...]:
    """Tells a changed file and a forked process, which must not share an open archive."""
    require_file(path, DataError, remedy="check the path")
    found = path.stat()
    return found.st_size, found.st_mtime_ns, os.getpid()


@lru_cache(maxsize=16)
def _mapped(path: Path, stamp: tuple[int, ...]) -> NDArray[Any]:
    header = npy_header(path)
    check_type(path, header.dtype)
    return _map(path, header, header.start)


def _map(path: Path, header: Header, start: int) -> NDArray[Any]:
    try:
        return np.memmap(path, header.dtype, "r", start, header.shape, "F" if header.fortran else "C")
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: cannot be mapped ({problem})", remedy=_AGAIN) from None


# One archive at a time: the bound on what is kept holds for all of them together.
@lru_cache(maxsize=1)
def _archive(path: Path, stamp: tuple[int, ...]) -> _Archive:
    return _Archive(path)


class _Archive:
    """An .npz whose headers were checked; arrays of images stay in memory once they are unpacked.

    mapped: where the values of uncompressed arrays begin, in an archive that is too large to be unpacked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: dict[str, NDArray[Any]] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
                self.headers = {info.filename[:-4]: self._header(archive, info) for info in members}
                self.mapped = self._starts(members) if sum(i.file_size for i in members) > MAX_UNPACKED else {}
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as problem:
            raise DataError(f"{path}: cannot be read as .npz ({problem})", remedy=_AGAIN) from None
        if len(self.headers) < len(members):
            raise DataError(f"{path}: holds two arrays of one name", remedy=_AGAIN)

    def _header(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
        where = self.path.with_name(f"{self.path.name}#{info.filename[:-4]}")
        if info.flag_bits & 1:
            raise DataError(f"{where}: encrypted, expected plain arrays", remedy=_AGAIN)
        if info.file_size > (info.compress_size + 100) * _DEFLATE_LIMIT or info.compress_size > _stamp(self.path)[0]:
            raise DataError(f"{where}: {info.compress_size} bytes that promise {info.file_size} (a decompression bomb?)",
                            remedy=REPLACE)  # fmt: skip
        with archive.open(info) as stream:
            return _parse_header(where, stream, info.file_size)

    def _starts(self, members: Sequence[zipfile.ZipInfo]) -> dict[str, int]:
        """Where in the file the values of each stored array begin."""
        starts = {}
        with self.path.open("rb") as stream:
            for info in members:
                if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                    continue
                stream.seek(info.header_offset)
                local = stream.read(30)  # ends with the lengths of two fields that come before the content
                begins = info.header_offset + 30 + sum(struct.unpack_from("<HH", local, 26))
                name = info.filename[:-4]
                starts[name] = begins + self.headers[name].start
        return starts

    def images(self, name: str) -> NDArray[Any]:
        """An array of images, kept."""
        if name not in self._kept:
            if name in self.headers:
                check_type(self.path, self.headers[name].dtype)
            if name in self.mapped:
                self._kept[name] = _map(self.path, self.headers[name], self.mapped[name])
            else:
                kept = sum(array.nbytes for array in self._kept.values() if not isinstance(array, np.memmap))
                self._kept[name] = self.read(name, MAX_UNPACKED - kept)
        return self._kept[name]

    def read(self, name: str, most: int) -> NDArray[Any]:
        """An array, unpacked whole; its checksum is verified."""
        header = self.headers.get(name)
        if header is None:
            raise DataError(
                f"{self.path}: no array {name!r}, only {', '.join(self.headers)}", remedy="prepare it again"
            )
        if header.size > most:
            raise DataError(f"{self.path}: the array {name!r} has {header.size} bytes, {most} are left of what is unpacked",
                            remedy=_UNPACKED)  # fmt: skip
        raw = np.empty(header.size - header.start, np.uint8)
        done = 0
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as stream:
                stream.read(header.start)
                while done < len(raw) and (part := stream.read(2**22)):
                    raw[done : done + len(part)] = np.frombuffer(part, np.uint8)
                    done += len(part)
                whole = done == len(raw) and not stream.read(1)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as problem:
            raise DataError(f"{self.path}: the array {name!r} is damaged ({problem})", remedy=_AGAIN) from None
        if not whole:
            raise DataError(f"{self.path}: the array {name!r} is cut short", remedy=_AGAIN)
        return raw.view(header.dtype).reshape(header.shape, order="F" if header.fortran else "C")


def _parse_header(where: Path, stream: IO[bytes], size: int) -> Header:
    """Read by hand: NumPy's own reader would allocate what a header promises, and unpickle objects if it were let."""
    start = stream.read(12)
    if start[:6] != b"\x93NUMPY" or len(start) < 12 or start[6] not in (1, 2, 3):
        raise DataError(f"{where}: cannot be read as an array (no NumPy header)", remedy=_AGAIN)
    length = struct.unpack_from("<H" if start[6] == 1 else "<I", start, 8)[0]
    begins = (10 if start[6] == 1 else 12) + length
    if not 10 <= length <= _LONGEST_HEADER:
        raise DataError(f"{where}: a header of {length} bytes, expected 10 to {_LONGEST_HEADER}", remedy=_AGAIN)
    text = start[10:] * (start[6] == 1) + stream.read(begins - 12)
    try:
        said = ast.literal_eval(text.decode("utf-8" if start[6] == 3 else "latin-1").strip())
        shape, dtype, fortran = tuple(said["shape"]), np.dtype(said["descr"]), said["fortran_order"]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        raise DataError(f"{where}: cannot be read as an array (the header is damaged)", remedy=_AGAIN) from None
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise DataError(f"{where}: holds Python objects or records, expected plain numbers or text", remedy=_AGAIN)
    if not all(type(n) is int and 0 <= n < 2**48 for n in shape) or type(fortran) is not bool or not dtype.itemsize:
        raise DataError(f"{where}: cannot be read as an array (shape {shape}, type {dtype})", remedy=_AGAIN)
    header = Header(shape, dtype, fortran, begins)
    if header.size != size:
        raise DataError(f"{where}: the header promises {header.size} bytes, the file has {size}", remedy=REPLACE)
    return header


def _narrow(where: Path, values: NDArray[Any]) -> NDArray[Any]:
    """One of the four value types of a Picture, in this machine's byte order."""
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(np.float32)
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    if int(values.max()) >= 2**31 or int(values.min()) < -(2**31):
        raise DataError(f"{where}: values of more than 32 bits", remedy="save images as uint8, uint16 or float32")
    return values.astype(np.int32)
