"""The errors that users see: one line that says what is wrong, and one that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class StylescanError(Exception):
    """Something the user can act on.

    The command line prints both parts without a traceback and exits with a non-zero code.

    Parameters
    ----------
    message
        Names the file or field, what was found and what was expected.
    remedy
        What to do about it, a sentence in the imperative.

    Example
    -------
    >>> try:
    ...     PreparedDataset.open(folder / "nowhere")
    ... except StylescanError as problem:
    ...     print(problem.remedy)
    make one with `stylescan prepare SRC --out DATA`, and pass that DATA folder
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


class ConfigError(StylescanError):
    """An option, a preset or a configuration file asks for something that cannot be."""


class DataError(StylescanError):
    """A scan, a list of scans or a prepared dataset is missing, damaged or of the wrong kind."""


class CheckpointError(StylescanError):
    """A checkpoint or a run folder is missing, torn, or belongs to another model."""


class ForeignCheckpointError(CheckpointError):
    """A whole checkpoint, but of another configuration or other data: falling back to an older one would not help."""


class SnapshotError(StylescanError):
    """A shareable generator is missing, damaged or not one of ours."""


def first_fault(problem: ValidationError) -> tuple[str, str]:
    """(the first field that does not fit, dotted, '' for the whole; what pydantic says of it)."""
    first = problem.errors()[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"]
