"""A run that goes wrong ends as configured, and what was made before is unharmed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stylescan.errors import CheckpointError, StylescanError
from stylescan.train.checkpoint import is_good, load_checkpoint
from stylescan.train.loop import Trainer
from stylescan.train.run_folder import RunFolder, read_log

CPU = torch.device("cpu")


def finite(trainer: Trainer) -> bool:
    return all(bool(torch.isfinite(t).all()) for group in trainer.state.tensors().values() for t in group.values())


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Run:
    """A trainer whose D gets `factor` times its output weights at `nimg`, in the first `times` passages."""

    def __init__(
        self, folder: Path, dataset, config, *, factor: float = math.nan, nimg: int = 52, times: int = 1
    ) -> None:
        self.run, self.factor, self.nimg, self.times, self.said = RunFolder(folder), factor, nimg, times, []
        self.stop_at: int | None = None
        self.trainer = Trainer(self.run, dataset, config, CPU, progress=self.plant, notice=self.said.append)

    def plant(self, progress) -> None:
        if progress.nimg == self.stop_at:
            raise KeyboardInterrupt
        if progress.nimg == self.nimg and self.times:
            self.times -= 1
            with torch.no_grad():
                self.trainer.state.D.out.weight.mul_(self.factor)

    def roll_backs(self) -> list[dict]:
        return [line for line in read_log(self.run.log) if line.get("event") == "roll_back"]


@pytest.fixture
def planted(tmp_path: Path, make_dataset, tiny_config) -> Callable[..., Run]:
    dataset = make_dataset()

    def make(name: str = "run", *, health: dict | None = None, **plant) -> Run:
        config = tiny_config(dataset)
        config = config.model_copy(update={"health": config.health.model_copy(update=health or {})})
        return Run(tmp_path / name, dataset, config, **plant)

    return make


def test_a_nan_rolls_back_once_and_lowers_lr(planted) -> None:
    run = planted()
    full = [g["lr"] for o in (run.trainer.state.opt_G, run.trainer.state.opt_D) for g in o.param_groups]
    assert run.trainer.train().finished
    p = run.trainer.state.progress
    assert (p.nimg, p.roll_backs) == (96, 1)
    halved = [g["lr"] for o in (run.trainer.state.opt_G, run.trainer.state.opt_D) for g in o.param_groups]
    assert halved == [lr / 2 for lr in full]
    assert finite(run.trainer)
    # planted after step 13, seen in a loss of step 14; the good checkpoint is the one at 40 images, step 10
    assert any("nan at step 14" in line and "first at step 14" in line for line in run.said)
    assert any("rolled back from step 14 to 10, learning rates x 0.5" in line for line in run.said)
    [event] = run.roll_backs()
    assert (event["event"], event["watch"], event["since_step"], event["nimg"]) == ("roll_back", "nan", 14, 40)
    assert all(is_good(folder) for folder in run.run.list_checkpoints())
    assert all(math.isfinite(v) for line in read_log(run.run.log) for v in line.values() if not isinstance(v, str))


def test_a_second_nan_stops_with_step_value_and_remedy(planted) -> None:
    run = planted(times=2)
    with pytest.raises(StylescanError, match=r"stopped at step 14, after 1 roll back: .*nan") as caught:
        run.trainer.train()
    assert "train.lr" in caught.value.remedy
    newest = run.run.list_checkpoints()[-1]
    assert newest.name == "000000040"
    load_checkpoint(newest, run.trainer.state, config_hash=run.trainer.hash)
    assert finite(run.trainer)


def test_a_nan_stops_at_once_where_that_is_configured(planted) -> None:
    run = planted(health={"nan": "stop"})
    with pytest.raises(StylescanError, match=r"stopped at step 14: "):
        run.trainer.train()
    assert run.run.list_checkpoints()[-1].name == "000000040"


def test_a_run_interrupted_after_its_roll_back_goes_on_as_the_unbroken_one(planted) -> None:
    whole, broken = planted("whole"), planted("broken")
    whole.trainer.train()
    broken.stop_at = 76
    with pytest.raises(KeyboardInterrupt):
        broken.trainer.train()
    again = planted("broken", times=0)
    assert again.trainer.train().finished
    assert content(whole.run.snapshot) == content(again.run.snapshot)
    assert content(whole.run.checkpoints) == content(again.run.checkpoints)


def test_divergence_with_a_warning_leaves_the_last_good_checkpoint(planted) -> None:
    run = planted(factor=1e5, health={"divergence": "warn"})
    assert run.trainer.train().finished
    assert sum("divergence at step" in line for line in run.said) >= 1
    names = {folder.name: is_good(folder) for folder in run.run.list_checkpoints()}
    assert names == {"000000040": True, "000000060": False, "000000080": False, "000000096": False}
    snapshot = content(run.run.snapshot)
    sound = planted("sound", times=0)
    sound.stop_at = 44
    with pytest.raises(KeyboardInterrupt):
        sound.trainer.train()
    assert content(sound.run.snapshot) == snapshot  # of the last sound moment


def test_divergence_rolls_back(planted) -> None:
    run = planted(factor=1e5)
    assert run.trainer.train().finished
    assert run.trainer.state.progress.roll_backs == 1
    assert [(e["event"], e["watch"]) for e in run.roll_backs()] == [("roll_back", "divergence")]


def test_a_checkpoint_from_between_onset_and_finding_is_not_gone_back_to(planted) -> None:
    # all of D grows after the clean log line at 56 images, no tensor beyond its own bound; the checkpoint at 60 is
    # marked good, and the losses of the lines at 64 and 72 tell
    run = planted(times=0)
    quiet, passages = run.trainer.progress, []

    def grow(progress) -> None:
        quiet(progress)
        if progress.nimg == 56 and 56 not in passages:
            with torch.no_grad():
                for parameter in run.trainer.state.D.parameters():
                    parameter.mul_(8)
        passages.append(progress.nimg)
        if progress.nimg == 64:
            trusted.append(is_good(run.run.checkpoint(60)))

    trusted: list[bool] = []
    run.trainer.progress = grow
    run.trainer.train()
    assert trusted[0]
    assert [(e["watch"], e["nimg"]) for e in run.roll_backs()] == [("divergence", 40)]


def test_a_checkpoint_of_bad_health_is_not_gone_back_to(planted) -> None:
    run = planted()
    plant = run.trainer.progress

    def mark(progress) -> None:
        plant(progress)
        meta = run.run.checkpoint(40) / "state.json"
        if progress.nimg == 52:
            meta.write_text(json.dumps({**json.loads(meta.read_text()), "good": False}))

    run.trainer.progress = mark
    assert run.trainer.train().finished
    assert [(e["watch"], e["nimg"]) for e in run.roll_backs()] == [("nan", 20)]


def test_a_picture_that_cannot_be_written_is_said_and_stops_nothing(planted) -> None:
    run = planted(times=0)
    run.run.create()
    (run.run.pictures / "fakes_000000048.png").mkdir()
    (run.run.pictures / "losses.png").mkdir()
    assert run.trainer.train().finished
    for name in ("fakes_000000048.png", "losses.png"):
        assert any("a picture could not be written" in line and name in line for line in run.said)


def test_a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is(planted) -> None:
    run = planted(times=0)
    run.trainer.train()
    for folder in run.run.list_checkpoints():
        (folder / "G.safetensors").write_bytes(b"")
    before = content(run.run.path)
    with pytest.raises(CheckpointError, match="every checkpoint is damaged") as caught:
        planted(times=0).trainer.train()
    assert "--init" in caught.value.remedy
    before.pop("local.json"), before.pop(".lock", None)
    after = content(run.run.path)
    assert {name: after[name] for name in before} == before
