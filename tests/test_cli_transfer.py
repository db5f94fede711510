"""`train --init`: from a run, from a snapshot, stopped inside the warm-up, and the most likely wrong turns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stylescan.cli import run
from stylescan.config import read_config
from stylescan.data.prepared import PreparedDataset
from stylescan.train.init_source import load_source
from stylescan.train.loop import Trainer
from stylescan.train.objective import lazy_correction
from stylescan.train.run_folder import RunFolder, read_log
from stylescan.train.transfer import frozen_parameters, plan_transfer

TINY = [
    "--set", "model.z_dim=8", "--set", "model.w_dim=8", "--set", "model.channel_base=64", "--set", "model.channel_max=4",
]  # fmt: skip
QUICK = [
    "--set", "train.batch=4", "--set", "train.score_kimg=null", "--set", "train.checkpoint_kimg=0.016",
    "--set", "train.grid_kimg=1", "--set", "train.log_kimg=0.004",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, make_dataset: Callable[..., PreparedDataset]) -> Path:
    """OLD: a finished run on 16 px images without classes. DATA: images of 32 px with two. NEW: a run on them from OLD."""
    folder = tmp_path_factory.mktemp("transfer")
    shutil.copytree(make_dataset(classes=0).path, folder / "OLD_DATA")
    shutil.copytree(make_dataset(resolution=32).path, folder / "DATA")
    assert run(["train", "--data", str(folder / "OLD_DATA"), "--out", str(folder / "OLD"), "--kimg", "0.02",
                *TINY, *QUICK]) == 0  # fmt: skip
    assert run(command(folder, folder / "NEW")) == 0
    return folder


def command(home: Path, out: Path, *more: str, data: str = "DATA", init: str = "OLD") -> list[str]:
    return ["train", "--data", str(home / data), "--out", str(out), "--init", str(home / init), "--kimg", "0.048",
            *QUICK, *more]  # fmt: skip


def weights(folder: Path, group: str) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{group}.safetensors")


def test_from_a_run_with_other_resolution_and_classes(home: Path) -> None:
    config = read_config(home / "NEW" / "config.yaml")
    assert (config.model.z_dim, config.model.channel_base) == (8, 64)  # the source's, not the preset's
    assert config.transfer.source == load_source(home / "OLD").hash
    assert (config.transfer.freeze_d, config.transfer.d_alone) == (0, 0.0)  # D's first block is of a new resolution
    listed = json.loads((home / "NEW" / "transfer.json").read_text())
    names = [f"{net}.{name}" for net in ("G", "D") for name in weights(home / "NEW/checkpoints/000000048", net)]
    assert sorted(f"{entry['net']}.{entry['name']}" for entry in listed) == sorted(names)
    assert not (home / "OLD" / "transfer.json").exists()


def test_frozen_blocks_stay_and_the_rest_moves(home: Path, tmp_path: Path) -> None:
    out = RunFolder(tmp_path / "new")
    assert run(command(home, out.path, "--set", "transfer.freeze_d=1", data="OLD_DATA")) == 0
    source, last = load_source(home / "OLD"), out.list_checkpoints()[-1]
    assert source.D is not None
    from stylescan.nets.build import build_discriminator

    frozen = frozen_parameters(build_discriminator(source.spec), 1)
    after = weights(last, "D")
    assert {name for name in after if torch.equal(after[name], source.D[name])} == frozen
    assert {name.partition("/")[2] for name in weights(last, "opt_D")} == set(after) - frozen
    moved = weights(last, "G")
    assert not [n for n in moved if torch.equal(moved[n], source.G[n]) and not n.endswith("noise_const")]


def test_a_snapshot_lets_d_learn_alone_first(home: Path, tmp_path: Path) -> None:
    out = RunFolder(tmp_path / "new")
    more = ["--set", "transfer.d_alone=0.5", "--set", "train.keep_checkpoints=9"]
    assert run(command(home, out.path, *more, data="OLD_DATA", init="OLD/snapshot")) == 0
    source = load_source(home / "OLD" / "snapshot")
    resting = weights(out.checkpoint(16), "G")
    assert all(torch.equal(value, source.G[name]) for name, value in resting.items())
    assert not torch.equal(weights(out.checkpoint(32), "G")["synthesis.const"], source.G["synthesis.const"])
    log = {line["nimg"]: line for line in read_log(out.log) if "D_loss" in line}
    assert [nimg for nimg in sorted(log) if "G_loss" not in log[nimg]] == list(range(4, 25, 4))
    assert log[4]["D_loss"] != log[24]["D_loss"]


@pytest.mark.parametrize("init", ["OLD", "OLD/snapshot"])
def test_stopped_inside_the_warm_up_and_resumed_without_the_source(home: Path, tmp_path: Path, init: str) -> None:
    shutil.copytree(home / "OLD", tmp_path / "h" / "OLD")
    shutil.copytree(home / "DATA", tmp_path / "h" / "DATA")
    more = ["--set", "transfer.warmup=0.6", "--set", "transfer.d_alone=0.2"]
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    assert run(command(tmp_path / "h", whole.path, *more, init=init)) == 0

    class Stop(Exception):
        pass

    rates: dict[str, float] = {}

    def strike(progress) -> None:
        if progress.nimg == 24:
            for name, optimiser in (("G", trainer.state.opt_G), ("D", trainer.state.opt_D)):
                (group,) = optimiser.param_groups
                rates[name] = group["lr"] / (config.train.lr * lazy_correction(trainer.setup.phases, name))
            raise Stop

    config, source = read_config(whole.config), load_source(tmp_path / "h" / init)
    dataset = PreparedDataset.open(tmp_path / "h" / "DATA")
    plan = plan_transfer(source, config.spec, config.data.class_names)
    trainer = Trainer(broken, dataset, config, torch.device("cpu"), transfer=plan, progress=strike)
    with pytest.raises(Stop):
        trainer.train()
    # the last step began at 20 of 48 images: D warms up over 28.8 of them, G over as many once 9.6 have passed
    assert rates == pytest.approx({"G": (20 - 9.6) / 28.8, "D": 20 / 28.8})
    assert [int(p.name) for p in broken.list_checkpoints()] == [16]
    shutil.rmtree(tmp_path / "h" / "OLD")
    assert run(without_init(command(tmp_path / "h", broken.path, *more, "--resume", init=init))) == 0
    for a, b in zip(whole.list_checkpoints(), broken.list_checkpoints(), strict=True):
        for file in sorted(a.glob("*.safetensors")):
            assert file.read_bytes() == (b / file.name).read_bytes(), file.name


def test_the_same_command_resumes(home: Path, tmp_path: Path) -> None:
    out = RunFolder(Path(shutil.copytree(home / "NEW", tmp_path / "new")))
    last = out.list_checkpoints()[-1]
    before = (last / "G.safetensors").read_bytes()
    shutil.rmtree(last)
    assert run(command(home, out.path, "--resume")) == 0
    assert (last / "G.safetensors").read_bytes() == before


def test_dry_run_lists_and_writes_nothing(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(home, tmp_path / "new", "--dry-run", "--set", "transfer.d_alone=0.9")) == 0
    said = capsys.readouterr()
    assert "adapted" in said.err
    assert "left (a new resolution): G.synthesis.layers.5" in " ".join(said.err.split())
    assert "left (classes are new): G.mapping.embed, D.embed" in " ".join(said.err.split())
    assert "images/s" in said.out
    assert not (tmp_path / "new").exists()


def without_init(arguments: list[str]) -> list[str]:
    at = arguments.index("--init")
    return arguments[:at] + arguments[at + 2 :]


def begun_without_checkpoint(home: Path, out: Path) -> list[str]:
    shutil.copytree(home / "NEW", out)
    shutil.rmtree(out / "checkpoints")
    return without_init(command(home, out, "--resume"))


def other_source(home: Path, out: Path) -> list[str]:
    shutil.copytree(home / "NEW", out)
    other = RunFolder(Path(shutil.copytree(home / "OLD", out.parent / "OTHER")))
    shutil.rmtree(other.list_checkpoints()[-1])
    return command(home, out, "--resume", init=str(other.path))


WRONG: dict[str, tuple[Callable[[Path, Path], list[str]], str]] = {
    "no such source": (lambda h, o: command(h, o, init="nowhere"), "no such file"),
    "data as source": (lambda h, o: command(h, o, init="DATA"), "snapshot.json"),
    "nothing fits": (
        lambda h, o: command(h, o, "--set", "model.z_dim=3", "--set", "model.w_dim=3", "--set", "model.channel_max=2",
                             "--set", "model.channel_base=16"),
        "no layer of the source fits",
    ),
    "noise frozen": (lambda h, o: command(h, o, "--set", "transfer.freeze_d=1"), "0 of D's first blocks came along"),
    "frozen without source": (
        lambda h, o: without_init(command(h, o, "--set", "transfer.freeze_d=1")),
        "run from scratch",
    ),
    "source without a model": (
        lambda h, o: without_init(command(h, o, "--set", "transfer.source=abc")),
        "Name that model again (--init)",
    ),
    "source gone before the first checkpoint": (begun_without_checkpoint, "has no checkpoint yet"),
    "another source on resume": (other_source, "Leave --init out"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_turn_is_one_clear_line(
    name: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words = WRONG[name]
    arguments = make(home, tmp_path / "x")
    before = {p: p.read_bytes() for p in home.rglob("*") if p.is_file()}
    capsys.readouterr()
    code = run(arguments)
    said = " ".join(capsys.readouterr().err.split())
    assert code not in (0, 70), said
    assert words in said, said
    assert "Traceback" not in said
    assert all(path.read_bytes() == content for path, content in before.items())
