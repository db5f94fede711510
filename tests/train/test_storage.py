"""Full disks, lost permissions and torn checkpoints: the run says what happened and loses nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from stylescan.errors import CheckpointError, ConfigError, StylescanError
from stylescan.files import PARTIAL, storage_error, write_bytes_atomic
from stylescan.train.checkpoint import is_good, load_checkpoint, save_checkpoint
from stylescan.train.loop import Trainer
from stylescan.train.objective import build_objective
from stylescan.train.run_folder import RunFolder
from stylescan.train.state import TrainState, build_state

resource = pytest.importorskip("resource", reason="file size limits, which stand in for full disks, are POSIX only")
CPU = torch.device("cpu")


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Writing a file beyond `size` bytes fails, after a part was written: a full disk that needs no rights to make."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file by its path, hidden ones too; the lock is no content."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def state(make_dataset, tiny_config) -> TrainState:
    config = tiny_config(make_dataset())
    return build_state(config, build_objective(config.objective), device=CPU)


IDENTITY = {"config_hash": "mine", "environment": {}}


def test_a_file_that_does_not_fit_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_bytes_atomic(path, b"old")
    with no_file_beyond(10_000), pytest.raises(OSError, match=r"a\.bin") as caught:
        write_bytes_atomic(path, bytes(20_000))
    assert caught.value.errno == errno.EFBIG
    assert tree(tmp_path) == {"a.bin": b"old"}


@pytest.mark.parametrize(
    ("number", "cure"),
    [(errno.ENOSPC, "Free space"), (errno.EACCES, "permission"), (errno.EROFS, "for writing"), (errno.EIO, "Check that disk"),
     (errno.EFBIG, "ulimit"), (errno.EDQUOT, "quota"), (errno.ELOOP, "writable")],
)  # fmt: skip
def test_storage_faults_come_with_their_cure(number: int, cure: str) -> None:
    error = storage_error("the log", OSError(number, os.strerror(number), "/run/log.jsonl"), then="go on.")
    assert error.message == f"the log could not be written: {os.strerror(number)} (/run/log.jsonl)"
    assert cure in error.remedy
    assert error.remedy.endswith(", then go on.")


def test_a_checkpoint_that_does_not_fit_leaves_the_older_ones_alone(tmp_path: Path, state: TrainState) -> None:
    save_checkpoint(tmp_path / "000000008", state, identity=IDENTITY)
    before = tree(tmp_path)
    left = tmp_path / ".000000004.writing"  # of a process that was killed
    left.mkdir()
    (left / "G.safetensors").write_bytes(bytes(1000))
    size = len(before["000000008/G.safetensors"])
    for target in ("000000016", "000000008"):
        with no_file_beyond(size // 2), pytest.raises(OSError, match="safetensors"):
            save_checkpoint(tmp_path / target, state, identity=IDENTITY)
        assert tree(tmp_path) == before
        assert [p.name for p in tmp_path.iterdir()] == ["000000008"]
    save_checkpoint(tmp_path / "000000008", state, identity=IDENTITY)
    assert tree(tmp_path) == before


def test_a_checkpoint_that_cannot_be_moved_into_place_leaves_the_old_one(
    tmp_path: Path, state: TrainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "000000008", state, identity=IDENTITY)
    before, real = tree(tmp_path), os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(source).name == ".000000008.writing":
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="Input/output"):
        save_checkpoint(tmp_path / "000000008", state, identity=IDENTITY)
    assert tree(tmp_path) == before


def test_a_bad_checkpoint_never_replaces_a_good_one(tmp_path: Path, state: TrainState) -> None:
    folder = tmp_path / "000000008"
    save_checkpoint(folder, state, identity=IDENTITY, good=False)
    assert not is_good(folder)
    save_checkpoint(folder, state, identity=IDENTITY)
    assert is_good(folder)
    before = tree(tmp_path)
    state.progress.step = 3
    save_checkpoint(folder, state, identity=IDENTITY, good=False)
    assert tree(tmp_path) == before
    meta = json.loads((folder / "state.json").read_text())
    del meta["good"]  # as written before there was a mark
    (folder / "state.json").write_text(json.dumps(meta))
    assert is_good(folder)


def test_the_newest_good_one_and_the_best_outlive_the_newest(tmp_path: Path, state: TrainState) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    for nimg, good in ((8, True), (16, True), (24, True), (32, False), (40, False), (48, False)):
        save_checkpoint(run.checkpoint(nimg), state, identity=IDENTITY, good=good)
        run.prune(keep=2, best_nimg=8)
    assert run.newest_good() == run.checkpoint(24)
    assert [int(p.name) for p in run.list_checkpoints()] == [8, 24, 40, 48]
    run.drop_after(24)
    assert [int(p.name) for p in run.list_checkpoints()] == [8, 24]
    assert [p.name for p in sorted(run.checkpoints.iterdir())] == ["000000008", "000000024"]


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def altered(**values: object) -> Callable[[Path], None]:
    def alter(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return alter


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "G cut": ("G.safetensors", half),
    "optimiser empty": ("opt_D.safetensors", lambda path: path.write_bytes(b"")),
    "average missing": ("G_ema.safetensors", Path.unlink),
    "a bit of D": ("D.safetensors", flipped),
    "a folder for a file": ("D.safetensors", lambda path: (path.unlink(), path.mkdir())),
    "state half written": ("state.json", half),
    "state empty": ("state.json", lambda path: path.write_bytes(b"")),
    "state zeroed": ("state.json", lambda path: path.write_bytes(bytes(path.stat().st_size))),
    "state missing": ("state.json", Path.unlink),
    "state a list": ("state.json", lambda path: path.write_text("[]")),
    "no files named": ("state.json", altered(files={})),
    "no identity": ("state.json", altered(identity=None)),
    "no position": ("state.json", altered(position=[1, 2])),
    "a position in words": ("state.json", altered(position={"step": "1", "nimg": 4})),
    "nothing in it": ("", lambda path: [item.unlink() for item in path.iterdir()]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_torn_checkpoint_is_known_and_changes_nothing(tmp_path: Path, state: TrainState, damage: str) -> None:
    folder = tmp_path / "000000008"
    save_checkpoint(folder, state, identity=IDENTITY)
    name, tear = DAMAGES[damage]
    tear(folder / name)
    with torch.no_grad():
        for net in (state.G, state.D, state.G_ema):
            for parameter in net.parameters():
                parameter.add_(1)
    before = {f"{g}/{n}": t.clone() for g, tensors in state.tensors().items() for n, t in tensors.items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder, state, config_hash="mine")
    assert str(folder) in caught.value.message
    assert caught.value.remedy
    after = {f"{g}/{n}": t for g, tensors in state.tensors().items() for n, t in tensors.items()}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert state.nimg == 0


def test_what_killed_writers_left_is_removed_by_the_next(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    (run.path / f".config.yaml.abc{PARTIAL}").write_bytes(b"half")
    run.refuse_foreign_content()  # which is no foreign content
    run.snapshot.mkdir()
    for folder in (run.pictures, run.snapshot):
        (folder / f".x.png.abc{PARTIAL}").write_bytes(b"half")
    (run.checkpoints / ".000000008.writing").mkdir()
    (run.path / "notes.txt").write_text("mine")
    with run.lock():
        assert tree(run.path) == {"notes.txt": b"mine"}
        assert list(run.checkpoints.iterdir()) == []
    with pytest.raises(ConfigError, match="holds other files"):
        run.refuse_foreign_content()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_line_on_a_full_disk(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    run.log.symlink_to("/dev/full")
    with pytest.raises(StylescanError, match="the log could not be written: No space left") as caught:
        run.append_log({"step": 1})
    assert "Free space" in caught.value.remedy
    assert "--resume" in caught.value.remedy


def test_a_run_whose_disk_is_full_stops_with_the_remedy_and_goes_on_exactly(
    tmp_path: Path, make_dataset, tiny_config
) -> None:
    dataset = make_dataset()
    config = tiny_config(dataset)
    whole, run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run")
    Trainer(whole, dataset, config, CPU).train()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(progress) -> None:
        if progress.nimg == 52:  # log lines still fit, the checkpoint at 60 does not
            resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, old[1]))

    try:
        with pytest.raises(StylescanError, match=r"could not be written.*File too large") as caught:
            Trainer(run, dataset, config, CPU, progress=fill).train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "--resume" in caught.value.remedy
    assert [int(p.name) for p in run.list_checkpoints()][-1] == 40
    assert not [p for p in run.path.rglob(".*") if p.name != ".lock"]
    said: list[str] = []
    Trainer(run, dataset, config, CPU, notice=said.append).train()
    assert said == ["resumed at 0.04 kimg"]
    assert tree(run.snapshot) == tree(whole.snapshot)
    assert tree(run.checkpoints) == tree(whole.checkpoints)


def test_a_run_goes_on_from_the_checkpoint_before_torn_ones(tmp_path: Path, make_dataset, tiny_config) -> None:
    dataset = make_dataset()
    config = tiny_config(dataset)
    run = RunFolder(tmp_path / "run")
    Trainer(run, dataset, config, CPU).train()
    whole = tree(run.snapshot), tree(run.checkpoints)
    for torn in (["G cut"], ["state half written"], ["nothing in it", "optimiser empty"]):
        for damage, folder in zip(torn, reversed(run.list_checkpoints())):
            name, tear = DAMAGES[damage]
            tear(folder / name)
        said: list[str] = []
        Trainer(run, dataset, config, CPU, notice=said.append).train()
        for line, name in zip(said, ("000000096", "000000080")[: len(torn)], strict=False):
            assert line.startswith("skipped a damaged checkpoint")
            assert name in line
        assert said[-1] == ("resumed at 0.08 kimg" if len(torn) == 1 else "resumed at 0.06 kimg")
        assert (tree(run.snapshot), tree(run.checkpoints)) == whole


# Root may write anywhere: the child gives its rights up, and sits inside the folder because it may not come there again.
NO_RIGHTS = """
import os
from pathlib import Path
from stylescan.errors import CheckpointError, StylescanError
from stylescan.train.checkpoint import read_meta
from stylescan.train.run_folder import RunFolder
a, b = RunFolder(Path("a")), RunFolder(Path("b"))
for run in (a, b):
    run.create()
    run.append_log({"nimg": 0})
