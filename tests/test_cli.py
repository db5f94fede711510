"""The command line: one tiny run through every verb, and the most likely wrong turns."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylescan.cli import run
from stylescan.generate.images import read_provenance

TINY = [
    "--set", "model.z_dim=8", "--set", "model.w_dim=8", "--set", "model.channel_base=64", "--set", "model.channel_max=4",
    "--set", "train.batch=4", "--set", "train.score_images=16", "--set", "train.checkpoint_kimg=0.016",
]  # fmt: skip


def blobs(folder: Path, *, subjects: int = 20, classes: tuple[str, ...] = ("big", "small")) -> Path:
    """A folder a class of 24 px ellipses, two slices a subject, subject in the name."""
    rng, axis = np.random.default_rng(0), np.linspace(-1, 1, 24)
    for subject in range(subjects):
        name = classes[subject % len(classes)]
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            radius = rng.uniform(0.3, 0.5) + 0.3 * (name == "big")
            disc = (axis[:, None] ** 2 + axis[None] ** 2 < radius**2) * 180 + rng.normal(20, 6, (24, 24))
            Image.fromarray(disc.clip(0, 255).astype(np.uint8)).save(folder / name / f"p{subject:02d}_{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scans, DATA and a finished RUN."""
    home = tmp_path_factory.mktemp("home with spaces é")
    blobs(home / "scans")
    pattern = r"(?P<subject>p\d+)_(?P<slice>\d)\.png"
    assert run(["prepare", str(home / "scans"), "--out", str(home / "DATA"), "--resolution", "16",
                "--pattern", pattern, "--workers", "1"]) == 0  # fmt: skip
    assert run(["train", "--data", str(home / "DATA"), "--out", str(home / "RUN"), "--kimg", "0.04", *TINY]) == 0
    return home


