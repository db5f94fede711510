"""PCA against scikit-learn, the picture of one model's w, and the refusal of two models."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import decomposition

from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError, SnapshotError
from stylescan.evaluate.latent import embed as embed_module
from stylescan.evaluate.latent import embedding
from stylescan.evaluate.latent.columns import column_names, read_column
from stylescan.evaluate.latent.embed import embed
from stylescan.evaluate.latent.embed_record import EmbedOptions
from stylescan.evaluate.latent.embedding import fit_pca, fit_umap, sampled_w
from stylescan.evaluate.latent.one_model import open_model
from stylescan.evaluate.latent.projected import projected_w, spread_positions
from stylescan.generate.snapshot import Snapshot, SnapshotMeta, load_snapshot, save_snapshot
from stylescan.nets.build import build_generator, parse_spec

SPEC = {
    "family": "stylegan2", "z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 4, "resolution": 16,
    "img_channels": 1, "num_classes": 2,
}  # fmt: skip


def write_model(folder: Path, dataset: PreparedDataset, *, seed: int = 0, nimg: int = 0) -> Snapshot:
    generator = build_generator(parse_spec(SPEC), seed=seed)
    meta = SnapshotMeta(
        family="stylegan2", spec=generator.spec.model_dump(), class_names=list(dataset.class_names),
        class_frequencies=[0.5, 0.5], bits=8, data_content_hash=dataset.content_hash,
        preparation_hash=dataset.preparation_hash, preset="small", seed=seed, nimg=nimg,
    )  # fmt: skip
    return load_snapshot(save_snapshot(folder, generator, meta))


@dataclasses.dataclass
class Found:
    ws: NDArray[np.float32]
    perceptual: NDArray[np.float32]
    rmse: NDArray[np.float32]


class BlockMeans:
    """Stands for the projection: w are 8 block means of the image. Counts the images that it was given."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.seen = 0
        self.stop_after = stop_after

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"method": "block means"}

    def __call__(self, snapshot: Snapshot, images: NDArray[Any], progress: object) -> Found:
        if self.stop_after is not None and self.seen >= self.stop_after:
            raise KeyboardInterrupt
        self.seen += len(images)
        w = (images.astype(np.float32) / 255).reshape(len(images), 8, -1).mean(axis=2)
        nothing = np.full(len(images), 0.25, np.float32)
        return Found(np.repeat(w[:, None], snapshot.generator.num_ws, axis=1), nothing, nothing)


