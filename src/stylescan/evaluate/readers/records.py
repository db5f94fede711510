"""The two files of a reader study: the key, which stays with the study's owner, and a reader's answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stylescan.errors import DataError, first_fault
from stylescan.files import read_json

KEY_FOLDER, KEY_NAME = "key", "key.json"
LEVEL_NAMES = (
    "Surely synthetic",
    "Probably synthetic",
    "Rather synthetic",
    "Rather real",
    "Probably real",
    "Surely real",
)
LEVELS = len(LEVEL_NAMES)
MAX_ANSWER_BYTES = 4 << 20
ID = r"^[0-9a-f]{8}$"
SHA256 = r"^[0-9a-f]{64}$"
PACK_ID = r"^[0-9a-f]{16}$"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class KeyImage(_Strict):
    """One image: its name and bytes, what it is, and where it came from.

    `position`: of a real image in the prepared data, of a generated one among those made. `subject`: of real images.
    """

    id: str = Field(pattern=ID)
    sha256: str = Field(pattern=SHA256)
    origin: Literal["real", "generated"]
    class_name: str | None
    subject: str | None
    position: int = Field(ge=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.origin == "real") != (self.subject is not None):
            raise ValueError("real images have a subject, generated ones have none")
        return self


class Key(_Strict):
    """What the images of a pack are."""

    schema_version: Literal[1] = 1
    kind: Literal["stylescan reader key"] = "stylescan reader key"
    pack: str = Field(pattern=PACK_ID)
    seed: int = Field(ge=0)
    readers: int = Field(ge=1)
    target: dict[str, Any]
    content_hash: str
    preparation_hash: str
    notes: list[str]
    images: list[KeyImage] = Field(min_length=2)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({image.id for image in self.images}) < len(self.images):
            raise ValueError("an image id occurs twice")
        if {image.origin for image in self.images} != {"real", "generated"}:
            raise ValueError("real and generated images are both needed")
        return self


class Answer(_Strict):
    """`level`: 1 to 6 for LEVEL_NAMES. `seconds`: how long the image was shown, where recorded."""

    id: str = Field(pattern=ID)
    level: int = Field(ge=1, le=LEVELS)
    seconds: float | None = Field(default=None, ge=0, le=1e6)


class Answers(_Strict):
    """What one reader said. Images may be left out."""

    schema_version: Literal[1]
    kind: Literal["stylescan reader answers"]
    pack: str = Field(pattern=PACK_ID)
    reader: int = Field(ge=1)
    answers: list[Answer]


_Record = TypeVar("_Record", Key, Answers)


def _validated(kind: type[_Record], path: Path, remedy: str) -> _Record:
    raw = read_json(path, DataError, remedy=remedy)
    try:
        return kind.model_validate(raw)
    except ValidationError as problem:
        where, said = first_fault(problem)
        raise DataError(f"{path}: {where + ': ' if where else ''}{said}", remedy=remedy) from None


def key_path(pack: Path) -> Path:
    """The key's place in the folder of a pack."""
    return pack / KEY_FOLDER / KEY_NAME


def load_key(pack: Path) -> Key:
    """The key of the pack in folder `pack`. DataError where there is none, or it is damaged."""
    make = "Give the folder that `stylescan reader-study TARGET --data DATA --out PACK` made, with its key."
    if not pack.is_dir():
        raise DataError(f"{pack}: {'a file' if pack.exists() else 'no such folder'}, expected a pack", remedy=make)
    if not key_path(pack).exists():
        raise DataError(f"{pack}: no reader pack (no {KEY_FOLDER}/{KEY_NAME})", remedy=make)
    return _validated(Key, key_path(pack), "Restore it from a copy, or make the pack again with the same seed.")


def load_answers(path: Path, key: Key) -> Answers:
    """A reader's answers to the pack of `key`. Readers may have edited the file: everything is checked.

    Raises DataError: no such file, no JSON, unknown fields, values out of range, another pack, an unknown reader or
    image, an image answered twice.
    """
    again = "Ask the reader for the file that the page saved, as it is."
    if path.is_file() and path.stat().st_size > MAX_ANSWER_BYTES:
        raise DataError(f"{path}: {path.stat().st_size:,} bytes, far more than answers need", remedy=again)
    answers = _validated(Answers, path, again)
    if answers.pack != key.pack:
        raise DataError(
            f"{path}: answers to pack {answers.pack}, expected {key.pack}", remedy="Score it with the pack it is for."
        )
    if answers.reader > key.readers:
        raise DataError(f"{path}: reader {answers.reader}, the pack has {key.readers}", remedy=again)
    known = {image.id for image in key.images}
    for name, times in Counter(answer.id for answer in answers.answers).items():
        if name not in known:
            raise DataError(f"{path}: image {name} is not of this pack", remedy=again)
        if times > 1:
            raise DataError(f"{path}: image {name} is answered {times} times", remedy=again)
    if not answers.answers:
        raise DataError(f"{path}: holds no answers", remedy="Leave this file out.")
    return answers
