"""Stacks of images in .npy and .npz: read one by one, with the tables beside them, and never by trusting a header."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stylescan.data.formats import stack
from stylescan.data.formats.scans import Picture, Volume
from stylescan.data.formats.stack import read_entry
from stylescan.data.layouts.found import Found, Listing
from stylescan.data.layouts.stacks import detect_stacks, find_stacks
from stylescan.data.options import PrepareOptions
from stylescan.data.prepare import prepare
from stylescan.data.sources import read_source
from stylescan.errors import DataError

ROWS = np.random.default_rng(5).integers(0, 256, (12, 10, 8), dtype=np.uint8)
COLOURS = np.random.default_rng(6).integers(0, 256, (7, 10, 8, 3), dtype=np.uint8)
OPTIONS = PrepareOptions()


def find(root: Path) -> Found:
    return find_stacks(Listing(root), OPTIONS, None)


def read_all(root: Path) -> list[Any]:
    return [read_source(source) for source in find(root).sources]


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_all(root)
    assert caught.value.remedy
    return caught.value.message


def save(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (ROWS, ROWS[:, None]),
        (ROWS[..., None], ROWS[:, None]),
        (ROWS[:, None], ROWS[:, None]),
        (COLOURS, np.moveaxis(COLOURS, -1, 1)),
        (np.moveaxis(COLOURS, -1, 1), np.moveaxis(COLOURS, -1, 1)),
        (np.stack([ROWS] * 3, -1), ROWS[:, None]),  # equal colours are grey
        (ROWS.astype(np.uint16) * 200, ROWS[:, None].astype(np.uint16) * 200),
        (ROWS.astype(">u2"), ROWS[:, None].astype(np.uint16)),
        (ROWS.astype(np.int64) - 1000, ROWS[:, None].astype(np.int32) - 1000),
        (ROWS.astype(np.int8), ROWS.astype(np.int8)[:, None].astype(np.int32)),
        (ROWS / 7, (ROWS[:, None] / 7).astype(np.float32)),
        (ROWS.astype(np.float16), ROWS[:, None].astype(np.float32)),
        (np.asfortranarray(ROWS), ROWS[:, None]),
    ],
)
def test_images_come_in_unchanged(tmp_path: Path, array: NDArray[Any], expected: NDArray[Any]) -> None:
    np.save(tmp_path / "set.npy", array)
    save(tmp_path / "set.npz", images=array)
    for name in ("set.npy", "set.npz"):
        sources = find(tmp_path / name).sources
        assert len(sources) == len(expected)
        for source, image in zip(sources, expected):
            picture = read_source(source)
            assert isinstance(picture, Picture)
            np.testing.assert_array_equal(picture.pixels, image)
            assert picture.pixels.dtype == image.dtype
            assert picture.pixels.dtype.isnative


def test_sources_are_named_by_file_and_row(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    save(tmp_path / "b.npz", arr_0=ROWS)
    assert detect_stacks(Listing(tmp_path)) == "2 stacks of images"
    sources = find(tmp_path).sources
    assert [s.name for s in sources[:2]] == ["a.npy#00", "a.npy#01"]
    assert sources[12].name == "b.npz#arr_0/00"
    assert len({s.name for s in sources}) == 24
    assert all(s.subject is None and s.label is None and s.split is None for s in sources)
    assert any("belongs into a NIfTI file" in note for note in find(tmp_path).notes)


def test_other_files_are_not_stacks(tmp_path: Path) -> None:
    assert detect_stacks(Listing(tmp_path)) is None
    np.save(tmp_path / "a.npy", ROWS)
    (tmp_path / "b.png").write_bytes(b"")
    assert detect_stacks(Listing(tmp_path)) is None
    assert "b.png" in refused(tmp_path)


def test_tables_beside_the_images(tmp_path: Path) -> None:
    path = save(
        tmp_path / "set.npz",
        images=ROWS,
        labels=np.arange(12).reshape(12, 1) % 3,
        subjects=np.array([f"p{k // 4}" for k in range(12)]),
        split=np.array(["train"] * 4 + ["val"] * 4 + ["test"] * 4),
        slices=np.arange(12, dtype=np.int16),
    )
    sources = find(path).sources
    assert [s.label for s in sources[:4]] == ["0", "1", "2", "0"]
    assert [s.subject for s in sources[::4]] == ["p0", "p1", "p2"]
    assert [s.split for s in sources[::4]] == ["train", "select", "holdout"]
    assert [s.slice for s in sources] == list(range(12))
    named = save(tmp_path / "named.npz", images=ROWS, labels=np.array(["ill", "well"] * 6), subjects=np.arange(12.0))
    assert [s.label for s in find(named).sources[:2]] == ["ill", "well"]
    assert [s.subject for s in find(named).sources[:2]] == ["0", "1"]


def medmnist(path: Path, images: NDArray[Any], labels: NDArray[Any]) -> Path:
    arrays: dict[str, NDArray[Any]] = {}
    for part, where in (("train", slice(0, 8)), ("val", slice(8, 10)), ("test", slice(10, 12))):
        arrays |= {f"{part}_images": images[where], f"{part}_labels": labels[where]}
    return save(path, **arrays)


def test_medmnist(tmp_path: Path) -> None:
    path = medmnist(tmp_path / "pneumoniamnist.npz", ROWS, np.arange(12).reshape(12, 1) % 2)
    assert detect_stacks(Listing(path)) == "a MedMNIST archive, with its own split"
    sources = find(path).sources
    assert Counter(s.split for s in sources) == {"train": 8, "select": 2, "holdout": 2}
    assert [s.label for s in sources] == [str(k % 2) for k in range(12)]
    assert all(s.subject is None and s.kind == "picture" for s in sources)
    read = [read_source(s) for s in sources]
    np.testing.assert_array_equal(np.stack([p.pixels[0] for p in read if isinstance(p, Picture)]), ROWS)


def test_several_labels_an_image_are_no_class(tmp_path: Path) -> None:
    path = medmnist(tmp_path / "chestmnist.npz", ROWS, np.ones((12, 14), np.uint8))
    found = find(path)
    assert all(s.label is None for s in found.sources)
    assert sum("14 labels an image" in note for note in found.notes) == 1


def test_medmnist_volumes(tmp_path: Path) -> None:
    cubes = np.random.default_rng(1).integers(0, 256, (12, 9, 9, 9), dtype=np.uint8)
    path = medmnist(tmp_path / "organmnist3d.npz", cubes, np.zeros((12, 1), np.int64))
    sources = find(path).sources
    assert all(s.kind == "volume" for s in sources)
    volume = read_source(sources[9])
    assert isinstance(volume, Volume)
    np.testing.assert_array_equal(volume.voxels, cubes[9])
    assert volume.spacing_mm == (1, 1, 1)
    assert "no orientation" in volume.notes[0]
    assert "9x9x9" in refused(save(tmp_path / "plain.npz", images=cubes))  # elsewhere it might be anything


def test_prepare_keeps_the_official_split(tmp_path: Path, picture: Any) -> None:
    images = np.stack([picture(seed, 16, 16) for seed in range(60)])
    arrays: dict[str, NDArray[Any]] = {}
    for part, where in (("train", slice(0, 40)), ("val", slice(40, 50)), ("test", slice(50, 60))):
        arrays |= {f"{part}_images": images[where], f"{part}_labels": np.arange(60)[where, None] % 2}
    dataset, _ = prepare(save(tmp_path / "toy.npz", **arrays), tmp_path / "data", PrepareOptions(workers=1))
    assert [len(dataset.indices(split)) for split in ("train", "select", "holdout")] == [40, 10, 10]
    assert dataset.manifest.claim == "image-wise"
    assert dataset.class_names == ("0", "1")
    stored = {image.tobytes() for image in dataset.read(dataset.indices("train"))}
    assert stored == {image.tobytes() for image in images[:40]}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": ROWS > 9}, "masks"),
        ({"images": ROWS.astype(np.complex64)}, "complex64"),
        ({"images": ROWS.astype(object)}, "Python objects"),
        ({"images": np.zeros((3, 4, 4), [("a", "u1")])}, "records"),
        ({"images": np.array(["a"])}, "type <U1"),
        ({"images": ROWS[0]}, "10x8, expected [N, H, W]"),
        ({"images": ROWS[:0]}, "holds no images"),
        ({"images": np.zeros((2, 3, 4, 3))}, "2x3x4x3"),
        ({"images": np.full((1, 4, 4), np.nan)}, "NaN"),
        ({"images": np.full((1, 4, 4), 1e300)}, "infinite"),
        ({"images": np.full((1, 4, 4), 2**40)}, "more than 32 bits"),
        ({"a": ROWS, "b": ROWS}, "which are the images"),
        ({"labels": np.arange(12)}, "which are the images"),
        ({"images": ROWS, "labels": np.arange(11)}, "labels has shape 11, expected 12"),
        ({"images": ROWS, "labels": np.arange(12) / 2}, "fractions"),
        ({"images": ROWS, "labels": np.full(12, np.inf)}, "fractions"),
        ({"images": ROWS, "labels": np.array(["a", None] * 6)}, "Python objects"),
        ({"images": ROWS, "subjects": np.array(["a", " "] * 6)}, "empty"),
        ({"images": ROWS, "split": np.array(["train", "tests"] * 6)}, "split 'tests'"),
        ({"images": ROWS, "slices": np.array(["one"] * 12)}, "slice 'one'"),
    ],
)
def test_unusable_archives_are_refused_by_name(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    message = refused(save(tmp_path / "bad.npz", **arrays))
    assert "bad.npz" in message
    assert words in message


def npy_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header_of(shape: str, descr: str = "'|u1'", version: int = 1) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no NumPy header"),
        (b"not an array", "no NumPy header"),
        (npy_bytes(ROWS)[:-1], "promises"),
        (npy_bytes(ROWS) + b"\0", "promises"),
        (header_of("(1000000, 1000000, 1000)"), "promises"),
        (header_of("(-1, 4, 4)"), "shape"),
        (header_of("(True, 4, 4)"), "shape"),
        (header_of("(2.0, 4, 4)"), "shape"),
        (header_of("open('x')"), "header is damaged"),
        (header_of("(2, 4, 4)", "'|O'"), "Python objects"),
        (header_of("(2, 4, 4)", "'nonsense'"), "header is damaged"),
        (header_of("(0, 4, 4)"), "holds no images"),
        (b"\x93NUMPY\x01\x00\x00\x00" + bytes(64), "header of 0 bytes"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(64), "header of 4294967295 bytes"),
        (b"\x93NUMPY\x09\x00\x76\x00" + bytes(200), "no NumPy header"),
    ],
)
def test_damaged_arrays(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "bad.npy").write_bytes(data)
    message = refused(tmp_path / "bad.npy")
    assert "bad.npy" in message
    assert words in message


def test_headers_of_version_2_and_3(tmp_path: Path) -> None:
    for version in (2, 3):
        (tmp_path / "a.npy").write_bytes(header_of("(12, 10, 8)", version=version) + ROWS.tobytes())
        picture = read_source(find(tmp_path / "a.npy").sources[11])
        assert isinstance(picture, Picture)
        np.testing.assert_array_equal(picture.pixels[0], ROWS[11])


def zip_of(path: Path, members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def test_archives_that_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = npy_bytes(ROWS)
    assert "promises" in refused(zip_of(tmp_path / "short.npz", [("images.npy", whole[:-5])]))
    assert "cannot be read as .npz" in refused(zip_of(tmp_path / "x.npz", [("images.npy", whole)]).rename(
        _cut(tmp_path / "x.npz")))  # fmt: skip
    with pytest.warns(UserWarning, match="Duplicate"):
        double = zip_of(tmp_path / "double.npz", [("images.npy", whole), ("images.npy", whole)])
    assert "two arrays of one name" in refused(double)
    flipped = bytearray(zip_of(tmp_path / "crc.npz", [("images.npy", whole)], zipfile.ZIP_STORED).read_bytes())
    flipped[flipped.index(ROWS.tobytes()[:40]) + 20] ^= 1
    (tmp_path / "crc.npz").write_bytes(bytes(flipped))
    assert "CRC" in refused(tmp_path / "crc.npz")
    monkeypatch.setattr(stack, "_DEFLATE_LIMIT", 0)
    assert "decompression bomb" in refused(zip_of(tmp_path / "bomb.npz", [("images.npy", whole)]))


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-30])
    return path


def test_what_is_unpacked_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "large.npz", images=ROWS)
    size = len(npy_bytes(ROWS))
    monkeypatch.setattr(stack, "MAX_UNPACKED", size - 1)
    with pytest.raises(DataError, match="are left of what is unpacked") as caught:
        read_entry(path, "images:0")
    assert "numpy.savez" in caught.value.remedy
    assert "once unpacked" in refused(path)
    monkeypatch.setattr(stack, "MAX_UNPACKED", size)
    assert len(read_all(path)) == 12


def test_large_archives_without_compression_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "MAX_UNPACKED", 100)
    monkeypatch.setattr(stack._Archive, "read", lambda *_: pytest.fail("unpacked"))
    for name, array in (("c.npz", ROWS), ("f.npz", np.asfortranarray(ROWS)), ("e.npz", ROWS.astype(">u2"))):
        np.savez(tmp_path / name, other=np.zeros(3), images=array)
        for picture, pixels in zip(read_all(tmp_path / name), ROWS, strict=True):
            np.testing.assert_array_equal(picture.pixels[0], pixels)


@pytest.mark.parametrize("entry", ["images:12", "images:-1", "images:x", "images", "other:0", 0, ":0", ""])
def test_rows_that_are_not_there(tmp_path: Path, entry: int | str) -> None:
    with pytest.raises(DataError, match="a.npz"):
        read_entry(save(tmp_path / "a.npz", images=ROWS), entry)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    for name, entry in (("a.npz", "images:0"), ("a.npy", 0)):
        for array in (ROWS, ROWS[:5] + 1):
            if name == "a.npz":
                save(tmp_path / name, images=array)
            else:
                (tmp_path / name).unlink(missing_ok=True)
                np.save(tmp_path / name, array)
            picture = read_entry(tmp_path / name, entry)
            assert isinstance(picture, Picture)
            np.testing.assert_array_equal(picture.pixels[0], array[0])


def test_an_archive_is_unpacked_once_for_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "many.npz", images=np.concatenate([ROWS] * 20))
    calls = []
    plain = stack._Archive.read
    monkeypatch.setattr(stack._Archive, "read", lambda self, name, most: calls.append(name) or plain(self, name, most))
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda k: read_entry(path, f"images:{k}"), range(240)))
    assert calls == ["images"]
    for k, picture in enumerate(read):
        assert isinstance(picture, Picture)
        np.testing.assert_array_equal(picture.pixels[0], ROWS[k % 12])


def test_one_row_of_a_large_array_does_not_load_the_others(tmp_path: Path) -> None:
    """A sparse file of 40 GB: only a mapped read can answer."""
    path = tmp_path / "huge.npy"
    with path.open("wb") as stream:
        stream.write(header_of("(40000, 1000, 1000)"))
        stream.truncate(128 + 40_000 * 1_000_000)
        stream.seek(128 + 39_999 * 1_000_000)
        stream.write(b"\x07" * 1_000_000)
    sources = find(path).sources
    assert len(sources) == 40_000
    picture = read_source(sources[-1])
    assert isinstance(picture, Picture)
    assert picture.pixels.shape == (1, 1000, 1000)
    assert (picture.pixels == 7).all()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_an_error_or_the_same_number_of_values(tmp_path: Path, data: st.DataObject) -> None:
    packed = data.draw(st.booleans())
    path = tmp_path / ("a.npz" if packed else "a.npy")
    save(path, images=ROWS, labels=np.arange(12)) if packed else np.save(path, ROWS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1 if packed else 130))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    with contextlib.suppress(DataError):
        scans = [read_source(source) for source in find(path).sources]
        assert sum(s.pixels.size for s in scans if isinstance(s, Picture)) == ROWS.size
