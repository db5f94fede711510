"""The JSON of a bench: there and back, refusals of broken files, and what a comparison says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.bench.compare import compare_records
from stylescan.bench.record import BenchRecord, Ceiling, Figure, Setting, read_record, section, write_record
from stylescan.errors import ConfigError


def figure(name: str, seconds: float, *, images: int = 8, peak: float | None = 100.0) -> Figure:
    return Figure(
        name=name, kind="phase", images=images, calls=1, n=3, median_s=seconds, q1_s=seconds, q3_s=seconds,
        images_per_s=images / seconds, s_per_kimg=1000 * seconds / images, every_steps=1, flops=10, gflop_per_image=1e-9,
        ceiling_share=0.5, peak_memory_mb=peak, added_memory_mb=peak,
    )  # fmt: skip


def record(figures: list[Figure], *, gflops: float = 100.0, batch: int = 8, **more: Any) -> BenchRecord:
    return BenchRecord(
        stylescan="0", repeats=3, memory="resident", cpu_use=1.0, ceiling_share=0.5, ceiling_shares=None, figures=figures,
        environment={"torch": "2", "threads": 1, **more.pop("environment", {})},
        ceiling=Ceiling(gflops=gflops, gflops_64=gflops, gflops_32=gflops / 2, dtype="float32"),
        setting=Setting(
            preset="small", resolution=16, channels=1, classes=0, images="noise", train_images=9, batch=batch,
            parameters_G=1, parameters_D=2, model={"z_dim": 8, "widths": [1, 2], **more.pop("model", {})}, objective={},
            augment={},
        ),
    )  # fmt: skip


def test_there_and_back(tmp_path: Path) -> None:
    written = record([figure("a", 0.5), figure("b", 1.0, peak=None)])
    write_record(tmp_path / "new" / "r.json", written)
    assert read_record(tmp_path / "new" / "r.json") == written
    assert json.loads((tmp_path / "new" / "r.json").read_text())["ceiling_share"] == 0.5


def test_a_comparison_takes_out_the_drift_of_the_machine() -> None:
    old = record([figure("a", 1.0), figure("gone", 1.0)], gflops=100.0)
    new = record([figure("a", 1.0, peak=50.0), figure("come", 1.0)], gflops=50.0)  # as fast on half the machine
    found = compare_records(old, new)
    rows = {row.name: row for row in found.rows}
    assert list(rows) == ["a", "come", "gone"]
    assert (rows["a"].speed, rows["a"].corrected, rows["a"].memory) == (1.0, 2.0, 0.5)
    assert (rows["gone"].old_images_per_s, rows["gone"].new_images_per_s, rows["gone"].speed) == (8.0, None, None)
    assert rows["come"].old_images_per_s is None
    assert found.ceiling == 0.5
    assert found.warnings == []


def test_speed_is_by_image_where_batches_differ() -> None:
    found = compare_records(record([figure("a", 1.0)]), record([figure("a", 1.0, images=16)], batch=16))
    assert found.rows[0].speed == 2.0
    assert found.warnings == ["setting.batch differs: 8 before, 16 now"]


def test_what_differs_is_said() -> None:
    old = record([], environment={"cpu": "A"})
    new = record([], environment={"torch": "3"}, model={"z_dim": 9, "extra": None})
    assert compare_records(old, new).warnings == [
        "environment.torch differs: '2' before, '3' now",
        "environment.cpu differs: 'A' before, not there now",
        "model.z_dim differs: 8 before, 9 now",
        "model.extra differs: not there before, None now",
    ]


def broken(change: dict[str, Any]) -> bytes:
    return json.dumps({**record([figure("a", 0.5)]).model_dump(mode="json"), **change}).encode()


WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not valid JSON"),
    "no JSON": (b"\x89PNG", "cannot be read"),
    "a list": (b"[]", "not a result of bench"),
    "another JSON": (b'{"a": 1}', "not a result of bench"),
    "version is true": (broken({"schema_version": True}), "not a result of bench"),
    "of the future": (broken({"schema_version": 2}), "schema_version 2"),
    "unknown key": (broken({"more": 1}), "more"),
    "no repeats": (broken({"repeats": 0}), "repeats"),
    "nan": (broken({}).replace(b'"median_s": 0.5', b'"median_s": NaN'), "NaN"),
    "huge": (broken({}).replace(b'"median_s": 0.5', b'"median_s": 1e999'), "median_s"),
    "zero seconds": (broken({}).replace(b'"median_s": 0.5', b'"median_s": 0'), "median_s"),
    "negative": (broken({}).replace(b'"gflops": 100.0', b'"gflops": -1'), "ceiling.gflops"),
    "control characters": (broken({"memory": "\x1b[2J"}), "memory"),
    "control characters in a key": (broken({"environment": {"\x1b": 1}}), "environment"),
    "twice the same": (broken({"figures": [figure("a", 1.0).model_dump(mode="json")] * 2}), "'a' occurs twice"),
    "too many": (broken({"figures": [figure("a", 1.0).model_dump(mode="json")] * 101}), "figures"),
    "too large": (b" " * 2**20 + b"[]", "more than any result"),
}


@pytest.mark.parametrize("name", WRONG)
def test_broken_files_are_refused(name: str, tmp_path: Path) -> None:
    content, word = WRONG[name]
    file = tmp_path / "old.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_record(file)
    assert word in caught.value.message
    assert "old.json" in caught.value.message
    assert caught.value.remedy
    assert caught.value.message.isprintable()


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match="folder|no such file"):
            read_record(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = list(record([figure("a", 0.5)]).model_dump(mode="json"))


@given(field=st.sampled_from(FIELDS), value=JSON)
def test_any_field_may_hold_anything(field: str, value: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_bytes(broken({field: value}))
    try:
        read = read_record(file)
    except ConfigError as problem:
        assert problem.remedy
    else:
        compare_records(read, record([figure("a", 0.5)]))


def test_a_section_keeps_plain_values() -> None:
    assert section({"a": (1, 2.5), "b": None, "c": {"d": 1}, "e": True}) == {"a": [1, 2.5], "b": None, "c": "{'d': 1}",
                                                                            "e": True}  # fmt: skip
