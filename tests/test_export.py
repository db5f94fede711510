"""Export: a zip that others read, and that `prepare` reads back with nothing lost."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylescan.cli import run
from stylescan.cli.export import export
from stylescan.data.export import export_zip
from stylescan.data.options import PrepareOptions
from stylescan.data.prepare import prepare
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError, DataError, StylescanError


def written(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        document = json.loads(archive.read("dataset.json"))
        names = [name for name in archive.namelist() if name != "dataset.json"]
        return document, {name: np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names}


def prepare_list(folder: Path, values: np.dtype[Any] | type = np.uint8, **options: Any) -> PreparedDataset:
    """40 subjects of 3 slices in two classes, with sides and slice numbers, through a CSV list."""
    folder.mkdir(parents=True)
    lines = ["path,subject,label,side,slice"]
    generator = np.random.default_rng(9)
    for subject in range(40):
        for number in range(3):
            image = generator.integers(0, 256, (16, 16)).astype(values) * (1 if values is np.uint8 else 250)
            name = f"{subject}_{number}.png"
            Image.fromarray(image).save(folder / name)
            lines.append(
                f"{name},{subject},{'ill' if subject % 3 else 'well'},{('left', 'right')[subject % 2]},{number}"
            )
    (folder / "list.csv").write_text("\n".join(lines))
    return prepare(folder, folder.parent / f"{folder.name}-data", PrepareOptions(workers=1, **options))[0]


def test_export_and_prepare_are_a_round_trip(tmp_path: Path) -> None:
    first = prepare_list(tmp_path / "a", plane="coronal")
    assert export_zip(first, tmp_path / "set.zip", split="all") == 120
    second, _ = prepare(tmp_path / "set.zip", tmp_path / "again", PrepareOptions(workers=1, keep_ids=True))
    np.testing.assert_array_equal(second.read(range(120)), first.read(range(120)))
    np.testing.assert_array_equal(second.labels, first.labels)
    np.testing.assert_array_equal(second.subjects, first.subjects)
    assert second.class_names == first.class_names
    ours, theirs = first.manifest, second.manifest
    assert [i.split for i in ours.images] == [i.split for i in theirs.images]
    assert {i.split for i in ours.images} == {"train", "select", "holdout"}
    assert [(i.side, i.slice) for i in ours.images] == [(i.side, i.slice) for i in theirs.images]
    assert (theirs.plane, theirs.symmetry, theirs.claim) == ("coronal", "none", "subject-wise")


def test_the_form_is_that_of_the_field(make_dataset: Callable[..., PreparedDataset], tmp_path: Path) -> None:
    dataset = make_dataset()
    train = dataset.indices("train")
    assert export_zip(dataset, tmp_path / "set.zip") == len(train)
    document, images = written(tmp_path / "set.zip")
    assert list(images) == [f"00000/img{k:08d}.png" for k in range(len(train))]
    assert document["labels"] == [[name, int(label)] for name, label in zip(images, dataset.labels[train])]
    np.testing.assert_array_equal(np.stack(list(images.values())), dataset.read(train)[:, 0])
    assert all(image.dtype == np.uint8 for image in images.values())
    assert {split for _, split in document["splits"]} == {"train"}
    assert document["subjects"] == [[name, str(subject)] for name, subject in zip(images, dataset.subjects[train])]


def test_a_thousand_images_a_folder(make_dataset: Callable[..., PreparedDataset], tmp_path: Path) -> None:
    dataset = make_dataset(subjects=6, slices=201, resolution=4)
    reported: list[tuple[int, int]] = []
    assert (
        export_zip(dataset, tmp_path / "a.zip", split="all", progress=lambda d, n, _: reported.append((d, n))) == 1206
    )
    _, images = written(tmp_path / "a.zip")
    assert list(images)[999:1001] == ["00000/img00000999.png", "00001/img00001000.png"]
    assert reported[-1] == (1206, 1206)


def test_equal_data_give_equal_bytes(make_dataset: Callable[..., PreparedDataset], tmp_path: Path) -> None:
    dataset = make_dataset()
    for name in ("a.zip", "b.zip"):
        export_zip(dataset, tmp_path / name)
        os.utime(tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]


def test_sixteen_bits(tmp_path: Path) -> None:
    dataset = prepare_list(tmp_path / "wide", np.uint16, bits=16)
    assert dataset.bits == 16
    export_zip(dataset, tmp_path / "16.zip", split="all")
    _, images = written(tmp_path / "16.zip")
    pixels = dataset.read(range(120))[:, 0]
    np.testing.assert_array_equal(np.stack(list(images.values())), pixels)
    export_zip(dataset, tmp_path / "8.zip", split="all", bits=8)
    _, narrow = written(tmp_path / "8.zip")
    np.testing.assert_array_equal(np.stack(list(narrow.values())), np.rint(pixels / 257).astype(np.uint8))
    assert {int(i.max()) for i in narrow.values()} >= {255}


def test_eight_bits_as_sixteen(make_dataset: Callable[..., PreparedDataset], tmp_path: Path) -> None:
    dataset = make_dataset()
    export_zip(dataset, tmp_path / "a.zip", bits=16)
    _, images = written(tmp_path / "a.zip")
    np.testing.assert_array_equal(
        np.stack(list(images.values())), dataset.read(dataset.indices("train"))[:, 0].astype(np.uint16) * 257
    )


def test_without_classes(make_dataset: Callable[..., PreparedDataset], tmp_path: Path) -> None:
    export_zip(make_dataset(classes=0), tmp_path / "none.zip")
    export_zip(make_dataset(), tmp_path / "ignored.zip", ignore_classes=True)
    for name in ("none.zip", "ignored.zip"):
        document, _ = written(tmp_path / name)
        assert document["labels"] is None
        assert "class_names" not in document


def changed(dataset: PreparedDataset, **values: Any) -> PreparedDataset:
    return PreparedDataset.assemble(dataset.path, dataset.manifest.model_copy(update=values))


def test_an_image_without_class_is_not_given_one(make_dataset: Callable[..., PreparedDataset], tmp_path: Path) -> None:
    dataset = make_dataset()
    images = list(dataset.manifest.images)
    images[0] = images[0].model_copy(update={"label": None})
    partly = changed(dataset, images=images)
    with pytest.raises(DataError, match="1 of .* images have no class"):
        export_zip(partly, tmp_path / "a.zip")
    assert export_zip(partly, tmp_path / "a.zip", ignore_classes=True)


def test_groups_of_look_alikes_are_nobody(make_dataset: Callable[..., PreparedDataset], tmp_path: Path) -> None:
    export_zip(changed(make_dataset(), claim="image-wise"), tmp_path / "a.zip")
    document, _ = written(tmp_path / "a.zip")
    assert document["claim"] == "image-wise"
    assert "subjects" not in document


def test_only_hashed_names_leave(tmp_path: Path) -> None:
    folder = tmp_path / "secret"
    folder.mkdir()
    lines = ["path,subject,diary"]
    for k in range(12):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (16, 16), dtype=np.uint8)).save(
            folder / f"MEYER{k}.png"
        )
        lines.append(f"MEYER{k}.png,PATIENT{k},likes tea")
    (folder / "list.csv").write_text("\n".join(lines))
    dataset, _ = prepare(folder, tmp_path / "data", PrepareOptions(workers=1))
    export_zip(dataset, tmp_path / "a.zip", split="all")
    data = (tmp_path / "a.zip").read_bytes()
    assert b"sub-" in data
    assert not any(word in data for word in (b"MEYER", b"PATIENT", b"tea", b"img-", str(tmp_path).encode()))


def test_nothing_is_overwritten_unasked(make_dataset: Callable[..., PreparedDataset], tmp_path: Path) -> None:
    dataset, out = make_dataset(), tmp_path / "a.zip"
    out.write_bytes(b"mine")
    with pytest.raises(DataError, match="exists already") as caught:
        export_zip(dataset, out)
    assert "--overwrite" in caught.value.remedy
    assert out.read_bytes() == b"mine"
    export_zip(dataset, out, overwrite=True)
    assert zipfile.is_zipfile(out)
    (tmp_path / "folder.zip").mkdir()
    with pytest.raises(DataError, match="exists already"):
        export_zip(dataset, tmp_path / "folder.zip", overwrite=True)
    with pytest.raises(ConfigError, match="not the name of a zip"):
        export_zip(dataset, tmp_path / "a.tar")


def test_a_failure_leaves_what_stood_there(make_dataset: Callable[..., PreparedDataset], tmp_path: Path) -> None:
    dataset, out = make_dataset(), tmp_path / "a.zip"
    out.write_bytes(b"mine")

    def fail(done: int, total: int, what: str) -> None:
        raise OSError(28, "No space left on device", str(out))

    with pytest.raises(StylescanError, match="could not be written: No space left") as caught:
        export_zip(dataset, out, overwrite=True, progress=fail)
    assert "Free space" in caught.value.remedy
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.zip", b"mine")]


def test_what_no_png_can_hold(make_dataset: Callable[..., PreparedDataset], tmp_path: Path) -> None:
    dataset = make_dataset()
    dataset.channels = 2
    with pytest.raises(DataError, match="2 channels"):
        export_zip(dataset, tmp_path / "a.zip")
    dataset.channels = 3
    with pytest.raises(DataError, match="16 bits"):
        export_zip(dataset, tmp_path / "a.zip", bits=16)
    train_only = make_dataset(subjects=3)
    with pytest.raises(DataError, match="no images in the split holdout"):
        export_zip(train_only, tmp_path / "a.zip", split="holdout")
    assert not list(tmp_path.iterdir())


def test_the_verb(
    make_dataset: Callable[..., PreparedDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_dataset()
    out = tmp_path / "set.zip"
    export(dataset.path, out=out, split="holdout")
    assert capsys.readouterr().out == f"{len(dataset.indices('holdout'))} images: {out}\n"
    assert run(["export", str(dataset.path), "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(["export", str(dataset.path), "--out", str(out), "--overwrite", "--bits", "16"]) == 0
    assert "expect --bits 8" in capsys.readouterr().out
