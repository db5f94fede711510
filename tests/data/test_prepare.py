"""prepare as a whole: right pixels, equal results however it was run, nothing half made, and clear refusals."""

from __future__ import annotations

import csv
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stylescan.data import prepare as prepare_module
from stylescan.data import reading, render, writing
from stylescan.data.audit.summary import Audit, audit_lines
from stylescan.data.options import PrepareOptions
from stylescan.data.planes import plane_slices
from stylescan.data.prepare import prepare
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import DataError

PATTERN = r"(?P<subject>\d+)_(?P<slice>\d+)"
Folder = Callable[..., Path]


def run(source: Path, out: Path, **settings: object) -> tuple[PreparedDataset, Audit]:
    return prepare(source, out, PrepareOptions.model_validate({"workers": 1, **settings}))


def text_of(audit: Audit) -> str:
    return "\n".join(audit_lines(audit))


def test_classes_subjects_slices_and_pixels(subject_folder: Folder, tmp_path: Path) -> None:
    root = subject_folder(subjects=20, slices=3)
    data, audit = run(root, tmp_path / "out", pattern=PATTERN)
    assert (data.resolution, data.channels, data.bits, data.class_names) == (32, 1, 8, ("ill", "well"))
    assert (len(data), len(set(data.subjects.tolist())), data.manifest.claim) == (60, 20, "subject-wise")
    assert audit.subjects_by_split == {"train": 10, "select": 5, "holdout": 5}
    for subject in set(data.subjects.tolist()):
        assert len({image.split for image in data.manifest.images if image.subject == subject}) == 1
    # 32x24 pictures keep their pixels, with four black columns on each side.
    first = sorted(root.rglob("*.png"))[0]
    np.testing.assert_array_equal(data.read([0])[0, 0, :, 4:28], np.asarray(Image.open(first)))
    assert not data.read([0])[..., :4].any()
    assert data.output_geometry().pad_left == 4
    assert [image.slice for image in data.manifest.images[:3]] == [0, 1, 2]
    assert len(PreparedDataset.open(tmp_path / "out")) == 60
    assert (tmp_path / "out" / "contact_sheet.png").is_file()
    assert Audit.model_validate_json((tmp_path / "out" / "audit.json").read_text()) == audit
    assert not (tmp_path / "out" / ".prepare").exists()


def test_names_are_hidden_and_the_salt_is_private(subject_folder: Folder, tmp_path: Path) -> None:
    root = subject_folder(subjects=16, slices=2, classes=("miller",))
    out = tmp_path / "out"
    data, _ = run(root, out, pattern=PATTERN)
    shareable = [out / "manifest.json", out / "audit.json", out / ".request"]
    for word in ("miller", "012_", str(tmp_path), "/scans"):
        assert all(word not in file.read_text() for file in shareable), word
    assert all(subject.startswith("sub-") and len(subject) == 14 for subject in data.subjects)
    salt = out / ".salt"
    assert stat.S_IMODE(salt.stat().st_mode) == 0o600
    assert salt.read_text().strip() not in "".join(file.read_text() for file in shareable)
    other, _ = run(root, tmp_path / "other", pattern=PATTERN)
    assert not set(other.subjects.tolist()) & set(data.subjects.tolist())
    assert other.content_hash == data.content_hash
    same, _ = run(root, tmp_path / "same", pattern=PATTERN, salt=salt.read_text().strip())
    assert same.subjects.tolist() == data.subjects.tolist()
    kept, _ = run(root, tmp_path / "kept", pattern=PATTERN, keep_ids=True)
    assert (kept.subjects[0], kept.manifest.images[0].source) == ("000", "miller/000_0.png")