def test_every_verb(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = trained / "DATA", trained / "RUN"
    assert (data / "contact_sheet.png").is_file()
    assert {"config.yaml", "log.jsonl", "checkpoints", "snapshot", "pictures"} <= {p.name for p in out.iterdir()}
    assert run(["evaluate", str(out), "--data", str(data), "--out", str(trained / "report"), "--count", "12"]) == 0
    assert run(["evaluate", str(out / "snapshot"), "--out", str(trained / "again"), "--count", "12"]) == 0  # data noted
    report = json.loads((trained / "report" / "report.json").read_text())
    assert report["audit"]["verdict"] == "cannot tell"
    assert {"fd", "kid"} <= set(report["metrics"])
    html = (trained / "report" / "report.html").read_text()
    assert "http://" not in html
    assert "https://" not in html
    assert run(["generate", str(out), "--seeds", "0-3", "--out", str(trained / "made"), "--class", "big"]) == 0
    files = sorted((trained / "made").glob("*.png"))
    assert len(files) == 4
    text = read_provenance(files[0])
    assert text["Title"].startswith("SYNTHETIC")
    assert (text["seed"], text["class"]) == ("0", "big")
    assert Image.open(files[0]).size == (16, 16)
    assert run(["generate", str(out), "--count", "6", "--grid", "--bits", "16", "--psi", "0.5",
                "--out", str(trained / "sheet.png")]) == 0  # fmt: skip
    assert Image.open(trained / "sheet.png").mode.startswith("I")
    assert run(["presets"]) == 0
    assert "small" in capsys.readouterr().out


def test_dry_run_measures_and_writes_nothing(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = trained / "nowhere"
    assert run(["train", "--data", str(trained / "DATA"), "--out", str(out), "--dry-run", *TINY]) == 0
    said = capsys.readouterr().out
    assert "parameters" in said
    assert "images/s" in said
    assert not out.exists()


def test_minutes_are_frozen_and_resume_reuses_them(trained: Path, tmp_path: Path) -> None:
    command = ["train", "--data", str(trained / "DATA"), "--out", str(tmp_path / "run"), "--minutes", "0.02", *TINY]
    assert run(command) == 0
    config = (tmp_path / "run" / "config.yaml").read_bytes()
    snapshot = (tmp_path / "run" / "snapshot" / "generator.safetensors").read_bytes()
    assert run([*command, "--resume"]) == 0
    assert (tmp_path / "run" / "config.yaml").read_bytes() == config
    assert (tmp_path / "run" / "snapshot" / "generator.safetensors").read_bytes() == snapshot


def spoil_pickle(home: Path) -> list[str]:
    shutil.copytree(home / "RUN" / "snapshot", home / "pickled")
    (home / "pickled" / "generator.safetensors").write_bytes(pickle.dumps({"G": [1, 2, 3]}))
    return ["generate", str(home / "pickled"), "--out", str(home / "x")]


def spoil_other_model(home: Path) -> list[str]:
    shutil.copytree(home / "RUN", home / "other")
    for checkpoint in (home / "other" / "checkpoints").iterdir():
        text = (checkpoint / "state.json").read_text()
        meta = json.loads(text)
        meta["identity"]["config_hash"] = "0" * 64
        (checkpoint / "state.json").write_text(json.dumps(meta))
    return ["train", "--data", str(home / "DATA"), "--out", str(home / "other"), "--resume"]


def spoil_shard(home: Path) -> list[str]:
    shutil.copytree(home / "DATA", home / "torn")
    shard = next((home / "torn" / "shards").glob("*.npy"))
    shard.write_bytes(shard.read_bytes()[:-50])
    return ["train", "--data", str(home / "torn"), "--out", str(home / "x")]


def spoil_corrupt_image(home: Path) -> list[str]:
    blobs(home / "corrupt", subjects=8)
    bad = home / "corrupt" / "big" / "p00_0.png"
    bad.write_bytes(bad.read_bytes()[:60])
    return ["prepare", str(home / "corrupt"), "--out", str(home / "x"), "--resolution", "16", "--workers", "1"]


def spoil_empty(home: Path) -> list[str]:
    (home / "empty").mkdir()
    return ["prepare", str(home / "empty"), "--out", str(home / "x")]


def spoil_other_size(home: Path) -> list[str]:
    (home / "wide").mkdir()
    for i in range(12):
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(home / "wide" / f"{i}.png")
    return ["evaluate", str(home / "wide"), "--data", str(home / "DATA"), "--out", str(home / "x")]


def spoil_newer_snapshot(home: Path) -> list[str]:
    shutil.copytree(home / "RUN" / "snapshot", home / "newer")
    path = home / "newer" / "snapshot.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    return ["generate", str(home / "newer"), "--out", str(home / "x")]


WRONG: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "missing scans": (lambda h: ["prepare", str(h / "nothing"), "--out", str(h / "x")], "nothing"),
    "empty folder": (spoil_empty, "empty"),
    "corrupt image": (spoil_corrupt_image, "p00_0.png"),
    "odd resolution": (lambda h: ["prepare", str(h / "scans"), "--out", str(h / "x"), "--resolution", "48"], "power of two"),
    "raw scans as data": (lambda h: ["train", "--data", str(h / "scans"), "--out", str(h / "x")], "prepare"),
    "missing data": (lambda h: ["train", "--data", str(h / "no"), "--out", str(h / "x")], "no such folder"),
    "torn shard": (spoil_shard, "damaged or truncated"),
    "unknown preset": (lambda h: ["train", "--data", str(h / "DATA"), "--out", str(h / "x"), "--preset", "smal"], "small"),
    "unknown key": (lambda h: ["train", "--data", str(h / "DATA"), "--out", str(h / "x"), "--set", "lrr=1"], "train.lr"),
    "unknown option": (lambda h: ["train", "--dta", str(h / "DATA"), "--out", str(h / "x")], "--data"),
    "unknown verb": (lambda h: ["trian"], "train"),
    "run again": (lambda h: ["train", "--data", str(h / "DATA"), "--out", str(h / "RUN")], "--resume"),
    "folder in use": (lambda h: ["train", "--data", str(h / "DATA"), "--out", str(h / "scans")], "holds other files"),
    "other settings": (
        lambda h: ["train", "--data", str(h / "DATA"), "--out", str(h / "RUN"), "--resume", "--set", "train.lr=0.5"],
        "train.lr",
    ),
    "checkpoint of another model": (spoil_other_model, "another configuration"),
    "pickle named safetensors": (spoil_pickle, "not a safetensors file"),
    "newer snapshot": (spoil_newer_snapshot, "format 99"),
    "no snapshot": (lambda h: ["generate", str(h / "scans"), "--out", str(h / "x")], "snapshot.json"),
    "unknown class": (lambda h: ["generate", str(h / "RUN"), "--class", "huge", "--out", str(h / "x")], "big, small"),
    "wrong seeds": (lambda h: ["generate", str(h / "RUN"), "--seeds", "5-2", "--out", str(h / "x")], "backwards"),
    "no data named": (lambda h: ["evaluate", str(h / "scans")], "--data"),
    "images of another size": (spoil_other_size, "16"),
    "unknown device": (lambda h: ["generate", str(h / "RUN"), "--device", "tpu9", "--out", str(h / "x")], "--device"),
    "both lengths": (
        lambda h: ["train", "--data", str(h / "DATA"), "--out", str(h / "x"), "--kimg", "1", "--minutes", "1"],
        "both given",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_turn_gives_one_clear_line_and_loses_nothing(
    name: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "h"
    shutil.copytree(trained, home, ignore=shutil.ignore_patterns("report", "again", "made"))
    make, words = WRONG[name]
    arguments = make(home)
    before = {p: p.read_bytes() for p in home.rglob("*") if p.is_file() and p.name != ".lock"}
    capsys.readouterr()
    code = run(arguments)
    said = capsys.readouterr()
    text = " ".join(said.err.replace("│", " ").split())
    assert code not in (0, 70), text
    assert words in text, text
    assert "Traceback" not in text
    assert "remedy:" in text or "Did you mean" in text
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not (home / "x").exists() or not any((home / "x").glob("*.json"))


def test_the_installed_command_gives_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from stylescan.cli import main; main()", "generate", str(tmp_path), "--out", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
