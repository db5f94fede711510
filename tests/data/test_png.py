"""PNG decoded by kornia-rs: Pillow's pixels, and refusals where Pillow looks away."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stylescan.data.formats.pictures import decode_picture, read_bytes
from stylescan.data.formats.png import read_chunks
from stylescan.errors import DataError


def png(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG", **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def grey(width: int, height: int, data: bytes, *, bits: int = 8) -> bytes:
    """A grey PNG with the compressed rows given."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from(["grey", "wide", "colour"]), st.integers(0, 9),
    st.integers(0, 2**31),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_pixels_are_pillows(height: int, width: int, kind: str, level: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (height, width, 3) if kind == "colour" else (height, width)
    values = random.integers(0, 65536, shape) if kind == "wide" else random.integers(0, 256, shape)
    array = values.astype(np.uint16 if kind == "wide" else np.uint8)
    data = png(array, compress_level=level)
    found = decode_picture(data, "x.png").pixels
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image)
    if kind == "colour":
        equal = (expected == expected[..., :1]).all()
        expected = expected[..., :1] if equal else expected
        assert np.array_equal(np.moveaxis(found, 0, -1), expected)
    else:
        assert found.dtype == array.dtype
        assert np.array_equal(found[0], expected)


def test_chunks_that_say_nothing_of_the_pixels_are_passed_over() -> None:
    array = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    data = png(array)
    extra = data[:33] + chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"tEXt", b"Comment\0x") + data[33:] + b"after"
    assert np.array_equal(decode_picture(extra, "x.png").pixels[0], array)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda d: d[:-20], "before its last chunk|cut off"),
        (lambda d: d[:60] + bytes([d[60] ^ 1]) + d[61:], "checksum"),
        (lambda d: d[:19] + bytes([d[19] + 1]) + d[20:], "checksum"),  # another width
        (lambda d: d[:8] + d[33:], "chunks are not those of one image"),
        (lambda d: d[:8], "before its last chunk"),
        (lambda d: d[:33] + d[-12:], "chunks are not those of one image"),
    ],
)
def test_damage_is_named(fault: object, words: str) -> None:
    data = png(np.random.default_rng(0).integers(0, 255, (24, 24)).astype(np.uint8))
    with pytest.raises(DataError, match=words) as caught:
        decode_picture(fault(data), "folder/bad.png")  # type: ignore[operator]
    assert "bad.png" in caught.value.message


def test_fewer_rows_than_the_header_says_are_refused() -> None:
    rows = b"".join(b"\0" + bytes(range(10)) for _ in range(8))
    assert decode_picture(grey(10, 8, zlib.compress(rows)), "x.png").pixels.shape == (1, 8, 10)
    with pytest.raises(DataError, match="cannot be read as an image"):
        decode_picture(grey(10, 16, zlib.compress(rows)), "x.png")  # Pillow fills the rest with black


def test_a_header_beyond_any_slice_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(DataError, match="decompression bomb"):
        decode_picture(grey(100_000, 100_000, zlib.compress(b"")), "x.png")


def test_palettes_transparency_and_rotation_go_through_pillow() -> None:
    array = np.arange(64, dtype=np.uint8).reshape(8, 8)
    palette = Image.fromarray(array).convert("P")
    stream = io.BytesIO()
    palette.save(stream, "PNG")
    assert not read_chunks(stream.getvalue()).plain
    assert np.array_equal(decode_picture(stream.getvalue(), "x.png").pixels[0], array)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = png(array, exif=exif)
    assert not read_chunks(turned).plain
    assert np.array_equal(decode_picture(turned, "x.png").pixels[0], np.rot90(array, -1))
    with pytest.raises(DataError, match="transparent"):
        decode_picture(png(np.dstack([array] * 3 + [array])), "x.png")


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_pillows_and_damage_is_refused(subsampling: int, progressive: bool) -> None:
    colour = np.random.default_rng(1).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    smooth = Image.fromarray(colour).resize((61, 47))
    stream = io.BytesIO()
    smooth.save(stream, "JPEG", quality=85, subsampling=subsampling, progressive=progressive)
    data = stream.getvalue()
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.moveaxis(decode_picture(data, "x.jpg").pixels, 0, -1), np.asarray(image))
    start = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    wider = data[: start + 7] + struct.pack(">H", 200) + data[start + 9 :]
    with Image.open(io.BytesIO(wider)) as image:
        assert np.asarray(image).shape == (47, 200, 3)  # Pillow accepts it
    with pytest.raises(DataError, match="damaged, or do not fit"):
        decode_picture(wider, "x.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_is_turned_as_its_exif_says(orientation: int) -> None:
    array = np.asarray(Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10).resize((48, 32)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG", exif=exif)
    turn = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
        6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).T, 8: np.rot90,
    }[orientation]  # fmt: skip
    plain = io.BytesIO()
    Image.fromarray(array).save(plain, "JPEG")
    expected = turn(decode_picture(plain.getvalue(), "x.jpg").pixels[0])
    assert np.array_equal(decode_picture(stream.getvalue(), "x.jpg").pixels[0], expected)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="pipe.png: a pipe or device, expected a file"):
        read_bytes(tmp_path / "pipe.png")
