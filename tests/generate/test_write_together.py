"""Files written together: whole or not there, whatever fails in between."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stylescan.files import is_leftover
from stylescan.generate.write_together import MOST_OPEN, write_together


def contents(folder: Path, n: int = 5) -> dict[Path, bytes]:
    return {folder / f"{k}.bin": bytes([k]) * (1000 + k) for k in range(n)}


def test_all_are_written_where_they_belong(tmp_path: Path) -> None:
    wanted = contents(tmp_path / "a" / "b") | contents(tmp_path / "c", 2)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.bin").write_bytes(b"old")
    write_together(wanted)
    assert {path: path.read_bytes() for path in wanted} == wanted
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(wanted)
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in wanted)
    write_together({})


def test_a_long_name_and_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    write_together({path: b""})
    assert path.read_bytes() == b""


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_whole_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, problem: BaseException
) -> None:
    """The third file's `step` fails: what was there before is still there, and nothing else but whole new files."""
    real, calls, wanted = getattr(os, step), [], contents(tmp_path)
    last = tmp_path / "4.bin"
    last.write_bytes(b"old")

    def failing(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise problem
        return real(*arguments)

    before = handles()
    with monkeypatch.context() as patched:
        patched.setattr(os, step, failing)
        with pytest.raises(type(problem)) as caught:
            write_together(wanted)
    if isinstance(caught.value, OSError):
        assert caught.value.filename == str(tmp_path / "2.bin")
    there = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert not any(is_leftover(path) for path in there)
    assert there.pop(last) == b"old"
    assert there == {path: wanted[path] for path in there}
    assert len(there) == (2 if step == "replace" else 0)
    assert handles() == before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_many_files_are_never_open_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, most, before = os.fsync, 0, handles()

    def counting(handle: int) -> None:
        nonlocal most
        most = max(most, handles() - before)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", counting)
    wanted = contents(tmp_path, 2 * MOST_OPEN + 5)
    write_together(wanted)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == wanted
    assert 2 < most <= MOST_OPEN


def test_each_reaches_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle: int) -> None:
        order.append("fsync")
        fsync(handle)

    def noted_replace(name: str, path: Path) -> None:
        assert is_leftover(Path(name))
        order.append("replace")
        replace(name, path)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_together(contents(tmp_path, 3))
    assert order == ["fsync"] * 3 + ["replace"] * 3 + ["fsync"]  # the last one is the folder's
