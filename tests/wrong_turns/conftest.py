"""A home with scans, prepared data and a run, made once; and the judge of every wrong turn.

A row of a table is a function `(Place) -> arguments` that spoils something in the row's own folder, and the words that
the error line must hold. The judge runs the command and demands: exit code 2; on standard error, after the usual
remarks, exactly one `error:` and one `remedy:` line; every file that was there is still there, byte for byte; nothing
half-made is left; and the trap that every pickle in the tables carries has not sprung.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from stylescan.cli import run
from stylescan.files import file_sha256

TINY = [
    "--set", "model.z_dim=8", "--set", "model.w_dim=8", "--set", "model.channel_base=64", "--set", "model.channel_max=4",
    "--set", "train.batch=4", "--set", "train.score_kimg=null", "--set", "train.checkpoint_kimg=0.016",
]  # fmt: skip
PATTERN = r"(?P<subject>p\d+)_(?P<slice>\d)\.png"
PATIENCE_S = 20.0
RESULTS = ("manifest.json", "report.json", "snapshot.json", "config.yaml", "*.png")


class Trap:
    """Unpickled, it makes a folder: proof that foreign code ran."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@dataclass(frozen=True)
class Place:
    """What a row may use: `scans`, `data`, `run` are shared and stay as they are; `here` is the row's own folder."""

    scans: Path
    data: Path
    run: Path
    here: Path
    trap: Path

    @property
    def out(self) -> Path:
        """Where the command is told to write: `here` and everything in it count as made before, this does not."""
        return self.here / "x"

    def copy(self, what: Path, name: str = "copy") -> Path:
        """A copy of a shared folder, to spoil."""
        return Path(shutil.copytree(what, self.here / name))

    def file(self, name: str, content: bytes | str = b"") -> Path:
        """A file in `here`."""
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def pictures(self, folder: str = "pictures", count: int = 6, size: tuple[int, int] = (20, 20)) -> Path:
        """A folder of good pictures to put a bad one beside."""
        (self.here / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 255, size[::-1], dtype=np.uint8)
            Image.fromarray(pixels).save(self.here / folder / f"p{number:02d}.png")
        return self.here / folder

    def bad(self, name: str, content: bytes) -> list[str]:
        """`prepare` on good pictures and one file that holds `content`."""
        (self.pictures() / name).write_bytes(content)
        return self.prepare(self.here / "pictures")

    def pickled(self) -> bytes:
        """A pickle that springs the trap when it is loaded."""
        return pickle.dumps({"G_ema": self.armed()})

    def armed(self) -> Trap:
        """What such a pickle holds."""
        return Trap(self.trap)

    def prepare(self, source: Path, *more: str) -> list[str]:
        return ["prepare", str(source), "--out", str(self.out), "--resolution", "16", "--workers", "1", *more]

    def train(self, *more: str, data: Path | None = None, out: Path | None = None) -> list[str]:
        return [
            "train",
            "--data",
            str(data or self.data),
            "--out",
            str(out or self.out),
            "--kimg",
            "0.02",
            *TINY,
            *more,
        ]

    def generate(self, *more: str, snapshot: Path | None = None) -> list[str]:
        return ["generate", str(snapshot or self.run), "--out", str(self.out), *more]

    def evaluate(self, target: Path, *more: str) -> list[str]:
        return ["evaluate", str(target), "--data", str(self.data), "--out", str(self.out), *more]

    @property
    def tiny(self) -> list[str]:
        """Options of the smallest nets."""
        return TINY

    def manifest(self, change: Callable[[dict[str, Any]], Any]) -> Path:
        """A copy of the data whose manifest was changed."""
        return edit_json(self.copy(self.data) / "manifest.json", change).parent

    def snapshot(self, change: Callable[[dict[str, Any]], Any]) -> Path:
        """A copy of the snapshot whose JSON was changed."""
        return edit_json(self.copy(self.run / "snapshot") / "snapshot.json", change).parent

    def weights(self, change: Callable[[dict[str, Any]], Any]) -> Path:
        """A copy of the snapshot whose tensors were changed, with a hash that fits."""
        folder = self.copy(self.run / "snapshot")
        tensors = load_file(folder / "generator.safetensors")
        change(tensors)
        save_file(tensors, folder / "generator.safetensors")
        return rehash(folder)


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Apply `change` to the JSON object in `path`."""
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return path


def rehash(folder: Path) -> Path:
    """Make the snapshot's JSON vouch for whatever its weights are now: a forger would."""
    digest = file_sha256(folder / "generator.safetensors")
    return edit_json(folder / "snapshot.json", lambda v: v.update(weights_sha256=digest)).parent


