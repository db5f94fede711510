"""The resolved configuration of a run: frozen, complete, written to `config.yaml` before the first step.

Flow: data fingerprint -> preset (a function of it) -> overrides of the user -> `RunConfig`. An unknown key is an error
that names the nearest known one.
"""

from __future__ import annotations

import contextlib
import difflib
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stylescan.errors import ConfigError
from stylescan.files import require_file, write_bytes_atomic
from stylescan.nets.build import FAMILIES, parse_spec
from stylescan.nets.dcgan import DCGANOptions
from stylescan.nets.r3gan import R3GANOptions
from stylescan.nets.stylegan import StyleGANOptions
from stylescan.nets.stylegan2 import StyleGAN2Options
from stylescan.nets.stylegan2_lite import StyleGAN2LiteOptions

MAX_BYTES = 2**20
_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
ModelOptions = Annotated[
    StyleGAN2Options | StyleGANOptions | StyleGAN2LiteOptions | R3GANOptions | DCGANOptions,
    Field(discriminator="family"),
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataFingerprint(_Frozen):
    """What a run knows of its data, never chosen by hand; a preset is a function of it."""

    content_hash: str = Field(description="hash of pixels and records")
    preparation_hash: str = Field(description="hash of the preparation's settings")
    resolution: int = Field(description="side of the images in pixels")
    channels: int = Field(description="channels an image")
    bits: int = Field(description="8 or 16 bits a value")
    class_names: tuple[str, ...] = Field((), description="classes, empty where there are none")
    class_images: tuple[int, ...] = Field((), description="training images of each class")
    train_images: int = Field(description="images to learn from")
    select_images: int = Field(description="images on which checkpoints are chosen")
    holdout_images: int = Field(description="images that only `evaluate` reads")
    claim: str = Field("subject-wise", description="what the splits keep apart: subjects, or images alone")
    plane: str | None = Field(None, description="axial, coronal, sagittal, or none where it is not known")
    symmetry: str = Field("none", description="left-right where mirrored anatomy was declared equally possible")
    sided: bool = Field(False, description="whether the side of the body is recorded")

    @property
    def num_classes(self) -> int:
        """0 for data without classes."""
        return len(self.class_names)


class ObjectiveConfig(_Frozen):
    """Loss, penalties and style mixing. A weight of 0 switches a penalty off; intervals above 1 make it lazy."""

    loss: Literal[
        "logistic", "cross-entropy", "wasserstein", "hinge", "relativistic-average-hinge", "relativistic-pairing"
    ] = Field("logistic", description="adversarial loss: logistic = non-saturating logistic")
    shared: Literal["none", "fakes", "pass"] = Field(
        "none",
        description="what G and D share in a step: nothing; fakes = D learns from the fakes that G just learned from; "
        "pass = both learn from one pass of D, at the same weights",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="cross-entropy: the reals' target is 1 less this")
    average_group: int = Field(4, ge=1, description="relativistic average: images a mean is taken over, at most")
    r1_gamma: float = Field(1.0, ge=0, description="R1 gamma (0 = off): gamma / 2 * sum over pixels of |dD/dx|^2")
    r1_interval: int = Field(16, ge=1, description="steps between R1 penalties")
    r2_gamma: float = Field(0.0, ge=0, description="R2 gamma (0 = off): as R1, on fakes")
    r2_interval: int = Field(16, ge=1, description="steps between R2 penalties")
    gp_weight: float = Field(0.0, ge=0, description="gradient penalty on interpolates (0 = off): (|dD/dx| - 1)^2")
    gp_interval: int = Field(1, ge=1, description="steps between gradient penalties")
    drift_weight: float = Field(0.0, ge=0, description="drift penalty (0 = off): D(x)^2 on reals")
    drift_interval: int = Field(1, ge=1, description="steps between drift penalties")
    pl_weight: float = Field(2.0, ge=0, description="path length weight (0 = off)")
    pl_interval: int = Field(4, ge=1, description="steps between path length phases")
    mixing: float = Field(0.9, ge=0, le=1, description="share of fakes made with two styles")


class GrowthConfig(_Frozen):
    """Growing by resolution, for the families that grow. Lists have an entry a level, from `start` to the images' size."""

    start: int | None = Field(
        None, description="first resolution, a power of two from 4 up (none = full size throughout)"
    )
    images: tuple[float, ...] = Field(
        (), description="length of each level in any unit (kimg, epochs): only ratios count (empty = equal)"
    )
    fade: float = Field(
        0.0, ge=0, description="share of a level in which its resolution fades in; above 1 it never fades in wholly"
    )
    batch: tuple[int, ...] = Field((), description="images a step at each level (empty = train.batch)")
    lr: tuple[float, ...] = Field((), description="learning rate at each level (empty = train.lr)")


class BurnInConfig(_Frozen):
    """Schedules at the start of a run: from these factors to the values of the other sections, along a cosine."""

    share: float = Field(0.0, ge=0, le=1, description="share of the run that the burn-in takes (0 = none)")
    lr_factor: float = Field(1.0, gt=0, description="learning rates start so many times higher")
    beta2: float | None = Field(None, ge=0, lt=1, description="Adam's beta2 at the start (none = train.beta2)")
    gamma_factor: float = Field(1.0, gt=0, description="R1 and R2 start so many times stronger")
    ema_from_zero: bool = Field(False, description="whether the half-life of G_ema starts at 0")


class TrainConfig(_Frozen):
    """Length, optimiser, averaging and what is written when. kimg = thousand real images shown to D."""

    total_kimg: float = Field(gt=0, description="length of the run")
    batch: int = Field(16, ge=1, le=65536, description="images a step")
    lr: float = Field(0.0025, gt=0, description="Adam's learning rate of G and D before the lazy correction")
    beta1: float = Field(0.0, ge=0, lt=1, description="Adam's decay of the mean gradient, before the lazy correction")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's decay of the squared gradient, before the correction")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of the nets' convolutions: auto = bf16 on GPUs that have the units, else fp32"
    )
    ema_half_life_kimg: float = Field(10.0, gt=0, description="half-life of the averaged generator G_ema")
    ema_rampup: float | None = Field(0.05, gt=0, description="half-life is at most this share of the images so far")
    checkpoint_kimg: float = Field(gt=0, description="between checkpoints")
    keep_checkpoints: int = Field(3, ge=1, description="newest checkpoints kept (the best is kept besides)")
    log_kimg: float = Field(gt=0, description="between lines of log.jsonl")
    grid_kimg: float = Field(gt=0, description="between sample grids")
    grid_columns: int = Field(8, ge=1, le=64, description="images a row of the sample grids")
    grid_rows: int | None = Field(
        None, ge=1, le=64, description="rows of the sample grids (none = a class each, 4 at least)"
    )
    score_kimg: float | None = Field(None, gt=0, description="between scores on select (none = never)")
    score_images: int = Field(512, ge=16, description="fakes a score")


