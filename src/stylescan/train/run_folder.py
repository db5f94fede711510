"""The run folder: where everything of one run lies, what is kept, and who may write.

```
RUN/config.yaml          the resolved configuration, written before step 0
RUN/log.jsonl            one line a log interval, score or event
RUN/checkpoints/         the last few and the best; see checkpoint.py
RUN/snapshot/            the shareable generator: the best so far on select, or the last
RUN/pictures/            reals.png, fakes_KIMG.png, losses.png
RUN/local.json           where the data lie on this machine; nothing to share
```
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from stylescan.config import RunConfig
from stylescan.data.prepared import json_hash
from stylescan.errors import CheckpointError, ConfigError, StylescanError
from stylescan.files import write_bytes_atomic, write_json_atomic


def config_hash(config: RunConfig) -> str:
    """SHA-256 of the configuration: what a checkpoint must match."""
    return json_hash(config.model_dump(mode="json"))


def _lock(handle: IO[str]) -> None:
    """Take the file for this process until it is closed; OSError where another process has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class RunFolder:
    """Paths and housekeeping of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.log = path / "log.jsonl"
        self.checkpoints = path / "checkpoints"
        self.snapshot = path / "snapshot"
        self.pictures = path / "pictures"
        self.local = path / "local.json"

    @property
    def started(self) -> bool:
        """Whether a run's configuration lies here."""
        return self.config.is_file()

    def create(self) -> None:
        """Make the folders; a clear error where that is not possible."""
        try:
            for folder in (self.path, self.checkpoints, self.pictures):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise ConfigError(
                f"{self.path}: cannot be made or written ({problem.strerror})", remedy="Choose another --out."
            ) from None

    def refuse_foreign_content(self) -> None:
        """A new run starts in an empty or absent folder only, so that it never mixes with other files."""
        if self.path.is_file():
            raise ConfigError(f"{self.path}: a file, expected a folder", remedy="Choose another --out.")
        # what a start leaves that was killed before its configuration stood
        begun = {".lock", self.checkpoints.name, self.pictures.name, self.local.name, self.log.name}
        if self.path.is_dir() and any(item.name not in begun for item in self.path.iterdir()):
            raise ConfigError(
                f"{self.path}: holds other files and no run", remedy="Choose an empty or new folder for --out."
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process alone; ConfigError where another one trains here."""
        with (self.path / ".lock").open("w") as handle:
            try:
                _lock(handle)
            except OSError:
                raise ConfigError(
                    f"{self.path}: another process is training here", remedy="Wait for it, or choose another --out."
                ) from None
            yield

    def checkpoint(self, nimg: int) -> Path:
        """The folder of the checkpoint at `nimg`."""
        return self.checkpoints / f"{nimg:09d}"

    def remember_data(self, data: Path) -> None:
        """Note where the data lie, so that `evaluate RUN` finds them."""
        write_json_atomic(self.local, {"data": str(data.resolve())})

    def remembered_data(self) -> Path | None:
        """The noted folder of data, or None where none is noted or it is gone."""
        try:
            data = Path(json.loads(self.local.read_text("utf-8"))["data"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return data if data.is_dir() else None

    def list_checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        if not self.checkpoints.is_dir():
            return []
        return sorted(item for item in self.checkpoints.iterdir() if item.is_dir() and item.name.isdigit())

    def prune(self, *, keep: int, best_nimg: int | None) -> None:
        """Drop all but the newest `keep` and the best; also what a killed save left behind."""
        newest = self.list_checkpoints()[-keep:]
        best = None if best_nimg is None else self.checkpoint(best_nimg)
        for folder in self.list_checkpoints():
            if folder not in newest and folder != best:
                shutil.rmtree(folder, ignore_errors=True)
        for left in self.checkpoints.glob(".*.writing"):
            shutil.rmtree(left, ignore_errors=True)

    def drop_after(self, nimg: int) -> None:
        """Remove torn checkpoints beyond the one resumed from, so that they are written anew."""
        for folder in self.list_checkpoints():
            if int(folder.name) > nimg:
                shutil.rmtree(folder, ignore_errors=True)

    def append_log(self, line: dict[str, Any]) -> None:
        """Add one JSON line."""
        try:
            with self.log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, allow_nan=True) + "\n")
        except OSError as problem:
            raise StylescanError(
                f"{self.log}: cannot be written ({problem.strerror})",
                remedy="Free space or restore permission, then repeat the command with --resume.",
            ) from None

    def cut_log(self, nimg: int) -> None:
        """Drop the lines beyond `nimg` (and a torn last one): the resumed run writes them again."""
        if self.log.is_file():
            kept = [json.dumps(line) + "\n" for line in read_log(self.log) if line.get("nimg", 0) <= nimg]
            write_bytes_atomic(self.log, "".join(kept).encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log.jsonl; a torn line is left out."""
    lines = []
    for text in path.read_text("utf-8", errors="replace").splitlines():
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict):
            lines.append(value)
    return lines


def first_difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str | None:
    """The first dotted key whose values differ, with both, or None."""
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            deeper = first_difference(a, b, f"{prefix}{key}.")
            if deeper:
                return deeper
        elif a != b:
            return f"{prefix}{key}: the run has {a!r}, this command asks for {b!r}"
    return None


def require_same(stored: RunConfig, asked: RunConfig) -> None:
    """CheckpointError naming the first key in which a resume differs from the run it continues."""
    difference = first_difference(stored.model_dump(mode="json"), asked.model_dump(mode="json"))
    if difference:
        raise CheckpointError(
            f"--resume with other settings: {difference}",
            remedy="Repeat the command that started the run, or start a new run in another --out.",
        )
