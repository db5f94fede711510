"""The suggestion after `prepare`: operations counted, not guessed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from stylescan.advice import D_PASSES, G_PASSES, _duration, convolution_rate, training_advice, training_flops
from stylescan.config import RunConfig
from stylescan.data.prepared import PreparedDataset
from stylescan.nets.build import build_discriminator, build_generator
from stylescan.presets import PRESETS
from stylescan.runs import resolve_config


@pytest.mark.parametrize("family", ["stylegan2", "dcgan"])
def test_operations_are_those_of_the_layers(
    family: str, family_config: Callable[..., RunConfig], make_dataset: Callable[..., PreparedDataset]
) -> None:
    """Against a count by hooks: two operations a weight and output position of every convolution and matrix."""
    config = family_config(family, make_dataset())
    counted = {"G": 0, "D": 0}

    def hook(net: str) -> Callable[..., None]:
        def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if isinstance(module, torch.nn.ConvTranspose2d):
                counted[net] += 2 * module.weight.numel() * inputs[0].shape[2] * inputs[0].shape[3]
            elif isinstance(module, torch.nn.Conv2d):
                counted[net] += 2 * module.weight.numel() * output.shape[2] * output.shape[3]
            elif isinstance(module, torch.nn.Linear):
                counted[net] += 2 * module.weight.numel()

        return count

    found = training_flops(config)
    assert found > 0
    if family != "dcgan":
        return  # its layers are not torch's own; that they are counted at all is asserted above
    G, D = build_generator(config.spec), build_discriminator(config.spec)
    for net, name in ((G, "G"), (D, "D")):
        for module in net.modules():
            module.register_forward_hook(hook(name))
    spec = config.spec
    c = torch.zeros((1, spec.num_classes)) if spec.num_classes else None
    with torch.no_grad():
        G.synthesis(torch.zeros((1, G.num_ws, G.mapping.w_avg.shape[1])), noise="none")
        D(torch.zeros((1, spec.img_channels, spec.resolution, spec.resolution)), c, group=1)
    assert found == pytest.approx(G_PASSES * counted["G"] + D_PASSES * counted["D"], rel=0.02)


def test_advice_names_a_preset_and_a_time(make_dataset: Callable[..., PreparedDataset]) -> None:
    lines = training_advice(make_dataset(), torch.device("cpu"))
    assert any("suggested preset: auto" in line for line in lines)
    assert any("expected cost: about" in line for line in lines)
    assert any("training images are few" in line for line in lines)


def test_advice_names_what_was_published_on_a_known_set(make_dataset: Callable[..., PreparedDataset]) -> None:
    dataset = make_dataset()
    manifest = dataset.manifest.model_copy(update={"preparation": {"layout": "akoa"}})
    lines = training_advice(PreparedDataset.assemble(dataset.path, manifest), torch.device("cpu"))
    named = [line for line in lines if line.startswith("published on such data")]
    assert [line.split()[5] for line in named] == ["akoa-stylegan", "knee-stylegan"]
    assert all(name in PRESETS for name in ("akoa-stylegan", "knee-stylegan"))


def test_larger_images_cost_more(make_dataset: Callable[..., PreparedDataset]) -> None:
    small, large = (training_flops(resolve_config(make_dataset(resolution=side))) for side in (16, 32))
    assert large > 1.5 * small
    assert convolution_rate(torch.device("cpu")) > 1e8


def test_durations_read_well() -> None:
    assert [_duration(hours) for hours in (0.001, 0.5, 1.26, 30, 100)] == [
        "1 minutes", "30 minutes", "1.3 hours", "30 hours", "4 days",
    ]  # fmt: skip