class AugmentConfig(_Frozen):
    """Discriminator augmentation: how strong, and what is left out besides what the data's anatomy forbids."""

    mode: Literal["none", "fixed", "scheduled", "ada"] = Field(
        "none", description="none; fixed = p throughout; scheduled = from 0 to p; ada = p follows D's overfitting"
    )
    p: float = Field(0.0, ge=0, le=1, description="probability of each operation (ada: where it starts)")
    p_max: float = Field(0.8, ge=0, le=1, description="ada never goes beyond")
    target: float = Field(0.6, gt=-1, lt=1, description="ada: the wanted mean sign of D on reals")
    interval: int = Field(4, ge=1, description="ada: steps between adjustments")
    ramp_kimg: float | None = Field(
        None, gt=0, description="from p = 0 to 1 (ada) or to p (scheduled); none = min(500, total_kimg / 5)"
    )
    ramp_shape: Literal["linear", "cosine"] = Field("linear", description="scheduled: how p rises")
    leave_out: tuple[str, ...] = Field((), description="lawful operations switched off all the same, by name")


Action = Literal["ignore", "warn", "roll_back", "stop"]


class HealthConfig(_Frozen):
    """What is done when a run goes wrong. roll_back = last good checkpoint, learning rate lowered, once; then stop."""

    nan: Literal["roll_back", "stop"] = Field("roll_back", description="a loss or weight is not finite")
    divergence: Action = Field(
        "roll_back", description="losses, scores or weights grow beyond reason, or D is wrong way round"
    )
    collapse: Action = Field("warn", description="fakes are all alike")
    overfitting: Action = Field("warn", description="D tells training images from unseen select images")
    augment_ceiling: Action = Field("warn", description="ADA stays at p_max: the set is small for these nets")
    lr_factor: float = Field(0.5, gt=0, lt=1, description="learning rates are multiplied by this on a roll back")
    roll_backs: int = Field(1, ge=0, description="after so many, a further one stops the run")


class TransferConfig(_Frozen):
    """How a run started from another model (`--init`). `source` is that model's hash; none = from scratch."""

    source: str | None = Field(None, description="SHA-256 of the generator that the run started from; set by --init")
    freeze_d: int = Field(0, ge=0, description="D's first so many blocks (highest resolutions) keep their weights")
    warmup: float = Field(0.02, ge=0, lt=1, description="share of the run in which learning rates rise from 0")
    d_alone: float = Field(0.0, ge=0, lt=1, description="share of the run in which only D learns (no D came along)")


