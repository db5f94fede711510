"""The values of DICOM frames: decoded, in modality units, brighter where the patient is, colours as 8-bit RGB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.formats.checks import REPLACE
from stylescan.data.formats.dicom_apart import Apart
from stylescan.data.formats.dicom_header import (
    Dataset,
    blaming,
    frame_count,
    frame_group,
    numbers,
    require_pixels,
    tag_error,
    text,
)
from stylescan.errors import DataError

_UNSUPPORTED = "save it uncompressed, for instance with `gdcmconv --raw IN OUT`"
_STURDY = ("pydicom", "pylibjpeg", "pyjpegls", "pillow")  # pydicom's names of decoders that damaged files do not crash
_MISSING = 'pip install "stylescan[dicom]"'


@dataclass(frozen=True)
class Frame:
    """Values [H, W] of one frame, or uint8 [3, H, W] in colour; `padding`: where the file has no values [H, W]."""

    values: NDArray[Any]
    padding: NDArray[np.bool_] | None
    window: tuple[float, float] | None
    units: str | None
    notes: tuple[str, ...] = ()


def read_frames(path: Path, dataset: Dataset, apart: Apart) -> Iterator[Frame]:
    """Each frame of `dataset`, read from `path` with its pixels, in order. Raises DataError naming the file."""
    require_pixels(path, dataset)
    syntax = _check_decoder(path, dataset)
    _check_codestreams(path, dataset)
    count, shape = frame_count(path, dataset), (int(dataset.Rows), int(dataset.Columns))
    stored = _unpack(path, dataset, syntax, apart)
    stored = stored[None] if count == 1 else stored
    if stored.shape[:3] != (count, *shape):
        raise DataError(f"{path}: its pixels are {stored.shape[:3]}, the header says {(count, *shape)}", remedy=REPLACE)
    for number in range(count):
        with blaming(path):  # lookup tables and palettes that fit nothing
            frame = _frame(path, dataset, number, stored[number])
        yield frame


def _frame(path: Path, dataset: Dataset, number: int, stored: NDArray[Any]) -> Frame:
    photometric = text(dataset, "PhotometricInterpretation").upper()
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        return Frame(_eight_bits(apply_color_lut(stored, dataset)[..., :3], 8), None, None, None)
    if stored.ndim == 3:
        return Frame(_eight_bits(stored[..., :3], int(dataset.BitsStored)), None, None, None)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise tag_error(path, "PhotometricInterpretation", "a kind that one sample a pixel cannot have",
                        "MONOCHROME1, MONOCHROME2 or PALETTE COLOR")  # fmt: skip
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    padding = _padding(path, dataset, stored)
    values, ends, units, notes = _modality(path, dataset, number, stored)
    window, more = _window(path, dataset, number)
    if photometric == "MONOCHROME1" and units == "HU":
        more = (*more, "MONOCHROME1: shown inverted by viewers; Hounsfield units are kept as they are")
    elif photometric == "MONOCHROME1":
        total = ends[0] + ends[1]
        values = _inverted(values, total)
        window = None if window is None else (total - window[1], total - window[0])
    return Frame(values, padding, window, units, notes + more)


def _eight_bits(colours: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """[H, W, 3] as uint8 [3, H, W]: of more than 8 bits the upper ones."""
    bits = max(bits, 8 * colours.dtype.itemsize) if colours.dtype.itemsize > 1 and bits <= 8 else bits
    upper = colours >> (bits - 8) if bits > 8 else colours
    return np.ascontiguousarray(np.moveaxis(upper.astype(np.uint8), -1, 0))


def _inverted(values: NDArray[Any], total: float) -> NDArray[Any]:
    if values.dtype.kind == "f":
        return np.float32(total) - values
    return (int(total) - values.astype(np.int64)).astype(values.dtype)


def _stored_ends(dataset: Dataset, stored: NDArray[Any]) -> tuple[float, float]:
    """Least and largest value that the stored bits can have; of floats, that occur."""
    if stored.dtype.kind == "f":
        return float(stored.min()), float(stored.max())
    bits = int(dataset.BitsStored)
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if stored.dtype.kind == "i" else (0.0, 2.0**bits - 1)


def _modality(
    path: Path, dataset: Dataset, number: int, stored: NDArray[Any]
) -> tuple[NDArray[Any], tuple[float, float], str | None, tuple[str, ...]]:
    """Values after the modality LUT (PS3.3 C.11.1), the ends of their range, units and notes."""
    if dataset.get("ModalityLUTSequence"):
        from pydicom.pixels.processing import apply_modality_lut

        table = dataset.ModalityLUTSequence[0]
        values = apply_modality_lut(stored, dataset)
        bits = int(table.LUTDescriptor[2])
        return _plain(values), (0.0, 2.0**bits - 1), _units(dataset, text(table, "ModalityLUTType"), True), ()
    group = frame_group(dataset, number, "PixelValueTransformationSequence")
    slope, intercept = numbers(path, group, "RescaleSlope", 1), numbers(path, group, "RescaleIntercept", 1)
    a, b = (slope or (1.0,))[0], (intercept or (0.0,))[0]
    units = _units(dataset, text(group, "RescaleType"), slope is not None)
    if a == 0:
        raise tag_error(path, "RescaleSlope", "0", "any other number")
    ends = sorted(a * end + b for end in _stored_ends(dataset, stored))
    values = _plain(stored) if (a, b) == (1.0, 0.0) else (stored * np.float64(a) + b).astype(np.float32)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{path}: {int((~np.isfinite(values)).sum())} pixels are NaN or infinite",
                        remedy="set them to the background value first")  # fmt: skip
    is_ct = text(dataset, "Modality").upper() == "CT"
    return values, (ends[0], ends[1]), units, ("CT without a rescale: not in Hounsfield units",) * (is_ct and not units)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """The narrowest type of scans.Picture that holds them: uint8, uint16, int32, or float32 for wider ones."""
    wider = {"u1": "u1", "u2": "u2", "i1": "i4", "i2": "i4", "i4": "i4"}
    return values.astype(wider.get(values.dtype.str[1:], "f4"), copy=False)


def _units(dataset: Dataset, named: str, rescaled: bool) -> str | None:
    """'HU' where the file says so, or says nothing and is a CT."""
    if named.upper() in ("HU", "HU_MOD"):
        return "HU"
    is_ct = text(dataset, "Modality").upper() == "CT"
    return "HU" if is_ct and rescaled and named.upper() in ("", "US") else None


def _padding(path: Path, dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where the stored value means that there is none (PS3.3 C.7.5.1.1.2), None where nowhere."""
    first = numbers(path, dataset, "PixelPaddingValue", 1)
    if first is None:
        return None
    last = numbers(path, dataset, "PixelPaddingRangeLimit", 1) or first
    bits = int(dataset.BitsAllocated)
    # Written as unsigned by many though the pixels are signed: then it stands for the number of the same bits.
    ends = sorted(v - 2.0**bits if stored.dtype.kind == "i" and v >= 2.0 ** (bits - 1) else v for v in (*first, *last))
    found: NDArray[np.bool_] = (stored >= ends[0]) & (stored <= ends[-1])
    return found if found.any() else None


