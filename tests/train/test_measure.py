"""What a run will cost is measured over real steps, fewer where they are slow."""

from __future__ import annotations

import pytest
import torch

from stylescan.train.measure import measure_cost


def test_cost_counts_parameters_and_times_the_steps_asked_for(make_dataset, tiny_config) -> None:
    dataset = make_dataset()
    config = tiny_config(dataset)
    cost = measure_cost(config, dataset, device=torch.device("cpu"), steps=3)
    assert cost.steps == 3
    assert cost.seconds_per_image > 0
    assert cost.hours(2.0) * 3600 == pytest.approx(2000 * cost.seconds_per_image)
    from stylescan.nets.build import build_discriminator, build_generator

    counted = [
        sum(p.numel() for p in build(config.spec).parameters()) for build in (build_generator, build_discriminator)
    ]
    assert [cost.parameters_G, cost.parameters_D] == counted


def test_slow_nets_are_timed_over_one_step_at_least(make_dataset, tiny_config) -> None:
    dataset = make_dataset()
    cost = measure_cost(tiny_config(dataset), dataset, device=torch.device("cpu"), limit_s=0.0)
    assert cost.steps == 1
