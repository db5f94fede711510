"""The prepared dataset: exact values, reading across shards, and a clear refusal for every fault."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylescan.data.geometry import Geometry
from stylescan.data.prepared import ImageRecord, IntensityRecord, Manifest, PreparedDataset, ShardRecord, content_hash
from stylescan.data.tensors import to_integers, to_unit_range
from stylescan.errors import DataError
from stylescan.files import file_sha256, write_json_atomic

COUNTS = (3, 4)


def records() -> list[ImageRecord]:
    wide = Geometry(source_height=16, source_width=12, resampled_height=16, resampled_width=12, pad_left=2, pad_right=2)
    full = Geometry(source_height=16, source_width=16, resampled_height=16, resampled_width=16)
    splits = ("train", "train", "select", "holdout", "train", "holdout", "train")
    subjects = ("s0", "s0", "s1", "s2", "s3", "s2", "s3")
    return [
        ImageRecord(
            subject=subjects[k],
            label=None if k == 6 else k % 2,
            split=split,
            source=f"{k}.png",
            source_sha256=str(k),
            geometry=full if k < 2 else wide,
        )
        for k, split in enumerate(splits)
    ]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Seven images of value 10 * index in two shards."""
    shards = []
    (tmp_path / "shards").mkdir()
    for number, (start, count) in enumerate(zip((0, COUNTS[0]), COUNTS)):
        file = tmp_path / "shards" / f"images-{number:05d}.npy"
        values = 10 * np.arange(start, start + count, dtype=np.uint8)
        np.save(file, np.broadcast_to(values[:, None, None, None], (count, 1, 16, 16)))
        shards.append(ShardRecord(file=f"shards/{file.name}", count=count, sha256=file_sha256(file)))
    manifest = Manifest(
        content_hash="c", preparation={}, preparation_hash="p", resolution=16, channels=1, bits=8,
        class_names=["a", "b"], claim="subject-wise", intensity=IntensityRecord(), shards=shards, images=records(),
    )  # fmt: skip
    write_json_atomic(tmp_path / "manifest.json", manifest.model_dump(mode="json"))
    return tmp_path


def test_attributes_and_splits(dataset: Path) -> None:
    data = PreparedDataset.open(dataset)
    assert (len(data), data.resolution, data.channels, data.bits, data.num_classes) == (7, 16, 1, 8, 2)
    assert data.class_names == ("a", "b")
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == [0, 1, 0, 1, 0, 1, -1]
    assert data.subjects.tolist() == ["s0", "s0", "s1", "s2", "s3", "s2", "s3"]
    assert data.indices("train").tolist() == [0, 1, 4, 6]
    assert data.indices("select").tolist() == [2]
    assert data.indices("holdout").tolist() == [3, 5]
    with pytest.raises(ValueError, match="test"):
        data.indices("test")  # type: ignore[arg-type]


def test_read_keeps_the_order_across_shards_and_repeats(dataset: Path) -> None:
    data = PreparedDataset.open(dataset)
    images = data.read([6, 0, 3, 3, 2])
    assert images.shape == (5, 1, 16, 16)
    assert images.dtype == np.uint8
    assert images[:, 0, 5, 5].tolist() == [60, 0, 30, 30, 20]
    images[:] = 1  # a copy: the file below must not change
    assert data.read(np.array([6]))[0, 0, 0, 0] == 60
    assert data.read([]).shape == (0, 1, 16, 16)
    for wrong in ([7], [-1]):
        with pytest.raises(IndexError):
            data.read(wrong)


def test_pickles_by_path_not_by_content(dataset: Path) -> None:
    data = PreparedDataset.open(dataset)
    assert len(pickle.dumps(data)) < 1000
    assert pickle.loads(pickle.dumps(data)).read([4])[0, 0, 0, 0] == 40  # noqa: S301


def test_output_geometry_is_the_most_frequent(dataset: Path) -> None:
    assert PreparedDataset.open(dataset).output_geometry().pad_left == 2


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_integers_and_unit_range_are_exact_inverses(bits: int, dtype: type) -> None:
    values = np.arange(2**bits).astype(dtype)
    unit = to_unit_range(values)
    assert unit.dtype == torch.float32
    assert (unit[0].item(), unit[-1].item()) == (-1.0, 1.0)
    assert torch.all(unit[1:] > unit[:-1])
    np.testing.assert_array_equal(to_integers(unit, bits), values)


def test_to_integers_rounds_and_clips() -> None:
    values = torch.tensor([-3.0, -1.0 + 0.6 / 127.5, 0.0, 7.0])
    assert to_integers(values, 8).tolist() == [0, 1, 128, 255]
    with pytest.raises(ValueError, match="12"):
        to_integers(values, 12)
    with pytest.raises(ValueError, match="float32"):
        to_unit_range(np.zeros(3, np.float32))


