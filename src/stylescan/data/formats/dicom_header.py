"""Opening DICOM files that nobody vouches for: quietly, bounded, and only those that hold an image."""

from __future__ import annotations

import io
import logging
import math
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stylescan.data.formats.checks import REPLACE, check_size
from stylescan.data.formats.voxels import MAX_VOXELS
from stylescan.errors import DataError

Dataset = Any  # pydicom's, which gives every element the type Any
PREAMBLE = 132  # bytes up to and with the signature 'DICM'
MAX_INFLATED = 2**30  # bytes of a deflated dataset
_DEFLATED = "1.2.840.10008.1.2.1.99"
_QUIET = threading.Lock()
# Beginnings of SOP class UIDs whose objects are about images, or measure something else (PS3.4, table B.5-1).
_NO_IMAGE = {
    "1.2.840.10008.1.3.10": "a DICOMDIR",
    "1.2.840.10008.5.1.4.1.1.481.": "a radiotherapy object",
    "1.2.840.10008.5.1.4.1.1.66": "a segmentation, registration or raw data",
    "1.2.840.10008.5.1.4.1.1.11.": "a presentation state",
    "1.2.840.10008.5.1.4.1.1.88.": "a structured report or key object selection",
    "1.2.840.10008.5.1.4.1.1.104.": "an encapsulated document",
    "1.2.840.10008.5.1.4.1.1.9.": "a waveform",
    "1.2.840.10008.5.1.4.1.1.67": "a value mapping",
}
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def has_signature(path: Path) -> bool:
    """Whether 'DICM' stands at byte 128 of the file; False where it cannot be read. Looks at 132 bytes."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return False
        with path.open("rb") as stream:
            return stream.read(PREAMBLE)[128:] == b"DICM"
    except OSError:
        return False


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom without its warnings and log lines: a damaged file ends as an error or as an image, not as chatter."""
    logger = logging.getLogger("pydicom")
    with _QUIET, warnings.catch_warnings():  # what is silent is a setting of the whole process: one thread at a time
        warnings.simplefilter("ignore")
        logger.addFilter(_silence)
        try:
            yield
        finally:
            logger.removeFilter(_silence)


def _silence(record: logging.LogRecord) -> bool:
    return False


def open_dicom(path: Path, *, tags: Sequence[str] | None = None, pixels: bool = False) -> Dataset:
    """The dataset of `path`, of the elements `tags` alone where given; the pixels only with `pixels`.

    Raises DataError where the file is missing, damaged or no DICOM. A file without the signature is read where its first
    element could begin a dataset (group 2 or 8), as older archives have them. Call inside `quiet`.
    """
    import pydicom

    with blaming(path), path.open("rb") as stream:
        head = stream.read(PREAMBLE)
        plain = head[128:] == b"DICM"
        if not plain and head[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
            raise DataError(f"{path}: {'is not DICOM' if head else 'is empty'}", remedy=REPLACE)
        stream.seek(0)
        source: Any = stream
        if plain and _DEFLATED.encode() in stream.read(2048):
            stream.seek(0)
            source = _inflated(path, stream)
        source.seek(0)
        names: Any = None if tags is None else list(tags)
        return pydicom.dcmread(source, force=not plain, stop_before_pixels=not pixels, specific_tags=names)


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Whatever pydicom raises inside (damaged headers raise almost anything) becomes a DataError naming the file."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", remedy="check the path in the list") from None
    except PermissionError:
        raise DataError(f"{path}: may not be read", remedy="change the file's permissions") from None
    except Exception as problem:
        # pydicom's own words may quote values of the header, which must not leave it: only the kind of fault is told.
        raise DataError(f"{path}: cannot be read as DICOM ({type(problem).__name__})", remedy=REPLACE) from None


def _inflated(path: Path, stream: Any) -> io.BytesIO:
    """A deflated file as if its dataset had been written plainly: unpacked here, where its size is bounded."""
    import pydicom
    from pydicom.filewriter import write_file_meta_info
    from pydicom.uid import ExplicitVRLittleEndian

    head = io.BytesIO(stream.read(PREAMBLE) + stream.read(12))
    length = int.from_bytes(head.getvalue()[-4:], "little")
    meta = stream.read(min(length, 2**16))
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    body = unpacker.decompress(stream.read(), MAX_INFLATED)
    if unpacker.unconsumed_tail:
        raise DataError(f"{path}: unpacks to more than {MAX_INFLATED} bytes (a decompression bomb?)", remedy=REPLACE)
    info = pydicom.dcmread(io.BytesIO(head.getvalue() + meta), stop_before_pixels=True).file_meta
    info.TransferSyntaxUID = ExplicitVRLittleEndian
    plain: Any = io.BytesIO()
    plain.write(head.getvalue()[:PREAMBLE])
    write_file_meta_info(plain, info)
    plain.write(body)
    unpacked: io.BytesIO = plain
    return unpacked


