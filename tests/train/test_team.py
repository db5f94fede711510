"""Two processes that train together do what one does on the whole batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stylescan.cli import run as cli_run

TINY = (
    "model.z_dim=8", "model.w_dim=8", "model.channel_base=128", "model.channel_max=8", "model.mbstd_group=2",
    "objective.r1_interval=3", "objective.pl_weight=1", "objective.pl_interval=2", "objective.mixing=0.5",
    "train.batch=4", "train.checkpoint_kimg=0.02", "train.log_kimg=0.008", "train.ema_rampup=null",
    "train.ema_half_life_kimg=0.02", "train.score_kimg=null", "augment.mode=ada", "augment.p=0.3", "augment.interval=3",
)  # fmt: skip


def command(data: Path, out: Path, *more: str) -> list[str]:
    settings = [part for value in TINY for part in ("--set", value)]
    base = [sys.executable, "-m", "stylescan", "train", "--data", str(data), "--out", str(out), "--preset", "small"]
    return [*base, "--threads", "1", *settings, *more]


def environment() -> dict[str, str]:
    source = Path(__file__).resolve().parents[2] / "src"
    return {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}


def train(data: Path, out: Path, *more: str) -> None:
    done = subprocess.run(
        command(data, out, *more), check=False, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {f"{f.stem}/{name}": t for f in checkpoint.glob("*.safetensors") for name, t in load_file(f).items()}


def test_two_processes_give_the_gradients_and_weights_of_one(make_dataset, tmp_path: Path) -> None:
    data = make_dataset().path
    for devices in ("1", "2"):
        train(data, tmp_path / devices, "--kimg", "0.016", "--devices", devices)
    one, two = (tensors(tmp_path / n / "checkpoints" / "000000016") for n in ("1", "2"))
    start = tensors_at_start(data, tmp_path)
    assert one.keys() == two.keys()
    # beta1 is 0, so Adam's exp_avg is the last gradient, and exp_avg_sq holds those before it
    assert sum(name.startswith(("opt_G/exp_avg/", "opt_D/exp_avg/")) for name in one) > 40
    for name, expected in one.items():
        torch.testing.assert_close(two[name], expected, rtol=1e-6, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    for name, value in start.items():  # a phase that never ran, or a mean that never moved, would pass unseen
        assert not torch.equal(value, one[name]) or name.endswith("noise_const"), name


def tensors_at_start(data: Path, tmp_path: Path) -> dict[str, torch.Tensor]:
    from stylescan.config import read_config
    from stylescan.train.objective import build_objective
    from stylescan.train.state import build_state

    config = read_config(tmp_path / "1" / "config.yaml")
    state = build_state(config, build_objective(config.objective), device=torch.device("cpu"))
    groups = {k: v for k, v in state.tensors().items() if k in ("G", "D", "G_ema", "objective")}
    return {f"{group}/{name}": t.detach() for group, held in groups.items() for name, t in held.items()}


@pytest.mark.slow
def test_two_processes_stop_together_and_resume_exactly(make_dataset, tmp_path: Path) -> None:
    data = make_dataset().path
    train(data, tmp_path / "whole", "--kimg", "0.12", "--devices", "2")
    broken = tmp_path / "broken"
    process = subprocess.Popen(
        command(data, broken, "--kimg", "0.12", "--devices", "2"), env=environment(), stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list(broken.glob("checkpoints/*/state.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)  # the leader alone hears it, and both must stop after the same step
    assert process.wait(timeout=60) == 0
    assert max(p.name for p in (broken / "checkpoints").glob("0*")) < "000000120"
    train(data, broken, "--kimg", "0.12", "--devices", "2", "--resume")
    snapshots = [run / "snapshot" / "generator.safetensors" for run in (tmp_path / "whole", broken)]
    assert snapshots[0].read_bytes() == snapshots[1].read_bytes()


@pytest.mark.slow
def test_minutes_are_measured_by_all_processes_and_dry_runs_end(make_dataset, tmp_path: Path) -> None:
    data = make_dataset().path
    done = subprocess.run(
        command(data, tmp_path / "run", "--minutes", "0.01", "--devices", "2"),
        check=False, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "fixed at" in done.stderr
    assert "2 processes" in done.stderr
    done = subprocess.run(
        command(data, tmp_path / "none", "--devices", "2", "--dry-run"),
        check=False, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "nothing was written" in done.stdout
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("devices", "says"), [("3", "train.batch 4"), ("0", "--devices 0")])
def test_what_cannot_be_shared_is_refused_before_processes_start(
    devices: str, says: str, make_dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli_run(command(make_dataset().path, tmp_path / "run", "--devices", devices)[3:])
    assert code == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