def test_same_result_for_any_number_of_workers(
    subject_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SHARD_IMAGES", 7)
    root = subject_folder(subjects=16, slices=3)
    one, _ = run(root, tmp_path / "one", pattern=PATTERN, workers=1)
    two, _ = run(root, tmp_path / "two", pattern=PATTERN, workers=2)
    assert len(one.manifest.shards) > 3
    assert one.content_hash == two.content_hash
    assert one.manifest.shards == two.manifest.shards


def test_repeat_is_up_to_date_and_changes_are_refused(subject_folder: Folder, tmp_path: Path) -> None:
    root, out = subject_folder(16, 2), tmp_path / "out"
    first, _ = run(root, out, pattern=PATTERN)
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}
    again, audit = run(root, out, pattern=PATTERN, workers=2)
    assert "up to date" in text_of(audit)
    assert again.content_hash == first.content_hash
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()} == before
    with pytest.raises(DataError, match="other settings"):
        run(root, out, pattern=PATTERN, seed=1)
    image = next(root.rglob("*.png"))
    Image.open(image).transpose(Image.Transpose.ROTATE_180).save(image)
    os.utime(image, ns=(1, 1))
    with pytest.raises(DataError, match="scans that changed"):
        run(root, out, pattern=PATTERN)
    assert PreparedDataset.open(out).content_hash == first.content_hash  # nothing was touched
    replaced, _ = run(root, out, pattern=PATTERN, overwrite=True)
    assert replaced.content_hash != first.content_hash
    replaced.verify()


def test_a_refused_overwrite_leaves_the_old_set_whole(subject_folder: Folder, tmp_path: Path) -> None:
    root, out = subject_folder(16, 2), tmp_path / "out"
    first, _ = run(root, out, pattern=PATTERN)
    next(root.rglob("*.png")).write_bytes(b"torn")
    with pytest.raises(DataError, match="cannot be used"):
        run(root, out, pattern=PATTERN, overwrite=True)
    again = PreparedDataset.open(out)
    again.verify()
    assert again.content_hash == first.content_hash


