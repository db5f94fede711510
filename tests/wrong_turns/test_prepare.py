"""Wrong turns of `prepare`: scans, lists and options that cannot be, and places where nothing can be made."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image


def encoded(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


NOISE = np.random.default_rng(5).integers(0, 255, (20, 20), dtype=np.uint8)
PNG, JPEG, TIFF = (encoded(NOISE, kind) for kind in ("PNG", "JPEG", "TIFF"))
GIANT = 60_000


def png_claiming(width: int, height: int) -> bytes:
    """A whole, tiny PNG whose header claims another size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def tiff_of_many_samples() -> bytes:
    """20x20 pixels of 60,000 values each, as the header says."""
    data = bytearray(tiff(np.zeros((20, 20, 3), np.uint16), photometric="rgb"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = file.pages.first.tags
        for name, value in (("ImageWidth", GIANT), ("ImageLength", GIANT)):
            struct.pack_into("<H" if tags[name].dtype == 3 else "<I", data, tags[name].valueoffset, value)
    return bytes(data)


def pages() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, "TIFF", save_all=True, append_images=[Image.fromarray(NOISE.T.copy())])
    return stream.getvalue()


def animation() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, "PNG", save_all=True, append_images=[Image.fromarray(NOISE.T.copy())])
    return stream.getvalue()


def transparent() -> bytes:
    pixels = np.dstack([NOISE] * 4)
    return encoded(pixels, "PNG")


def volume(shape: tuple[int, ...] = (12, 12, 8), dtype: str = "float32") -> bytes:
    voxels = np.random.default_rng(1).normal(100, 20, shape).astype(dtype)
    return bytes(nib.Nifti1Image(voxels, np.eye(4)).to_bytes())


def poked(offset: int, form: str, *values: Any) -> bytes:
    """A volume with other values in its header (offsets: nifti1.h)."""
    data = bytearray(volume())
    struct.pack_into("<" + form, data, offset, *values)
    return bytes(data)


def not_finite() -> bytes:
    data = bytearray(volume())
    struct.pack_into("<f", data, len(data) - 40, float("nan"))
    return bytes(data)


def one_volume(name: str, content: Callable[[], bytes]) -> Callable[[Any], list[str]]:
    return lambda p: p.prepare(p.file(f"volumes/{name}", content()).parent)


def colour_volume() -> bytes:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    return bytes(nib.Nifti1Image(np.zeros((8, 8, 8), kind), np.eye(4)).to_bytes())


def labels() -> bytes:
    voxels = np.random.default_rng(2).integers(0, 3, (12, 12, 8)).astype(np.uint8)
    return bytes(nib.Nifti1Image(voxels, np.eye(4)).to_bytes())


def listed(text: str | bytes, *more: str) -> Callable[[Any], list[str]]:
    """`prepare` on a list beside six pictures p00.png ... p05.png."""

    def make(p: Any) -> list[str]:
        p.pictures("set")
        return p.prepare(p.file("set/list.csv", text), *more)

    return make


def option(*more: str) -> Callable[[Any], list[str]]:
    return lambda p: ["prepare", str(p.scans), "--out", str(p.out), *more]


def pipe(p: Any) -> list[str]:
    os.mkfifo(p.pictures() / "pipe.png")
    return p.prepare(p.here / "pictures")


def listed_pipe(p: Any) -> list[str]:
    os.mkfifo(p.pictures("set") / "pipe.png")
    return p.prepare(p.file("set/list.csv", "path\np00.png\npipe.png\n"))


def link(target: str) -> Callable[[Any], list[str]]:
    def make(p: Any) -> list[str]:
        (p.pictures() / "link.png").symlink_to(target)
        return p.prepare(p.here / "pictures")

    return make


def odd_name(p: Any) -> list[str]:
    Path(os.fsdecode(os.fsencode(p.pictures()) + b"/caf\xe9.png")).write_bytes(PNG)
    return p.prepare(p.here / "pictures")


def both_kinds(p: Any) -> list[str]:
    p.file("pictures/a.nii", volume())
    return p.prepare(p.pictures())


def out_is(path: Callable[[Any], Path]) -> Callable[[Any], list[str]]:
    return lambda p: ["prepare", str(p.scans), "--out", str(path(p)), "--resolution", "16", "--workers", "1"]


def out_inside(p: Any) -> list[str]:
    p.pictures()
    return ["prepare", str(p.here / "pictures"), "--out", str(p.here / "pictures" / "out")]


def out_same(p: Any) -> list[str]:
    return ["prepare", str(p.pictures()), "--out", str(p.here / "pictures")]


def foreign_manifest(p: Any) -> list[str]:
    p.file("site/manifest.json", '{"name": "a web page"}')
    p.file("site/index.html", "mine")
    return ["prepare", str(p.scans), "--out", str(p.here / "site"), "--overwrite"]