def _window(path: Path, dataset: Dataset, number: int) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """The first window (low, high) that the file asks for, in modality units (PS3.3 C.11.2.1), and notes."""
    group = frame_group(dataset, number, "FrameVOILUTSequence")
    centre, width = numbers(path, group, "WindowCenter", 1), numbers(path, group, "WindowWidth", 1)
    if centre is None or width is None:
        return None, ("a VOI lookup table is not applied",) * bool(group.get("VOILUTSequence"))
    c, half = centre[0], width[0] / 2
    if text(group, "VOILUTFunction").upper() in ("", "LINEAR"):
        c, half = c - 0.5, (width[0] - 1) / 2
    return ((c - half, c + half), ()) if half > 0 else (None, ("the window in the header has no width",))


def _check_decoder(path: Path, dataset: Dataset) -> str:
    """How the pixels are packed; DataError, with what to install, where nothing here unpacks that."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is None:
        # pydicom refuses to guess for pixels; what it guessed for the header holds for them as well.
        implicit, little = dataset.original_encoding
        kinds = {(True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1"}
        dataset.file_meta.TransferSyntaxUID = syntax = kinds.get((implicit, little), "1.2.840.10008.1.2.2")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise DataError(f"{path}: the transfer syntax of its pixels is not known", remedy=_UNSUPPORTED) from None
    if decoder.is_encapsulated and not decoder.is_available:
        raise DataError(f"{path}: compressed ({decoder.UID.name}), and nothing is installed that unpacks it",
                        remedy=f"{_MISSING}, or {_UNSUPPORTED}")  # fmt: skip
    return str(decoder.UID.name)


def _unpack(path: Path, dataset: Dataset, syntax: str, apart: Apart) -> NDArray[Any]:
    """The stored values [H, W], [N, H, W] or with colours behind. Raises DataError."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    there = get_decoder(dataset.file_meta.TransferSyntaxUID).available_plugins
    plugin = next((name for name in _STURDY if name in there), "")
    try:
        stored = apart.unpack(path) if "gdcm" in there and not plugin else pixel_array(dataset, decoding_plugin=plugin)
    except MemoryError:
        raise
    except Exception:  # decoders raise almost anything on damaged files
        stored = None
    if stored is None:
        raise DataError(f"{path}: its pixels cannot be unpacked ({syntax}): damaged, or of a kind that no installed "
                        "decoder takes", remedy=f"{_UNSUPPORTED}, or {REPLACE}")  # fmt: skip
    values: NDArray[Any] = stored
    return values


def _check_codestreams(path: Path, dataset: Dataset) -> None:
    """DataError where a compressed frame is of another size than the header's: it could be of any size."""
    from pydicom.encaps import generate_frames

    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    size, frames = (int(dataset.Rows), int(dataset.Columns)), frame_count(path, dataset)
    with blaming(path):
        for number, data in enumerate(generate_frames(dataset.PixelData, number_of_frames=frames)):
            found = codestream_size(data)
            if found is not None and found != size:
                raise DataError(f"{path}: frame {number + 1} is packed with {found} pixels, the header says {size}",
                                remedy=REPLACE)  # fmt: skip


def codestream_size(data: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream states of itself; None where it is none of these."""
    if data[:2] != b"\xff\xd8":
        start = data.find(b"\xff\x4f\xff\x51")  # start of codestream, and the marker SIZ
        if start < 0 or len(data) < start + 24:
            return None
        x1, y1, x0, y0 = (int.from_bytes(data[start + k : start + k + 4], "big") for k in (8, 12, 16, 20))
        return y1 - y0, x1 - x0
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(data[place + 5 : place + 7], "big"), int.from_bytes(
                data[place + 7 : place + 9], "big"
            )
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
