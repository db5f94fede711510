"""A killed and resumed run equals the unbroken one, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from stylescan.errors import CheckpointError
from stylescan.train.checkpoint import load_checkpoint, save_checkpoint
from stylescan.train.loop import Trainer
from stylescan.train.objective import build_objective
from stylescan.train.run_folder import RunFolder, config_hash
from stylescan.train.state import build_state

CPU = torch.device("cpu")
CHILD = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from stylescan.config import read_config
from stylescan.data.prepared import PreparedDataset
from stylescan.train.loop import Trainer
from stylescan.train.run_folder import RunFolder
data, config, out = map(Path, sys.argv[1:])
score = lambda generate: {"kid": float(generate(16).mean())}
run = RunFolder(out)
run.create()
with run.lock():
    Trainer(run, PreparedDataset.open(data), read_config(config), torch.device("cpu"), score=score).train()
"""


def pixel_score(generate) -> dict[str, float]:
    return {"kid": float(generate(16).mean())}


def snapshot_bytes(run: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.snapshot.iterdir())}


def train(folder: Path, dataset, config, *, score=pixel_score):
    run = RunFolder(folder)
    trainer = Trainer(run, dataset, config, CPU, score=score)
    trainer.train()
    return run, trainer


def test_every_part_of_the_state_moves(tmp_path: Path, make_dataset, tiny_config) -> None:
    dataset = make_dataset()
    config = tiny_config(dataset)
    before = build_state(config, build_objective(config.objective), device=CPU)
    _, trainer = train(tmp_path / "run", dataset, config)
    still = []
    for group, tensors in trainer.state.tensors().items():
        old = before.tensors()[group]
        assert tensors, group
        for name, value in tensors.items():
            if name in old and torch.equal(old[name], value) and not name.endswith("noise_const"):
                still.append(f"{group}.{name}")
    assert not still
    assert trainer.state.progress.best_score is not None
    assert trainer.state.nimg == 96
    assert trainer.state.step == 24


@pytest.mark.slow
def test_killed_five_times_at_random_moments_the_snapshot_is_the_unbroken_one(
    tmp_path: Path, make_dataset, tiny_config
) -> None:
    from stylescan.config import write_config

    dataset = make_dataset()
    config = tiny_config(dataset, kimg=1.2)
    write_config(tmp_path / "config.yaml", config)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(out: Path) -> subprocess.Popen[bytes]:
        arguments = [str(dataset.path), str(tmp_path / "config.yaml"), str(out)]
        return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], env=environment)

    assert start(tmp_path / "whole").wait(300) == 0
    rng, kills = random.Random(5), 0
    broken = RunFolder(tmp_path / "broken")
    while kills < 5:
        position = broken.list_checkpoints()[-1].name if broken.list_checkpoints() else ""
        child = start(broken.path)
        deadline = time.monotonic() + 120
        # let it come further than last time, then strike at a random moment: in a step, a score or a save
        while time.monotonic() < deadline and child.poll() is None:
            done = broken.list_checkpoints()
            if done and done[-1].name > position:
                break
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.15))
        assert child.poll() is None, "the run ended before it could be killed: make it longer"
        child.send_signal(signal.SIGKILL)
        child.wait()
        kills += 1
    assert start(broken.path).wait(300) == 0
    whole = RunFolder(tmp_path / "whole")
    assert snapshot_bytes(whole) == snapshot_bytes(broken)
    for a, b in zip(whole.list_checkpoints(), broken.list_checkpoints(), strict=True):
        for file in sorted(a.glob("*.safetensors")):
            assert file.read_bytes() == (b / file.name).read_bytes(), file.name


def test_stopped_and_resumed_in_process(tmp_path: Path, make_dataset, tiny_config) -> None:
    dataset = make_dataset()
    config = tiny_config(dataset)
    whole, _ = train(tmp_path / "whole", dataset, config)
    run = RunFolder(tmp_path / "broken")

    class Stop(Exception):
        pass

    def strike(progress) -> None:
        if progress.nimg == 52:
            raise Stop

    with pytest.raises(Stop):
        Trainer(run, dataset, config, CPU, score=pixel_score, progress=strike).train()
    assert [int(p.name) for p in run.list_checkpoints()][-1] < 52
    Trainer(run, dataset, config, CPU, score=pixel_score).train()
    assert snapshot_bytes(whole) == snapshot_bytes(run)
    times = ("images_per_s",)
    from stylescan.train.run_folder import read_log

    logs = [[{k: v for k, v in line.items() if k not in times} for line in read_log(r.log)] for r in (whole, run)]
    assert logs[0] == logs[1]  # so that whatever judges the log's means judges alike


def test_a_signal_saves_and_ends(tmp_path: Path, make_dataset, tiny_config) -> None:
    dataset = make_dataset()
    config = tiny_config(dataset)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        run = RunFolder(tmp_path / signal.Signals(number).name)

        def strike(progress, number=number) -> None:
            if progress.nimg == 24:
                os.kill(os.getpid(), number)

        result = Trainer(run, dataset, config, CPU, progress=strike).train()
        assert (result.finished, result.signal_name, result.nimg) == (False, signal.Signals(number).name, 24)
        assert run.list_checkpoints()[-1].name == f"{24:09d}"
    assert Trainer(run, dataset, config, CPU).train().finished


def test_the_last_three_checkpoints_and_the_best_are_kept(tmp_path: Path, make_dataset, tiny_config) -> None:
    dataset = make_dataset()
    values = iter([1.0, 5.0, 3.0, 4.0, 5.0, 6.0])
    run, trainer = train(tmp_path / "run", dataset, tiny_config(dataset), score=lambda g: {"kid": next(values)})
    kept = [int(p.name) for p in run.list_checkpoints()]
    best = trainer.state.progress.best_nimg
    assert best == 32  # the first score, at .03 kimg, long before the newest three
    assert kept == [best, 60, 80, 96]
    from stylescan.generate.snapshot import load_snapshot

    assert load_snapshot(run.path).meta.nimg == best


def test_a_torn_checkpoint_is_named_and_the_one_before_is_taken(tmp_path: Path, make_dataset, tiny_config) -> None:
    dataset = make_dataset()
    config = tiny_config(dataset)
    run, trainer = train(tmp_path / "run", dataset, config)
    whole = snapshot_bytes(run)
    torn = run.list_checkpoints()[-1] / "G.safetensors"
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="G.safetensors: missing or damaged"):
        load_checkpoint(torn.parent, trainer.state, config_hash=config_hash(config))
    said: list[str] = []
    Trainer(run, dataset, config, CPU, score=pixel_score, notice=said.append).train()
    assert any("damaged checkpoint" in line for line in said)
    assert snapshot_bytes(run) == whole


def test_a_checkpoint_of_another_model_changes_nothing(tmp_path: Path, make_dataset, tiny_config) -> None:
    dataset = make_dataset()
    a = tiny_config(dataset)
    b = tiny_config(dataset, model={"channel_max": 4})
    states = [build_state(c, build_objective(c.objective), device=CPU) for c in (a, b)]
    save_checkpoint(tmp_path / "1", states[0], identity={"config_hash": config_hash(a), "environment": {}})
    before = {k: v.clone() for k, v in states[1].tensors()["G"].items()}
    with pytest.raises(CheckpointError, match="another configuration"):
        load_checkpoint(tmp_path / "1", states[1], config_hash=config_hash(b))
    with pytest.raises(CheckpointError, match="expected"):
        load_checkpoint(tmp_path / "1", states[1], config_hash=config_hash(a))
    assert all(torch.equal(before[k], v) for k, v in states[1].tensors()["G"].items())
