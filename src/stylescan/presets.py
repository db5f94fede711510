"""Named recipes. A preset is a function of the data's fingerprint (and of the length), never a fixed table of numbers.

The numbers stand in `recipes/`, one module a kind of model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from stylescan.config import DataFingerprint, RunConfig, did_you_mean, merge, validate_config
from stylescan.errors import ConfigError
from stylescan.nets.build import family_of
from stylescan.recipes import other_families, source_projects
from stylescan.recipes.common import Machine, Preset, few, narrowed
from stylescan.recipes.stylegan2 import auto, auto_kimg, demo, paper, paper_remarks, small

PRESETS: dict[str, Preset] = {
    "auto": Preset(
        summary="fits itself to the images' size and number, the classes and the device (the default)",
        cost="CPU: as small. One A100, as published for these nets: 7 s/kimg at 128 px, 13 at 256, 41 at 512, 90 at 1024",
        expect="CPU: as small. GPU: sharp anatomy from about 1,000 kimg; small sets converge by ADA, better with --init",
        values=auto,
        kimg=auto_kimg,
        remarks=few,
    ),
    "small": Preset(
        summary="narrow StyleGAN2 of 64 channels at most, with ADA below 1,000 images: anatomy in minutes on a laptop CPU",
        cost="about 25 images/s on one CPU core at 64 px, 1 h for 100 kimg; 4 times that a doubling of the size",
        expect="right anatomy and layout after 20 minutes at 64 px, coarse texture; not for 256 px and up",
        values=small,
        kimg=lambda data, machine: 100.0,
        remarks=few,
    ),
    "paper256": Preset(
        summary="the StyleGAN2 paper's configuration for 256 px, with ADA; batch 64",
        cost="for GPUs with 16 GB and more; days on one, hours on eight",
        expect="published with transfer on medical sets of 256 to 512 px: FID 3.5 (chest X-ray) to 21 (cardiac MRI)",
        values=partial(paper, size=256),
        kimg=lambda data, machine: 25000.0,
        remarks=paper_remarks(256),
    ),
    "paper512": Preset(
        summary="the same for 512 px: twice the channels, half the R1 gamma",
        cost="for several GPUs; about four times paper256",
        expect="as paper256, at 512 px",
        values=partial(paper, size=512),
        kimg=lambda data, machine: 25000.0,
        remarks=paper_remarks(512),
    ),
    "r3gan": Preset(
        summary="R3GAN: relativistic pairing with R1 and R2 on a plain modern net; no w",
        cost="about three times StyleGAN2's of equal width (13 against 37 images/s on a core at 32 px)",
        expect="far from trained in minutes on a CPU; no style mixing, truncation or directions",
        values=other_families.r3gan,
        kimg=lambda data, machine: 100.0 if machine.device == "cpu" else 5000.0,
        remarks=other_families.r3gan_remarks,
    ),
    "dcgan": Preset(
        summary="DCGAN: the baseline before styles",
        cost="the cheapest; minutes",
        expect="believable small images in minutes (32 px); no styles: a baseline to compare with",
        values=other_families.dcgan,
        kimg=lambda data, machine: 100.0 if machine.device == "cpu" else 1000.0,
        remarks=few,
    ),
    "akoa-stylegan": Preset(
        summary="StyleGAN with WGAN-GP, grown from 8 px, as done on OAI AKOA knees",
        cost="source: over 40 h on two RTX 2080 Ti at 256 px; on a CPU an hour or so at 64 px",
        expect="source: poor at 20,000 iterations, good at 60,000",
        values=source_projects.akoa_stylegan,
        kimg=source_projects.project_kimg(7200.0),
        remarks=narrowed,
    ),
    "knee-stylegan": Preset(
        summary="StyleGAN with the logistic loss and R1, grown from 4 px, as done on knee MRI",
        cost="source: 94 epochs at 256 px; on a CPU an hour or so at 64 px",
        expect="the better of the source's two losses",
        values=partial(source_projects.knee_stylegan, loss="logistic"),
        kimg=source_projects.project_kimg(1800.0),
        remarks=narrowed,
    ),
    "knee-stylegan-rahinge": Preset(
        summary="the same with the relativistic average hinge loss",
        cost="as knee-stylegan",
        expect="the source saw bent edges of bones; compare by `stylescan pictures RUN_A RUN_B`",
        values=partial(source_projects.knee_stylegan, loss="relativistic-average-hinge"),
        kimg=source_projects.project_kimg(1800.0),
        remarks=narrowed,
    ),
    "oasis-stylegan2-lite": Preset(
        summary="a light StyleGAN2 grown out of a DCGAN, as done on OASIS brains (rows for 64, 128 and 256 px)",
        cost="source: 3 h on a K80 at 256 px",
        expect="outlines in minutes on a CPU, anatomy late; no mapping network, so no styles",
        values=source_projects.oasis_stylegan2_lite,
        kimg=source_projects.lite_kimg,
        remarks=source_projects.lite_remarks,
    ),
    "adni-stylegan2": Preset(
        summary="StyleGAN2 with WGAN-GP, as done on ADNI AD/NC slices; conditional where the data have classes",
        cost="1.4 times small's on a CPU, for the gradient penalty",
        expect="one model of both classes, whose styles can be compared",
        values=source_projects.adni_stylegan2,
        kimg=source_projects.project_kimg(2500.0),
        remarks=narrowed,
    ),
    "oasis-stylegan-attention": Preset(
        summary="StyleGAN with self-attention, the Wasserstein loss and spectral norm in D, as done on OASIS brains",
        cost="as akoa-stylegan, with a little more for attention",
        expect="layout at every level first, texture late",
        values=source_projects.oasis_stylegan_attention,
        kimg=source_projects.project_kimg(1000.0),
        remarks=narrowed,
    ),
    "demo": Preset(
        summary="small, for the built-in demo population",
        cost="8 minutes on two CPU cores",
        expect="brains with ventricles whose size follows the class",
        values=demo,
        kimg=lambda data, machine: 16.0,
    ),
}


def _of_family(model: Mapping[str, Any], wanted: object) -> dict[str, Any]:
    """A preset's model section with its family named; where another is asked for, what that one knows of it."""
    model = {"family": "stylegan2", **model}
    if wanted is None or wanted == model["family"]:
        return model
    options = family_of(wanted).options.model_fields
    return {key: value for key, value in model.items() if key in options and key != "family"}


