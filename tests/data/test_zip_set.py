"""The interchange zip: images by name from the archive, labels from dataset.json, and no archive is trusted."""

from __future__ import annotations

import contextlib
import io
import json
import stat
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stylescan.data.formats import zipped
from stylescan.data.formats.scans import Picture
from stylescan.data.formats.zipped import read_entry
from stylescan.data.layouts.found import Found, Listing
from stylescan.data.layouts.zip_set import detect_zip_set, find_zip_set
from stylescan.data.options import PrepareOptions
from stylescan.data.prepare import prepare
from stylescan.data.sources import read_source
from stylescan.errors import DataError

PIXELS = np.random.default_rng(3).integers(0, 256, (6, 12, 10), dtype=np.uint8)
NAMES = [f"00000/img{k:08d}.png" for k in range(6)]
LABELS = [[name, k % 3] for k, name in enumerate(NAMES)]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = [(name, png(pixels)) for name, pixels in zip(NAMES, PIXELS)]


def pack(
    path: Path, document: Any = None, members: Sequence[tuple[str | zipfile.ZipInfo, bytes]] = IMAGES, **keys: Any
) -> Path:
    """An archive of `members` and a dataset.json: `document`, or the labels of IMAGES and further `keys`."""
    text = document if isinstance(document, bytes) else json.dumps(document or {"labels": LABELS, **keys}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in [*members, ("dataset.json", text)]:
            archive.writestr(name, data)
    return path


def find(root: Path) -> Found:
    return find_zip_set(Listing(root), PrepareOptions(), None)


def read_all(root: Path) -> list[Any]:
    return [read_source(source) for source in find(root).sources]


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_all(root)
    assert caught.value.remedy
    assert root.name in caught.value.message
    return caught.value.message


def unpack(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return folder


def test_an_archive_and_its_folder_give_the_same(tmp_path: Path) -> None:
    archive = pack(
        tmp_path / "set.zip", class_names=["a", "b", "c"], subjects=[[n, f"s{k}"] for k, n in enumerate(NAMES)]
    )
    folder = unpack(archive, tmp_path / "folder")
    assert detect_zip_set(Listing(archive)) == "a zip archive of images"
    assert detect_zip_set(Listing(folder)) == "images with their labels in dataset.json"
    for root in (archive, folder):
        sources = find(root).sources
        assert [(s.name, s.label, s.subject) for s in sources] == [
            (name, "abc"[k % 3], f"s{k}") for k, name in enumerate(NAMES)
        ]
        for source, pixels in zip(sources, PIXELS):
            picture = read_source(source)
            assert isinstance(picture, Picture)
            np.testing.assert_array_equal(picture.pixels[0], pixels)


def test_labels_without_names_null_and_no_document(tmp_path: Path) -> None:
    assert [s.label for s in find(pack(tmp_path / "plain.zip")).sources] == ["0", "1", "2"] * 2
    assert all(s.label is None for s in find(pack(tmp_path / "null.zip", {"labels": None})).sources)
    bare = tmp_path / "bare.zip"
    extras = [("__MACOSX/00000/._a.png", b"x"), (".DS_Store", b"x"), ("README.txt", b"x")]
    with zipfile.ZipFile(bare, "w") as archive:
        archive.mkdir("00000")
        for name, data in [*IMAGES, *extras]:
            archive.writestr(name, data)
    found = find(bare)
    assert [s.name for s in found.sources] == NAMES
    assert "without classes" in found.notes[0]


def test_what_our_own_export_adds(tmp_path: Path) -> None:
    found = find(
        pack(
            tmp_path / "set.zip",
            splits=[[name, ("train", "select", "holdout")[k % 3]] for k, name in enumerate(NAMES)],
            sides=[[NAMES[0], "left"]],
            slices=[[NAMES[1], 17]],
            plane="axial",
            symmetry="left-right",
            anatomy="brain",
            claim="scan-wise",
        )
    )
    assert [s.split for s in found.sources[:3]] == ["train", "select", "holdout"]
    assert [s.side for s in found.sources[:2]] == ["left", None]
    assert [s.slice for s in found.sources[:2]] == [None, 17]
    assert (found.plane, found.symmetry, found.anatomy, found.scan_wise) == ("axial", "left-right", "brain", True)


def test_groups_of_look_alikes_never_become_people(tmp_path: Path) -> None:
    groups = [[name, "group-1"] for name in NAMES]
    assert all(s.subject is None for s in find(pack(tmp_path / "a.zip", claim="image-wise", subjects=groups)).sources)


def test_other_folders_are_not_taken(tmp_path: Path) -> None:
    assert detect_zip_set(Listing(tmp_path)) is None
    # The form of the Medical Segmentation Decathlon.
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background"}, "training": []}))
    assert detect_zip_set(Listing(tmp_path)) is None
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        detect_zip_set(Listing(tmp_path))


def document(**keys: Any) -> dict[str, Any]:
    return {"labels": LABELS, **keys}


DOCUMENTS: dict[str, tuple[Any, str]] = {
    "not JSON": (b"labels", "not valid JSON"),
    "not text": (b"\xff\xfe{}", "not valid JSON"),
    "twice": (b'{"labels": null, "labels": null}', "occurs twice"),
    "deep": (b"[" * 100_000, "not valid JSON"),
    "a list": ([1], "no `labels`"),
    "no labels": ({"label": []}, "no `labels`"),
    "labels by name": ({"labels": {NAMES[0]: 1}}, "is no list"),
    "fraction": ({"labels": [[NAMES[0], 0.5], *LABELS[1:]]}, "labels[0] is"),
    "truth": ({"labels": [[NAMES[0], True], *LABELS[1:]]}, "labels[0] is"),
    "vector": ({"labels": [[NAMES[0], [0, 1]], *LABELS[1:]]}, "labels[0] is"),
    "text": ({"labels": [[NAMES[0], "1"], *LABELS[1:]]}, "labels[0] is"),
    "negative": ({"labels": [[NAMES[0], -1], *LABELS[1:]]}, "labels[0] is"),
    "no pair": ({"labels": [[NAMES[0]], *LABELS[1:]]}, "labels[0] is"),
    "number for a name": ({"labels": [[7, 1], *LABELS]}, "labels[0] is"),
    "missing entry": ({"labels": [*LABELS, ["00000/gone.png", 1]]}, "not there: 00000/gone.png"),
    "missing label": ({"labels": LABELS[1:]}, f"missing in `labels`: {NAMES[0]}"),
    "label twice": ({"labels": [*LABELS, LABELS[0]]}, "twice"),
    "too few names": (document(class_names=["a", "b"]), "label 2 with 2 class names"),
    "names alike": (document(class_names=["a", "a", "b"]), "class_names"),
    "names not text": (document(class_names=[1, 2, 3]), "class_names"),
    "subject empty": (document(subjects=[[name, " "] for name in NAMES]), "subjects[0]"),
    "subjects of some": (document(subjects=[[NAMES[0], "a"]]), "missing in `subjects`"),
    "unknown split": (document(splits=[[name, "test"] for name in NAMES]), "splits[0]"),
    "split is a list": (document(splits=[[name, ["train"]] for name in NAMES]), "splits[0]"),
    "side": (document(sides=[[NAMES[0], "up"]]), "sides[0]"),
    "slice": (document(slices=[[NAMES[0], 1.5]]), "slices[0]"),
    "plane": (document(plane="oblique"), "`plane`"),
    "plane is a list": (document(plane=["axial"]), "`plane`"),
    "symmetry": (document(symmetry=True), "`symmetry`"),
    "claim": (document(claim="certain"), "`claim`"),
    "anatomy": (document(anatomy="heart"), "`anatomy`"),
}


@pytest.mark.parametrize("trap", DOCUMENTS)
def test_documents_that_do_not_fit(tmp_path: Path, trap: str) -> None:
    content, words = DOCUMENTS[trap]
    archive = pack(tmp_path / "set.zip", content)
    assert words in refused(archive)
    assert words in refused(unpack(archive, tmp_path / "folder"))


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("../evil.png", b"x"), "leads out"),
        (("a/../../evil.png", b"x"), "leads out"),
        (("/etc/evil.png", b"x"), "leads out"),
        (("C:/evil.png", b"x"), "leads out"),
        (("..\\evil.png", b"x"), "leads out"),
        (("evil\n.png", b"x"), "leads out"),
        ((link("evil.png"), b"/etc/passwd"), "is a link"),
    ],
)
def test_names_and_links_that_lead_elsewhere(tmp_path: Path, member: Any, words: str) -> None:
    assert words in refused(pack(tmp_path / "evil.zip", members=[*IMAGES, member]))
    assert not list(tmp_path.parent.glob("evil.png"))