def with_extra(dataset: PreparedDataset) -> PreparedDataset:
    """The dataset with slice numbers, sides and two columns of the user's own."""
    file = dataset.path / "manifest.json"
    manifest = json.loads(file.read_text())
    for number, image in enumerate(manifest["images"]):
        image |= {"slice": number % 5, "side": "left" if number % 2 else "right"}
        image["extra"] = {"age": float(20 + number // 5), "site": f"site {number // 5 % 3}", "value_low_1": 1.0}
    file.write_text(json.dumps(manifest))
    return PreparedDataset.open(dataset.path)


def test_pca_equals_an_independent_one_and_fixes_the_sign() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) + 3
    ours, reference = fit_pca(points, 3), decomposition.PCA(3).fit(points)
    np.testing.assert_allclose(ours.share, reference.explained_variance_ratio_, rtol=1e-10)
    np.testing.assert_allclose(np.abs(ours.axes), np.abs(reference.components_), atol=1e-10)
    np.testing.assert_allclose(np.abs(ours.transform(points)), np.abs(reference.transform(points)), atol=1e-9)
    assert ours.variance == pytest.approx(points.var(axis=0, ddof=1).sum())
    assert (ours.axes[np.arange(3), np.abs(ours.axes).argmax(axis=1)] > 0).all()
    # an order of the points that turns singular vectors round must not turn the picture round
    np.testing.assert_allclose(fit_pca(points[::-1], 3).axes, ours.axes, atol=1e-9)


def test_pca_of_two_points_lies_on_a_line() -> None:
    pca = fit_pca(np.array([[0.0, 0, 0], [2, 0, 0]]))
    np.testing.assert_allclose(pca.transform(np.array([[0.0, 0, 0], [2, 0, 0]])), [[-1, 0], [1, 0]])
    assert pca.share[0] == pytest.approx(1)
    with pytest.raises(ConfigError, match="1 points"):
        fit_pca(np.zeros((1, 3)))


def test_sampled_w_is_the_mapping_of_each_seed_alone(shapes: PreparedDataset, tmp_path: Path) -> None:
    snapshot = write_model(tmp_path / "model", shapes)
    w = sampled_w(snapshot, [3, 4, 5], [0, 1, 1])
    np.testing.assert_allclose(sampled_w(snapshot, [4], [1])[0], w[1], atol=1e-6)
    assert np.abs(sampled_w(snapshot, [4], [0])[0] - w[1]).max() > 1e-3


def test_columns_are_those_of_the_manifest(shapes: PreparedDataset) -> None:
    dataset = with_extra(shapes)
    assert column_names(dataset) == ["class", "slice", "side", "subject", "age", "site"]
    some = np.array([0, 5, 6])
    assert read_column(dataset, "age", some).values.tolist() == [20.0, 21.0, 21.0]
    site = read_column(dataset, "site", some)
    assert (site.kind, [site.names[k] for k in site.values]) == ("category", ["site 0", "site 1", "site 1"])
    with pytest.raises(ConfigError, match="weight") as problem:
        read_column(dataset, "weight", some)
    assert "age" in problem.value.remedy


def test_real_slices_are_spread_over_subjects_and_heights(shapes: PreparedDataset) -> None:
    dataset = with_extra(shapes)
    rows = dataset.indices("train")
    chosen = spread_positions(dataset, rows, 60, per_subject=2, seed=0, matched=True)
    subjects, counts = np.unique(dataset.subjects[chosen], return_counts=True)
    assert (len(subjects), set(counts)) == (30, {2})
    assert {dataset.manifest.images[i].slice for i in chosen} == {1, 3}  # the same heights of everyone
    everyone = spread_positions(dataset, rows, 120, per_subject=1, seed=0, matched=False)
    assert len(everyone) == 120
    assert len(np.unique(dataset.subjects[everyone])) == 40


def test_projections_are_kept_resumed_and_checked(shapes: PreparedDataset, tmp_path: Path) -> None:
    snapshot, positions = write_model(tmp_path / "model", shapes), np.arange(80)
    with pytest.raises(KeyboardInterrupt):
        projected_w(BlockMeans(stop_after=64), snapshot, shapes, positions, tmp_path / "kept")
    second = BlockMeans()
    whole = projected_w(second, snapshot, shapes, positions, tmp_path / "kept")
    assert second.seen == 16
    third = BlockMeans()
    fewer = projected_w(third, snapshot, shapes, positions[10:20], tmp_path / "kept")
    assert third.seen == 0
    np.testing.assert_array_equal(fewer.w, whole.w[10:20])
    file = sorted((tmp_path / "kept").rglob("*.safetensors"))[0]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    fourth = BlockMeans()
    again = projected_w(fourth, snapshot, shapes, positions, tmp_path / "kept")
    assert fourth.seen in (16, 32)  # the damaged file's images alone
    np.testing.assert_array_equal(again.w, whole.w)
    other = BlockMeans()
    projected_w(other, write_model(tmp_path / "other", shapes, seed=1), shapes, positions, tmp_path / "kept")
    assert other.seen == 80


def test_data_prepared_otherwise_is_refused(shapes: PreparedDataset, tmp_path: Path) -> None:
    snapshot = write_model(tmp_path / "model", shapes)
    strange = dataclasses.replace(snapshot, meta=snapshot.meta.model_copy(update={"preparation_hash": "9" * 64}))
    with pytest.raises(SnapshotError, match="999999999999"):
        projected_w(BlockMeans(), strange, shapes, np.arange(3), tmp_path / "kept")


def test_embed_writes_pictures_numbers_and_points(shapes: PreparedDataset, tmp_path: Path) -> None:
    dataset = with_extra(shapes)
    snapshot = write_model(tmp_path / "model", dataset)
    options = EmbedOptions(count=120, project=80, method="pca", permutations=39)
    made = embed(snapshot, dataset, tmp_path / "out", options, BlockMeans())
    assert (tmp_path / "out" / "pca.png").read_bytes()[:4] == b"\x89PNG"
    values = json.loads((tmp_path / "out" / "embedding.json").read_text())
    found = {(row["of"], row["column"]): row["probe"] for row in values["probes"]}
    assert set(found) == {("generated", "class")} | {("real", name) for name in column_names(dataset)}
    assert found["real", "subject"]["measure"] == "same-subject share"
    assert found["real", "class"]["unit"] == "subject"
    assert values["projection"]["median_rmse"] == 0.25
    assert any("put into the mapping" in line for line in made.sentences)
    with (tmp_path / "out" / "points.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [sum(row["kind"] == kind for row in rows) for kind in ("generated", "real")] == [120, 80]
    first = {path.name: path.read_bytes() for path in made.files}
    embed(snapshot, dataset, tmp_path / "out", options, BlockMeans())
    assert {path.name: path.read_bytes() for path in made.files} == first


def test_a_missing_umap_is_said_or_refused(
    shapes: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding.importlib.util, "find_spec", lambda name: None)
    snapshot = write_model(tmp_path / "model", shapes)
    made = embed(snapshot, None, tmp_path / "out", EmbedOptions(count=50, permutations=9), BlockMeans())
    assert not (tmp_path / "out" / "umap.png").exists()
    assert any("umap-learn is not installed" in line for line in made.sentences)
    with pytest.raises(ConfigError, match="umap-learn"):
        embed(snapshot, None, tmp_path / "out", EmbedOptions(count=50, method="umap"), BlockMeans())


def test_options_that_ask_for_nothing_are_refused(shapes: PreparedDataset, tmp_path: Path) -> None:
    snapshot = write_model(tmp_path / "model", shapes)
    for options, word in [
        (EmbedOptions(count=3), "at least 10"),
        (EmbedOptions(colours=("depth",)), "real images only"),
        (EmbedOptions(project=20, colours=("weight",)), "weight"),
    ]:
        with pytest.raises(ConfigError, match=word):
            embed(snapshot, shapes, tmp_path / "out", options, BlockMeans())
    with pytest.raises(ConfigError, match="no data"):
        embed(snapshot, None, tmp_path / "out", EmbedOptions(project=20), BlockMeans())


def test_two_models_are_refused_and_one_named_twice_is_not(shapes: PreparedDataset, tmp_path: Path) -> None:
    one = write_model(tmp_path / "a" / "snapshot", shapes, seed=0)
    write_model(tmp_path / "b" / "snapshot", shapes, seed=1)
    with pytest.raises(ConfigError, match="axis 1 of one model has nothing to do") as problem:
        open_model([tmp_path / "a", tmp_path / "b"])
    assert "--checkpoints all" in problem.value.remedy
    assert open_model([tmp_path / "a", tmp_path / "a" / "snapshot"]).now.model_hash == one.model_hash
    with pytest.raises(ConfigError):
        open_model([])


@pytest.mark.slow
def test_umap_keeps_groups_together_and_repeats_itself() -> None:
    """Slow: numba compiles for half a minute."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    points = rng.normal(size=(120, 8)) + 12 * np.eye(8)[labels]
    flat = fit_umap(points, seed=1)
    np.testing.assert_array_equal(flat, fit_umap(points, seed=1))
    distance = np.linalg.norm(flat[:, None] - flat, axis=2) + 1e9 * np.eye(120)
    assert (labels[distance.argmin(axis=1)] == labels).all()


def test_nothing_of_sampling_moves_the_callers_random_numbers(shapes: PreparedDataset, tmp_path: Path) -> None:
    snapshot = write_model(tmp_path / "model", shapes)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    embed_module.embed(
        snapshot, None, tmp_path / "out", EmbedOptions(count=20, method="pca", permutations=9), BlockMeans()
    )
    assert torch.equal(torch.rand(1), expected)