def resolve_name(name: str) -> str:
    """`name` where there is such a preset; ConfigError otherwise."""
    if name not in PRESETS:
        raise ConfigError(f"--preset {name}: unknown preset", remedy=did_you_mean(name, list(PRESETS)))
    return name


def build_config(
    name: str,
    data: DataFingerprint,
    *,
    kimg: float | None = None,
    seed: int = 0,
    machine: Machine | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The resolved configuration of preset `name` on `data`, for `machine` (one CPU process if left out).

    overrides: nested values that win over everything. Raises ConfigError for unknown names, keys and impossible values.
    """
    preset, machine = PRESETS[resolve_name(name)], machine or Machine()
    overrides = overrides or {}
    total = kimg if kimg is not None else overrides.get("train", {}).get("total_kimg") or preset.kimg(data, machine)
    if not isinstance(total, int | float) or not total > 0:
        raise ConfigError(
            f"total_kimg: found {total!r}, expected a number above 0", remedy="Give for instance --kimg 100."
        )
    values = merge(preset.values(data, float(total), machine), {"train": {"total_kimg": float(total)}})
    values = {**values, "model": _of_family(values["model"], overrides.get("model", {}).get("family"))}
    values = merge(values, {"preset": name, "seed": seed, "data": data.model_dump()})
    return validate_config(merge(values, overrides), source="configuration")
