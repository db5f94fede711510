"""Writing files so that a crash never leaves half of one, reading JSON that nobody vouches for, one writer a folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from stylescan.errors import StylescanError

PARTIAL = ".partial"  # the end of the names of files being written


def fsync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut (a no-op where folders cannot be opened)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def fsync_file(path: Path) -> None:
    """Make sure that what was written to `path` reaches the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write aside, fsync, rename: `path` holds the old content or the new one, never a part of either.

    An OSError names `path`.
    """
    with written_aside(path) as stream:
        stream.write(data)


@contextmanager
def written_aside(path: Path) -> Iterator[IO[bytes]]:
    """A stream for what takes the place of `path` once all is written and on the disk; gone where that fails.

    An OSError names `path`.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name aside is short, so that a long name that the disk allows does not become one that it refuses.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=PARTIAL)
        with os.fdopen(handle, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as problem:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(problem, OSError) and problem.errno is not None:
            raise OSError(problem.errno, os.strerror(problem.errno), str(path)) from None
        raise
    fsync_folder(path.parent)


def is_leftover(path: Path) -> bool:
    """Whether `path` is what `written_aside` leaves where the process is killed, by its name."""
    return path.name.startswith(".") and path.name.endswith(PARTIAL)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left in `folder`. Only for its one writer: another's file in progress would go too."""
    if folder.is_dir():
        for left in filter(is_leftover, folder.iterdir()):
            left.unlink(missing_ok=True)


_CURES = {
    errno.ENOSPC: "Free space on that disk",
    errno.EDQUOT: "Free space: your quota on that disk is used up",
    errno.EFBIG: "Raise the limit on the size of a file (ulimit -f)",
    errno.EACCES: "Restore the permission to write there",
    errno.EPERM: "Restore the permission to write there",
    errno.EROFS: "Mount that disk for writing",
    errno.EIO: "Check that disk, or move the folder to another one",
}


def storage_error(what: str, problem: OSError, *, then: str) -> StylescanError:
    """The error for a file that could not be written: `what`, the system's words, and what to do, `then` last."""
    where = f" ({problem.filename})" if problem.filename else ""
    cure = _CURES.get(problem.errno or 0, "Make that place writable")
    return StylescanError(f"{what} could not be written: {problem.strerror}{where}", remedy=f"{cure}, then {then}")


def write_json_atomic(path: Path, value: object) -> None:
    """`value` as indented JSON with sorted keys, so that equal content is equal bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes_atomic(path, text.encode())


def read_json(path: Path, error: type[StylescanError], *, remedy: str) -> Any:
    """The JSON value in `path`; `error` with `remedy` where the file is missing, no plain file, or not strict JSON.

    Strict: no NaN or Infinity, no key twice in one object, no nesting beyond the interpreter's depth.
    """
    require_file(path, error, remedy=remedy)
    try:
        return json.loads(path.read_text("utf-8"), parse_constant=_no_constant, object_pairs_hook=_unique_keys)
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"{path}: cannot be read ({problem})", remedy=remedy) from None
    except RecursionError:
        raise error(f"{path}: not valid JSON (nested too deeply)", remedy=remedy) from None
    except ValueError as problem:  # JSONDecodeError is one; so is a number of too many digits
        raise error(f"{path}: not valid JSON ({problem})", remedy=remedy) from None


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a number of JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return dict(pairs)


def require_file(path: Path, error: type[StylescanError], *, remedy: str) -> None:
    """Raise `error` unless `path` is a plain file: opening a pipe would wait for ever, reading a device never end."""
    if path.is_file():
        return
    if not path.exists():
        raise error(f"{path}: no such file", remedy=remedy)
    raise error(f"{path}: {'a folder' if path.is_dir() else 'a pipe or device'}, expected a file", remedy=remedy)


def _lock(handle: IO[str]) -> None:
    """Take the file for this process until it is closed; OSError where another process has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


LOCK_NAME = ".lock"


@contextmanager
def hold_folder(folder: Path, error: type[StylescanError], *, doing: str) -> Iterator[None]:
    """Hold the existing `folder` for this process alone, by a lock on its file `.lock` that ends with the process.

    doing : what another process is said to do here, for instance 'training'. Raises `error` where one holds it.
    """
    with (folder / LOCK_NAME).open("w") as handle:
        try:
            _lock(handle)
        except OSError:
            raise error(
                f"{folder}: another process is {doing} here", remedy="Wait for it, or choose another --out."
            ) from None
        yield


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
