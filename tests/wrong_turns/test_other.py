"""Wrong turns of `demo`, `presets` and of no verb at all; locks; and names that must work."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stylescan.cli import run


def demo(*more: str) -> Callable[[Any], list[str]]:
    return lambda p: ["demo", "--out", str(p.out), "--subjects", "2", *more]


def few(count: str) -> Callable[[Any], list[str]]:
    return lambda p: ["demo", "--out", str(p.out), "--subjects", count]


def demo_onto(path: Callable[[Any], Path]) -> Callable[[Any], list[str]]:
    return lambda p: ["demo", "--out", str(path(p)), "--subjects", "2"]


ROWS: dict[str, Any] = {
    "misspelt verb": (lambda p: ["trian"], "trian"),
    "unknown verb": (lambda p: ["explode", str(p.scans)], "explode"),
    "an option for a verb": (lambda p: ["--data", str(p.data)], "--data"),
    "presets with an argument": (lambda p: ["presets", "small", "extra"], "extra"),
    "presets of an unknown name": (lambda p: ["presets", "smal", "--data", str(p.data)], "smal"),
    "presets for scans": (lambda p: ["presets", "small", "--data", str(p.scans)], "not a prepared dataset"),
    "presets with an option": (lambda p: ["presets", "--json"], "--json"),
    "presets for no device": (
        lambda p: ["presets", "auto", "--data", str(p.data), "--device", "cuda", "--devices", "0"],
        "--devices 0",
    ),
    "demo of one subject": (few("1"), ("subjects", "1")),
    "demo of -3 subjects": (few("-3"), ("subjects", "-3")),
    "demo of a million subjects": (few("1000000"), ("subjects", "1000000")),
    "demo of few subjects": (few("few"), "--subjects"),
    "demo of 0 minutes": (demo("--minutes", "0"), "--minutes 0"),
    "demo of nan minutes": (demo("--minutes", "nan"), "--minutes nan"),
    "demo of inf minutes": (demo("--minutes", "inf"), "--minutes inf"),
    "demo with a negative seed": (demo("--seed", "-1"), ("seed", "-1")),
    "demo without threads": (demo("--threads", "0"), "--threads"),
    "demo with data": (demo("--data", "x"), "--data"),
    "demo onto a file": (demo_onto(lambda p: p.file("f", b"mine")), "f"),
    "demo onto other files": (demo_onto(lambda p: p.file("mine/scans/a.png", b"mine").parents[1]), "scans"),
    "demo in /proc": (demo_onto(lambda p: Path("/proc/stylescan")), "/proc/stylescan"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_is_refused_in_one_clear_line(name: str, refused: Callable[[Any], str]) -> None:
    refused(ROWS[name])


def test_the_trap_works(place: Any) -> None:
    pickle.loads(place.pickled())  # noqa: S301  (the control: the tables' pickles do act when they are loaded)
    assert place.trap.is_dir()


@pytest.mark.parametrize("arguments", [["trian"], ["prepare", "nowhere", "--out", "x"]])
def test_a_real_process_prints_the_two_lines_and_no_traceback(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stylescan", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()][-2:] == ["error", "remedy"]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


HOLDER = """
import sys
from pathlib import Path
from stylescan.errors import DataError
from stylescan.files import hold_folder
with hold_folder(Path(sys.argv[1]), DataError, doing="preparing"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("verb", ["prepare", "train"])
def test_two_at_once_in_one_folder(verb: str, place: Any, refused: Callable[[Any], str]) -> None:
    place.out.mkdir()
    arguments = place.prepare(place.scans) if verb == "prepare" else place.train()
    command = [sys.executable, "-c", HOLDER, str(place.out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        assert "another process is" in refused((lambda p: arguments, str(place.out)))
        holder.communicate("\n")
    assert run(arguments) == 0


def test_two_preparations_that_start_together(place: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stylescan", *place.prepare(place.scans)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    # One wins; the other is turned away, or comes late enough to find the work done.
    assert codes in ([0, 0], [0, 2]), said
    assert codes == [0, 0] or any("another process is preparing here" in text for text in said)
    assert run(place.prepare(place.scans)) == 0


NAMES = [
    "with spaces",
    "Größe é ü",
    "脳 スキャン",
    'quote\'s "double"',
    "a;b&c|d$HOME`x`",
    "(1) 100% #2",
    "🧠",
    "x" * 120,
]


@pytest.mark.parametrize("name", NAMES)
def test_lawful_names_work_through_every_verb(name: str, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.here)
    home = Path(name)
    shutil.copytree(place.scans, home / f"scans {name}"[:100])
    shutil.move(home / f"scans {name}"[:100] / "big", home / f"scans {name}"[:100] / f"{name} big")
    shutil.copytree(place.run, home / "run")
    scans, data = f"./{home / f'scans {name}'[:100]}", f"./{home / 'data'}"
    assert run(["prepare", scans, "--out", data, "--resolution", "16", "--workers", "1"]) == 0
    assert run(["train", "--data", data, "--out", f"./{home / 'dry'}", "--kimg", "0.008", *place.tiny]) == 0
    assert run(["generate", f"./{home / 'dry'}", "--out", f"./{home / 'made'}", "--class", f"{name} big",
                "--count", "2"]) == 0  # fmt: skip
    assert len(list((home / "made").glob("*.png"))) == 2
