"""Every family with every loss and penalty: trained, resumed exactly, shared, sampled."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stylescan.config import RunConfig
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError
from stylescan.generate.sample import sample_images
from stylescan.generate.snapshot import load_snapshot
from stylescan.nets.build import FAMILIES, build_discriminator
from stylescan.nets.growing import reached_by
from stylescan.nets.protocols import Stage
from stylescan.train.loop import Trainer
from stylescan.train.losses import LOSSES
from stylescan.train.probe import mean_score
from stylescan.train.run_folder import RunFolder, read_log
from stylescan.train.state import build_state
from stylescan.train.step import StepStats, build_setup, train_step

CPU = torch.device("cpu")


def finished(folder: Path, dataset: PreparedDataset, config: RunConfig) -> Trainer:
    trainer = Trainer(RunFolder(folder), dataset, config, CPU)
    assert trainer.train().finished
    return trainer


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_resumes_exactly_and_makes_images(
    family: str, tmp_path: Path, family_config, make_dataset
) -> None:
    dataset = make_dataset(resolution=16)
    options = {"spectral_norm": "D", "attention": [8]}  # their state must survive too
    burn_in = {"share": 0.5, "lr_factor": 4.0, "beta2": 0.9, "gamma_factor": 10.0, "ema_from_zero": True}
    config = family_config(family, dataset, model=options, burn_in=burn_in)
    whole = finished(tmp_path / "whole", dataset, config)
    cut = 64 if family == "stylegan" else 60  # inside the fade of 16 px, which goes from 60 to 90
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    again = RunFolder(tmp_path / "again")
    for checkpoint in again.list_checkpoints():
        if int(checkpoint.name) > cut:
            shutil.rmtree(checkpoint)
    assert 40 <= int(again.list_checkpoints()[-1].name) <= cut
    resumed = finished(tmp_path / "again", dataset, config)
    for group, tensors in whole.state.tensors().items():
        others = resumed.state.tensors()[group]
        assert tensors.keys() == others.keys()
        for name, value in tensors.items():
            assert torch.equal(value, others[name]), f"{group}.{name}"
    for name in ("generator.safetensors", "snapshot.json"):
        assert (tmp_path / "whole/snapshot" / name).read_bytes() == (again.snapshot / name).read_bytes()
    snapshot = load_snapshot(again.path)
    images = sample_images(snapshot, range(6), labels=1)
    assert images.shape == (6, 1, 16, 16)
    assert images.dtype == np.uint8
    one_by_one = [sample_images(snapshot, [seed], labels=1)[0].astype(int) for seed in range(6)]
    assert np.abs(images.astype(int) - one_by_one).max() <= 1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_loss_and_penalty_combines_with_every_family(family: str, loss: str, family_config, make_dataset) -> None:
    dataset = make_dataset(subjects=6, resolution=16)
    penalties = {"r1_gamma": 1.0, "r1_interval": 1, "r2_gamma": 1.0, "r2_interval": 2, "gp_weight": 1.0,
                 "drift_weight": 0.01, "drift_interval": 2, "pl_weight": 1.0, "pl_interval": 2}  # fmt: skip
    config = family_config(family, dataset, objective={"loss": loss, "mixing": 0.5, **penalties})
    setup = build_setup(config, dataset, dataset.indices("train"))
    state = build_state(config, setup.phases, device=CPU)
    state.nimg = 100  # in a growing family's last level
    before = {name: value.clone() for name, value in state.G.named_parameters()}
    stats = StepStats()
    for _ in range(2):
        train_step(state, setup, stats)
    values = stats.take(setup.team)
    assert {
        "G_loss",
        "D_loss",
        "r1_penalty",
        "r2_penalty",
        "gp_penalty",
        "drift_penalty",
        "pl_penalty",
    } <= values.keys()
    assert all(np.isfinite(value) for value in values.values())
    for net in (state.G, state.D):
        assert all(torch.isfinite(p).all() for p in net.parameters())
    assert any(not torch.equal(value, before[name]) for name, value in state.G.named_parameters())


def test_a_growing_run_goes_through_its_levels_with_fresh_moments(tmp_path: Path, family_config, make_dataset) -> None:
    dataset = make_dataset(resolution=16)
    config = family_config("stylegan", dataset)
    setup = build_setup(config, dataset, dataset.indices("train"))
    state = build_state(config, setup.phases, device=CPU)
    seen: list[tuple[int, Stage, float, int]] = []
    while state.nimg < 120:
        nimg = state.nimg
        train_step(state, setup, StepStats())
        reached = reached_by(state.G)
        assert reached is not None
        steps = {int(values["step"]) for values in state.opt_D.state.values()}
        seen.append((nimg, reached.read(), state.opt_G.param_groups[0]["lr"], max(steps)))
        assert reached.read() == reached_by(state.D).read() == reached_by(state.G_ema).read()
    assert [s[0] for s in seen][:4] == [0, 8, 16, 24]  # batches of 8, then of 4: 1/6 of 120 images is 20, so 24
    assert {stage.depth: lr for _, stage, lr, _ in seen} == pytest.approx({0: 0.002, 1: 0.003, 2: 0.004})
    second = [stage.alpha for nimg, stage, _, _ in seen if stage.depth == 1]
    assert second == pytest.approx([0, 4 / 18, 8 / 18, 12 / 18, 16 / 18, 1, 1, 1, 1])  # 24 .. 60, half of it fading
    # every level begins with fresh moments: two steps of D (main and a lazy one) at most after its first batch
    assert [done for nimg, stage, _, done in seen if nimg in (24, 60)] == pytest.approx([1, 1], abs=1)


def test_a_growing_run_tells_its_levels_and_draws_each(tmp_path: Path, family_config, make_dataset) -> None:
    run = RunFolder(tmp_path / "run")
    dataset = make_dataset(resolution=16)
    finished(run.path, dataset, family_config("stylegan", dataset))
    events = [(line["nimg"], line["resolution"]) for line in read_log(run.log) if line.get("event") == "level"]
    assert events == [(0, 4), (24, 8), (60, 16)]
    names = {int(path.stem.split("_")[1]) for path in run.pictures.glob("fakes_*.png")}
    assert {0, 24, 60, 120} <= names
    snapshot = load_snapshot(run.path)
    ws = snapshot.generator.mapping(torch.randn(2, 8), torch.eye(2))
    for depth in range(3):
        assert snapshot.generator.synthesis(ws, stage=Stage(depth)).shape == (2, 1, 4 * 2**depth, 4 * 2**depth)


@pytest.mark.parametrize(
    ("family", "growth", "words"),
    [
        ("stylegan2", {"fade": 0.5}, "does not grow"),
        ("stylegan2-lite", {"start": 8}, "fades its last resolution"),
        ("stylegan", {"start": 5}, "expected one of 4, 8, 16"),
        ("stylegan", {"start": 8, "batch": [4]}, "growth.batch: found .4., expected 2 numbers"),
        ("stylegan", {"start": 4, "images": [1, 1, 0]}, "growth.images"),
        ("stylegan", {"start": 4, "batch": [64, 64, 64]}, "too few for 3 levels"),
    ],
)
def test_growth_that_cannot_be_is_refused_before_the_first_step(
    family: str, growth: dict[str, Any], words: str, family_config, make_dataset
) -> None:
    dataset = make_dataset(subjects=6, resolution=16)
    config = family_config(family, dataset).model_dump()
    config["growth"] = growth
    with pytest.raises(ConfigError, match=words):
        build_setup(RunConfig.model_validate(config), dataset, dataset.indices("train"))


def test_a_growing_run_is_scored_at_its_last_resolution_and_begins_at_its_first(
    tmp_path: Path, family_config, make_dataset
) -> None:
    dataset = make_dataset(resolution=16)
    config = family_config("stylegan", dataset, train={"score_kimg": 0.01})
    asked: list[int] = []
    run = RunFolder(tmp_path / "run")
    trainer = Trainer(run, dataset, config, CPU)

    def score(generate) -> dict[str, float]:
        asked.append(trainer.state.nimg)
        return {"kid": float(len(asked))}  # the first would stay the best

    trainer.score = score
    trainer.train()
    assert asked == [60, 72, 80, 92, 100, 112, 120]
    assert trainer.state.progress.best_nimg == 60
    first = np.asarray(Image.open(run.pictures / "fakes_000000000.png"))[:16, :16]
    assert (first.reshape(4, 4, 4, 4) == first[::4, ::4][:, None, :, None]).all()  # 4 px, enlarged


def test_wasserstein_runs_are_not_stopped_for_the_sign_of_scores(tmp_path: Path, family_config, make_dataset) -> None:
    dataset = make_dataset(resolution=16)
    for loss, told in (("wasserstein", False), ("logistic", True)):
        config = family_config("stylegan2", dataset, objective={"loss": loss})
        trainer = Trainer(RunFolder(tmp_path / loss), dataset, config, CPU)
        assert trainer.guard.monitor.signs_tell == told


@pytest.mark.parametrize("family", FAMILIES)
def test_looking_at_scores_moves_nothing_that_D_keeps(family: str, family_config, make_dataset) -> None:
    dataset = make_dataset(resolution=16)
    config = family_config(family, dataset, model={"spectral_norm": "D"})
    D = build_discriminator(config.spec)
    before = {name: value.clone() for name, value in D.state_dict().items()}
    index = dataset.indices("select")
    assert np.isfinite(mean_score(D, dataset.read(index), dataset.labels[index]))
    assert D.training
    assert all(torch.equal(value, before[name]) for name, value in D.state_dict().items())
