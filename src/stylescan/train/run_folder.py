"""The run folder: where everything of one run lies, what is kept, and who may write.

```
RUN/config.yaml          the resolved configuration, written before step 0
RUN/log.jsonl            one line a log interval, score or event
RUN/checkpoints/         the last few and the best; see checkpoint.py
RUN/snapshot/            the shareable generator: the best so far on select, or the last
RUN/pictures/            reals.png, fakes_KIMG.png, losses.png
RUN/transfer.json        what was taken of the model named by --init, tensor by tensor
RUN/local.json           where the data lie on this machine; nothing to share
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from stylescan.config import RunConfig
from stylescan.data.prepared import json_hash
from stylescan.errors import CheckpointError, ConfigError
from stylescan.files import (
    LOCK_NAME,
    hold_folder,
    is_leftover,
    read_json,
    remove_leftovers,
    storage_error,
    write_bytes_atomic,
    write_json_atomic,
)
from stylescan.train.checkpoint import ASIDE, is_good

AGAIN = "repeat the command with --resume: it continues from the last checkpoint, which is unharmed."


def config_hash(config: RunConfig) -> str:
    """SHA-256 of the configuration: what a checkpoint must match."""
    return json_hash(config.model_dump(mode="json"))


class RunFolder:
    """Paths and housekeeping of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.log = path / "log.jsonl"
        self.checkpoints = path / "checkpoints"
        self.snapshot = path / "snapshot"
        self.pictures = path / "pictures"
        self.transfer = path / "transfer.json"
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
        begun = {
            LOCK_NAME,
            self.checkpoints.name,
            self.pictures.name,
            self.local.name,
            self.log.name,
            self.transfer.name,
        }
        if self.path.is_dir() and any(item.name not in begun and not is_leftover(item) for item in self.path.iterdir()):
            raise ConfigError(
                f"{self.path}: holds other files and no run", remedy="Choose an empty or new folder for --out."
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process alone; ConfigError where another one trains here or nothing can be written.

        What a killed process left half written is removed: from now on nobody else writes here.
        """
        with ExitStack() as held:
            try:
                held.enter_context(hold_folder(self.path, ConfigError, doing="training"))
                self.drop_leftovers()
            except OSError as problem:
                raise ConfigError(
                    f"{self.path}: cannot be written ({problem.strerror})",
                    remedy="Restore permission or space there, or choose another --out.",
                ) from None
            yield

    def drop_leftovers(self) -> None:
        """Remove half-written files and checkpoints, which only fill the disk."""
        for folder in (self.path, self.pictures, self.snapshot):
            remove_leftovers(folder)
        for left in self.checkpoints.glob(f".*{ASIDE}"):
            shutil.rmtree(left, ignore_errors=True)

    def checkpoint(self, nimg: int) -> Path:
        """The folder of the checkpoint at `nimg`."""
        return self.checkpoints / f"{nimg:09d}"

    def remember_data(self, data: Path) -> None:
        """Note where the data lie, so that `evaluate RUN` finds them."""
        try:
            write_json_atomic(self.local, {"data": str(data.resolve())})
        except OSError as problem:
            raise storage_error("the run's note of its data", problem, then=AGAIN) from None

    def remembered_data(self) -> Path | None:
        """The noted folder of data, or None where none is noted or it is gone."""
        try:
            data = Path(read_json(self.local, ConfigError, remedy="")["data"])
        except (ConfigError, KeyError, TypeError):
            return None
        return data if data.is_dir() else None

    def list_checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        try:
            items = sorted(self.checkpoints.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as problem:
            raise CheckpointError(
                f"{self.checkpoints}: cannot be read ({problem.strerror})",
                remedy="Restore the permission to read it, then repeat the command with --resume.",
            ) from None
        return [item for item in items if item.is_dir() and item.name.isdigit()]

    def newest_good(self) -> Path | None:
        """The newest checkpoint that was written in good health, or None."""
        return next((folder for folder in reversed(self.list_checkpoints()) if is_good(folder)), None)

    def prune(self, *, keep: int, best_nimg: int | None) -> None:
        """Drop all but the newest `keep`, the best, and the newest good one; also what a killed save left behind."""
        kept = {*self.list_checkpoints()[-keep:], self.newest_good()}
        if best_nimg is not None:
            kept.add(self.checkpoint(best_nimg))
        for folder in self.list_checkpoints():
            if folder not in kept:
                self._drop(folder)
        self.drop_leftovers()

    def drop_after(self, nimg: int) -> None:
        """Remove the checkpoints beyond the one gone on from, torn or bad ones: they are written anew."""
        for folder in self.list_checkpoints():
            if int(folder.name) > nimg:
                self._drop(folder)

    def _drop(self, folder: Path) -> None:
        # renamed first: a removal that is cut short must not leave a torn checkpoint among the whole ones
        aside = folder.with_name(f".{folder.name}{ASIDE}")
        try:
            folder.rename(aside)
        except OSError:
            aside = folder
        shutil.rmtree(aside, ignore_errors=True)

    def append_log(self, line: dict[str, Any]) -> None:
        """Add one JSON line."""
        try:
            with self.log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, allow_nan=True) + "\n")
        except OSError as problem:
            raise storage_error("the log", problem, then=AGAIN) from None

    def cut_log(self, nimg: int) -> None:
        """Drop the lines beyond `nimg` (and a torn last one): the resumed run writes them again."""
        if not self.log.is_file():
            return
        kept = [json.dumps(line) + "\n" for line in read_log(self.log) if line.get("nimg", 0) <= nimg]
        try:
            write_bytes_atomic(self.log, "".join(kept).encode())
        except OSError as problem:
            raise storage_error("the log", problem, then=AGAIN) from None


def data_of(target: Path) -> Path | None:
    """The folder of data that the run `target`, or the run that `target` (its snapshot) lies in, was trained on."""
    return RunFolder(target).remembered_data() or RunFolder(target.parent).remembered_data()


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
