"""What layouts and options bring to a preparation: masks, windows, folds, sides, depth matching, pixels decoded once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from stylescan.data import render
from stylescan.data.duplicates import Copies
from stylescan.data.layouts.found import Listing
from stylescan.data.layouts.table import find_sources
from stylescan.data.options import PrepareOptions
from stylescan.data.prepare import prepare
from stylescan.data.prepared import PreparedDataset
from stylescan.data.sources import read_hashed
from stylescan.data.spool import SpooledShard
from stylescan.errors import ConfigError, DataError

SUBJECTS, SLICES = 24, 4


def options(**values: Any) -> PrepareOptions:
    return PrepareOptions.model_validate({"resolution": 16, "workers": 1, "keep_ids": True, **values})


def picture(number: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(number).integers(20, 250, (side, side)).astype(np.uint8)


def write_oasis(root: Path, side: int = 16) -> Path:
    """Slices with masks of the values 0, 85, 170, 255, and none for the last subject."""
    for subject in range(1, SUBJECTS + 1):
        split = "train" if subject <= 20 else "validate" if subject <= 22 else "test"
        for number in range(SLICES):
            image = picture(100 * subject + number, side)
            mask = np.digitize(image, (80, 140, 200)).astype(np.uint8) * 85
            for kind, folder, pixels in (("case", split, image), ("seg", f"seg_{split}", mask)):
                if kind == "seg" and subject == SUBJECTS:
                    continue
                place = root / "keras_png_slices_data" / f"keras_png_slices_{folder}"
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place / f"{kind}_{subject:03d}_slice_{number}.nii.png")
    return root


def write_flat(root: Path, *, sides: bool = False, classes: bool = False) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for subject in range(SUBJECTS):
        label = ("ill", "well")[subject % 2]
        for number in range(SLICES):
            side = ("left", "right")[subject % 3 == 0]
            name = f"p{subject:02d}_{number + 3 * (classes and label == 'ill')}{'_' + side if sides else ''}.png"
            place = root / label if classes else root
            place.mkdir(exist_ok=True)
            Image.fromarray(picture(100 * subject + number)).save(place / name)
    return root


NAMES = r"(?P<subject>p\d+)_(?P<slice>\d+)(?:_(?P<side>left|right))?"


def test_masks_lie_on_their_images_and_keep_their_values(tmp_path: Path) -> None:
    dataset, audit = prepare(write_oasis(tmp_path / "raw"), tmp_path / "data", options())
    assert dataset.has_masks
    dataset.verify()
    everything = np.arange(len(dataset))
    images, masks = dataset.read(everything)[:, 0], dataset.read_masks(everything)
    with_mask = dataset.subjects != f"{SUBJECTS:03d}"
    assert np.array_equal(masks[with_mask], np.digitize(images[with_mask], (80, 140, 200)) * 85)
    assert not masks[~with_mask].any()
    assert (~with_mask).sum() == SLICES
    assert Counter(image.split for image in dataset.manifest.images)["holdout"] == 4 * SLICES
    assert len(dataset.indices("select")) >= 5 * SLICES  # drawn from train, which the set itself does not do
    assert (dataset.manifest.plane, dataset.manifest.symmetry, dataset.manifest.anatomy) == (
        "axial", "left-right", "brain",
    )  # fmt: skip
    assert any("seg" in text or "mask" in text for text in (*audit.findings.notes, *audit.findings.warnings))


def test_resampled_masks_have_no_new_values(tmp_path: Path) -> None:
    dataset, _ = prepare(write_oasis(tmp_path / "raw", side=40), tmp_path / "data", options())
    assert set(np.unique(dataset.read_masks(np.arange(len(dataset))))) == {0, 85, 170, 255}


def test_masks_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    root = write_oasis(tmp_path / "raw")
    bad = next(root.rglob("seg_003_slice_1.nii.png"))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(bad)
    with pytest.raises(DataError, match=r"seg_003_slice_1.nii.png: mask of 1x8x8, the scan has 1x16x16"):
        prepare(root, tmp_path / "data", options())


def test_a_set_without_masks_says_so(tmp_path: Path) -> None:
    dataset, _ = prepare(write_flat(tmp_path / "raw"), tmp_path / "data", options(pattern=NAMES))
    assert not dataset.has_masks
    with pytest.raises(DataError, match="no masks"):
        dataset.read_masks([0])


def test_a_damaged_mask_file_is_found(tmp_path: Path) -> None:
    prepare(write_oasis(tmp_path / "raw"), tmp_path / "data", options())
    file = tmp_path / "data" / "shards" / "masks-00000.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataError, match="masks-00000.npy: content differs"):
        PreparedDataset.open(tmp_path / "data").verify()
    file.unlink()
    with pytest.raises(DataError, match="masks-00000.npy: shard is missing"):
        PreparedDataset.open(tmp_path / "data")


def test_folds_hold_out_everybody_once(tmp_path: Path) -> None:
    raw, held = write_flat(tmp_path / "raw"), []
    for fold in range(3):
        out = tmp_path / f"fold{fold}"
        dataset, _ = prepare(raw, out, options(pattern=NAMES, folds=3, fold=fold))
        held += sorted(set(dataset.subjects[dataset.indices("holdout")].tolist()))
        assert dataset.manifest.preparation["fold"] == fold
    assert sorted(held) == [f"p{k:02d}" for k in range(SUBJECTS)]


def test_depth_matching_leaves_as_many_of_each_class_at_each_depth(tmp_path: Path) -> None:
    # The ill are cut three slices deeper: depths 0 to 2 hold the well alone, 4 to 6 the ill.
    raw = write_flat(tmp_path / "raw", classes=True)
    for subject in (3, 5, 7):  # four of the well have one picture in common
        shutil.copy(raw / "well" / "p01_3.png", raw / "well" / f"p{subject:02d}_3.png")
    free, audit = prepare(raw, tmp_path / "free", options(pattern=NAMES))
    assert audit.depth_shortcut is not None
    assert audit.depth_shortcut.notable
    matched, audit = prepare(raw, tmp_path / "matched", options(pattern=NAMES, balance="depth"))
    assert audit.depth_shortcut is not None
    assert not audit.depth_shortcut.notable
    counts = Counter((image.split, image.slice, image.label) for image in matched.manifest.images)
    assert {depth for _, depth, _ in counts} == {3}
    assert all(counts[split, depth, 0] == counts[split, depth, 1] for split, depth, _ in counts)
    assert len(matched) < len(free)
    assert any("depth matched" in note for note in audit.findings.notes)
    (copies,) = audit.findings.byte_duplicates  # under the names that they have now
    assert len(copies) > 1
    assert all(name.startswith("well/") and name.endswith("_3.png") for name in copies)
    # What was kept are the pictures themselves.
    names = {image.source: k for k, image in enumerate(free.manifest.images)}
    places = [names[image.source] for image in matched.manifest.images]
    assert np.array_equal(matched.read(np.arange(len(matched))), free.read(places))


def test_left_sides_become_right_ones(tmp_path: Path) -> None:
    raw = write_flat(tmp_path / "raw", sides=True)
    kept, _ = prepare(raw, tmp_path / "kept", options(pattern=NAMES, plane="coronal"))
    turned, _ = prepare(raw, tmp_path / "turned", options(pattern=NAMES, plane="coronal", laterality="canonicalise"))
    everything = np.arange(len(kept))
    left = np.array([image.side == "left" for image in kept.manifest.images])
    before, after = kept.read(everything), turned.read(everything)
    assert left.any()
    assert (~left).any()
    assert np.array_equal(after[left], before[left][..., ::-1])
    assert np.array_equal(after[~left], before[~left])
    assert {image.side for image in turned.manifest.images} == {"right"}
    assert [image.extra["original_side"] for image in turned.manifest.images] == [
        image.side for image in kept.manifest.images
    ]


def test_sides_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    raw = write_flat(tmp_path / "raw")
    with pytest.raises(DataError, match="have no side"):
        prepare(raw, tmp_path / "data", options(pattern=NAMES, plane="coronal", laterality="canonicalise"))
    assert not (tmp_path / "data").exists()


def write_ct(root: Path) -> Path:
    root.mkdir()
    for subject in range(8):
        voxels = np.random.default_rng(subject).uniform(-200, 300, (16, 16, 3)).round().astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), root / f"ct{subject}.nii.gz")
    return root


def test_a_window_maps_all_volumes_alike_and_is_recorded(tmp_path: Path) -> None:
    raw = write_ct(tmp_path / "raw")
    dataset, _ = prepare(raw, tmp_path / "data", options(window="brain", min_foreground=0.0, bits=16))
    intensity = dataset.manifest.intensity
    assert (intensity.mapping, intensity.window) == ("window", "brain 40/80")
    assert {(image.value_low, image.value_high) for image in dataset.manifest.images} == {(0.0, 80.0)}
    voxels = np.asarray(nib.load(raw / "ct3.nii.gz").dataobj)
    place = next(k for k, i in enumerate(dataset.manifest.images) if i.source == "ct3.nii.gz" and i.slice == 1)
    expected = np.clip(voxels[:, :, 1].T[::-1, ::-1] / 80.0, 0, 1)
    assert np.abs(dataset.read([place])[0, 0] / 65535 - expected).max() <= 1 / 65535


@pytest.mark.parametrize(("window", "words"), [("brian", "did you mean brain"), ("40/0", "width"), ("x/y", "neither")])
def test_windows_that_mean_nothing_are_refused_at_once(window: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(write_ct(tmp_path / "raw"), tmp_path / "data", options(window=window))
    assert words in str(caught.value)


def test_a_window_of_eight_bit_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="8-bit values, and --window"):
        prepare(write_flat(tmp_path / "raw"), tmp_path / "data", options(pattern=NAMES, window="brain"))


@pytest.mark.parametrize("option", [{"label_column": "group"}, {"modality": ("T1w",)}])
def test_options_that_a_layout_would_pass_over_are_refused(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layout flat has no use for it"):
        prepare(write_flat(tmp_path / "raw"), tmp_path / "data", options(pattern=NAMES, **option))


def test_pictures_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(source: object) -> None:
        raise AssertionError(f"{source} was read a second time")

    monkeypatch.setattr(render, "read_source", never)
    monkeypatch.setattr("stylescan.data.prepare._CLOSELY", 0)  # those are read again on purpose
    raw = write_flat(tmp_path / "raw")
    dataset, _ = prepare(raw, tmp_path / "data", options(pattern=NAMES))
    assert np.array_equal(dataset.read([5])[0, 0], picture(101))
    assert not (tmp_path / "data" / ".prepare").exists()


def test_pixels_left_by_an_interrupted_call_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = write_flat(tmp_path / "raw"), tmp_path / "data"

    def full(job: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("stylescan.data.writing.write_shard", full)
        with pytest.raises(DataError, match="cannot write"):
            prepare(raw, out, options(pattern=NAMES))
    spooled = list((out / ".prepare" / "spool").glob("*.raw"))
    assert spooled
    for file in spooled:
        file.write_bytes(bytes(file.stat().st_size))
    dataset, _ = prepare(raw, out, options(pattern=NAMES))
    assert np.array_equal(dataset.read([5])[0, 0], picture(101))


def test_the_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    raw = write_oasis(tmp_path / "raw")
    one, _ = prepare(raw, tmp_path / "one", options())
    two, _ = prepare(raw, tmp_path / "two", options(workers=2))
    assert one.content_hash == two.content_hash
    assert [shard.sha256 for shard in one.manifest.masks] == [shard.sha256 for shard in two.manifest.masks]


def test_listing_follows_no_linked_folders_and_names_folders_it_may_not_read(tmp_path: Path) -> None:
    raw = write_flat(tmp_path / "raw")
    (raw / "again").symlink_to(raw, target_is_directory=True)
    assert len(Listing(raw).files) == SUBJECTS * SLICES
    outside = tmp_path / "outside.png"
    shutil.copy(raw / "p00_0.png", outside)
    (raw / "linked.png").symlink_to(outside)
    with pytest.raises(DataError, match="a link that leads out"):
        _ = Listing(raw).files


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards, and tasks of the survey, of 16 pictures: what happens to large sets happens to small ones."""
    monkeypatch.setattr("stylescan.data.writing.SHARD_IMAGES", 16)
    monkeypatch.setattr("stylescan.data.reading.TASKS_A_WORKER", 1)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(
    "case", ["plain", "sixteen bits", "masks", "another size", "mixed sizes", "colour first", "a file left out"]
)
def test_a_spool_becomes_the_shard_only_where_nothing_is_left_to_do(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_oasis(tmp_path / "raw") if case == "masks" else write_flat(tmp_path / "raw")
    values: dict[str, Any] = {} if case == "masks" else {"pattern": NAMES}
    if case == "sixteen bits":
        values["bits"] = 16
    elif case == "another size":
        values["resolution"] = 32
    elif case == "mixed sizes":
        Image.fromarray(picture(1, side=24)).save(raw / "p00_1.png")
    elif case == "colour first":
        Image.fromarray(np.random.default_rng(5).integers(0, 255, (16, 16, 3), np.uint8)).save(raw / "p00_0.png")
    elif case == "a file left out":
        (raw / "p03_1.png").write_bytes(b"")
        values["skip_corrupt"] = True
    adopted = []

    def counted(job: render.ShardJob, spool: SpooledShard) -> render.ShardResult | None:
        result = render.adopt_shard(job, spool)
        adopted.append(result is not None)
        return result

    with monkeypatch.context() as patch:
        patch.setattr("stylescan.data.writing.adopt_shard", counted)
        one, first = prepare(raw, tmp_path / "one", options(**values))
    with monkeypatch.context() as patch:
        patch.setattr("stylescan.data.writing.adopt_shard", lambda job, spool: None)
        two, second = prepare(raw, tmp_path / "two", options(**values))
    one.verify()
    assert [shard.sha256 for shard in one.manifest.shards] == [shard.sha256 for shard in two.manifest.shards]
    assert (one.content_hash, first.dark, first.empty) == (two.content_hash, second.dark, second.empty)
    assert np.array_equal(one.read(np.arange(len(one))), two.read(np.arange(len(two))))
    expected = {"plain": 6, "mixed sizes": 5}.get(case)
    assert sum(adopted) == expected if expected else not any(adopted[1:])


def test_copies_are_counted_anew_where_images_are_left_out() -> None:
    copies = Copies(equal=[[0, 2, 5], [1, 3]], near=[(0, 4), (3, 5), (4, 5)])
    assert copies.among([0, 4, 5]) == Copies(equal=[[0, 2]], near=[(0, 1), (1, 2)])


def test_a_changed_mask_is_a_changed_scan(tmp_path: Path) -> None:
    root = write_oasis(tmp_path / "raw")
    prepare(root, tmp_path / "data", options())
    again, audit = prepare(root, tmp_path / "data", options())
    assert any("up to date" in note for note in audit.findings.notes)
    mask = next(root.rglob("seg_003_slice_1.nii.png"))
    Image.fromarray(np.full((16, 16), 85, np.uint8)).save(mask)
    with pytest.raises(DataError, match="scans that changed since"):
        prepare(root, tmp_path / "data", options())
    assert again.has_masks


def test_masks_that_are_not_counted_like_their_images_are_refused(tmp_path: Path) -> None:
    prepare(write_oasis(tmp_path / "raw"), tmp_path / "data", options())
    file = tmp_path / "data" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["masks"][0]["count"] += 1
    file.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="the masks' counts are not those of the shards"):
        PreparedDataset.open(tmp_path / "data")