class RunConfig(_Frozen):
    """Everything that fixes a run. Equal configs on equal data, machine type, torch and threads give equal weights."""

    preset: str = Field(description="the recipe that the numbers came from")
    seed: int = Field(0, ge=0, description="fixes initial weights, the order of images and all draws")
    data: DataFingerprint
    model: ModelOptions
    objective: ObjectiveConfig
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    train: TrainConfig
    growth: GrowthConfig = Field(default_factory=GrowthConfig)
    burn_in: BurnInConfig = Field(default_factory=BurnInConfig)
    health: HealthConfig = Field(default_factory=HealthConfig)
    transfer: TransferConfig = Field(default_factory=TransferConfig)

    @property
    def spec(self) -> Any:
        """The networks' specification: the model's options and the data's shape."""
        return parse_spec(
            {
                **self.model.model_dump(),
                "resolution": self.data.resolution,
                "img_channels": self.data.channels,
                "num_classes": self.data.num_classes,
            }
        )


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field's type names: several for a choice of families."""
    candidates = (annotation, *get_args(annotation))
    return [each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)]


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """All dotted keys that a configuration of this kind has."""
    keys: dict[str, None] = {}
    for name, field in model.model_fields.items():
        sections = _models_of(field.annotation)
        inner = [key for section in sections for key in known_keys(section, f"{prefix}{name}.")]
        keys.update(dict.fromkeys(inner if sections else [f"{prefix}{name}"]))
    return list(keys)


def did_you_mean(found: str, known: Sequence[str]) -> str:
    """The sentence for an unknown key: the nearest known one, or all of them."""
    leaves: dict[str, str] = {}
    for key in known:
        leaves.setdefault(key.rsplit(".", 1)[-1], key)
    close = difflib.get_close_matches(found, known, n=1) or [
        leaves[leaf] for leaf in difflib.get_close_matches(found.rsplit(".", 1)[-1], list(leaves), n=1)
    ]
    return f"Did you mean {close[0]}?" if close else f"Known keys: {', '.join(known)}."


def parse_overrides(items: Sequence[str]) -> dict[str, Any]:
    """`["train.lr=.002", ...]` as {"train": {"lr": .002}}; values are read as YAML scalars."""
    flat: dict[str, object] = {}
    for item in items:
        key, equals, text = item.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"--set {item}: expected KEY=VALUE", remedy="For instance --set train.lr=0.002.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {item}: the value is not valid YAML", remedy="Quote it.") from None
        if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a word
            with contextlib.suppress(ValueError):
                value = float(value)
        flat[key] = value
    return nest_settings(flat, source="--set")


def nest_settings(settings: Mapping[str, object], *, source: str = "settings") -> dict[str, Any]:
    """{"train.lr": .002} as {"train": {"lr": .002}}; ConfigError for a key that a user may not set. `source` names it."""
    known = [key for key in known_keys(RunConfig) if not key.startswith("data.")]
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in known:
            raise ConfigError(f"{source} {key}: unknown key", remedy=did_you_mean(str(key), known))
        target = nested
        *parents, leaf = key.split(".")
        for part in parents:
            target = target.setdefault(part, {})
        target[leaf] = value
    return nested


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, nested mappings merged."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        merged[key] = merge(old, value) if both and isinstance(old, Mapping) else value
    return merged


def validate_config(values: Mapping[str, Any], *, source: str) -> RunConfig:
    """`values` as a RunConfig; ConfigError naming the first field that does not fit. `source` names the origin."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = [str(part) for part in first["loc"]]
        if where[0] == "model" and len(where) > 1 and where[1] in FAMILIES:  # pydantic's own word on which family
            family = where.pop(1)
            if first["type"] == "extra_forbidden":
                known = [f"model.{name}" for name in FAMILIES[family].options.model_fields]
                raise ConfigError(
                    f"{source}: {'.'.join(where)} is no option of the family {family}",
                    remedy=did_you_mean(".".join(where), known),
                ) from None
        key = ".".join(where)
        if first["type"] == "extra_forbidden":
            remedy = did_you_mean(key, known_keys(RunConfig))
            raise ConfigError(f"{source}: unknown key {key}", remedy=remedy) from None
        found = "" if first["type"] == "missing" else f" (found {reprlib.repr(first.get('input'))})"
        raise ConfigError(f"{source}, {key}: {first['msg']}{found}", remedy="Correct the value.") from None


def config_yaml(config: RunConfig) -> str:
    """The resolved configuration as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def write_config(path: Path, config: RunConfig) -> None:
    """The resolved configuration in a file."""
    write_bytes_atomic(path, config_yaml(config).encode())


def _check_tokens(text: str) -> None:
    """A configuration repeats nothing by reference and is a few levels deep: what is not would grow without bound."""
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise yaml.YAMLError("it holds aliases, which a configuration never does")
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > 20:
            raise yaml.YAMLError("nested too deeply")


def read_config(path: Path) -> RunConfig:
    """The configuration of a run folder; ConfigError where it is missing or not one."""
    remedy = "Give a folder made by `stylescan train`, or start a new run."
    try:
        require_file(path, ConfigError, remedy=remedy)
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size} bytes, more than any configuration", remedy=remedy)
        text = path.read_text("utf-8")
        _check_tokens(text)
        values = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise ConfigError(f"{path}: cannot be read as YAML ({problem})", remedy=remedy) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: found {type(values).__name__}, expected a mapping", remedy=remedy)
    return validate_config(values, source=str(path))
