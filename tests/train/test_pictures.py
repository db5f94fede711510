"""Grids of a run: as many rows and columns as asked for, a class a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stylescan.train.loop import Trainer
from stylescan.train.pictures import fake_grid, real_grid
from stylescan.train.run_folder import RunFolder


def test_grids_have_the_rows_and_columns_that_are_configured(tmp_path: Path, make_dataset, family_config) -> None:
    dataset = make_dataset(resolution=16)
    train = {"grid_columns": 3, "grid_rows": 2, "grid_kimg": 0.008}
    config = family_config("stylegan2", dataset, kimg=0.008, train=train)
    run = RunFolder(tmp_path / "run")
    trainer = Trainer(run, dataset, config, torch.device("cpu"))
    trainer.train()
    for name in ("reals.png", "fakes_000000000.png", "fakes_000000008.png"):
        assert Image.open(run.pictures / name).size == (3 * 16 + 2 * 2, 2 * 16 + 2)
    both = fake_grid(trainer.state.G_ema, bits=8, columns=3, rows=5)
    alone = fake_grid(trainer.state.G_ema, bits=8, columns=3, rows=1)
    assert len(both) == 15
    np.testing.assert_array_equal(both[:3], alone)


def test_real_rows_are_of_one_class_each(make_dataset) -> None:
    dataset = make_dataset()
    indices = dataset.indices("train")
    images = real_grid(dataset, indices, seed=0, columns=5, rows=3)
    labels = [
        {int(dataset.labels[i]) for i in indices if np.array_equal(dataset.read(np.array([i]))[0], image)}
        for image in images
    ]
    assert labels == [{0}] * 5 + [{1}] * 5 + [{0}] * 5