def test_duplicates_encryption_and_methods(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        double = pack(tmp_path / "double.zip", members=[*IMAGES, IMAGES[0]])
    assert "occurs 2 times" in refused(double)
    locked = bytearray(pack(tmp_path / "locked.zip").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(mark) + offset] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(locked))
    message = refused(tmp_path / "locked.zip")
    assert "is encrypted" in message
    assert "damaged" not in message
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(*IMAGES[0])
    assert "packed by method 14" in refused(tmp_path / "lzma.zip")


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(9):
            archive.writestr(f"{k}.png", bytes(2**17))
    monkeypatch.setattr(zipped, "HARMLESS", 2**20)
    assert "decompression bomb" in refused(path)
    monkeypatch.setattr(zipped, "MAX_ENTRY", 2**17 - 1)
    assert "unpacks to 131072 bytes, expected at most 131071" in refused(path)
    monkeypatch.setattr(zipped, "MAX_ENTRY", 2**27)
    monkeypatch.setattr(zipped, "MAX_ENTRIES", 5)
    assert "expected at most 5" in refused(pack(tmp_path / "many.zip"))


def test_entries_that_overlap(tmp_path: Path) -> None:
    """Thousands of names for one piece of the file: the sizes in the directory give it away."""
    path = pack(tmp_path / "names.zip", {"labels": None}, members=[(f"{k:03d}.png", bytes(500)) for k in range(40)])
    data = bytearray(path.read_bytes())
    start = 0
    while (start := data.find(b"PK\x01\x02", start)) >= 0:
        data[start + 20 : start + 28] = (5000).to_bytes(4, "little") * 2
        start += 4
    path.write_bytes(bytes(data))
    assert "they overlap" in refused(path)


