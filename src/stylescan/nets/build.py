"""From a specification to networks. A new family is one more row of `FAMILIES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ValidationError

from stylescan.errors import ConfigError, first_fault
from stylescan.nets.dcgan import DCGANDiscriminator, DCGANGenerator, DCGANOptions, DCGANSpec
from stylescan.nets.protocols import Discriminator, Generator
from stylescan.nets.r3gan import R3GANDiscriminator, R3GANGenerator, R3GANOptions, R3GANSpec
from stylescan.nets.stylegan import StyleGANGenerator, StyleGANOptions, StyleGANSpec
from stylescan.nets.stylegan2 import StyleGAN2Generator, StyleGAN2Options, StyleGAN2Spec
from stylescan.nets.stylegan2_discriminator import StyleGAN2Discriminator
from stylescan.nets.stylegan2_lite import (
    StyleGAN2LiteDiscriminator,
    StyleGAN2LiteGenerator,
    StyleGAN2LiteOptions,
    StyleGAN2LiteSpec,
)
from stylescan.nets.stylegan_discriminator import StyleGANDiscriminator
from stylescan.ops.spectral import apply_spectral_norm
from stylescan.randomness import derive_seed


@dataclass(frozen=True)
class Family:
    """A family's specification and its two networks.

    grows: 'levels' from resolution to resolution, 'fade' its last resolution alone, or 'no'.
    """

    options: type[BaseModel]
    spec: type[BaseModel]
    generator: Callable[[Any], Generator]
    discriminator: Callable[[Any], Discriminator]
    grows: Literal["no", "fade", "levels"] = "no"


FAMILIES: dict[str, Family] = {
    "stylegan2": Family(StyleGAN2Options, StyleGAN2Spec, StyleGAN2Generator, StyleGAN2Discriminator),
    "stylegan": Family(StyleGANOptions, StyleGANSpec, StyleGANGenerator, StyleGANDiscriminator, grows="levels"),
    "stylegan2-lite": Family(
        StyleGAN2LiteOptions, StyleGAN2LiteSpec, StyleGAN2LiteGenerator, StyleGAN2LiteDiscriminator, grows="fade"
    ),
    "r3gan": Family(R3GANOptions, R3GANSpec, R3GANGenerator, R3GANDiscriminator),
    "dcgan": Family(DCGANOptions, DCGANSpec, DCGANGenerator, DCGANDiscriminator),
}


def family_of(name: object) -> Family:
    """The family called `name`; ConfigError with the known names otherwise."""
    if not isinstance(name, str) or name not in FAMILIES:
        raise ConfigError(
            f"model family: found {name!r}, expected one of {', '.join(FAMILIES)}",
            remedy="Name one of these; if a newer version made the model, update stylescan.",
        )
    return FAMILIES[name]


def parse_spec(values: Mapping[str, Any]) -> Any:
    """A specification from JSON values, e.g. of a snapshot; ConfigError naming the field that does not fit."""
    family = family_of(values.get("family"))
    try:
        return family.spec.model_validate(dict(values))
    except ValidationError as problem:
        field, said = first_fault(problem)
        # of fields that do not fit each other, the words name what was found
        found = f" (found {problem.errors()[0].get('input')!r})" if field else ""
        raise ConfigError(
            f"model specification{', ' if field else ''}{field}: {said.removeprefix('Value error, ')}{found}",
            remedy="Correct the field, or take the file as it was written.",
        ) from None


def _seeded(make: Callable[[Any], Any], spec: Any, seed: int, stream: str, *, normalise: bool) -> Any:
    # fork_rng: building a net must not move the caller's random numbers, nor depend on them
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, stream))
        net = make(spec).to(memory_format=torch.channels_last)
    if normalise:  # a mapping network would lose its scale, layer by layer
        apply_spectral_norm(net.get_submodule("synthesis") if isinstance(net, Generator) else net)
    return net


def build_generator(spec: Any, *, seed: int = 0) -> Generator:
    """A freshly initialised generator, channels-last; equal seeds give equal weights."""
    net: Generator = _seeded(
        family_of(spec.family).generator, spec, seed, "init_G", normalise=spec.spectral_norm == "both"
    )
    return net


def build_discriminator(spec: Any, *, seed: int = 0) -> Discriminator:
    """A freshly initialised discriminator, channels-last; equal seeds give equal weights."""
    net: Discriminator = _seeded(
        family_of(spec.family).discriminator, spec, seed, "init_D", normalise=spec.spectral_norm != "none"
    )
    return net