def test_a_disk_that_fails_late_leaves_no_finished_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stylescan.data.writing.fsync_file", full)
    with pytest.raises(DataError, match=r"cannot write \(No space left on device\)"):
        prepare(write_flat(tmp_path / "raw"), tmp_path / "data", options(pattern=NAMES))
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_workers_do_not_run_a_script_that_has_no_guard(tmp_path: Path) -> None:
    raw, script = write_flat(tmp_path / "raw"), tmp_path / "script.py"
    script.write_text(
        "print('once', flush=True)\n"
        "from stylescan import prepare_scans\n"
        f"data = prepare_scans({str(raw)!r}, {str(tmp_path / 'data')!r}, pattern={NAMES!r}, workers=2)\n"
        "print(len(data), flush=True)\n"
    )
    source = str(Path(render.__file__).parents[2])
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120,
                          env={**os.environ, "PYTHONPATH": source})  # fmt: skip
    assert (done.returncode, done.stdout.split()) == (0, ["once", str(SUBJECTS * SLICES)]), done.stderr


def test_the_hash_of_a_scan_of_two_files_depends_on_both(tmp_path: Path) -> None:
    image = nib.AnalyzeImage(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    digests = set()
    for number, changed in enumerate((None, "s.img", "s.hdr")):
        folder = tmp_path / str(number)
        folder.mkdir()
        nib.save(image, folder / "s.img")
        if changed:
            data = bytearray((folder / changed).read_bytes())
            data[-1 if changed == "s.img" else 200] ^= 1  # byte 200 of the header is free text
            (folder / changed).write_bytes(data)
        (source,) = find_sources(folder, PrepareOptions())[0].sources
        digests.add(read_hashed(source)[1])
    assert len(digests) == 3