def other_settings(p: Any) -> list[str]:
    return ["prepare", str(p.scans), "--out", str(p.copy(p.data)), "--resolution", "32", "--workers", "1"]


def split_folders(p: Any) -> list[str]:
    p.pictures("set/train")
    p.pictures("set/test")
    return p.prepare(p.here / "set")


def loose(p: Any) -> list[str]:
    p.pictures("set")
    p.pictures("set/inner")
    return p.prepare(p.here / "set")


LEAK = "path,subject,split\np00.png,a,train\np01.png,a,test\np02.png,b,train\n"

ROWS: dict[str, Any] = {
    # scans
    "no such scans": (lambda p: p.prepare(p.here / "nothing"), "nothing: no such file"),
    "no scans inside": (lambda p: p.prepare(p.file("empty/readme.txt", "hello").parent), ("empty", "no scans")),
    "png cut short": (lambda p: p.bad("bad.png", PNG[: len(PNG) // 2]), "bad.png"),
    "png with a flipped bit": (lambda p: p.bad("bad.png", PNG[:60] + bytes([PNG[60] ^ 8]) + PNG[61:]), "bad.png"),
    "jpeg cut short": (lambda p: p.bad("bad.jpg", JPEG[: len(JPEG) // 2]), "bad.jpg"),
    "tiff cut short": (lambda p: p.bad("bad.tif", TIFF[: len(TIFF) // 2]), "bad.tif"),
    "empty file": (lambda p: p.bad("bad.png", b""), ("bad.png", "is empty")),
    "text named png": (lambda p: p.bad("bad.png", b"hello, this is no picture"), "bad.png"),
    "pickle named png": (lambda p: p.bad("bad.png", p.pickled()), "bad.png"),
    "png that claims 3.6 gigapixels": (lambda p: p.bad("bomb.png", png_claiming(GIANT, GIANT)), "bomb.png"),
    "png just beyond the limit": (lambda p: p.bad("bomb.png", png_claiming(10_000, 9_500)), "bomb.png"),
    "tiff that claims 3.6 gigapixels": (lambda p: p.bad("bomb.tif", tiff_of_many_samples()), ("bomb.tif", "bomb?")),
    "tiff of two pages": (lambda p: p.bad("bad.tif", pages()), ("bad.tif", "2 pages")),
    "animated png": (lambda p: p.bad("bad.png", animation()), ("bad.png", "2 pages")),
    "transparent png": (lambda p: p.bad("bad.png", transparent()), ("bad.png", "transparent")),
    "tiff of NaN": (lambda p: p.bad("bad.tif", tiff(np.full((20, 20), np.nan, np.float32))), ("bad.tif", "NaN")),
    "complex tiff": (lambda p: p.bad("bad.tif", tiff(np.zeros((20, 20), np.complex64))), ("bad.tif", "complex64")),
    "a pipe among the scans": (pipe, ("pipe.png", "pipe or device")),
    "link to a device": (link("/dev/zero"), ("link.png", "leads out")),
    "link out of the source": (link("../../elsewhere.png"), ("link.png", "leads out")),
    "link to itself": (link("link.png"), "link.png"),
    "dangling link": (link("gone.png"), ("link.png", "no such file")),
    "name that is no Unicode": (odd_name, ("caf", "UTF-8")),
    "name with a terminal command": (
        lambda p: p.bad("a\x1b[2Jb\nerror: c.png", PNG[:50]),
        r"a\x1b[2Jb error: c.png",
    ),
    # volumes
    "volume cut short": (one_volume("a.nii", lambda: volume()[:900]), ("a.nii", "promises")),
    "gzip cut short": (one_volume("a.nii.gz", lambda: gzip.compress(volume())[:-60]), "a.nii.gz"),
    "gzip of something else": (one_volume("a.nii.gz", lambda: gzip.compress(b"hello" * 200)), "a.nii.gz"),
    "header of 27 gigavoxels": (one_volume("a.nii", lambda: poked(40, "4h", 3, 3000, 3000, 3000)), "a.nii"),
    "packed header of a gigavoxel": (
        one_volume("a.nii.gz", lambda: gzip.compress(poked(40, "4h", 3, 1000, 1000, 1000))),
        ("a.nii.gz", "promises"),
    ),
    "negative size": (one_volume("a.nii", lambda: poked(40, "4h", 3, -12, 12, 8)), "a.nii"),
    "spacing of NaN": (one_volume("a.nii", lambda: poked(80, "f", float("nan"))), "a.nii"),
    "orientation of NaN": (one_volume("a.nii", lambda: poked(280, "f", float("nan"))), ("a.nii", "orientation")),
    "voxel of NaN": (one_volume("a.nii", not_finite), ("a.nii", "NaN")),
    "time series": (one_volume("a.nii", lambda: volume((8, 8, 8, 30))), ("a.nii", "8x8x8x30")),
    "colour volume": (one_volume("a.nii", colour_volume), "a.nii"),
    "label maps": (one_volume("a.nii.gz", lambda: gzip.compress(labels())), ("a.nii.gz", "label map")),
    "volumes and pictures": (both_kinds, ("pictures", "expected one kind")),
    # lists and layouts
    "list that climbs": (listed("path\n../../../etc/x.png\n"), ("list.csv, line 2", "leads out")),
    "list with an absolute path that is not there": (listed("path\n/no/such/x.png\n"), ("list.csv", "/no/such/x.png")),
    "list of a pipe": (listed_pipe, ("list.csv", "pipe.png")),
    "list without paths": (listed("file;subject\np00.png;a\n"), ("list.csv", "`path` is missing")),
    "list with a column twice": (listed("path,subject,subject\np00.png,a,b\n"), ("list.csv", "twice")),
    "list in Latin-1": (listed("path,label\np00.png,caf\xe9\n".encode("latin-1")), ("list.csv", "UTF-8")),
    "list in UTF-16": (listed("path\np00.png\n".encode("utf-16")), "list.csv"),
    "list of an unknown split": (listed("path,split\np00.png,trian\n"), ("list.csv, line 2", "'trian'")),
    "list whose split leaks": (listed(LEAK), ("leaks", "(a)")),
    "list that names a file twice": (listed("path\np00.png\n./p00.png\n"), ("list.csv", "twice")),
    "ragged list": (listed("path,label\np00.png,a\np01.png\n"), ("list.csv, line 3", "1 values")),
    "list with a gap in subject": (listed("path,subject\np00.png,a\np01.png,\n"), ("list.csv, line 3", "`subject`")),
    "list without rows": (listed("path,subject\n"), "list.csv"),
    "list of other files": (listed("path\nlist.csv\n"), ("list.csv", "suffixes")),
    "list of an open quote": (listed('path\n"p00.png\n'), "list.csv"),
    "folders named as splits": (split_folders, ("test, train", "splits")),
    "pictures beside folders": (loose, ("set", "inner")),
    # options
    "resolution that is no power of two": (option("--resolution", "48"), ("--resolution", "48")),
    "resolution of 2**30": (option("--resolution", str(2**30)), "--resolution"),
    "12 bits": (option("--bits", "12"), "--bits"),
    "slices backwards": (option("--slices", "0.7", "0.3"), "slices"),
    "percentiles of nan": (option("--percentiles", "nan", "99"), "percentiles"),
    "pattern that does not compile": (option("--pattern", "(?P<subject>"), "--pattern"),
    "pattern that does not match": (option("--pattern", r"(?P<subject>q\d+)"), ("pattern", "p00_0.png")),
    "unknown layout": (option("--layout", "bidz"), "bidz"),
    "hold-out of 2": (option("--holdout", "2"), "--holdout"),
    "hold-out of nan": (option("--holdout", "nan"), "--holdout"),
    "negative seed": (option("--seed", "-1"), "--seed"),
    "no workers": (option("--workers", "0"), "--workers"),
    "field of view of nan": (option("--field-of-view-mm", "nan"), "--field-of-view-mm"),
    "sagittal symmetry": (option("--plane", "sagittal", "--symmetry", "left-right"), "sagittal"),
    "short salt": (option("--salt", "x"), "--salt"),
    "no --out": (lambda p: ["prepare", str(p.scans)], "--out"),
    "two sources": (lambda p: ["prepare", str(p.scans), str(p.data), "--out", str(p.out)], "DATA"),
    "misspelt option": (option("--resolutoin", "16"), "resolutoin"),
    # places
    "--out is a file": (out_is(lambda p: p.file("f", b"mine")), ("f", "a file")),
    "--out below a file": (out_is(lambda p: p.file("f", b"mine") / "deeper"), "f/deeper"),
    "--out inside the scans": (out_inside, ("out", "in each other")),
    "--out is the scans": (out_same, "in each other"),
    "--out holds other files": (out_is(lambda p: p.file("mine/notes.txt", b"mine").parent), ("mine", "notes.txt")),
    "--out in /proc": (out_is(lambda p: Path("/proc/stylescan/x")), "/proc/stylescan"),
    "--out holds another dataset": (other_settings, "other settings"),
    "--overwrite of a foreign manifest.json": (foreign_manifest, ("site", "not a prepared dataset")),
    "--out with too long a name": (out_is(lambda p: p.here / ("n" * 300)), "nnn"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_is_refused_in_one_clear_line(name: str, refused: Callable[[Any], str]) -> None:
    refused(ROWS[name])
