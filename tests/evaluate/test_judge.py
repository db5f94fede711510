"""`evaluate` from end to end on runs, snapshots and folders, its report, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylescan.data.geometry import Geometry
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError, DataError, SnapshotError, StylescanError
from stylescan.evaluate.compare import not_comparable
from stylescan.evaluate.judge import evaluate
from stylescan.evaluate.material import gather
from stylescan.evaluate.metrics import frechet_distance
from stylescan.evaluate.png_images import read_image
from stylescan.evaluate.reference import Floor, blurred, floor_draws
from stylescan.evaluate.scores import score_metrics
from stylescan.evaluate.targets import SnapshotTarget, open_target
from stylescan.evaluate.words import closeness, sentence
from stylescan.generate.images import write_images
from stylescan.generate.snapshot import SnapshotMeta, load_snapshot, save_snapshot
from stylescan.nets.build import build_generator
from stylescan.nets.stylegan2 import StyleGAN2Spec


def write_pngs(folder: Path, images: np.ndarray, names: list[str] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image[0]).save(folder / (f"{i:04d}.png" if names is None else names[i]))
    return folder


def write_run(path: Path, data: PreparedDataset, **changes: Any) -> Path:
    spec = StyleGAN2Spec(
        z_dim=8,
        w_dim=8,
        mapping_layers=1,
        channel_base=128,
        channel_max=8,
        resolution=16,
        img_channels=1,
        num_classes=data.num_classes,
    )
    meta = {
        "family": "stylegan2",
        "spec": spec.model_dump(mode="json"),
        "class_names": list(data.class_names),
        "class_frequencies": [0.25, 0.75][: data.num_classes],
        "data_content_hash": data.content_hash,
        "preparation_hash": data.preparation_hash,
        "preset": "tiny",
        "seed": 0,
        "nimg": 64000,
    }
    save_snapshot(path / "snapshot", build_generator(spec, seed=3), SnapshotMeta.model_validate(meta | changes))
    lines = [{"nimg": 1000 * k, "kid": 1.0 / k, "fd": 10.0 / k} for k in (1, 2, 3)]
    log = "\n".join(json.dumps(line) for line in [*lines, {"nimg": 3500, "loss_G": 0.7}]) + '\n{"nimg": 40'
    (path / "log.jsonl").write_text(log)
    return path


def test_more_of_the_population_reaches_the_floor_and_noise_does_not(
    shapes: PreparedDataset, pooled: Any, more_shapes: Any, tmp_path: Path
) -> None:
    images, labels = more_shapes(100)
    for label, name in enumerate(shapes.class_names):
        write_pngs(tmp_path / "good" / name, images[labels == label])
    noise = np.random.default_rng(0).integers(0, 256, (100, 1, 16, 16), dtype=np.uint8)
    write_pngs(tmp_path / "noise", noise)
    good = evaluate(tmp_path / "good", shapes, tmp_path / "out1", extractor=pooled)
    bad = evaluate(tmp_path / "noise", shapes, tmp_path / "out2", extractor=pooled)
    for result, low, high in ((good, 0, 2), (bad, 20, 1e9)):
        fd = result.report["metrics"]["fd"]
        assert low <= fd["value"] / fd["floor"]["value"] < high
        assert fd["n_generated"] == fd["n_real"] == result.report["metrics"]["n"] == 80
        kid = result.report["metrics"]["kid"]
        assert kid["interval"]["low"] < kid["value"] < kid["interval"]["high"]
        assert kid["interval"]["groups"] == 16
        assert result.verdict == "cannot tell"
    assert good.report["metrics"]["kid"]["interval"]["low"] < 0.01 < bad.report["metrics"]["kid"]["interval"]["low"]
    assert [entry["class"] for entry in good.report["metrics"]["classes"]] == ["disc", "square"]
    assert all(entry["kid"]["n_real"] == 40 for entry in good.report["metrics"]["classes"])
    assert all("at least 30" in entry["missing"] for entry in bad.report["metrics"]["classes"])
    assert any("carry no class" in note for note in bad.report["notes"])
    assert "other real subjects" in good.report["interpretation"][0]
    assert bad.report["interpretation"][0].startswith("Farther from real images than blurred")


def test_a_run_is_judged_with_every_row(shapes: PreparedDataset, pooled: Any, tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    run = write_run(tmp_path / "run", shapes)
    result = evaluate(run, shapes, tmp_path / "out", extractor=pooled, progress=lambda *a: calls.append(a))
    report = json.loads(result.json.read_text())
    assert report == result.report
    assert set(report) == {
        "schema_version", "notice", "full", "subject", "data", "extractor", "metrics", "rows", "verdicts", "audit",
        "interpretation", "notes", "notices", "training", "curves", "configuration", "provenance",
    }  # fmt: skip
    assert [row["name"] for row in report["rows"]] == ["generated", "floor", "blurred_real", "untrained"]
    assert all(row["n"] == 80 and row["kid"] is not None and row["fd"] is not None for row in report["rows"])
    held, train = shapes.indices("holdout"), shapes.indices("train")
    draw = train[floor_draws(shapes.subjects[train], shapes.subjects[held], seed=0)[0]]
    expected = frechet_distance(pooled(blurred(shapes.read(draw), 0.5)), pooled(shapes.read(held)))
    assert report["rows"][2]["sigma_px"] == 0.5
    assert report["rows"][2]["fd"] == pytest.approx(expected, rel=1e-9)
    assert report["subject"]["kind"] == "run"
    assert report["audit"]["verdict"] == "cannot tell"
    assert report["audit"]["ran"] is True
    assert [card["label"] for card in report["verdicts"]][-1] == "Copies of training images"
    assert [row["nimg"] for row in report["training"]] == [1000, 2000, 3000]
    assert report["data"]["holdout_used"] == {"slices": 80, "subjects": 16}
    assert all(0 <= done <= total for done, total, _ in calls)
    again = evaluate(run / "snapshot", shapes, tmp_path / "again", extractor=pooled)
    assert again.report["subject"]["kind"] == "snapshot"
    assert again.report["configuration"]["family"] == "stylegan2"
    assert again.report["metrics"] == report["metrics"]
    twice = evaluate(run, shapes, tmp_path / "twice", extractor=pooled)
    assert twice.json.read_bytes() == result.json.read_bytes()
    assert twice.html.read_bytes() == result.html.read_bytes()


def test_a_folder_written_by_generate_scores_as_the_snapshot_itself(
    shapes: PreparedDataset, pooled: Any, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", shapes)
    snapshot = load_snapshot(run)
    target = SnapshotTarget("run", snapshot, shapes, 1.0, None)
    labels = target.labels(80, 0)
    assert labels is not None
    assert np.bincount(labels).tolist() == [20, 60]
    write_images(snapshot, tmp_path / "pngs", target.seeds(80, 0), labels=labels.tolist())
    direct = evaluate(run, shapes, tmp_path / "a", extractor=pooled).report["metrics"]
    folder = evaluate(tmp_path / "pngs", shapes, tmp_path / "b", extractor=pooled).report["metrics"]
    for name in ("kid", "fd"):
        assert folder[name]["value"] == pytest.approx(direct[name]["value"], abs=1e-6)
    assert folder["classes"][1]["kid"]["value"] == pytest.approx(direct["classes"][1]["kid"]["value"], abs=1e-6)


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(
    make_dataset: Callable[..., PreparedDataset], pooled: Any, more_shapes: Any, tmp_path: Path
) -> None:
    images, labels = more_shapes(90)
    subjects, splits = np.repeat([f"s{i}" for i in range(18)], 5), np.repeat(["train"] * 12 + ["holdout"] * 6, 5)
    evil = "<script>alert(1)</script>"
    data = make_dataset(tmp_path / "d", images, subjects, splits, labels.tolist(), ("disc", evil))
    run = write_run(tmp_path / "run", data)
    page = evaluate(
        run, data, tmp_path / "out", extractor=pooled, notices=["Terms & <b>conditions</b>"]
    ).html.read_text()
    assert evil not in page
    assert "&lt;script&gt;" in page
    assert "Terms &amp; &lt;b&gt;conditions" in page
    assert not re.findall(r"<(?:script|link|iframe|object)\b|@import|url\(|\bon\w+=", page)
    sources = re.findall(r"(?:src|href)=\"([^\"]{0,30})", page)
    assert len(sources) >= 4 + 6
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert "://" not in re.sub(r"data:image/[^\"]*", "", page)
    assert "default-src 'none'" in page
    assert "SYNTHETIC - not for diagnosis" in page
    assert "The interval does not cover training seeds." in page
    assert str(tmp_path) not in page


def test_n_is_never_more_than_there_is(shapes: PreparedDataset, pooled: Any, more_shapes: Any, tmp_path: Path) -> None:
    write_pngs(tmp_path / "few", more_shapes(40)[0])
    few = evaluate(tmp_path / "few", shapes, tmp_path / "a", extractor=pooled).report
    assert few["metrics"]["n"] == few["data"]["holdout_used"]["slices"] == 40
    assert few["data"]["holdout_used"]["subjects"] == 16
    assert any("holds 40 images" in note for note in few["notes"])
    write_pngs(tmp_path / "many", more_shapes(120)[0])
    many = evaluate(tmp_path / "many", shapes, tmp_path / "b", extractor=pooled, n=500).report
    assert many["metrics"]["n"] == 80
    assert any("500 images were asked for" in note for note in many["notes"])
    assert "numbers of images" in str(not_comparable(few, many)) or "held-out images" in str(not_comparable(few, many))
    assert not_comparable(many, many) is None
    changed = many | {"extractor": many["extractor"] | {"hash": "f" * 64}}
    assert "feature extractors" in str(not_comparable(many, changed))


def test_images_of_another_depth_or_colour_of_equal_planes_are_read(
    shapes: PreparedDataset, pooled: Any, more_shapes: Any, tmp_path: Path
) -> None:
    images = more_shapes(80)[0]
    write_pngs(tmp_path / "plain", images)
    rounding = np.random.default_rng(0).integers(-120, 121, images.shape)
    write_pngs(tmp_path / "deep", np.clip(images.astype(np.int64) * 257 + rounding, 0, 65535).astype(np.uint16))
    (tmp_path / "rgb").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(np.stack([image[0]] * 3, axis=-1)).save(tmp_path / "rgb" / f"{i:04d}.png")
    values = {
        name: evaluate(tmp_path / name, shapes, tmp_path / f"o-{name}", extractor=pooled).report["metrics"]
        for name in ("plain", "deep", "rgb")
    }
    assert values["plain"] == values["deep"] == values["rgb"]


def test_images_without_padding_get_it_back(shapes: PreparedDataset, tmp_path: Path) -> None:
    plan = Geometry(source_height=16, source_width=11, resampled_height=16, resampled_width=11, pad_left=2, pad_right=3)
    shapes.output_geometry = lambda: plan  # type: ignore[method-assign]
    image = np.random.default_rng(0).integers(1, 255, (1, 1, 16, 11), dtype=np.uint8)
    file = write_pngs(tmp_path / "g", image) / "0000.png"
    found = read_image((file,), shapes)
    np.testing.assert_array_equal(found[:, :, 2:13], image[0])
    assert found.shape == (1, 16, 16)
    assert not found[:, :, :2].any()
    assert not found[:, :, 13:].any()


def test_16_bit_data_reads_8_and_16_bit_images(make_dataset: Any, more_shapes: Any, tmp_path: Path) -> None:
    images = more_shapes(6)[0]
    deep = images.astype(np.uint16) * 257
    data = make_dataset(tmp_path / "d", deep, list("abcdef"), ["train"] * 3 + ["holdout"] * 3)
    for name, written in (("deep", deep), ("plain", images)):
        found = read_image((write_pngs(tmp_path / name, written) / "0002.png",), data)
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, deep[2])


def test_no_ratio_to_a_floor_that_reaches_zero(
    shapes: PreparedDataset, pooled: Any, more_shapes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_pngs(tmp_path / "g", more_shapes(80)[0])
    material = gather(open_target(folder, shapes), shapes, pooled, n=None, seed=0, full=False, progress=None)
    for floor, known in ((Floor(0.5, -0.1, 0.9, 10), False), (Floor(0.5, 0.1, 0.9, 10), True)):
        monkeypatch.setattr("stylescan.evaluate.scores.floor_of", lambda *_, f=floor: f)
        ratio = score_metrics(material)["kid"]["ratio_to_floor"]
        assert (ratio is not None) == known


def _wrong_size(folder: Path) -> None:
    Image.fromarray(np.zeros((20, 16), np.uint8)).save(folder / "0003.png")


def _colour(folder: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / "0003.png")


def _alpha(folder: Path) -> None:
    Image.fromarray(np.zeros((16, 16, 4), np.uint8)).save(folder / "0003.png")


def _torn(folder: Path) -> None:
    (folder / "0003.png").write_bytes((folder / "0003.png").read_bytes()[:60])


def _pickle(folder: Path) -> None:
    (folder / "0003.png").write_bytes(b"\x80\x04\x95 not an image")


def _unknown_class(folder: Path) -> None:
    write_pngs(folder / "triangle", np.zeros((1, 1, 16, 16), np.uint8))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_wrong_size, r"0003.png: 16x20 px, the data is 16x16"),
        (_colour, r"0003.png: 3 channels, the data has 1 channel"),
        (_alpha, r"0003.png: mode RGBA, the data has 1 channel"),
        (_torn, r"0003.png: not a whole PNG"),
        (_pickle, r"0003.png: not a whole PNG"),
        (_unknown_class, r"triangle: no class of the data \(classes: disc, square\)"),
    ],
)
def test_folders_that_do_not_fit_are_refused(
    shapes: PreparedDataset, pooled: Any, more_shapes: Any, tmp_path: Path, damage: Any, message: str
) -> None:
    folder = write_pngs(tmp_path / "g", more_shapes(20)[0])
    damage(folder)
    with pytest.raises(DataError, match=message) as caught:
        evaluate(folder, shapes, tmp_path / "out", extractor=pooled)
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preparation_hash": "a" * 64}, "prepared as aaaaaaaaaaaa"),
        ({"class_names": ["disc", "star"]}, "classes are disc, star, the data has disc, square"),
        ({"bits": 16}, "16 bits"),
    ],
)
def test_snapshots_of_other_data_are_refused(
    shapes: PreparedDataset, pooled: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    run = write_run(tmp_path / "run", shapes, **changes)
    with pytest.raises(SnapshotError, match=message) as caught:
        evaluate(run, shapes, tmp_path / "out", extractor=pooled)
    assert caught.value.remedy


def test_training_on_other_subjects_is_noted(shapes: PreparedDataset, pooled: Any, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", shapes, data_content_hash="9" * 64)
    report = evaluate(run, shapes, tmp_path / "out", extractor=pooled).report
    assert any("trained on other data" in note for note in report["notes"])


def test_what_cannot_be_judged_is_refused(
    shapes: PreparedDataset, make_dataset: Any, pooled: Any, more_shapes: Any, tmp_path: Path
) -> None:
    folder = write_pngs(tmp_path / "g", more_shapes(9)[0])

    def refused(error: type[StylescanError], message: str, target: Path, data: Any, **options: Any) -> None:
        with pytest.raises(error, match=message) as caught:
            evaluate(target, data, tmp_path / "out", extractor=pooled, **options)
        assert caught.value.remedy

    none = make_dataset(tmp_path / "d0", np.zeros((4, 1, 16, 16), np.uint8), list("abcd"), ["train"] * 4)
    refused(DataError, "no held-out images", folder, none)
    one = make_dataset(
        tmp_path / "d1", np.zeros((4, 1, 16, 16), np.uint8), list("abcc"), ["train"] * 2 + ["holdout"] * 2
    )
    refused(DataError, "one held-out subject", folder, one)
    refused(DataError, "holds 9 PNG images", folder, shapes)
    refused(DataError, "no such file or folder", tmp_path / "nowhere", shapes)
    refused(DataError, "a file, expected a folder", folder / "0001.png", shapes)
    refused(ConfigError, "n is 3", folder, shapes, n=3)
    refused(ConfigError, "seed is -1", folder, shapes, seed=-1)
    write_pngs(folder, more_shapes(20)[0])
    (tmp_path / "out").write_text("in the way")
    refused(ConfigError, "report cannot be written", folder, shapes)


def test_words_say_what_the_numbers_say() -> None:
    result = {"value": 0.12, "floor": {"value": 0.00184, "low": 0.001, "high": 0.002}, "ratio_to_floor": 65.2}
    rows = [{"name": "blurred_real", "kid": 0.3}, {"name": "untrained", "kid": 0.9}]
    assert sentence("kid", result, rows) == (
        "KID 0.12 = 65 x the floor of 0.00184; blurred real images score 0.3; an untrained net scores 0.9."
    )
    at_zero = result | {"floor": {"value": 0.0001, "low": -0.002, "high": 0.002}, "ratio_to_floor": None}
    assert "no different from zero (-0.002 to 0.002)" in sentence("kid", at_zero, rows)
    assert "nearer than blurred" in closeness("kid", result, rows)
    assert "not told apart" in closeness("kid", result | {"value": 0.001}, rows)
    assert "blurred real images are" in closeness("kid", result | {"value": 0.5}, rows)
    assert "untrained network" in closeness("kid", result | {"value": 0.85}, rows)


@pytest.mark.slow
def test_real_scans_through_the_default_extractor(
    shared_data: Path, make_dataset: Callable[..., PreparedDataset], tmp_path: Path
) -> None:
    """Unseen scans of the same kinds score near the floor, scans of another kind far from it."""
    files = {kind: sorted((shared_data / "mednist64" / kind).iterdir())[:150] for kind in ("HeadCT", "Hand")}
    read = {k: np.stack([np.asarray(Image.open(f).convert("L"))[None] for f in v]) for k, v in files.items()}
    heads = read["HeadCT"]
    splits = ["train"] * 70 + ["holdout"] * 40
    data = make_dataset(tmp_path / "d", heads[:110], [str(i) for i in range(110)], splits)
    more = evaluate(write_pngs(tmp_path / "same", heads[110:]), data, tmp_path / "a").report["metrics"]
    other = evaluate(write_pngs(tmp_path / "other", read["Hand"][:40]), data, tmp_path / "b").report["metrics"]
    assert more["fd"]["indicative"]
    assert more["fd"]["value"] < 1.5 * more["fd"]["floor"]["value"]
    assert other["fd"]["value"] > 2 * other["fd"]["floor"]["value"]
    assert other["kid"]["interval"]["low"] > more["kid"]["interval"]["high"]