def edit(dataset: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads((dataset / "manifest.json").read_text())
    change(value)
    (dataset / "manifest.json").write_text(json.dumps(value))


def shard(dataset: Path) -> Path:
    return dataset / "shards" / "images-00001.npy"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda d: (d / "manifest.json").unlink(), "stylescan prepare"),
    "unfinished": (lambda d: ((d / "manifest.json").unlink(), (d / ".prepare").mkdir()), "it continues"),
    "not json": (lambda d: (d / "manifest.json").write_text("{"), "not valid JSON"),
    "other json": (lambda d: (d / "manifest.json").write_text("[]"), "no schema_version"),
    "newer": (lambda d: edit(d, lambda m: m.update(schema_version=99)), "update stylescan"),
    "unknown key": (lambda d: edit(d, lambda m: m.update(surprise=1)), "surprise"),
    "missing key": (lambda d: edit(d, lambda m: m.pop("bits")), "bits"),
    "absolute shard": (lambda d: edit(d, lambda m: m["shards"][1].update(file="/etc/x.npy")), "inside the dataset"),
    "climbing shard": (lambda d: edit(d, lambda m: m["shards"][1].update(file="a/../../x.npy")), "inside the dataset"),
    "other suffix": (lambda d: edit(d, lambda m: m["shards"][1].update(file="x.pkl")), "inside the dataset"),
    "wrong count": (lambda d: edit(d, lambda m: m["shards"][1].update(count=5)), "do not add up"),
    "bad label": (lambda d: edit(d, lambda m: m["images"][0].update(label=2)), "label is 2"),
    "other geometry": (lambda d: edit(d, lambda m: m["images"][0]["geometry"].update(pad_top=1)), "16x16"),
    "not a power": (lambda d: edit(d, lambda m: m.update(resolution=24)), "power of two"),
    "shard missing": (lambda d: shard(d).unlink(), "missing"),
    "shard truncated": (lambda d: truncate(shard(d)), "truncated"),
    "shard empty": (lambda d: shard(d).write_bytes(b""), "truncated"),
    "shard pickled": (lambda d: np.save(shard(d), np.array([{}]), allow_pickle=True), "damaged"),
    "shard of floats": (lambda d: np.save(shard(d), np.zeros((4, 1, 16, 16))), "float64"),
    "shard too short": (lambda d: np.save(shard(d), np.zeros((3, 1, 16, 16), np.uint8)), "expected (4, 1, 16, 16)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_named_with_a_remedy(dataset: Path, fault: str) -> None:
    breaking, words = FAULTS[fault]
    breaking(dataset)
    with pytest.raises(DataError) as caught:
        PreparedDataset.open(dataset)
    assert words in str(caught.value)
    assert caught.value.remedy


def test_missing_folder_file_and_outside_link(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        PreparedDataset.open(tmp_path / "absent")
    with pytest.raises(DataError, match="a file"):
        PreparedDataset.open(dataset / "manifest.json")
    outside = tmp_path.parent / f"{tmp_path.name}-outside.npy"
    outside.write_bytes(shard(dataset).read_bytes())
    shard(dataset).unlink()
    shard(dataset).symlink_to(outside)
    with pytest.raises(DataError, match="leads out"):
        PreparedDataset.open(dataset)


class Payload:
    """Unpickling this creates the file `target`."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_pickle_named_npy_is_never_run(dataset: Path, tmp_path: Path) -> None:
    target = tmp_path / "was_run"
    shard(dataset).write_bytes(pickle.dumps(Payload(target)))
    with pytest.raises(DataError, match="damaged"):
        PreparedDataset.open(dataset)
    assert not target.exists()


def test_verify_finds_a_changed_pixel(dataset: Path) -> None:
    PreparedDataset.open(dataset).verify()
    data = bytearray(shard(dataset).read_bytes())
    data[-1] ^= 1
    shard(dataset).write_bytes(bytes(data))
    with pytest.raises(DataError, match="images-00001"):
        PreparedDataset.open(dataset).verify()


def test_content_hash_sees_pixels_records_and_order_but_not_names() -> None:
    images, pixels = records(), [str(k) for k in range(7)]
    base = content_hash(pixels, images, ["a", "b"])
    renamed = [i.model_copy(update={"subject": f"x{i.subject}", "source": "?"}) for i in images]
    assert content_hash(pixels, renamed, ["a", "b"]) == base
    merged = [i.model_copy(update={"subject": "s0"}) for i in images]
    relabelled = [images[0].model_copy(update={"label": 1}), *images[1:]]
    others = [
        content_hash(pixels, merged, ["a", "b"]),
        content_hash(pixels, relabelled, ["a", "b"]),
        content_hash(pixels[::-1], images, ["a", "b"]),
        content_hash(pixels, images, ["b", "a"]),
    ]
    assert len({base, *others}) == 5
