"""`stylescan bench` from the command line, on nets of a few channels."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from stylescan.bench.compare import compare_records
from stylescan.bench.record import BenchRecord, Ceiling, Figure, Setting, read_record, write_record
from stylescan.cli import run

TINY = [
    "--preset", "small", "--resolution", "16", "--batch", "4", "--repeats", "2", "--threads", "1", "--device", "cpu",
    "--set", "model.z_dim=8", "--set", "model.w_dim=8", "--set", "model.channel_base=64", "--set", "model.channel_max=4",
]  # fmt: skip


def a_record() -> BenchRecord:
    """Of another machine, with one figure."""
    figure = Figure(
        name="G_main", kind="phase", images=4, calls=1, n=1, median_s=1.0, q1_s=1.0, q3_s=1.0, images_per_s=4.0,
        s_per_kimg=250.0,
    )  # fmt: skip
    setting = Setting(
        preset="small", resolution=16, channels=3, classes=0, images="noise", train_images=2000, batch=4, parameters_G=1,
        parameters_D=1, model={}, objective={}, augment={},
    )  # fmt: skip
    return BenchRecord(
        stylescan="0", environment={"cpu": "another"}, setting=setting, repeats=1, memory="resident", cpu_use=1.0,
        ceiling=Ceiling(gflops=1.0, gflops_64=1.0, gflops_32=0.5, dtype="float32"), ceiling_share=None,
        ceiling_shares=None, figures=[figure],
    )  # fmt: skip


def test_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write_record(old, a_record())
    assert run(["bench", *TINY, "--compare", str(old), "--json", str(new)]) == 0
    said = capsys.readouterr().out
    for word in ("ceiling:", "phase G_main", "phase D_r1, every 8", "whole step", "read batches", "sample images",
                 "evaluate: KID", "share of the ceiling over G + D", "without drift",
                 "warning: setting.channels differs: 3 before, 1 now", "warning: environment.cpu differs"):  # fmt: skip
        assert word in said
    values = json.loads(new.read_text())
    assert 0 < values["ceiling_share"] < 100
    assert values["setting"]["batch"] == 4
    assert set(values["environment"]) >= {"torch", "threads", "cpu", "device", "allocator_keeps_blocks"}
    for hidden in (os.uname().nodename, str(tmp_path), str(Path.home())):
        assert len(hidden) < 4 or hidden not in new.read_text()
    found = read_record(new)
    line = next(line for line in said.splitlines() if line.startswith("G_main"))
    faster = compare_records(a_record(), found).rows[[f.name for f in found.figures].index("G_main")]
    assert faster.speed is not None
    assert f"{faster.speed:,.0f}" in line or f"{faster.speed:.3g}" in line
    assert read_record(old) == a_record()


def test_one_kind_of_work_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", *TINY, "--only", "phase", "--only", "reading", "--json", str(tmp_path / "f.json")]) == 0
    assert {figure.kind for figure in read_record(tmp_path / "f.json").figures} == {"phase", "reading"}
    assert "share of the ceiling over G + D" in capsys.readouterr().out
    assert run(["bench", *TINY, "--only", "phases"]) != 0
    assert "phases" in capsys.readouterr().err


def test_a_full_disk_at_the_end_costs_the_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("stylescan.bench.record.write_json_atomic", full)
    assert run(["bench", *TINY, "--only", "reading", "--json", str(tmp_path / "f.json")]) != 0
    said = capsys.readouterr()
    assert "read batches" in said.out
    assert "figures:" not in said.out
    assert said.err.count("error:") == said.err.count("remedy:") == 1


@pytest.fixture
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured before the command line was found good")

    monkeypatch.setattr("stylescan.bench.measure.open_bench", refuse)


@pytest.mark.usefixtures("nothing_measured")
def test_wrong_turns_end_before_anything_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text('{"mine": 1}')
    wrong: list[tuple[list[str], str]] = [
        (["--compare", str(tmp_path / "no.json")], "no such file"),
        (["--compare", str(mine)], "not a result of bench"),
        (["--json", str(mine)], "did not write"),
        (["--json", str(tmp_path)], "a folder"),
        (["--json", str(mine / "r.json")], "mine.json"),
        (["--preset", "smal"], "smal"),
        (["--resolution", "20"], "--resolution 20"),
        (["--resolution", "0"], "--resolution 0"),
        (["--channels", "0"], "--channels 0"),
        (["--repeats", "0"], "--repeats 0"),
        (["--threads", "0"], "--threads 0"),
        (["--threads", "2147483648"], "--threads 2147483648"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "meta"], "--device meta"),
        (["--data", str(tmp_path)], "not a prepared dataset"),
        (["--set", "model.zdim=3"], "model.z_dim"),
    ]
    for arguments, word in wrong:
        assert run(["bench", *arguments]) == 2, arguments
        said = capsys.readouterr().err
        assert word in said, said
        assert said.count("error:") == said.count("remedy:") == 1
    assert mine.read_text() == '{"mine": 1}'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json"]


def test_an_interrupt_ends_cleanly_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("stylescan.bench.measure.count_flops", interrupt)
    assert run(["bench", *TINY, "--json", str(tmp_path / "r.json")]) == 130
    assert list(tmp_path.iterdir()) == []