def everything(*folders: Path) -> dict[str, str]:
    """Path -> hash of content (or of a link's target) of all that lies in the folders; lock files hold nothing."""
    found = {}
    for path in (path for folder in folders for path in folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = f"link {os.readlink(path)}"
        elif path.is_file() and path.name != ".lock":
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.exists() and path.name != ".lock":
            found[str(path)] = "folder" if path.is_dir() else "special"
    return found


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans of 20 subjects in two classes, DATA and a finished RUN."""
    home = tmp_path_factory.mktemp("home")
    rng, axis = np.random.default_rng(0), np.linspace(-1, 1, 24)
    for subject in range(20):
        name = ("big", "small")[subject % 2]
        (home / "scans" / name).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            radius = rng.uniform(0.3, 0.5) + 0.3 * (name == "big")
            disc = (axis[:, None] ** 2 + axis[None] ** 2 < radius**2) * 180 + rng.normal(20, 6, (24, 24))
            picture = Image.fromarray(disc.clip(0, 255).astype(np.uint8))
            picture.save(home / "scans" / name / f"p{subject:02d}_{number}.png")
    assert run(["prepare", str(home / "scans"), "--out", str(home / "DATA"), "--resolution", "16",
                "--pattern", PATTERN, "--workers", "1"]) == 0  # fmt: skip
    assert run(["train", "--data", str(home / "DATA"), "--out", str(home / "RUN"), "--kimg", "0.04", *TINY]) == 0
    return home


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Place:
    """The shared home and a folder of the row's own."""
    (tmp_path / "here").mkdir()
    return Place(home / "scans", home / "DATA", home / "RUN", tmp_path / "here", tmp_path / "sprung")


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Stop what hangs (a pipe opened, a bomb unpacked), so that its row fails and the others run."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


Row = tuple[Callable[[Place], list[str]], tuple[str, ...] | str]


@pytest.fixture
def refused(place: Place, home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[Row], str]:
    """refused(row): runs the row's command and demands all that a refusal owes; returns the error line."""

    def judge(row: Row) -> str:
        make, words = row
        arguments = make(place)
        before = everything(home, place.here)
        capsys.readouterr()
        with warnings.catch_warnings(record=True) as chatter, limit(PATIENCE_S):
            warnings.simplefilter("always")
            code = run(arguments)
        said = capsys.readouterr().err
        lines = said.splitlines()
        assert code == 2, said
        assert [line.split(":")[0] for line in lines[-2:]] == ["error", "remedy"], said
        assert not [line for line in lines[:-2] if line.startswith(("error", "remedy", " "))], said
        assert "Traceback" not in said
        assert len(lines[-2]) > len("error: ") + 8, said
        assert len(lines[-1]) > len("remedy: ") + 3, said
        for word in (words,) if isinstance(words, str) else words:
            assert word in lines[-2], said
        after = everything(home, place.here)
        assert {path: after.get(path) for path in before} == before
        fresh = {path for path in set(after) - set(before) if Path(path).is_relative_to(place.out)}
        assert not [path for path in fresh for name in RESULTS if Path(path).match(name)]
        assert not place.trap.exists(), "foreign code was run"
        shown = (UserWarning, RuntimeWarning)  # what Python prints by default
        assert not [str(w.message) for w in chatter if issubclass(w.category, shown)]
        return lines[-2]

    return judge
