"""Odd data end to end: colour, two contrasts, 16 bits, oblong scans, rare classes, tiny sets, one subject, one image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from stylescan.cli import run
from stylescan.data.geometry import Geometry, undo
from stylescan.data.prepared import PreparedDataset
from stylescan.generate.images import read_provenance, unpadded
from stylescan.generate.sample import sample
from stylescan.generate.snapshot import load_snapshot

TINY = [
    "--kimg", "0.016", "--set", "model.z_dim=8", "--set", "model.w_dim=8", "--set", "model.channel_base=64",
    "--set", "model.channel_max=4", "--set", "train.batch=4", "--set", "train.score_kimg=null",
]  # fmt: skip
Draw = Callable[[np.random.Generator], np.ndarray]


def disc(rng: np.random.Generator, height: int = 20, width: int = 20, top: int = 255) -> np.ndarray:
    """A disc with texture, [height, width] in 0..top."""
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    inside = y**2 + x**2 < rng.uniform(0.4, 0.8) ** 2
    return (inside * 0.6 * top + rng.uniform(0, 0.3 * top, (height, width))).astype(
        np.uint16 if top > 255 else np.uint8
    )


def write(folder: Path, draw: Draw, *, subjects: int = 20, slices: int = 1, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for subject in range(start, start + subjects):
        for number in range(slices):
            rng = np.random.default_rng([subject, number])
            Image.fromarray(draw(rng)).save(folder / f"p{subject:03d}_{number}.png")
    return folder


def prepare(scans: Path, data: Path, *more: str, side: int = 16) -> PreparedDataset:
    pattern = [] if "--contrasts" in more else ["--pattern", r"(?P<subject>p\d+)_(?P<slice>\d+)\.png"]
    assert (
        run(["prepare", str(scans), "--out", str(data), "--resolution", str(side), "--workers", "1", *pattern, *more])
        == 0
    )
    return PreparedDataset.open(data)


def train(data: Path, out: Path, *more: str) -> Path:
    assert run(["train", "--data", str(data), "--out", str(out), *TINY, *more]) == 0
    return out


def evaluate(target: Path, data: Path, out: Path) -> dict:
    assert run(["evaluate", str(target), "--data", str(data), "--out", str(out), "--count", "10"]) == 0
    return json.loads((out / "report.json").read_text())


def test_colour(tmp_path: Path) -> None:
    write(tmp_path / "scans", lambda rng: np.dstack([disc(rng), disc(rng), disc(rng)]), subjects=60)
    data = prepare(tmp_path / "scans", tmp_path / "data")
    assert (data.channels, data.bits) == (3, 8)
    model = train(data.path, tmp_path / "run")
    assert run(["generate", str(model), "--count", "12", "--out", str(tmp_path / "made")]) == 0
    files = sorted((tmp_path / "made").glob("*.png"))
    assert (len(files), Image.open(files[0]).mode) == (12, "RGB")
    assert evaluate(tmp_path / "made", data.path, tmp_path / "report")["data"]["channels"] == 3


def two_contrasts(folder: Path, subjects: int) -> Path:
    """4D NIfTI, 20 x 20 x 3 voxels, the second contrast in quite other units than the first."""
    folder.mkdir()
    for subject in range(subjects):
        rng = np.random.default_rng(subject)
        planes = [np.stack([disc(rng).astype(np.float32) * gain for _ in range(3)], axis=-1) for gain in (1.0, 40.0)]
        nib.save(nib.Nifti1Image(np.stack(planes, axis=-1), np.eye(4)), folder / f"sub-{subject:02d}.nii.gz")
    return folder


def test_two_contrasts_are_two_channels_each_with_its_own_range(tmp_path: Path) -> None:
    data = prepare(two_contrasts(tmp_path / "scans", 25), tmp_path / "data", "--contrasts", "--plane", "axial")
    assert (data.channels, data.bits, len(data)) == (2, 8, 75)
    first = data.manifest.images[0]
    assert first.extra["value_high_1"] > 20 * first.value_high
    images = data.read(range(len(data)))
    assert images[:, 0].max() == images[:, 1].max() == 255  # each spans its own range
    assert not np.array_equal(images[:, 0], images[:, 1])
    # Against the voxels themselves, by the recorded ranges: no flip between channels, no shared scale.
    same = prepare(tmp_path / "scans", tmp_path / "again", "--contrasts", "--plane", "axial", side=32)
    voxels = np.asarray(nib.load(tmp_path / "scans" / "sub-00.nii.gz").dataobj)
    record = next(image for image in same.manifest.images if image.slice == 0)
    place = same.manifest.images.index(record)
    ranges = [(record.value_low, record.value_high), (record.extra["value_low_1"], record.extra["value_high_1"])]
    assert record.geometry.resampled_height == 32
    found = same.read([place])[0]
    for channel, (low, high) in enumerate(ranges):
        picture = ((voxels[:, :, 0, channel].T[::-1, ::-1] - low) / (high - low)).clip(0, 1).astype(np.float32)
        large = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC)).clip(0, 1)
        assert np.abs(found[channel] - np.rint(large * 255)).max() <= 1


def test_two_contrasts_train_sample_and_are_judged(tmp_path: Path) -> None:
    data = prepare(two_contrasts(tmp_path / "scans", 25), tmp_path / "data", "--contrasts")
    model = train(data.path, tmp_path / "run")
    assert run(["generate", str(model), "--count", "10", "--out", str(tmp_path / "made")]) == 0
    names = sorted(p.name for p in (tmp_path / "made").iterdir())
    assert names[:2] == ["seed-000000_channel-0.png", "seed-000000_channel-1.png"]
    assert len(names) == 20
    assert read_provenance(tmp_path / "made" / names[1])["channel"] == "1"
    assert (
        run(["generate", str(model), "--count", "4", "--grid", "--columns", "2", "--out", str(tmp_path / "g.png")]) == 0
    )
    assert Image.open(tmp_path / "g.png").size == (2 * 32 + 2, 2 * 16 + 2)
    # The files read back are the images that the run makes: a folder is judged as the model is.
    assert evaluate(model, data.path, tmp_path / "a")["data"]["channels"] == 2
    assert evaluate(tmp_path / "made", data.path, tmp_path / "b")["subject"]["n"] == 10
    (tmp_path / "made" / names[0]).unlink()
    assert run(["evaluate", str(tmp_path / "made"), "--data", str(data.path), "--out", str(tmp_path / "c")]) == 2


def test_contrasts_are_never_taken_unasked_nor_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = two_contrasts(tmp_path / "scans", 6)
    assert run(["prepare", str(scans), "--out", str(tmp_path / "x"), "--resolution", "16", "--workers", "1"]) == 2
    assert "--contrasts" in capsys.readouterr().err
    single = np.asarray(nib.load(scans / "sub-00.nii.gz").dataobj)[..., 0]
    nib.save(nib.Nifti1Image(single, np.eye(4)), scans / "sub-00.nii.gz")
    command = [
        "prepare",
        str(scans),
        "--out",
        str(tmp_path / "y"),
        "--resolution",
        "16",
        "--workers",
        "1",
        "--contrasts",
    ]
    assert run(command) == 2
    assert "sub-00.nii.gz: fewer contrasts" in capsys.readouterr().err


def test_sixteen_bits_in_and_out(tmp_path: Path) -> None:
    write(tmp_path / "scans", lambda rng: disc(rng, top=4000))
    data = prepare(tmp_path / "scans", tmp_path / "data", "--bits", "16")
    images = data.read(range(len(data)))
    assert (data.bits, images.dtype, int(images.max())) == (16, np.uint16, 65535)
    assert len(np.unique(images)) > 1000  # more than 8 bits arrive
    record = data.manifest.images[0]
    assert 0 <= record.value_low < record.value_high <= 4000
    model = train(data.path, tmp_path / "run")
    assert run(["generate", str(model), "--seeds", "3", "--out", str(tmp_path / "made")]) == 0
    [file] = (tmp_path / "made").glob("*.png")
    pixels = np.asarray(Image.open(file))
    assert pixels.dtype == np.uint16
    [(_, _, made)] = sample(load_snapshot(model), [3])
    assert np.array_equal(pixels, made[0, 0])
    assert len(np.unique(pixels & 255)) > 50  # the low byte is no copy of the high one
    assert run(["generate", str(model), "--seeds", "3", "--bits", "8", "--out", str(tmp_path / "eight")]) == 0
    [file] = (tmp_path / "eight").glob("*.png")
    assert np.abs(np.asarray(Image.open(file)) - pixels / 257).max() <= 0.51


@pytest.mark.parametrize(("height", "width"), [(228, 260), (240, 256), (20, 12), (9, 33), (16, 16)])
def test_oblong_scans_come_out_in_their_own_shape(height: int, width: int, tmp_path: Path) -> None:
    write(tmp_path / "scans", lambda rng: disc(rng, height, width), subjects=8)
    data = prepare(tmp_path / "scans", tmp_path / "data")
    plan = data.output_geometry()
    model = train(data.path, tmp_path / "run")
    assert run(["generate", str(model), "--seeds", "0", "--out", str(tmp_path / "made")]) == 0
    assert run(["generate", str(model), "--seeds", "0", "--keep-padding", "--out", str(tmp_path / "square")]) == 0
    [cut], [full] = ([np.asarray(Image.open(f)) for f in (tmp_path / n).glob("*.png")] for n in ("made", "square"))
    assert cut.shape == (plan.resampled_height, plan.resampled_width)
    assert cut.shape == (round(16 * height / max(height, width)), round(16 * width / max(height, width)))
    assert full.shape == (16, 16)
    assert np.array_equal(full[plan.pad_top : 16 - plan.pad_bottom, plan.pad_left : 16 - plan.pad_right], cut)
    # What was padding in the data is what is cut: real images hold nothing there, and all of the scan is kept.
    real = data.read(range(len(data)))
    mask = np.zeros((16, 16), bool)
    mask[plan.pad_top : 16 - plan.pad_bottom, plan.pad_left : 16 - plan.pad_right] = True
    assert not real[:, 0][:, ~mask].any()
    assert np.array_equal(unpadded(real, load_snapshot(model)), real[..., mask.any(1), :][..., mask.any(0)])
    assert load_snapshot(model).meta.geometry == Geometry.model_validate(plan).model_dump(mode="json")


def test_the_knee_slices_of_260_by_228_are_cropped_and_undone_pixel_by_pixel(tmp_path: Path) -> None:
    write(tmp_path / "scans", lambda rng: disc(rng, 228, 260), subjects=6)
    data = prepare(tmp_path / "scans", tmp_path / "data", side=256)
    plan = data.output_geometry()
    assert (plan.resampled_height, plan.resampled_width) == (228, 256)
    [record] = [k for k, image in enumerate(data.manifest.images) if image.split == "train"][:1]
    hashes = {np.asarray(Image.open(f))[:, 2:258].tobytes() for f in (tmp_path / "scans").glob("*.png")}
    assert np.ascontiguousarray(undo(data.read([record])[0, 0], plan)).tobytes() in hashes


def test_rare_classes_train_sample_and_say_what_cannot_be_judged(tmp_path: Path) -> None:
    write(tmp_path / "scans" / "common", disc, subjects=40, slices=2)
    write(tmp_path / "scans" / "single", disc, subjects=1, slices=3, start=50)
    write(tmp_path / "scans" / "lone", disc, subjects=1, slices=1, start=60)
    data = prepare(tmp_path / "scans", tmp_path / "data")
    assert data.class_names == ("common", "lone", "single")
    model = train(data.path, tmp_path / "run")
    for name in data.class_names:
        out = tmp_path / f"made {name}"
        assert run(["generate", str(model), "--count", "2", "--class", name, "--psi", "0.5", "--out", str(out)]) == 0
        assert [read_provenance(p)["class"] for p in out.iterdir()] == [name] * 2
    report = evaluate(model, data.path, tmp_path / "report")
    classes = {entry["class"]: entry for entry in report["metrics"]["classes"]}
    assert set(classes) == set(data.class_names)
    for name in ("single", "lone"):
        assert classes[name]["kid"] is None
        assert "are needed" in classes[name]["missing"]


def test_a_class_absent_from_training_is_known_but_never_drawn(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    write(scans, disc, subjects=20)
    rows = [
        f"p{k:03d}_0.png,s{k},{'rare' if k >= 17 else 'common'},{'holdout' if k >= 14 else 'train'}" for k in range(20)
    ]
    (scans / "list.csv").write_text("path,subject,label,split\n" + "\n".join(rows) + "\n")
    assert run(["prepare", str(scans), "--out", str(tmp_path / "data"), "--resolution", "16", "--workers", "1"]) == 0
    model = train(tmp_path / "data", tmp_path / "run")
    assert load_snapshot(model).meta.class_frequencies == [1.0, 0.0]
    assert run(["generate", str(model), "--count", "30", "--out", str(tmp_path / "made")]) == 0
    assert {read_provenance(p)["class"] for p in (tmp_path / "made").iterdir()} == {"common"}


def test_a_class_that_was_never_trained_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = tmp_path / "scans"
    write(scans, disc, subjects=20)
    rows = [
        f"p{k:03d}_0.png,s{k},{'rare' if k >= 17 else 'common'},{'holdout' if k >= 14 else 'train'}" for k in range(20)
    ]
    (scans / "list.csv").write_text("path,subject,label,split\n" + "\n".join(rows) + "\n")
    assert run(["prepare", str(scans), "--out", str(tmp_path / "data"), "--resolution", "16", "--workers", "1"]) == 0
    assert "rare" in capsys.readouterr().out
    model = train(tmp_path / "data", tmp_path / "run")
    capsys.readouterr()
    assert run(["generate", str(model), "--count", "2", "--class", "rare", "--out", str(tmp_path / "made")]) == 2
    assert "'rare'" in capsys.readouterr().err


def test_fewer_images_than_a_batch(tmp_path: Path) -> None:
    write(tmp_path / "scans", disc, subjects=8)
    data = prepare(tmp_path / "scans", tmp_path / "data")
    count = len(data.indices("train"))
    assert count < 16
    model = train(data.path, tmp_path / "run", "--set", "train.batch=16")
    assert load_snapshot(model).meta.nimg == 16


@pytest.mark.parametrize("slices", [12, 1])
def test_one_subject_trains_and_evaluation_says_why_it_cannot_be(
    slices: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "scans", disc, subjects=1, slices=slices)
    data = prepare(tmp_path / "scans", tmp_path / "data")
    said = capsys.readouterr().out
    assert "only one subject: everything is training data" in said
    assert len(data.indices("train")) == len(data) == slices
    model = train(data.path, tmp_path / "run")
    assert run(["generate", str(model), "--count", "3", "--out", str(tmp_path / "made")]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(model), "--data", str(data.path), "--out", str(tmp_path / "report")]) == 2
    said = capsys.readouterr().err
    assert "no held-out images" in said
    assert "more subjects" in said
    assert not (tmp_path / "report").exists()
