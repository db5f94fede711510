"""The part of the report, its pictures, and the verb's files: fixed scales, honest sentences, no class, no path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from stylescan.cli.project import project as project_verb
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError, DataError, StylescanError
from stylescan.evaluate.latent import projection_part, projection_search
from stylescan.evaluate.latent.error_map import ERROR_SCALE, coloured, columns, error_fraction, sheet
from stylescan.evaluate.latent.perceptual import pyramid
from stylescan.evaluate.latent.projection_part import exact_p, run
from stylescan.evaluate.latent.projection_words import sentences
from stylescan.evaluate.material import Material, gather
from stylescan.evaluate.targets import open_target
from stylescan.evaluate.words import number, ratio
from stylescan.generate.images import write_images
from stylescan.generate.snapshot import SnapshotMeta, load_snapshot, save_snapshot
from stylescan.nets.stylegan2 import StyleGAN2Generator, StyleGAN2Spec
from stylescan.randomness import numpy_generator


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer starts to choose from: time, not the subject here."""
    monkeypatch.setattr(projection_search, "_POOL", 96)


def edges(images: torch.Tensor) -> list[torch.Tensor]:
    filters = torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    return [torch.nn.functional.conv2d(level, filters).relu() for level in pyramid(images)[:2]]


def write_snapshot(folder: Path, dataset: PreparedDataset) -> Path:
    """An untrained generator of 16 px that claims to be trained on `dataset`."""
    spec = StyleGAN2Spec(
        z_dim=4, w_dim=4, channel_base=64, channel_max=4, resolution=16, img_channels=1, num_classes=dataset.num_classes
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        generator = StyleGAN2Generator(spec)
    meta = SnapshotMeta(
        family="stylegan2", spec=spec.model_dump(), class_names=list(dataset.class_names),
        class_frequencies=[1 / dataset.num_classes] * dataset.num_classes, data_content_hash=dataset.content_hash,
        preparation_hash=dataset.preparation_hash, preset="small", seed=0, nimg=0,
    )  # fmt: skip
    return save_snapshot(folder, generator, meta)


@pytest.fixture
def model(tmp_path: Path, shapes: PreparedDataset) -> Path:
    return write_snapshot(tmp_path / "model", shapes)


def material_of(target: Path, dataset: PreparedDataset, extractor: Any) -> Material:
    return gather(open_target(target, dataset), dataset, extractor, n=12, seed=0, full=False, progress=None)


def rendered(part: Any) -> str:
    environment = Environment(
        loader=PackageLoader("stylescan.evaluate", "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(number=number, ratio=ratio)
    return environment.get_template("parts/projection.html.j2").render(part=part.values, pictures=part.pictures)


def test_the_part_reports_every_group_and_renders(
    model: Path, shapes: PreparedDataset, pooled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection_part, "STEPS", 3)
    material = material_of(model, shapes, pooled)
    part = run(material, None, perceptual=edges)
    values = json.loads(json.dumps(part.values, allow_nan=False))
    assert values["ran"]
    assert {name: scores["w"]["n"] for name, scores in values["groups"].items()} == {
        "own": 4, "held_out": 8, "training": 8,
    }  # fmt: skip
    for scores in values["groups"].values():
        for space in ("w", "w+"):
            assert scores[space]["rmse"] == pytest.approx(float(np.median(scores[space]["each"]["rmse"])), abs=1e-5)
    assert set(part.pictures) == {"own", "held_out", "training"}
    page = rendered(part)
    assert page.count("data:image/png;base64,") == 3
    assert all(text.replace("'", "&#39;") in page for text in values["sentences"])
    assert json.dumps(run(material, None, perceptual=edges).values) == json.dumps(part.values)


def test_held_out_and_training_images_are_of_other_subjects_and_the_same_classes(
    model: Path, shapes: PreparedDataset, pooled: Any
) -> None:
    material = material_of(model, shapes, pooled)
    rng = numpy_generator(0, "projection_images")
    held = projection_part._different_subjects(material.holdout, 8, rng)
    trained = projection_part._of_the_same_classes(material.train, material.holdout.labels[held], rng)
    assert len(set(material.holdout.subjects[held])) == len(set(material.train.subjects[trained])) == 8
    assert material.holdout.labels[held].tolist() == material.train.labels[trained].tolist()


def test_a_folder_has_nothing_to_search_in(tmp_path: Path, model: Path, shapes: PreparedDataset, pooled: Any) -> None:
    write_images(load_snapshot(model), tmp_path / "made", list(range(12)))
    part = run(material_of(tmp_path / "made", shapes, pooled), None)
    assert part.values == {"ran": False, "reason": projection_part.NO_GENERATOR}
    assert "Not run: A folder of images has no generator" in rendered(part)


def test_exact_p_counts_the_ways() -> None:
    low, high = np.array([1.0, 2, 3]), np.array([4.0, 5, 6])
    assert exact_p(low, high) == pytest.approx(1 / 20)
    assert exact_p(high, low) == 1
    assert exact_p(np.ones(3), np.ones(4)) == 1
    assert exact_p(np.array([1.0, 2, 4]), np.array([3.0, 5, 6])) == pytest.approx(2 / 20)


def _values(p: float, n: int = 8, own: float = 0.01) -> dict[str, Any]:
    score = {"n": n, "rmse": 0.09, "perceptual": 0.4, "share_farther": 0.05}
    return {
        "groups": {"own": {"w": score | {"perceptual": own}}, "held_out": {"w": score}},
        "other_subject": None,
        "no_w_plus": "a reason",
        "training_against_held_out": {"w": {"ratio": 1.5, "p": p, "n": [n, n]}},
    }


def test_words_never_claim_more_than_was_measured() -> None:
    assert "Training images are met better than held-out ones" in sentences(_values(0.01))[1]
    quiet = sentences(_values(0.4))
    assert "chance alone can do" in quiet[1]
    assert "a small one would not show" in quiet[1]
    assert quiet[2] == "There is no W+: a reason."
    assert "too few subjects" in sentences(_values(0.01, n=3))[1]
    assert "does not even find the model's own images" in sentences(_values(0.4, own=0.3))[1]


def test_error_maps_have_one_fixed_scale() -> None:
    real = np.zeros((2, 2, 4, 4), np.uint16)
    made = real.copy()
    made[0, 0, 1, 2] = 65535 // 4
    made[1, :, 0, 0] = 65535
    errors = error_fraction(real, made)
    assert errors[0, 1, 2] == pytest.approx(0.125, abs=1e-4)
    assert errors[1, 0, 0] == 1
    assert np.count_nonzero(errors) == 2
    colours = coloured(np.array([[[0.0, ERROR_SCALE / 2, ERROR_SCALE, 1.0]]], np.float32))[0, 0].astype(int)
    assert colours[0].sum() < 10
    assert (colours[2] == colours[3]).all()
    assert np.diff(colours.sum(axis=1))[:2].min() > 100
    assert (error_fraction(real.astype(np.uint8), real.astype(np.uint8)) == 0).all()


def test_the_sheet_shows_images_reconstructions_and_errors_in_columns() -> None:
    real = np.full((3, 1, 64, 64), 90, np.uint8)
    made = real.copy()
    made[1] = 154  # 64 / 255 more: beyond the end of the scale
    shown = columns(real, [("W", made)])
    assert [title for title, _ in shown] == ["image", "W", "W error"]
    picture = sheet(shown)
    middle = [[picture[22 + row * 132 + 64, 4 + column * 132 + 64].tolist() for column in range(3)] for row in range(3)]
    assert middle[0] == middle[2] == [[90] * 3, [90] * 3, coloured(np.zeros((1, 1, 1), np.float32))[0, 0, 0].tolist()]
    assert middle[1][1] == [154] * 3
    assert middle[1][2] == coloured(np.ones((1, 1, 1), np.float32))[0, 0, 0].tolist()


def projected(model: Path, data: Path, out: Path, **options: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    project_verb(model, out=out, data=data, **{"count": 3, "steps": 2, **options})
    with safe_open(out / "ws.safetensors", framework="numpy") as file:
        return {name: file.get_tensor(name) for name in list(file.keys())}, json.loads(file.metadata()["projection"])


def test_the_verb_writes_picture_styles_and_numbers(
    tmp_path: Path, model: Path, shapes: PreparedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    ws, metadata = projected(model, shapes.path, out)
    assert {name: array.shape for name, array in ws.items()} == {"w": (3, 6, 4), "w+": (3, 6, 4)}
    numbers = json.loads((out / "projection.json").read_text())
    assert "SYNTHETIC" in metadata["notice"]
    assert metadata["model_hash"] == numbers["model_hash"] == load_snapshot(model).model_hash
    assert metadata["data_content_hash"] == shapes.content_hash
    positions = metadata["positions"]
    assert positions == numbers["positions"]
    assert set(positions) <= set(shapes.indices("holdout").tolist())
    assert len(set(shapes.subjects[positions])) == 3
    assert str(tmp_path) not in (out / "projection.json").read_text() + str(metadata)
    with Image.open(out / "projection.png") as picture:
        assert picture.text["Title"].startswith("REAL images beside SYNTHETIC")  # type: ignore[attr-defined]
    assert "shows real images" in capsys.readouterr().out
    first = (out / "ws.safetensors").read_bytes()
    projected(model, shapes.path, out)  # again, over its own files
    assert (out / "ws.safetensors").read_bytes() == first


def test_other_labels_on_the_same_images_change_nothing(tmp_path: Path, model: Path, shapes: PreparedDataset) -> None:
    manifest = json.loads((shapes.path / "manifest.json").read_text())
    relabelled = tmp_path / "relabelled"
    (relabelled / "shards").mkdir(parents=True)
    for shard in manifest["shards"]:
        (relabelled / shard["file"]).write_bytes((shapes.path / shard["file"]).read_bytes())
    for image in manifest["images"]:
        image["label"] = 1 - image["label"]
    (relabelled / "manifest.json").write_text(json.dumps(manifest))
    before, _ = projected(model, shapes.path, tmp_path / "a")
    after, _ = projected(model, relabelled, tmp_path / "b")
    assert all(np.array_equal(before[space], after[space]) for space in ("w", "w+"))


def test_images_of_a_folder_can_be_projected(tmp_path: Path, model: Path, shapes: PreparedDataset) -> None:
    write_images(load_snapshot(model), tmp_path / "made", [4, 5], noise="const")
    ws, metadata = projected(model, shapes.path, tmp_path / "out", count=None, images=tmp_path / "made", space="w")
    assert {name: len(array) for name, array in ws.items()} == {"w": 2}
    assert [name.startswith("seed-00000") for name in metadata["files"]] == [True, True]


def test_wrong_turns_end_in_words(tmp_path: Path, model: Path, shapes: PreparedDataset) -> None:
    out = tmp_path / "holds more"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    cases: list[tuple[type[StylescanError], str, dict[str, Any]]] = [
        (ConfigError, "'thesis.txt'", {"out": out}),
        (ConfigError, "a file, expected a folder", {"out": out / "thesis.txt"}),
        (ConfigError, "--count 0", {"count": 0}),
        (ConfigError, "seed is -1", {"seed": -1}),
        (ConfigError, "both given", {"count": 2, "images": out}),
        (ConfigError, "--data: missing", {"data": None}),
        (ConfigError, "steps: found 0", {"steps": 0}),
        (DataError, "no folder with PNG images", {"images": out}),
    ]
    for kind, words, options in cases:
        with pytest.raises(kind, match=words) as problem:
            project_verb(model, **{"out": tmp_path / "new", "data": shapes.path, **options})
        assert problem.value.remedy
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "new").exists()
