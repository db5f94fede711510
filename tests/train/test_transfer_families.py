"""Starting from another model in every family: layers of a resolution find each other by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stylescan.errors import ConfigError
from stylescan.nets.build import FAMILIES, build_discriminator, build_generator, parse_spec
from stylescan.train.transfer import frozen_parameters, plan_transfer
from stylescan.train.transfer_rules import InitSource

WIDTHS: dict[str, dict[str, Any]] = {
    "stylegan2": {"z_dim": 8, "w_dim": 8, "channel_base": 1024, "channel_max": 8},
    "stylegan": {"z_dim": 8, "w_dim": 8, "channel_base": 1024, "channel_max": 8, "mapping_layers": 2},
    "stylegan2-lite": {"z_dim": 8, "filters_G": 8, "filters_D": 8, "filters_D_max": 8},
    "dcgan": {"z_dim": 8, "channel_base": 1024, "channel_max": 8},
    "r3gan": {"z_dim": 8, "channel_base": 1024, "channel_max": 8, "group_width": 4},
}


def spec_of(family: str, resolution: int, classes: int = 0, **options: Any) -> Any:
    shape = {"resolution": resolution, "img_channels": 1, "num_classes": classes}
    return parse_spec({"family": family, **WIDTHS[family], **shape, **options})


def source_of(spec: Any) -> InitSource:
    G, D = build_generator(spec, seed=1).state_dict(), build_discriminator(spec, seed=1).state_dict()
    return InitSource(G, D, spec, tuple("ab"[: spec.num_classes]), "hash")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_nets_are_taken_whole(family: str) -> None:
    spec = spec_of(family, 32, classes=2)
    plan = plan_transfer(source_of(spec), spec, ("a", "b"))
    left = {entry.name for entry in plan.entries if entry.kind == "left"}
    assert left == {entry.name for entry in plan.entries if entry.name.endswith("reached.value")}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_larger_net_takes_the_resolutions_that_it_shares(family: str) -> None:
    small, large = spec_of(family, 16), spec_of(family, 32)
    source = source_of(small)
    plan = plan_transfer(source, large, ())
    taken = {(entry.net, entry.name) for entry in plan.entries if entry.kind == "taken"}
    for entry in plan.entries:
        if entry.kind == "taken":
            tensors = source.G if entry.net == "G" else source.D
            assert tensors is not None
            assert entry.value is not None
            assert any(torch.equal(entry.value, other) for other in tensors.values())
    assert len({name for net, name in taken if net == "G" and name.startswith("synthesis")}) >= 3
    assert len({name for net, name in taken if net == "D"}) >= 2


def test_other_classes_leave_the_embedding_and_other_scales_leave_all() -> None:
    source = source_of(spec_of("r3gan", 16, classes=2))
    plan = plan_transfer(source, spec_of("r3gan", 16, classes=2), ("a", "c"))
    left = {f"{entry.net}.{entry.name}": entry.why for entry in plan.entries if entry.kind == "left"}
    assert left["G.mapping.embed.weight"] == left["D.embed.weight"] == "classes are not the source's"
    other = spec_of("stylegan", 16, equalised_lr=False)
    with pytest.raises(ConfigError, match="no layer of the source fits"):
        plan_transfer(source_of(spec_of("stylegan", 16)), other, ())


@pytest.mark.parametrize("family", FAMILIES)
def test_freezing_begins_at_the_image(family: str) -> None:
    D = build_discriminator(spec_of(family, 32))
    first, two = frozen_parameters(D, 1), frozen_parameters(D, 2)
    assert first < two
    assert any("from_image" in name for name in first)
    deep = [name for name in two if "r8." in name or "r4." in name]
    assert not [name for name in first if name in deep]
    with pytest.raises(ConfigError, match="this discriminator has"):
        frozen_parameters(D, 9)


def test_another_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="the source is a dcgan model, this run trains r3gan"):
        plan_transfer(source_of(spec_of("dcgan", 16)), spec_of("r3gan", 16), ())