def test_damaged_archives_and_images(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip")
    (tmp_path / "cut.zip").write_bytes(path.read_bytes()[:-40])
    assert "cannot be read as a zip archive" in refused(tmp_path / "cut.zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    assert "cannot be read as a zip archive" in refused(tmp_path / "empty.zip")
    data = bytearray(path.read_bytes())
    data[data.index(IMAGES[2][1]) + 60] ^= 1
    (tmp_path / "crc.zip").write_bytes(bytes(data))
    message = refused(tmp_path / "crc.zip")
    assert "CRC" in message
    assert NAMES[2] in message
    members = [*IMAGES[:5], (NAMES[5], b"no picture")]
    assert NAMES[5] in refused(pack(tmp_path / "text.zip", members=members))
    assert "empty" in refused(pack(tmp_path / "none.zip", members=[*IMAGES[:5], (NAMES[5], b"")]))
    with zipfile.ZipFile(tmp_path / "void.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    assert "no images" in refused(tmp_path / "void.zip")
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as archive:
        archive.writestr("set/dataset.json", "{}")
        archive.writestr("set/a.png", IMAGES[0][1])
    assert "at the top of the archive" in refused(tmp_path / "nested.zip")


def test_the_directory_is_read_once_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "a.zip")
    opened = []
    plain = zipfile.ZipFile

    def counted(file: Path) -> zipfile.ZipFile:
        opened.append(file)
        return plain(file)

    monkeypatch.setattr(zipped.zipfile, "ZipFile", counted)
    for source in find(path).sources:
        read_source(source)
    assert len(opened) == 1
    (tmp_path / "a.zip").unlink()
    monkeypatch.undo()
    pack(path, members=[(name, png(255 - pixels)) for name, pixels in zip(NAMES, PIXELS)])
    np.testing.assert_array_equal(read_entry(path, NAMES[0]).pixels[0], 255 - PIXELS[0])


def values_of(task: tuple[Path, int]) -> bytes:
    path, number = task
    return read_entry(path, NAMES[number % 6]).pixels.tobytes()


def test_threads_and_processes_read_at_once(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip")
    expected = [PIXELS[k % 6].tobytes() for k in range(120)]
    tasks = [(path, k) for k in range(120)]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(values_of, tasks)) == expected
    with ProcessPoolExecutor(2) as processes:
        assert list(processes.map(values_of, tasks, chunksize=10)) == expected


def test_threads_that_read_two_archives_do_not_mix_them(tmp_path: Path) -> None:
    paths = [pack(tmp_path / "a.zip"), tmp_path / "b.zip"]
    pack(paths[1], members=[(name, png(255 - pixels)) for name, pixels in zip(NAMES, PIXELS)])
    expected = [(PIXELS[k % 6] if k % 2 == 0 else 255 - PIXELS[k % 6]).tobytes() for k in range(400)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(values_of, [(paths[k % 2], k) for k in range(400)])) == expected


def test_prepare_takes_it_as_it_stands(tmp_path: Path, picture: Callable[..., Any]) -> None:
    images = [picture(seed, 16, 16) for seed in range(40)]
    names = [f"00000/img{k:08d}.png" for k in range(40)]
    archive = pack(
        tmp_path / "set.zip",
        {"labels": [[name, k % 2] for k, name in enumerate(names)]},
        [(name, png(image)) for name, image in zip(names, images)],
    )
    dataset, _ = prepare(archive, tmp_path / "data", PrepareOptions(workers=2, holdout=0.2))
    assert dataset.class_names == ("0", "1")
    assert len(dataset) == 40
    np.testing.assert_array_equal(dataset.read(range(40))[:, 0], np.stack(images))
    other, _ = prepare(unpack(archive, tmp_path / "folder"), tmp_path / "data2", PrepareOptions(workers=1))
    np.testing.assert_array_equal(other.read(range(40)), dataset.read(range(40)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_an_error_or_the_same_pictures(tmp_path: Path, data: st.DataObject) -> None:
    path = pack(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    with contextlib.suppress(DataError):
        for source in find(path).sources:
            picture = read_source(source)
            assert isinstance(picture, Picture)
            assert any(np.array_equal(picture.pixels[0], pixels) for pixels in PIXELS)
