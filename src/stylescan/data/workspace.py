"""The destination of a preparation: who owns it, what is already done in it, and how a repeat continues.

While work is under way, `.prepare/` (readable by its owner only: it holds file names) keeps the request and a journal
of finished units, one JSON line each. A finished set keeps `.request` instead: hashes by which a repeat knows that
nothing changed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from stylescan.data.audit.contact_sheet import SHEET_NAME
from stylescan.data.audit.page import PAGE_NAME
from stylescan.data.audit.record import AUDIT_NAME
from stylescan.data.identity import SALT_NAME
from stylescan.data.prepared import MANIFEST_NAME, SHARD_FOLDER, WORK_FOLDER
from stylescan.data.spool import FOLDER as SPOOL_FOLDER
from stylescan.errors import DataError
from stylescan.files import LOCK_NAME, hold_folder, write_json_atomic

REQUEST_NAME = ".request"
Row = TypeVar("Row", bound=BaseModel)


def check_places(source: Path, out: Path) -> None:
    """Raise DataError where source and destination lie in each other, or the destination is a file."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: a file, expected a folder to prepare into", remedy="choose another --out")
    inside, above = out.resolve(), source.resolve()
    if source.is_dir() and (inside.is_relative_to(above) or above.is_relative_to(inside)):
        raise DataError(f"{out}: source and destination lie in each other", remedy="choose an --out beside the scans")


@contextmanager
def hold_destination(out: Path) -> Iterator[None]:
    """Make `out` and hold it: two preparations into one folder would undo each other's shards.

    Raises DataError where it holds other files (and is left as it was), cannot be made, or another process prepares
    here.
    """
    _refuse_foreign(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / LOCK_NAME).touch()
    except OSError as problem:
        raise DataError(f"{out}: cannot be made or written ({problem.strerror})",
                        remedy="choose another --out, or correct the permissions") from None  # fmt: skip
    with hold_folder(out, DataError, doing="preparing"):
        yield


def _refuse_foreign(out: Path) -> None:
    """Other programs write a manifest.json too: only beside shards is it one of ours."""
    entries = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    ours = WORK_FOLDER in entries or {MANIFEST_NAME, SHARD_FOLDER} <= entries
    if entries - {SALT_NAME, LOCK_NAME} and not ours:
        raise DataError(f"{out}: not empty, and not a prepared dataset ({', '.join(sorted(entries)[:4])})",
                        remedy="choose an empty or new folder as --out")  # fmt: skip


def finished_request(out: Path) -> dict[str, str] | None:
    """The request of the finished set in `out`, {} where it is not known, None where there is no finished set."""
    if not (out / MANIFEST_NAME).is_file():
        return None
    try:
        value = json.loads((out / REQUEST_NAME).read_text("utf-8"))
        return {str(key): str(text) for key, text in value.items()}
    except (OSError, ValueError, AttributeError):
        return {}


class Workspace:
    """The use of a destination for one request (a hash of the settings and of where the scans lie)."""

    def __init__(self, out: Path, request: str, *, overwrite: bool) -> None:
        self.out = out
        self.folder = out / WORK_FOLDER
        self._claim(request, overwrite)

    def _claim(self, request: str, overwrite: bool) -> None:
        _refuse_foreign(self.out)
        finished = (self.out / MANIFEST_NAME).is_file()
        stored = self.folder / "request.json"
        same = stored.is_file() and stored.read_text("utf-8", errors="replace").strip() == json.dumps(request)
        # Scans that were only read so far cost little to read again: a corrected command needs no --overwrite.
        made = finished or any((self.out / SHARD_FOLDER).glob("*"))
        if made and not same and not overwrite:
            state = "a finished dataset" if finished else "an unfinished preparation"
            raise DataError(f"{self.out}: holds {state} of other scans or with other settings",
                            remedy="choose another --out, or replace it with --overwrite")  # fmt: skip
        if not same and self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.folder.glob("*.tmp"):
            left.unlink()
        write_json_atomic(stored, request)

    def clear(self) -> None:
        """Remove a finished set that is being replaced: the manifest first, so that nothing half stands as whole."""
        if (self.out / MANIFEST_NAME).exists():
            (self.out / MANIFEST_NAME).unlink()
            for name in (AUDIT_NAME, PAGE_NAME, SHEET_NAME, REQUEST_NAME):
                (self.out / name).unlink(missing_ok=True)
            shutil.rmtree(self.out / SHARD_FOLDER, ignore_errors=True)
        (self.out / SHARD_FOLDER).mkdir(exist_ok=True)

    def spool_folder(self) -> Path:
        """An empty folder for decoded pixels: what an interrupted call left in it may be torn, and is removed."""
        folder = self.folder / SPOOL_FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def rows(self, name: str, model: type[Row]) -> Iterator[Row]:
        """The journal `name` from an earlier call; a line torn by a crash is skipped."""
        file = self.folder / f"{name}.jsonl"
        if not file.is_file():
            return
        with file.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                try:
                    yield model.model_validate_json(line)
                except ValidationError:
                    continue

    def append(self, name: str, rows: Sequence[BaseModel]) -> None:
        """Add finished units to the journal `name`."""
        file = self.folder / f"{name}.jsonl"
        torn = file.is_file() and file.stat().st_size > 0 and not _ends_line(file)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(("\n" if torn else "") + "".join(row.model_dump_json() + "\n" for row in rows))

    def finish(self, shards: set[str], request: dict[str, str]) -> None:
        """Drop shards of an earlier plan, and leave the private note by which a repeat knows the request."""
        for file in (self.out / SHARD_FOLDER).iterdir():
            if file.name not in shards:
                file.unlink()
        write_json_atomic(self.out / REQUEST_NAME, request)
        os.chmod(self.out / REQUEST_NAME, 0o600)

    def remove(self) -> None:
        """Forget the journal: the manifest stands."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _ends_line(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
