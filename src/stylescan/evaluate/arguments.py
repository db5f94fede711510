"""What every verb of this room asks of its arguments before minutes of work: a seed, and a folder for the results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from stylescan.errors import ConfigError
from stylescan.files import is_leftover

LARGEST_SEED = 2**32 - 1  # of the libraries that a seed is handed on to


def check_seed(seed: int) -> None:
    """ConfigError for a seed that not every library takes."""
    if not 0 <= seed <= LARGEST_SEED:
        raise ConfigError(
            f"seed is {seed} (--seed), expected 0 to {LARGEST_SEED}", remedy="Choose a seed of 0 or more."
        )


def refuse_foreign(out: Path, own: Sequence[str]) -> None:
    """ConfigError where `out` is no folder, or holds anything but what the verb itself writes.

    own : names, or patterns of names, of its results.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: a file, expected a folder", remedy="Choose another --out.")
    foreign = sorted(
        entry.name
        for entry in (out.iterdir() if out.exists() else ())
        if not any(fnmatch(entry.name, name) for name in own) and not is_leftover(entry)
    )
    if foreign:
        raise ConfigError(
            f"{out}: holds {foreign[0]!r}, which is no result of this command",
            remedy="Choose a new or empty folder for --out.",
        )


@contextmanager
def claimed_folder(out_dir: Path) -> Iterator[None]:
    """Make `out_dir` before minutes of work go into a report; ConfigError where that is not possible.

    What was made is removed again where the work fails.
    """
    made = [folder for folder in (out_dir, *out_dir.parents) if not folder.exists()]
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigError(
            f"{out_dir}: the report cannot be written ({problem.strerror})", remedy="Choose another --out."
        ) from None
    if not os.access(out_dir, os.W_OK):
        raise ConfigError(f"{out_dir}: the report cannot be written (no permission)", remedy="Choose another --out.")
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):  # somebody else has put something there
                folder.rmdir()
        raise
