"""What a bench found, as a file: environment, model, and every figure. Read back with nothing taken on trust."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stylescan.bench.rounds import Kind
from stylescan.errors import ConfigError, first_fault
from stylescan.files import read_json, storage_error, write_json_atomic

SCHEMA_VERSION = 1
MAX_BYTES = 2**20
_AGAIN = "Give a file that `stylescan bench --json FILE` wrote."


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be printed")
    return text


Word = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
Value = bool | int | float | Word | None
Section = dict[Word, Value | list[Value]]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Figure(_Frozen):
    """One thing that was timed, n times.

    images: handled by one call; seconds are of one call, which is the mean of `calls` in a row; s_per_kimg: for a phase
    its part of a thousand training images, interval counted; flops: of one call; ceiling_share: of the convolution
    ceiling; peak_memory_mb: at its peak, added_memory_mb: what it added to what was there before.
    """

    name: Word
    kind: Kind
    images: Annotated[int, Field(ge=1)]
    calls: Annotated[int, Field(ge=1)]
    n: Annotated[int, Field(ge=1)]
    median_s: Positive
    q1_s: Positive
    q3_s: Positive
    images_per_s: Positive
    s_per_kimg: Positive
    every_steps: Annotated[int, Field(ge=1)] | None = None
    flops: Count | None = None
    gflop_per_image: Amount | None = None
    ceiling_share: Amount | None = None
    peak_memory_mb: Amount | None = None
    added_memory_mb: Amount | None = None


class Ceiling(_Frozen):
    """GFLOP/s of 3x3 convolutions of 128 channels, 16 images: the better of two sizes, and each."""

    gflops: Positive
    gflops_64: Positive
    gflops_32: Positive
    dtype: Word


class Shares(_Frozen):
    """Shares of the ceiling: all phases of a mean step (the file's `ceiling_share`), its phases of interval 1, and the
    whole step with reading and averaging."""

    phases: Amount
    main_phases: Amount
    step: Amount | None


class Setting(_Frozen):
    """What was measured. images: 'noise', or 'prepared' for a dataset."""

    preset: Word
    resolution: Annotated[int, Field(ge=4)]
    channels: Annotated[int, Field(ge=1)]
    classes: Count
    images: Word
    train_images: Count
    batch: Annotated[int, Field(ge=1)]
    parameters_G: Count
    parameters_D: Count
    model: Section
    objective: Section
    augment: Section


class BenchRecord(_Frozen):
    """The content of the JSON file. cpu_use: processor time over clock time and threads; far below 1 on a CPU, other
    programs were at work."""

    schema_version: int = SCHEMA_VERSION
    stylescan: Word
    environment: Section
    setting: Setting
    repeats: Annotated[int, Field(ge=1)]
    memory: Word
    cpu_use: Amount
    ceiling: Ceiling
    ceiling_share: Amount | None
    ceiling_shares: Shares | None
    figures: Annotated[list[Figure], Field(max_length=100)]
    notes: list[Word] = Field(default_factory=list)

    def figure(self, name: str) -> Figure | None:
        """The figure of that name."""
        return next((figure for figure in self.figures if figure.name == name), None)


def write_record(path: Path, record: BenchRecord) -> None:
    """The record as a file, whole or not at all. StylescanError where the disk refuses."""
    try:
        write_json_atomic(path, record.model_dump(mode="json"))
    except OSError as problem:
        raise storage_error(str(path), problem, then="run the same command again") from None


def read_record(path: Path) -> BenchRecord:
    """The record in `path`. ConfigError names the first thing that is not as `write_record` left it."""
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{path}: {path.stat().st_size} bytes, more than any result of bench", remedy=_AGAIN)
    values = read_json(path, ConfigError, remedy=_AGAIN)
    version = values.get("schema_version") if isinstance(values, dict) else None
    if type(version) is not int:
        raise ConfigError(f"{path}: not a result of bench (no schema_version)", remedy=_AGAIN)
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: schema_version {version}, this stylescan reads {SCHEMA_VERSION}",
            remedy="Compare results of the same version of stylescan.",
        )
    try:
        record = BenchRecord.model_validate(values)
    except ValidationError as problem:
        where, said = first_fault(problem)
        shown = where[:200].encode("unicode_escape").decode()  # keys are the file's: a terminal must not obey them
        raise ConfigError(f"{path}, {shown}: {said}", remedy=_AGAIN) from None
    _require_unique([figure.name for figure in record.figures], path)
    return record


def _require_unique(names: Sequence[str], path: Path) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"{path}, figures: {twice[0]!r} occurs twice", remedy=_AGAIN)


def section(values: dict[str, Any]) -> Section:
    """A part of a configuration as the record keeps it: plain values and lists of them, anything deeper as text."""
    return {key: [_plain(each) for each in value] if isinstance(value, list | tuple) else _plain(value)
            for key, value in values.items()}  # fmt: skip


def _plain(value: object) -> Value:
    return value if isinstance(value, bool | int | float | None) else str(value)[:200]
