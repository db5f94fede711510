"""The suggestion after `prepare`: its table of operations against the networks themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stylescan.advice import FEW, KIMG, PUBLISHED_ON, TRAINING_COST, expected_hours, matrix_rate, said, training_advice
from stylescan.config import DataFingerprint, RunConfig
from stylescan.data.options import MAX_RESOLUTION, MIN_RESOLUTION
from stylescan.data.prepared import PreparedDataset
from stylescan.nets.build import build_discriminator, build_generator
from stylescan.presets import PRESETS, build_config
from stylescan.recipes.common import Machine


def auto(resolution: int) -> RunConfig:
    data = DataFingerprint(content_hash="", preparation_hash="", resolution=resolution, channels=1, bits=8,
                           train_images=2000, select_images=10, holdout_images=10)  # fmt: skip
    return build_config("auto", data, machine=Machine("cpu", 1))


def operations(config: RunConfig) -> float:
    """Of an image shown: D sees a real and a fake and is differentiated for its own sake (6 forward passes' worth, a
    backward pass being two), and once more for G (3); G makes two fakes (2) and is differentiated once (2)."""
    spec = config.spec
    G, D = build_generator(spec).to("meta"), build_discriminator(spec).to("meta")
    with torch.no_grad():
        with FlopCounterMode(display=False) as generator:
            G.synthesis(torch.zeros((1, G.num_ws, G.mapping.w_avg.shape[1]), device="meta"), noise="none")
        with FlopCounterMode(display=False) as discriminator:
            D(torch.zeros((1, 1, spec.resolution, spec.resolution), device="meta"), None, group=1)
    return float(4 * generator.get_total_flops() + 9 * discriminator.get_total_flops())


@pytest.mark.parametrize("resolution", TRAINING_COST)
def test_the_table_is_what_the_networks_cost(resolution: int) -> None:
    assert TRAINING_COST[resolution][0] * 1e9 == pytest.approx(operations(auto(resolution)), rel=0.01)


def test_the_table_knows_every_resolution_and_the_length_of_auto() -> None:
    side = MIN_RESOLUTION
    while side <= MAX_RESOLUTION:
        assert side in TRAINING_COST
        side *= 2
    assert auto(64).train.total_kimg == KIMG
    assert {name for names in PUBLISHED_ON.values() for name in names} <= set(PRESETS)


def test_hours_are_operations_over_rate() -> None:
    count, share = TRAINING_COST[64]
    assert expected_hours(64, 2.0, 1e9) == pytest.approx(2000 * count / share / 3600)
    assert matrix_rate() > 1e8


def test_advice_names_a_preset_and_a_time(make_dataset: Callable[..., PreparedDataset]) -> None:
    dataset = make_dataset()
    lines = training_advice(dataset)
    assert any("suggested preset: auto" in line for line in lines)
    assert any("expected cost: about" in line for line in lines)
    assert len(dataset.indices("train")) < FEW
    assert any("training images are few" in line for line in lines)
    assert not any("published" in line for line in lines)


def test_advice_names_what_was_published_on_a_known_set(make_dataset: Callable[..., PreparedDataset]) -> None:
    dataset = make_dataset()
    manifest = dataset.manifest.model_copy(update={"preparation": {"layout": "akoa"}})
    lines = training_advice(PreparedDataset.assemble(dataset.path, manifest))
    assert lines[-1] == "published on such data: --preset akoa-stylegan or knee-stylegan"


def test_preparing_waits_for_no_torch(tmp_path: Path) -> None:
    """Importing torch takes longer than preparing a small set."""
    code = (
        "import sys, stylescan.cli.prepare, stylescan.data.prepare, stylescan.advice; assert 'torch' not in sys.modules"
    )
    run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_durations_read_well() -> None:
    assert [said(hours) for hours in (0.001, 0.5, 1.26, 30, 100)] == [
        "1 minute", "30 minutes", "1.3 hours", "30 hours", "4 days",
    ]  # fmt: skip
