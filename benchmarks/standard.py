"""StyleGAN2's usual configuration at 64 px, as it is made for GPUs: what the benchmarks call `standard`."""

from __future__ import annotations

from typing import Any

STANDARD_MODEL: dict[str, Any] = {
    "z_dim": 512, "w_dim": 512, "mapping_layers": 2, "channel_base": 8192, "channel_max": 128,
}  # fmt: skip
STANDARD_OBJECTIVE: dict[str, Any] = {
    "r1_gamma": 0.05, "r1_interval": 16, "pl_weight": 2.0, "pl_interval": 4, "mixing": 0.9,
}  # fmt: skip
