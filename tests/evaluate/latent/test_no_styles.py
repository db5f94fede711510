"""Verbs about w refuse models that have none; what needs no w works with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stylescan.cli import run
from stylescan.evaluate.judge import evaluate
from stylescan.train.loop import Trainer
from stylescan.train.run_folder import RunFolder


@pytest.fixture
def model(tmp_path: Path, shapes, family_config) -> tuple[Path, Path]:
    """A run of a family without w, and its data."""
    dataset = shapes
    trainer = Trainer(
        RunFolder(tmp_path / "run"), dataset, family_config("dcgan", dataset, kimg=0.016), torch.device("cpu")
    )
    assert trainer.train().finished
    return tmp_path / "run", dataset.path


def test_embed_and_direction_say_that_there_is_no_w(model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, data = model
    for arguments in (
        ["embed", str(folder), "--out", str(tmp_path / "latent"), "--count", "20"],
        [
            "direction",
            str(folder),
            "--data",
            str(data),
            "--class",
            "kind 1",
            "--from",
            "kind 0",
            "--out",
            str(tmp_path / "d"),
        ],
    ):
        assert run(arguments) == 2
        shown = capsys.readouterr().err
        assert "a model of family dcgan has no styles by layer" in shown
        assert "remedy: take a model of a style-based family" in shown
    assert not (tmp_path / "latent").exists()
    assert not (tmp_path / "d").exists()


def test_such_a_model_is_judged_like_any_other(model, tmp_path: Path, pooled) -> None:
    folder, data = model
    result = evaluate(folder, data, tmp_path / "report", extractor=pooled)
    assert result.report["subject"]["family"] == "dcgan"
    assert result.html.is_file()
