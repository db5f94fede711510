"""The command line: one tiny run through every verb. Wrong turns have a folder of their own."""

from __future__ import annotations

import json
import subprocess
import sys
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


def test_the_installed_command_gives_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from stylescan.cli import main; main()", "generate", str(tmp_path), "--out", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_dry_run_in_minutes_is_timed_whatever_the_folder_holds(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = trained / "RUN"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    command = ["train", "--data", str(trained / "DATA"), "--out", str(out), "--minutes", "0.01", "--dry-run", *TINY]
    assert run(command) == 0
    assert "0.01 minutes: fixed at" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_ctrl_c_says_what_to_do_next(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["stylescan.cli.presets"], "say", interrupted)
    assert run(["presets"]) == 130
    assert "interrupted" in capsys.readouterr().err
