"""From a specification to networks. A new family is one more row of `FAMILIES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from stylescan.errors import ConfigError
from stylescan.nets.protocols import Discriminator, Generator
from stylescan.nets.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator, StyleGAN2Options, StyleGAN2Spec
from stylescan.randomness import derive_seed


@dataclass(frozen=True)
class Family:
    """A family's specification and its two networks."""

    options: type[BaseModel]
    spec: type[BaseModel]
    generator: Callable[[Any], Generator]
    discriminator: Callable[[Any], Discriminator]


FAMILIES: dict[str, Family] = {
    "stylegan2": Family(StyleGAN2Options, StyleGAN2Spec, StyleGAN2Generator, StyleGAN2Discriminator),
}


def family_of(name: object) -> Family:
    """The family called `name`; ConfigError with the known names otherwise."""
    if not isinstance(name, str) or name not in FAMILIES:
        raise ConfigError(
            f"model family: found {name!r}, expected one of {', '.join(FAMILIES)}",
            remedy="Update stylescan if the model was made by a newer version.",
        )
    return FAMILIES[name]


def parse_spec(values: Mapping[str, Any]) -> Any:
    """A specification from JSON values, e.g. of a snapshot; ConfigError naming the field that does not fit."""
    family = family_of(values.get("family"))
    try:
        return family.spec.model_validate(dict(values))
    except ValidationError as problem:
        first = problem.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "spec"
        raise ConfigError(
            f"model specification, {field}: {first['msg']} (found {first.get('input')!r})",
            remedy="Correct the field, or take the file as it was written.",
        ) from None


def _seeded(make: Callable[[Any], Any], spec: Any, seed: int, stream: str) -> Any:
    # fork_rng: building a net must not move the caller's random numbers, nor depend on them
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, stream))
        return make(spec).to(memory_format=torch.channels_last)


def build_generator(spec: Any, *, seed: int = 0) -> Generator:
    """A freshly initialised generator, channels-last; equal seeds give equal weights."""
    net: Generator = _seeded(family_of(spec.family).generator, spec, seed, "init_G")
    return net


def build_discriminator(spec: Any, *, seed: int = 0) -> Discriminator:
    """A freshly initialised discriminator, channels-last; equal seeds give equal weights."""
    net: Discriminator = _seeded(family_of(spec.family).discriminator, spec, seed, "init_D")
    return net
