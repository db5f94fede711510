"""What a network from a file wants to be fed: `NAME.json` beside `NAME.onnx` or `NAME.pt`, and the defaults without it.

Convention: the network takes float32 [N, 3 or 1, H, W]. Integers over their full range become `range` linearly, are
resized antialiased and clipped to the range, then `(v - mean) / std` by channel.

    {"size": 224, "channels": 3, "range": [0, 1], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
     "resize": "bicubic", "output": "features"}

Every key may be left out: size = what the file itself fixes, else 224; channels = what the file fixes, else 3;
range = [0, 1]; mean 0, std 1; bicubic; the only output.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from stylescan.errors import ConfigError
from stylescan.files import read_json

DEFAULT_SIZE = 224
LARGEST_SIZE = 2048


class Sidecar(BaseModel):
    """The keys of the file, checked. `size` is (height, width); an int in the file means a square."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    size: tuple[int, int] | None = None
    channels: Literal[1, 3] | None = None
    range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: Literal["bicubic", "bilinear"] = "bicubic"
    output: str | None = Field(None, min_length=1)

    @field_validator("size", mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            value = (value, value)
        value = tuple(value) if isinstance(value, list) else value
        if isinstance(value, tuple) and any(isinstance(s, int) and not 8 <= s <= LARGEST_SIZE for s in value):
            raise ValueError(f"expected 8 to {LARGEST_SIZE} px")
        return value

    @field_validator("range", "mean", "std", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _sensible(self) -> Sidecar:
        if not self.range[0] < self.range[1]:
            raise ValueError("range: expected two numbers, the lower one first")
        if self.std is not None and any(value <= 0 for value in self.std):
            raise ValueError("std: expected numbers above 0")
        return self


class Feeding(BaseModel):
    """The sidecar together with what the file fixes: nothing left open. Its JSON is part of the extractor's hash."""

    model_config = ConfigDict(frozen=True)

    size: tuple[int, int]
    channels: Literal[1, 3]
    range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    output: str | None

    def text(self) -> str:
        """The same for the same feeding: key of the hash."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


def read_sidecar(network: Path) -> Sidecar:
    """The sidecar of the network at `network`; defaults where there is none; ConfigError where it is not valid."""
    path = sidecar_path(network)
    if not path.exists():
        return Sidecar()
    remedy = f"Correct it; keys: {', '.join(Sidecar.model_fields)}."
    values = read_json(path, ConfigError, remedy=remedy)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}, expected an object of keys", remedy=remedy)
    for key in values:
        if key not in Sidecar.model_fields:
            close = difflib.get_close_matches(key, Sidecar.model_fields, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ConfigError(f"{path}: unknown key {key!r}{hint}", remedy=remedy)
    try:
        return Sidecar.model_validate(values)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = f"{first['loc'][0]}: " if first["loc"] else ""
        said = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path}: {where}{said}", remedy=remedy) from None


def sidecar_path(network: Path) -> Path:
    """`NAME.json` beside `NAME.onnx`."""
    return network.with_suffix(".json")


def settle(
    network: Path, sidecar: Sidecar, *, fixed_size: tuple[int | None, int | None], fixed_channels: int | None
) -> Feeding:
    """The feeding of a network whose file fixes some of it; ConfigError where sidecar and file disagree.

    fixed_size, fixed_channels : what the file itself says, None where it leaves it open.
    """
    remedy = f"Correct {sidecar_path(network).name}, or export the network again."
    if fixed_channels not in (None, 1, 3):
        raise ConfigError(
            f"{network}: takes {fixed_channels} channels, expected 1 or 3",
            remedy="Export the network with a first layer that takes 1 or 3 channels.",
        )
    if sidecar.channels is not None and fixed_channels not in (None, sidecar.channels):
        raise ConfigError(
            f"{network}: takes {fixed_channels} channels, its sidecar says channels {sidecar.channels}", remedy=remedy
        )
    channels: Literal[1, 3] = sidecar.channels or (1 if fixed_channels == 1 else 3)
    wanted = sidecar.size or (fixed_size[0] or DEFAULT_SIZE, fixed_size[1] or DEFAULT_SIZE)
    found = tuple(side or said for side, said in zip(fixed_size, wanted, strict=True))
    if not all(8 <= side <= LARGEST_SIZE for side in found):
        raise ConfigError(
            f"{network}: takes {found[0]} x {found[1]} px, expected 8 to {LARGEST_SIZE} a side",
            remedy="Export the network for images of such a size.",
        )
    if found != wanted:
        raise ConfigError(
            f"{network}: takes {found[0]} x {found[1]} px (height, width), its sidecar says size {wanted[0]} x "
            f"{wanted[1]}",
            remedy=remedy,
        )
    return Feeding(
        size=wanted,
        channels=channels,
        range=sidecar.range,
        mean=_by_channel(network, "mean", (0.0,) if sidecar.mean is None else sidecar.mean, channels),
        std=_by_channel(network, "std", (1.0,) if sidecar.std is None else sidecar.std, channels),
        resize=sidecar.resize,
        output=sidecar.output,
    )


def _by_channel(network: Path, key: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise ConfigError(
            f"{sidecar_path(network)}: {key} has {len(values)} numbers for {channels} channels",
            remedy=f"Give one number, or one a channel ({channels}).",
        )
    return values