for path, mode in (("a", 0o555), ("b/log.jsonl", 0o444), ("b/checkpoints", 0), ("torn/G.safetensors", 0), (".", 0o555)):
    os.chmod(path, mode)
if os.geteuid() == 0:
    os.seteuid(65534)
for attempt in (
    lambda: a.lock().__enter__(),
    lambda: a.remember_data(Path(".")),
    lambda: a.cut_log(0),
    lambda: b.append_log({}),
    lambda: b.list_checkpoints(),
    lambda: RunFolder(Path("c")).create(),
    lambda: read_meta(Path("torn")),
):
    try:
        attempt()
    except StylescanError as problem:
        print(problem.message, "|", problem.remedy.split(",")[0])
"""
LOST = """\
a: cannot be written (Permission denied) | Restore permission or space there
the run's note of its data could not be written: Permission denied (a/local.json) | Restore the permission to write there
the log could not be written: Permission denied (a/log.jsonl) | Restore the permission to write there
the log could not be written: Permission denied (b/log.jsonl) | Restore the permission to write there
b/checkpoints: cannot be read (Permission denied) | Restore the permission to read it
c: cannot be made or written (Permission denied) | Choose another --out.
torn/G.safetensors: no permission to read it | Restore the permission to read the run folder
"""


def test_lost_permission_is_named(tmp_path: Path, state: TrainState) -> None:
    save_checkpoint(tmp_path / "torn", state, identity=IDENTITY)
    command = [sys.executable, "-c", NO_RIGHTS]
    child = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    tmp_path.chmod(0o700)
    assert (child.stdout, child.stderr) == (LOST, "")


def test_a_checkpoint_that_may_not_be_read_is_not_passed_over(
    tmp_path: Path, state: TrainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "1", state, identity=IDENTITY)

    def refuse(path: Path, *rest: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StylescanError, match="no permission to read") as caught:
        load_checkpoint(tmp_path / "1", state, config_hash="mine")
    assert not isinstance(caught.value, CheckpointError)  # the loop goes on to an older one after those


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root; the file size limits above stand in for it")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_real_full_disk_then_freed_space(tmp_path: Path, make_dataset) -> None:
    dataset = make_dataset()
    settings = ["model.z_dim=8", "model.w_dim=8", "model.channel_base=128", "model.channel_max=8", "train.batch=4",
                "train.checkpoint_kimg=.02", "train.log_kimg=.008", "train.grid_kimg=.048", "train.score_kimg=null",
                "train.keep_checkpoints=50"]  # fmt: skip
    command = [sys.executable, "-c", "from stylescan.cli import main; main()", "train", "--data", str(dataset.path)]
    command += ["--preset", "small", "--kimg", ".4", "--threads", "1", "--resume"]
    command += [part for setting in settings for part in ("--set", setting)]

    def train(out: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)

    assert train(tmp_path / "whole").returncode == 0
    disk = tmp_path / "disk"
    with small_disk(disk, "1m"):
        for _ in range(2):  # tried again without a change, it says the same
            full = train(disk / "run")
            assert full.returncode == 2, full.stderr
            assert "could not be written" in full.stderr
            assert "No space left on device" in full.stderr
            assert "Free space" in full.stderr
            assert "Traceback" not in full.stderr
            done = [int(p.name) for p in RunFolder(disk / "run").list_checkpoints()]
            assert 0 < done[-1] < 400
        print(full.stderr, done, shutil.disk_usage(disk))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        freed = train(disk / "run")
        assert freed.returncode == 0, freed.stderr
        assert tree(disk / "run" / "snapshot") == tree(tmp_path / "whole" / "snapshot")
        assert tree(disk / "run" / "checkpoints") == tree(tmp_path / "whole" / "checkpoints")
