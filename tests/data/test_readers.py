"""Readers: every kind of value that comes in, and every kind of damage that must not get further."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from stylescan.data.formats import checks
from stylescan.data.formats.scans import Picture
from stylescan.data.formats.table import FORMATS, format_of, stem_of, suffix_of
from stylescan.errors import DataError

GREY = np.arange(12 * 9, dtype=np.uint8).reshape(12, 9)
WIDE = (np.arange(12 * 9, dtype=np.uint16) * 500).reshape(12, 9)
COLOUR = np.stack([GREY, GREY + 1, GREY], axis=-1)


def read(path: Path) -> Any:
    reader = FORMATS[format_of(path.name)].read
    assert reader is not None
    return reader([path])


def save_palette(path: Path) -> None:
    image = Image.fromarray(GREY // 8).convert("P")
    image.putpalette([v for k in range(256) for v in (8 * k % 256,) * 3])
    image.save(path)


@pytest.mark.parametrize(
    ("name", "save", "expected"),
    [
        ("grey.png", lambda p: Image.fromarray(GREY).save(p), GREY[None]),
        ("upper.PNG", lambda p: Image.fromarray(GREY).save(p), GREY[None]),
        ("equal.png", lambda p: Image.fromarray(np.stack([GREY] * 3, -1)).save(p), GREY[None]),
        ("colour.png", lambda p: Image.fromarray(COLOUR).save(p), np.moveaxis(COLOUR, -1, 0)),
        ("opaque.png", lambda p: Image.fromarray(GREY).convert("RGBA").save(p), GREY[None]),
        ("palette.png", save_palette, (GREY // 8 * 8)[None]),
        ("bits.png", lambda p: Image.fromarray(GREY > 50).save(p), np.where(GREY > 50, 255, 0)[None]),
        ("wide.png", lambda p: Image.fromarray(WIDE).save(p), WIDE[None]),
        ("grey.tif", lambda p: Image.fromarray(GREY).save(p), GREY[None]),
        ("lzw.tif", lambda p: Image.fromarray(WIDE).save(p, compression="tiff_lzw"), WIDE[None]),
        ("wide.tiff", lambda p: tifffile.imwrite(p, WIDE), WIDE[None]),
        ("big_endian.tif", lambda p: tifffile.imwrite(p, WIDE, byteorder=">"), WIDE[None]),
        ("float.tif", lambda p: tifffile.imwrite(p, WIDE.astype(np.float32) / 7), WIDE[None].astype(np.float32) / 7),
        ("signed.tif",
         lambda p: tifffile.imwrite(p, (WIDE // 2).astype(np.int16) - 900), (WIDE // 2).astype(int)[None] - 900),
        ("wide_colour.tif", lambda p: tifffile.imwrite(p, COLOUR.astype(np.uint16) * 200, photometric="rgb"),
         np.moveaxis(COLOUR.astype(np.uint16) * 200, -1, 0)),
        ("inverted.tif", lambda p: tifffile.imwrite(p, 65535 - WIDE, photometric="miniswhite"), WIDE[None]),
    ],
)  # fmt: skip
def test_values_come_in_unchanged(
    tmp_path: Path, name: str, save: Callable[[Path], object], expected: NDArray[Any]
) -> None:
    save(tmp_path / name)
    picture = read(tmp_path / name)
    assert isinstance(picture, Picture)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.pixels.dtype in (np.uint8, np.uint16, np.int32, np.float32)


def test_jpeg_is_close_and_turned_upright(tmp_path: Path) -> None:
    flat = np.full((16, 32), 40, np.uint8)
    flat[:, 16:] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees
    Image.fromarray(flat).save(tmp_path / "a.jpg", exif=exif, quality=95)
    pixels = read(tmp_path / "a.jpg").pixels
    assert pixels.shape == (1, 32, 16)
    np.testing.assert_allclose(pixels[0], np.rot90(flat, -1), atol=6)


def bad_float(path: Path) -> None:
    tifffile.imwrite(path, np.array([[1.0, np.nan]], np.float32))


def wide_colour_png(path: Path) -> None:
    """Written by hand: Pillow cannot."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    body = zlib.compress(b"\0" + bytes(12))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("name", "save", "words"),
    [
        ("empty.png", lambda p: p.write_bytes(b""), "is empty"),
        ("text.jpg", lambda p: p.write_text("not an image"), "cannot be read"),
        ("clear.png", lambda p: Image.new("RGBA", (4, 4), (9, 9, 9, 0)).save(p), "transparent"),
        (
            "pages.tif",
            lambda p: tifffile.imwrite(p, np.zeros((3, 8, 8), np.uint16), photometric="minisblack"),
            "3 pages",
        ),
        ("nan.tif", bad_float, "NaN"),
        ("complex.tif", lambda p: tifffile.imwrite(p, np.zeros((4, 4), np.complex64)), "complex"),
        ("eps.png", lambda p: Image.new("L", (4, 4)).save(p, "BMP"), "cannot be read"),
        ("wide_colour.png", wide_colour_png, "16-bit colour"),
    ],
)
def test_unusable_pictures_are_refused_by_name(
    tmp_path: Path, name: str, save: Callable[[Path], object], words: str
) -> None:
    save(tmp_path / name)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert name in caught.value.message
    assert words in caught.value.message
    assert caught.value.remedy


def test_missing_picture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "gone.png")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (300, 300)).save(tmp_path / "bomb.png")
    tifffile.imwrite(tmp_path / "bomb.tif", np.zeros((300, 300), np.uint16))
    monkeypatch.setattr(checks, "MAX_PIXELS", 300 * 300 - 1)
    for name in ("bomb.png", "bomb.tif"):
        with pytest.raises(DataError, match="decompression bomb"):
            read(tmp_path / name)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_anywhere_is_a_data_error_or_a_picture(tmp_path: Path, data: st.DataObject) -> None:
    """Cut or change bytes: a reader may still see a picture, but nothing except DataError may escape."""
    name = data.draw(st.sampled_from(["a.png", "a.jpg", "a.tif", "b.tif", "a.nii", "a.nii.gz"]))
    path = tmp_path / name
    if name == "b.tif":
        tifffile.imwrite(path, WIDE)
    elif "nii" in name:
        nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)), path)
    else:
        Image.fromarray(GREY).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(DataError):
        scan = read(path)
        values = scan.pixels if isinstance(scan, Picture) else scan.voxels
        assert np.isfinite(values).all()


def test_names() -> None:
    assert suffix_of("A.NII.GZ") == ".nii.gz"
    assert suffix_of("a.gz") is None
    assert (stem_of("x/sub-1.v2.nii.gz"), stem_of("y/a.b.PNG")) == ("sub-1.v2", "a.b")
