"""PNG of the kinds that scans come in, decoded by kornia-rs (in Rust), more than twice as fast as Pillow.

Palettes, transparency, small bit depths and rotated images are left to Pillow (pictures.py).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that change what the pixels mean; their images go through Pillow.
_MEANINGFUL = {b"tRNS", b"eXIf", b"acTL"}
_CHANNELS = {0: 1, 2: 3}  # of the colour types grey and RGB


@dataclass(frozen=True)
class PngHeader:
    """What the first chunk says: pixels, bits a value, colour type (PNG, section 11.2.1), and whether it is plain."""

    width: int
    height: int
    bits: int
    colour_type: int
    plain: bool


def read_chunks(data: bytes) -> PngHeader:
    """The header of the PNG `data`, after the checksum of every chunk was compared: no decoder sees damaged bytes.

    Raises ValueError for anything that is not a whole PNG.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("not a PNG (its first bytes are others)")
    kinds: list[bytes] = []
    start, body = len(SIGNATURE), memoryview(data)
    while not kinds or kinds[-1] != b"IEND":
        if start + 12 > len(data):
            raise ValueError(f"ends after {len(data)} bytes, before its last chunk")
        (length,) = struct.unpack_from(">I", data, start)
        end = start + 12 + length
        if length >= 2**31 or end > len(data):
            raise ValueError(f"a chunk of {length} bytes is cut off after {len(data) - start - 8}")
        if zlib.crc32(body[start + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(f"chunk {data[start + 4 : start + 8]!r}: its checksum (CRC) does not fit")
        kinds.append(data[start + 4 : start + 8])
        start = end
    if kinds[0] != b"IHDR" or b"IDAT" not in kinds or kinds.count(b"IHDR") != 1:
        raise ValueError("its chunks are not those of one image")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    plain = colour in _CHANNELS and bits in (8, 16) and not _MEANINGFUL & set(kinds)
    return PngHeader(width, height, bits, colour, plain and not (colour == 2 and bits == 16))


def decode_plain(data: bytes, header: PngHeader) -> NDArray[Any]:
    """Pixels uint8 or uint16 [C, H, W] of a checked PNG whose header is plain. Raises what the decoder raises."""
    from kornia_rs import io

    decode = io.decode_image_png_u16 if header.bits == 16 else io.decode_image_png_u8
    mode = "rgb" if header.colour_type == 2 else "mono"
    pixels: NDArray[Any] = np.asarray(decode(data, (header.height, header.width), mode))
    return pixels.transpose(2, 0, 1)
