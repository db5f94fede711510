"""What the families' options have in common, and the shape of the data that makes a specification of them."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def power_of_two(value: int) -> int:
    """`value` where it is a side that the nets can have; ValueError otherwise."""
    if value < 16 or value & (value - 1):
        raise ValueError(f"resolution must be a power of two from 16 up, found {value}")
    return value


def _attention_sides(sides: tuple[int, ...]) -> tuple[int, ...]:
    wrong = [side for side in sides if side < 8 or side & (side - 1)]
    if wrong:
        raise ValueError(f"attention works at resolutions 8, 16, 32 ..., found {wrong[0]}")
    return tuple(sorted(set(sides)))


class NetOptions(BaseModel):
    """What every family offers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spectral_norm: Literal["none", "D", "both"] = Field(
        "none", description="divide each weight by its largest singular value: in no net, in D, or in G and D"
    )
    attention: Annotated[tuple[int, ...], AfterValidator(_attention_sides)] = Field(
        (), description="resolutions with self-attention in G and D, for instance [16, 32]"
    )


class ChannelOptions(NetOptions):
    """Of families whose G and D have the same channels at a resolution."""

    channel_base: int = Field(16384, ge=16, description="channels at a resolution: channel_base / resolution ...")
    channel_max: int = Field(512, ge=1, le=16384, description="... but never more than this")

    def width(self, resolution: int) -> int:
        """Channels at `resolution`."""
        return max(1, min(self.channel_base // resolution, self.channel_max))


class DataShape(BaseModel):
    """What the data give."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: Annotated[int, AfterValidator(power_of_two)]
    img_channels: int = Field(ge=1)
    num_classes: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _attention_within(self) -> Self:
        beyond = [side for side in getattr(self, "attention", ()) if side > self.resolution]
        if beyond:
            raise ValueError(f"attention at {beyond[0]} px, but the images have {self.resolution}")
        return self

    @property
    def resolutions(self) -> list[int]:
        """4, 8, ... up to the image's side."""
        return [2**k for k in range(2, int(math.log2(self.resolution)) + 1)]
