"""Checkpoints of one run on fixed axes: read without the training state, in order, and never mixed with another's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cyclopts import App
from safetensors.torch import save

from stylescan.cli.embed import embed as embed_command
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import CheckpointError, ConfigError
from stylescan.evaluate.latent.embedding import fit_pca, sampled_w
from stylescan.evaluate.latent.follow import follow, mean_cosine
from stylescan.evaluate.latent.one_model import open_model
from stylescan.files import file_sha256, write_bytes_atomic, write_json_atomic
from stylescan.generate.checkpoint_generator import list_checkpoints, load_checkpoint_generator
from stylescan.generate.sample import draw_labels
from stylescan.generate.snapshot import SnapshotMeta, save_snapshot
from stylescan.nets.build import build_generator, parse_spec

SPEC = {
    "family": "stylegan2", "z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 4, "resolution": 16,
    "img_channels": 1, "num_classes": 2,
}  # fmt: skip


def write_run(folder: Path, dataset: PreparedDataset, stages: int = 3, *, seed: int = 0, config: str = "c") -> Path:
    """A run folder with a snapshot and checkpoints whose mapping changes by a known amount."""
    generator = build_generator(parse_spec(SPEC), seed=seed)
    meta = SnapshotMeta(
        family="stylegan2", spec=generator.spec.model_dump(), class_names=list(dataset.class_names),
        class_frequencies=[0.5, 0.5], bits=8, data_content_hash=dataset.content_hash,
        preparation_hash=dataset.preparation_hash, preset="small", seed=seed, nimg=0,
    )  # fmt: skip
    for stage in range(1, stages + 1):
        with torch.no_grad():
            generator.mapping.layers[-1].weight.mul_(1.5)
        at = folder / "checkpoints" / f"{stage * 1000:09d}"
        weights = at / "G_ema.safetensors"
        write_bytes_atomic(weights, save({k: v.contiguous() for k, v in generator.state_dict().items()}))
        state = {
            "format": 1, "files": {weights.name: file_sha256(weights)}, "position": {"nimg": stage * 1000},
            "identity": {"config_hash": config},
        }  # fmt: skip
        write_json_atomic(at / "state.json", state)
    save_snapshot(folder / "snapshot", generator, meta)
    return folder


def test_checkpoints_are_the_networks_that_were_written(shapes: PreparedDataset, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", shapes)
    folders = list_checkpoints(run)
    stages = [load_checkpoint_generator(folder) for folder in folders]
    assert [stage.meta.nimg for stage in stages] == [1000, 2000, 3000]
    assert [stage.model_hash for stage in stages] == [file_sha256(f / "G_ema.safetensors") for f in folders]
    w = [sampled_w(stage, range(5), [0] * 5) for stage in stages]
    np.testing.assert_allclose(w[2], 1.5 * w[1], rtol=1e-4, atol=1e-5)  # the last layer is linear up to its leaky ReLU


def test_a_damaged_checkpoint_is_refused(shapes: PreparedDataset, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", shapes)
    weights = run / "checkpoints" / "000002000" / "G_ema.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="SHA-256"):
        open_model([run], checkpoints="all")
    weights.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="safetensors"):
        load_checkpoint_generator(weights.parent)
    (weights.parent / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match="position"):
        load_checkpoint_generator(weights.parent)


def test_weights_of_another_network_are_refused(shapes: PreparedDataset, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", shapes)
    folder = run / "checkpoints" / "000001000"
    other = build_generator(parse_spec(SPEC | {"w_dim": 4}))
    weights = folder / "G_ema.safetensors"
    weights.write_bytes(save({k: v.contiguous() for k, v in other.state_dict().items()}))
    state = json.loads((folder / "state.json").read_text())
    state["files"][weights.name] = file_sha256(weights)
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint_generator(folder)


@pytest.mark.parametrize(
    ("asked", "nimg"), [("all", [1, 2, 3, 4, 5]), ("3", [1, 3, 5]), ("2", [1, 5]), ("9", [1, 2, 3, 4, 5])]
)
def test_so_many_checkpoints_spread_over_the_run(
    shapes: PreparedDataset, tmp_path: Path, asked: str, nimg: list[int]
) -> None:
    run = write_run(tmp_path / "run", shapes, stages=5)
    model = open_model([run], checkpoints=asked)
    assert [stage.meta.nimg // 1000 for stage in model.stages] == nimg
    assert model.now.meta.nimg == 5000


def test_one_checkpoint_is_the_last_and_nonsense_is_refused(shapes: PreparedDataset, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", shapes)
    assert open_model([run], checkpoints="1").now.meta.nimg == 3000
    for word in ("0", "-1", "some", "1.5"):
        with pytest.raises(ConfigError, match="expected 'all'"):
            open_model([run], checkpoints=word)
    with pytest.raises(CheckpointError, match="no checkpoints"):
        open_model([run / "snapshot"], checkpoints="all")


def test_checkpoints_of_one_run_go_together_and_those_of_two_do_not(shapes: PreparedDataset, tmp_path: Path) -> None:
    one, two = write_run(tmp_path / "one", shapes), write_run(tmp_path / "two", shapes, seed=1, config="d")
    folders = list_checkpoints(one)
    assert [stage.meta.nimg for stage in open_model([folders[2], folders[0]]).stages] == [1000, 3000]
    with pytest.raises(ConfigError, match="different models"):
        open_model([folders[0], list_checkpoints(two)[0]])
    with pytest.raises(ConfigError, match="different models"):
        open_model([one, two], checkpoints="all")
    with pytest.raises(ConfigError, match="different models"):
        open_model([one, folders[0]])


def test_the_axes_are_those_of_the_last_and_the_curves_are_right(shapes: PreparedDataset, tmp_path: Path) -> None:
    stages = open_model([write_run(tmp_path / "run", shapes)], checkpoints="all").stages
    made = follow(stages, tmp_path / "out", count=60)
    rows = made.values["checkpoints"]
    labels = draw_labels(range(60), stages[0].meta)
    last = sampled_w(stages[-1], range(60), labels)
    assert made.values["axes_of"] == stages[-1].model_hash
    assert rows[-1]["share_on_axes"] == pytest.approx(fit_pca(last).share.sum(), rel=1e-5)
    assert rows[-1]["cosine_with_last"] == pytest.approx(1)
    assert rows[1]["variance"] / rows[0]["variance"] == pytest.approx(1.5**2, rel=1e-3)
    assert rows[0]["class_probe"]["value"] is not None
    assert (tmp_path / "out" / "checkpoints.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ConfigError, match="at least 2"):
        follow(stages[:1], tmp_path / "out")


def test_the_cosine_is_about_each_mean() -> None:
    a = np.random.default_rng(0).normal(size=(200, 6))
    assert mean_cosine(a + 5, 3 * a - 2) == pytest.approx(1)
    assert mean_cosine(a, -a) == pytest.approx(-1)
    assert abs(mean_cosine(a, np.random.default_rng(1).normal(size=(200, 6)))) < 0.1


def test_the_command_follows_a_run_and_refuses_two(
    shapes: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = write_run(tmp_path / "run", shapes, stages=2), tmp_path / "out"
    app = App()
    app.command(embed_command, name="embed")
    words = [str(run), "--out", str(out), "--count", "40", "--method", "pca", "--checkpoints", "all"]
    app(["embed", *words], result_action="return_value", exit_on_error=False)
    assert {file.name for file in out.iterdir()} == {
        "pca.png", "embedding.json", "points.csv", "checkpoints.png", "checkpoints.json",
    }  # fmt: skip
    said = capsys.readouterr().out
    assert "From 1 to 2 thousand images" in said
    assert "smallest possible" in said
    other = write_run(tmp_path / "other", shapes, seed=1)
    with pytest.raises(ConfigError, match="different models"):
        app(["embed", str(run), str(other), "--out", str(out)], result_action="return_value", exit_on_error=False)