def not_an_image(dataset: Dataset) -> str | None:
    """What the object is, where it is no image; None for an image."""
    meta = getattr(dataset, "file_meta", {})
    kind = text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID")
    for beginning, words in _NO_IMAGE.items():
        if kind.startswith(beginning):
            return words
    if "Rows" not in dataset and "Columns" not in dataset:
        return "an object without an image"
    return None


def numbers(path: Path, dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """The first `count` finite numbers of an element; None where it is absent or empty. DataError for anything else."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return None
        parts = [value] if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") else list(value)
        found = tuple(float(part) for part in parts)
    except Exception:  # pydicom converts a value when it is first looked at
        raise tag_error(path, keyword, "no numbers", f"{count} finite ones") from None
    if not found:
        return None
    if len(found) < count or not all(math.isfinite(number) for number in found):
        raise tag_error(path, keyword, f"{len(found)} numbers", f"{count} finite ones")
    return found[:count]


def words(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an element as text, without blanks around them; none where it is absent or damaged."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return ()
        several = hasattr(value, "__len__") and not isinstance(value, (str, bytes))
        return tuple(str(part).strip(" \0") for part in (value if several else [value]))
    except Exception:
        return ()


def text(dataset: Dataset, keyword: str) -> str:
    """The first of `words`, '' where there is none."""
    return next(iter(words(dataset, keyword)), "")


def tag_error(path: Path, keyword: str, found: str, expected: str) -> DataError:
    """The DataError for one element."""
    return DataError(f"{path}: the tag {keyword} holds {found}, expected {expected}", remedy=REPLACE)


def frame_count(path: Path, dataset: Dataset) -> int:
    """NumberOfFrames, 1 where absent. Raises DataError for fewer."""
    count = numbers(path, dataset, "NumberOfFrames", 1) or (1.0,)
    if count[0] < 1 or count[0] != int(count[0]):
        raise tag_error(path, "NumberOfFrames", f"{count[0]:g}", "a whole number from 1 up")
    return int(count[0])


def check_image(path: Path, dataset: Dataset) -> None:
    """DataError unless the dataset is an image of a size that may be decoded, without text burned into it."""
    other = not_an_image(dataset)
    if other is not None:
        raise DataError(f"{path}: {other}, not an image", remedy="leave it out, or move it elsewhere")
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        value = numbers(path, dataset, keyword, 1)
        if value is None or value[0] < 1:
            raise tag_error(path, keyword, "nothing" if value is None else f"{value[0]:g}", "a whole number from 1 up")
    rows, columns, frames = int(dataset.Rows), int(dataset.Columns), frame_count(path, dataset)
    check_size(path, (rows, columns))
    if rows * columns * frames > MAX_VOXELS:
        raise DataError(f"{path}: {frames} frames of {columns}x{rows} pixels, more than {MAX_VOXELS} in all "
                        "(a decompression bomb?)", remedy="leave it out, or save it smaller")  # fmt: skip
    if text(dataset, "BurnedInAnnotation").upper() == "YES":
        raise DataError(f"{path}: has text burned into its pixels (BurnedInAnnotation is YES), which may name a patient",
                        remedy="leave it out with --skip-corrupt, or blank the text and clear that tag")  # fmt: skip
    if "MOSAIC" in [word.upper() for word in words(dataset, "ImageType")]:
        raise DataError(f"{path}: many slices tiled into one image (a mosaic)",
                        remedy="convert the series to NIfTI first, for instance with dcm2niix")  # fmt: skip


def require_pixels(path: Path, dataset: Dataset) -> None:
    """DataError where the dataset has no pixels."""
    if not any(keyword in dataset for keyword in _PIXELS):
        raise DataError(f"{path}: has no pixels (the tag PixelData is missing)", remedy=REPLACE)


def frame_group(dataset: Dataset, number: int, keyword: str) -> Dataset:
    """The item of frame `number` of a functional group macro, the shared one, or the dataset itself (PS3.3 C.7.6.16)."""
    for sequence, index in (("PerFrameFunctionalGroupsSequence", number), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(sequence)
        if items and index < len(items) and items[index].get(keyword):
            return items[index].get(keyword)[0]
    return dataset
