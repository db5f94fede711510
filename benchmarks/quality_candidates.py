"""The configurations of `quality_per_minute.py`: a preset and what differs from it.

`small` is the preset as it was when the study began, and what the others are measured against.
"""

from __future__ import annotations

from typing import Any

from standard import STANDARD_MODEL, STANDARD_OBJECTIVE

from stylescan.config import merge

Candidate = tuple[str, dict[str, dict[str, Any]]]

_LEAN = {
    "haar": 1,
    "convolutions": 1,
    "channel_base": 2048,
}  # half the side, half the convolutions, wider where it is cheap

_PAIRING = {
    "loss": "relativistic-pairing", "r1_gamma": 1.0, "r1_interval": 8, "r2_gamma": 1.0, "r2_interval": 8,
}  # fmt: skip

# pinned: where the preset moves on, the rows stay what they were measured with
_SMALL = {"objective": {"r1_interval": 8}, "train": {"lr": 0.004}}

_CHANGES: dict[str, Candidate] = {
    "small": ("small", {}),
    "hinge": ("small", {"objective": {"loss": "hinge"}}),
    "haar_1": ("small", {"model": {"haar": 1}}),
    # statistics of a group would mix ratios that differ by orders of magnitude
    "one_pass": ("small", {"model": {"mbstd_group": 1}, "objective": {"shared": "pass"}}),
    "one_convolution": ("small", {"model": {"convolutions": 1}}),
    "lean": ("small", {"model": _LEAN}),
    "lean_batch_8": ("small", {"model": _LEAN, "train": {"batch": 8, "lr": 0.006}}),
    "lean_fakes": ("small", {"model": _LEAN, "objective": {"shared": "fakes"}}),
    "pairing": ("small", {"objective": _PAIRING}),
    "pairing_one_pass": ("small", {"model": {"mbstd_group": 1}, "objective": {**_PAIRING, "shared": "pass"}}),
    "haar_2": ("small", {"model": {"haar": 2, "channel_base": 2048, "channel_max": 128}}),
    "excitation": ("small", {"model": {"excitation": True}}),
    "latent_start": ("small", {"model": {"start": "latent"}}),
    "lean_latent_batch_2": ("small", {"model": {**_LEAN, "start": "latent"}, "train": {"batch": 2}}),
    "dcgan": ("dcgan", {}),
    "standard": (
        "small",
        {
            "model": STANDARD_MODEL,
            "objective": STANDARD_OBJECTIVE,
            "train": {"batch": 16, "lr": 0.0025, "ema_half_life_kimg": 5.0},
        },
    ),
    "lr_008_batch_8": ("small", {"train": {"batch": 8, "lr": 0.008}}),
    "wide": ("small", {"model": {"channel_base": 2048, "channel_max": 128}}),
    "wide_at_the_bottom": ("small", {"model": {"channel_max": 128}}),
    "wide_at_the_top": ("small", {"model": {"channel_base": 2048}}),
    "mapping_4_z_128": ("small", {"model": {"mapping_layers": 4, "z_dim": 128, "w_dim": 128}}),
    "r1_1_every_4": ("small", {"objective": {"r1_gamma": 1.0, "r1_interval": 4}}),
    "path_length_mixing": ("small", {"objective": {"pl_weight": 2.0, "pl_interval": 8, "mixing": 0.9}}),
    "path_length": ("small", {"objective": {"pl_weight": 2.0, "pl_interval": 8}}),
    "mixing": ("small", {"objective": {"mixing": 0.9}}),
    "path_length_mixing_fakes": (
        "small",
        {"objective": {"pl_weight": 2.0, "pl_interval": 8, "mixing": 0.9, "shared": "fakes"}},
    ),
    "ada": ("small", {"augment": {"mode": "ada"}}),
    "fakes": ("small", {"objective": {"shared": "fakes"}}),
    "lr_003": ("small", {"train": {"lr": 0.003}}),
    "lr_006": ("small", {"train": {"lr": 0.006}}),
    "lr_006_r1_every_16": ("small", {"train": {"lr": 0.006}, "objective": {"r1_interval": 16}}),
    # from .008 to .002 along a cosine, over what 15 core-minutes show
    "lr_falls": ("small", {"train": {"lr": 0.002, "total_kimg": 22.0}, "burn_in": {"share": 1.0, "lr_factor": 4.0}}),
}

CANDIDATES: dict[str, Candidate] = {
    name: (preset, merge(_SMALL, changes) if preset == "small" else changes)
    for name, (preset, changes) in _CHANGES.items()
}