def test_an_interrupted_run_continues_where_it_stopped(
    subject_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SHARD_IMAGES", 8)
    root, out = subject_folder(16, 3), tmp_path / "out"
    whole, _ = run(root, tmp_path / "whole", pattern=PATTERN)
    rendered: list[str] = []
    rendering = render._render

    def interrupted(item: render.RenderItem, job: render.ShardJob) -> Any:
        rendered.append(item.source.name)
        if len(rendered) == 8 * 3 + 4:  # in the middle of the fourth shard
            raise KeyboardInterrupt
        return rendering(item, job)

    monkeypatch.setattr(render, "_render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(root, out, pattern=PATTERN)
    assert not (out / "manifest.json").exists()
    assert sorted(file.name for file in (out / "shards").iterdir()) == [f"images-0000{k}.npy" for k in range(3)]
    assert not list((out / ".prepare").glob("*.tmp"))
    assert stat.S_IMODE((out / ".prepare").stat().st_mode) == 0o700
    with pytest.raises(DataError, match="it continues"):
        PreparedDataset.open(out)
    # A torn journal line and a damaged shard are done again, the rest is kept.
    with (out / ".prepare" / "survey.jsonl").open("a") as stream:
        stream.write('{"name": "torn')
    (out / "shards" / "images-00001.npy").write_bytes(b"damaged")
    surveyed: list[Any] = []
    surveying = reading.survey_sources

    def counting(task: Any) -> Any:
        surveyed.append(task)
        return surveying(task)

    monkeypatch.setattr(reading, "survey_sources", counting)
    rendered.extend(["past the interruption"] * 100)
    data, _ = run(root, out, pattern=PATTERN)
    assert not surveyed  # no scan was surveyed twice
    assert len(rendered) - 128 == 8 * 4  # three shards were left, and one was damaged
    assert data.content_hash == whole.content_hash
    data.verify()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are POSIX")
@pytest.mark.parametrize("sign", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_killed_processes_leave_nothing_half_made(subject_folder: Folder, tmp_path: Path, sign: signal.Signals) -> None:
    root, out, script = subject_folder(24, 4), tmp_path / "out", tmp_path / "script.py"
    script.write_text(
        # A run started in the background ignores SIGINT, and so would its children.
        "import signal\nimport time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def slow(done, total, what):\n    print(what, done, flush=True)\n    time.sleep(0.05)\n"
        "if __name__ == '__main__':\n"
        "    from pathlib import Path\n    from stylescan.data import prepare as p, writing\n    writing.SHARD_IMAGES = 4\n"
        f"    p.prepare(Path({str(root)!r}), Path({str(out)!r}), p.PrepareOptions(workers=2, pattern={PATTERN!r}),"
        " progress=slow)\n"
    )
    source = str(Path(prepare_module.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": source}
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=environment, start_new_session=True)  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("writing"):
            os.killpg(process.pid, sign)
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    if sign == signal.SIGINT:
        assert errors.count("Traceback") <= 1  # the parent's own; workers stay silent
    assert not (out / "manifest.json").exists()
    for file in (out / "shards").glob("*.npy"):
        assert np.load(file).shape[1:] == (1, 32, 32)
    done = len(list((out / "shards").glob("*.npy")))
    assert 0 < done < 24
    with pytest.raises(DataError, match="an unfinished preparation of other scans or with other settings"):
        run(root, out, pattern=PATTERN, seed=5)
    time.sleep(0.1)
    data, _ = run(root, out, pattern=PATTERN)
    whole, _ = run(root, tmp_path / "whole", pattern=PATTERN)
    assert data.content_hash == whole.content_hash


def test_corrupt_files_are_listed_and_skipped_only_on_request(subject_folder: Folder, tmp_path: Path) -> None:
    root = subject_folder(16, 2)
    names = sorted(root.rglob("*.png"))
    for path in names[:3]:
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError) as caught:
        run(root, tmp_path / "out", pattern=PATTERN)
    assert "3 of 32 scans" in caught.value.message
    assert all(path.name in caught.value.message for path in names[:3])
    assert "--skip-corrupt" in caught.value.remedy
    # Nothing was made yet, so a corrected command meets the same scans, not a folder in use.
    with pytest.raises(DataError, match="3 of 32 scans"):
        run(root, tmp_path / "out", pattern=PATTERN, seed=5)
    data, audit = run(root, tmp_path / "skipped", pattern=PATTERN, skip_corrupt=True)
    assert len(data) == 29
    assert len(audit.findings.skipped) == 3
    assert "3 files skipped" in text_of(audit)
    # A replaced file needs no other command than the first.
    for path in names[:3]:
        Image.fromarray(np.arange(32 * 24, dtype=np.uint8).reshape(32, 24)).save(path)
    assert len(run(root, tmp_path / "out", pattern=PATTERN)[0]) == 32


def test_more_than_twenty_corrupt_files_are_counted(tmp_path: Path) -> None:
    for k in range(25):
        (tmp_path / f"{k}.png").write_bytes(b"x")
    Image.new("L", (16, 16)).save(tmp_path / "good.png")
    with pytest.raises(DataError, match="and 5 more"):
        run(tmp_path, tmp_path.parent / f"{tmp_path.name}-out")


def test_destinations_that_are_refused(subject_folder: Folder, tmp_path: Path) -> None:
    root = subject_folder(4, 1)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    for out, words in ((root / "out", "in each other"), (tmp_path, "in each other"), (foreign, "not empty")):
        with pytest.raises(DataError, match=words):
            run(root, out, overwrite=True)
    assert (foreign / "thesis.txt").read_text() == "mine"
    with pytest.raises(DataError, match="a file"):
        run(root, foreign / "thesis.txt")


def test_without_subjects_claims_are_image_wise(tmp_path: Path, picture: Callable[..., NDArray[Any]]) -> None:
    root = tmp_path / "scans"
    root.mkdir()
    for k in range(30):
        image = picture(k)
        Image.fromarray(image).save(root / f"{k}_a.png")
        Image.fromarray((image * 0.99).astype(np.uint8)).save(root / f"{k}_b.png")  # a look-alike
    data, audit = run(root, tmp_path / "out")
    assert data.manifest.claim == "image-wise"
    assert len(set(data.subjects.tolist())) == 30
    assert data.subjects.tolist() == [name for name in data.subjects[::2] for _ in range(2)]
    splits = [image.split for image in data.manifest.images]
    assert splits[::2] == splits[1::2]
    assert "every score is image-wise" in text_of(audit)


def write_list(root: Path, rows: list[dict[str, object]]) -> Path:
    with (root / "list.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root / "list.csv"


def split_rows(root: Path, split: Callable[[int, int], str]) -> list[dict[str, object]]:
    rows = []
    for path in sorted(root.rglob("*.png")):
        subject, number = (int(part) for part in path.stem.split("_"))
        rows.append({"path": path.relative_to(root).as_posix(), "subject": f"p{subject}", "label": path.parent.name,
                     "split": split(subject, number), "slice": number, "area_mm2": 1.5 * subject})  # fmt: skip
    return rows


def test_a_given_split_is_honoured(subject_folder: Folder, tmp_path: Path) -> None:
    root = subject_folder(16, 2)
    rows = split_rows(root, lambda s, n: ["test", "val", "train", "train"][s % 4])
    data, audit = run(write_list(root, rows), tmp_path / "out", keep_ids=True)
    assert [(i.subject, i.split, i.slice, i.extra["area_mm2"]) for i in data.manifest.images] == [
        (
            r["subject"],
            {"test": "holdout", "val": "select", "train": "train"}[str(r["split"])],
            r["slice"],
            r["area_mm2"],
        )
        for r in sorted(rows, key=lambda r: str(r["path"]))
    ]
    assert "4 subjects in holdout, fewer than 5" in text_of(audit)


def test_a_leaking_split_is_refused_or_repaired(subject_folder: Folder, tmp_path: Path) -> None:
    root = subject_folder(20, 2)
    file = write_list(root, split_rows(root, lambda s, n: "test" if n else "train"))
    with pytest.raises(DataError, match="leaks: 20 subjects") as caught:
        run(file, tmp_path / "out")
    assert "--repair" in caught.value.remedy
    data, audit = run(file, tmp_path / "out2", repair=True)
    assert audit.subjects_by_split == {"train": 10, "select": 5, "holdout": 5}
    assert "drawn again by subject" in text_of(audit)
    assert data.manifest.claim == "subject-wise"


@pytest.mark.parametrize("exact", [True, False])
def test_one_image_under_two_names_across_splits_is_a_leak(subject_folder: Folder, tmp_path: Path, exact: bool) -> None:
    root = subject_folder(20, 2)
    rows = split_rows(root, lambda s, n: "test" if s < 6 else "train")
    original = np.asarray(Image.open(root / "ill" / "000_0.png"))
    copy = original if exact else (original * 0.995).astype(np.uint8)
    Image.fromarray(copy).save(root / "ill" / "018_0.png")
    with pytest.raises(DataError, match=r"p0 = p18|p18 = p0"):
        run(write_list(root, rows), tmp_path / "out")
    data, _ = run(write_list(root, rows), tmp_path / "out2", repair=True, keep_ids=True)
    assert len({image.split for image in data.manifest.images if image.subject in ("p0", "p18")}) == 1


def head(seed: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """An ellipsoid with a bright spot at the right, front, top, on zero."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    inside = ((grid / 0.8) ** 2).sum(axis=0) < 1
    noise = np.random.default_rng(seed).normal(0, 20, shape)
    spot = ((grid - 0.35) ** 2).sum(axis=0) < 0.03
    values: NDArray[np.float32] = np.where(inside, 500 + noise + 400 * spot, 0).astype(np.float32)
    return values


@pytest.fixture
def volumes(write_nifti: Folder) -> Path:
    shapes = [(40, 48, 30), (30, 36, 24), (36, 40, 20)]
    for k in range(9):
        spacing = (1.0, 1.0, 1.5) if k % 3 else (1.2, 1.2, 2.0)
        path = write_nifti(f"vol/p{k}.nii.gz", head(k, shapes[k % 3]) * (k + 1), np.diag([*spacing, 1.0]))
    return path.parent


def test_volumes_are_upright_at_one_scale_and_not_clipped(volumes: Path, tmp_path: Path) -> None:
    data, audit = run(volumes, tmp_path / "out", resolution=64, keep_ids=True)
    assert (data.manifest.plane, data.manifest.intensity.scope) == ("axial", "volume")
    images = data.manifest.images
    view = 1.2 * 48
    assert "field of view 57.6 mm" in text_of(audit)
    for image in images:
        spacing = image.geometry.output_spacing_mm
        assert spacing == pytest.approx((view / 64, view / 64), rel=0.02)
        assert image.geometry.crop_top == image.geometry.crop_left == 0
        assert image.depth is not None
        assert 0 < image.depth < 1
    # The bright spot lies at the patient's right and in front: top left, as radiologists hang it.
    shown = data.read(range(len(data)))[:, 0].astype(float)
    upper = [k for k, image in enumerate(images) if image.depth and 0.65 < image.depth < 0.7]
    _, rows, columns = np.nonzero(shown[upper] == 255)
    assert rows.mean() < 29
    assert columns.mean() < 29


def test_slices_every_and_foreground(volumes: Path, tmp_path: Path) -> None:
    every, _ = run(volumes, tmp_path / "a", resolution=32, every=4, slices=(0.25, 0.75), keep_ids=True)
    first = [image.slice for image in every.manifest.images if image.subject == "p0"]
    assert first == [7, 11, 15, 19]  # centres from 7.5/30 to 22.5/30
    filled, _ = run(volumes, tmp_path / "b", resolution=32, min_foreground=0.3)
    everything, _ = run(volumes, tmp_path / "c", resolution=32, min_foreground=0.0)
    assert len(everything) == 3 * (30 + 24 + 20)
    assert 0 < len(filled) < len(everything)
    with pytest.raises(DataError, match="no slice is left"):
        run(volumes, tmp_path / "d", min_foreground=1.0)


def test_intensity_is_one_map_a_volume_and_can_be_undone(volumes: Path, tmp_path: Path) -> None:
    data, _ = run(volumes, tmp_path / "out", resolution=64, field_of_view_mm=64.0, bits=16, keep_ids=True,
                  slices=(0.4, 0.6))  # fmt: skip
    image = next(i for i in data.manifest.images if i.subject == "p1")
    place = data.manifest.images.index(image)
    voxels = np.asarray(nib.load(volumes / "p1.nii.gz").dataobj)  # type: ignore[attr-defined]
    expected = plane_slices(voxels, "axial")[image.slice]
    low, high = np.percentile(voxels, (0.5, 99.5))
    assert (image.value_low, image.value_high) == pytest.approx((low, high))
    g = image.geometry
    shown = data.read([place])[0, 0, g.pad_top : 64 - g.pad_bottom, g.pad_left : 64 - g.pad_right] / 65535
    np.testing.assert_allclose(shown * (high - low) + low, expected.clip(low, high), atol=0.01)
    assert len({(i.value_low, i.value_high) for i in data.manifest.images}) == 9


def test_resolution_chosen_for_volumes_keeps_voxels(write_nifti: Folder, tmp_path: Path) -> None:
    for k in range(3):
        path = write_nifti(f"v/{k}.nii", head(k, (28, 30, 20)))
    data, audit = run(path.parent, tmp_path / "out")
    assert data.resolution == 32
    assert data.output_geometry().resampled_height == 30
    assert "32 mm" in text_of(audit)


def test_label_maps_are_refused(volumes: Path, write_nifti: Folder, tmp_path: Path) -> None:
    labels = (head(0, (20, 20, 20)) > 0).astype(np.uint8)
    write_nifti("vol/labels/p0.nii.gz", labels)
    with pytest.raises(DataError, match="1 of 10 volumes are label maps") as caught:
        run(volumes, tmp_path / "out", skip_corrupt=True)
    assert "labels" in caught.value.message
    data, _ = run(volumes, tmp_path / "out2", allow_label_volumes=True)
    assert len(set(data.subjects.tolist())) == 10


def test_wide_pictures_share_a_map_within_a_subject(tmp_path: Path, picture: Callable[..., NDArray[Any]]) -> None:
    root = tmp_path / "scans"
    root.mkdir()
    for subject in range(16):
        for number in range(2):
            values = picture(50 * subject + number).astype(np.uint16) * (10 * (number + 1)) + 100
            Image.fromarray(values).save(root / f"{subject}_{number}.png")
    data, _ = run(root, tmp_path / "out", pattern=PATTERN)
    assert data.manifest.intensity.scope == "subject"
    first, second = data.manifest.images[:2]
    assert (first.value_low, first.value_high) == (second.value_low, second.value_high)
    assert data.read([0]).max() < 0.6 * data.read([1]).max()  # the darker picture stays darker
    _, audit = run(root, tmp_path / "alone")
    assert "scaled one by one" in text_of(audit)


def test_colour_and_grey_and_single_class(tmp_path: Path, picture: Callable[..., NDArray[Any]]) -> None:
    root = tmp_path / "sçans with spaces"
    root.mkdir()
    for k in range(16):
        grey = picture(k)
        image = np.stack([grey, 255 - grey, grey], -1) if k % 2 else grey
        Image.fromarray(image).save(root / f"ä {k}_0.png")
    data, audit = run(root, tmp_path / "out", pattern=r"(?P<subject>\d+)_(?P<label>0)")
    assert data.channels == 3
    assert (data.num_classes, set(data.labels.tolist())) == (0, {-1})
    np.testing.assert_array_equal(data.read([0])[0, 0], data.read([0])[0, 1])
    assert np.any(data.read([1])[0, 0] != data.read([1])[0, 1])
    assert "grey and colour" in text_of(audit)
    assert "without classes" in text_of(audit)


def test_settings_are_recorded_without_paths(subject_folder: Folder, tmp_path: Path) -> None:
    root = subject_folder(16, 2)
    data, _ = run(root, tmp_path / "out", pattern=PATTERN)
    recorded = data.manifest.preparation
    assert (recorded["resolution"], recorded["layout"], recorded["pattern"]) == (32, "classes", PATTERN)
    assert not {"salt", "workers", "overwrite"} & set(recorded)
    assert str(tmp_path) not in json.dumps(recorded)
    other, _ = run(root, tmp_path / "other", pattern=PATTERN, seed=3)
    assert other.preparation_hash != data.preparation_hash


def test_progress_reaches_its_end(subject_folder: Folder, tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    prepare(
        subject_folder(16, 2), tmp_path / "out", PrepareOptions(workers=1), progress=lambda *call: calls.append(call)
    )
    ends = [call for call in calls if call[0] == call[1]]
    assert ends == [(32, 32, "reading"), (32, 32, "writing"), (2, 2, "audit")]


def test_disk_too_small(subject_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda path: _Usage(0))
    with pytest.raises(DataError, match="0.0 GB free"):
        run(subject_folder(4, 1), tmp_path / "out")


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_real_tumour_slices_by_class(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "brain_t1ce_figshare"
    rows = [{"path": str(path), "subject": int(path.stem) // 100, "label": path.parent.name}
            for path in sorted(source.rglob("*.jpg"))[::8]]  # fmt: skip
    data, _ = run(write_list(tmp_path, rows), tmp_path / "out", resolution=64)
    assert data.class_names == ("glioma", "meningioma", "pituitary")
    assert data.manifest.claim == "subject-wise"
    assert not set(data.subjects[data.indices("train")]) & set(data.subjects[data.indices("holdout")])


def test_real_hippocampus_volumes(shared_data: Path, tmp_path: Path) -> None:
    data, audit = run(shared_data / "hippocampus_nifti" / "images", tmp_path / "out", resolution=32, every=8)
    assert audit.subjects_by_split == {"train": 42, "select": 6, "holdout": 12}
    spacings = np.array([image.geometry.output_spacing_mm for image in data.manifest.images])
    assert np.all(np.abs(spacings / spacings.mean() - 1) < 0.05)  # one scale, to the rounding of a pixel
    with pytest.raises(DataError, match="60 of 120 volumes are label maps"):
        run(shared_data / "hippocampus_nifti", tmp_path / "out2")
