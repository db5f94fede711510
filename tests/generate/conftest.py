"""Small generators of several families, untrained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stylescan.generate.snapshot import Snapshot, SnapshotMeta
from stylescan.nets.build import build_generator, parse_spec

SIZES = {
    "stylegan2": {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8},
    "stylegan": {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 128, "channel_max": 8},
    "r3gan": {"z_dim": 8, "class_dim": 4, "channel_base": 128, "channel_max": 8},
    "dcgan": {"z_dim": 8, "class_dim": 4, "channel_base": 128, "channel_max": 8},
}


def _snapshot(family: str = "stylegan2", *, classes: int = 2, resolution: int = 64, **options: Any) -> Snapshot:
    """A real, small, untrained generator of a family."""
    values = {"family": family, "resolution": resolution, "img_channels": 1, "num_classes": classes}
    spec = parse_spec({**values, **SIZES[family], **options})
    generator = build_generator(spec, seed=3)
    if generator.num_ws > 1:
        with torch.no_grad():
            generator.mapping.w_avg.normal_(generator=torch.Generator().manual_seed(1))
    else:
        with torch.no_grad():  # fresh, it draws nearly even grey
            for parameter in generator.parameters():
                parameter.mul_(8 if parameter.ndim > 2 else 1)
    meta = SnapshotMeta(
        family=family, spec=spec.model_dump(mode="json"), class_names=["ill", "well"][:classes],
        class_frequencies=[0.5, 0.5][:classes], bits=8, data_content_hash="0" * 64, preparation_hash="1" * 64,
        preset="small", seed=0, nimg=1200,
    )  # fmt: skip
    return Snapshot(generator.eval().requires_grad_(False), meta, "ab" * 32, Path("unused"))


@pytest.fixture(scope="session")
def make_snapshot() -> Callable[..., Snapshot]:
    """make_snapshot(family="stylegan2", classes=2, resolution=64, **options of the family)"""
    return _snapshot
