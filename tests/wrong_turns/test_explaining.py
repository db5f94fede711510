"""Wrong turns of the verbs that explain a model: compare, embed, direction, project, reader-study."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stylescan.cli import run


def verb(name: str, *more: str) -> Callable[[Any], list[str]]:
    """The verb on the shared run and data."""
    return lambda p: [name, str(p.run), "--data", str(p.data), "--out", str(p.out), *more]


def of(name: str, target: Callable[[Any], Path], *more: str) -> Callable[[Any], list[str]]:
    return lambda p: [name, str(target(p)), "--data", str(p.data), "--out", str(p.out), *more]


def onto(name: str, out: Callable[[Any], Path], *more: str) -> Callable[[Any], list[str]]:
    return lambda p: [name, str(p.run), "--data", str(p.data), "--out", str(out(p)), *more]


def with_data(name: str, data: Callable[[Any], Path], *more: str) -> Callable[[Any], list[str]]:
    return lambda p: [name, str(p.run), "--data", str(data(p)), "--out", str(p.out), *more]


def two_models(p: Any) -> list[str]:
    other = p.weights(lambda tensors: [tensor.add_(0.01) for tensor in tensors.values()])
    return ["embed", str(p.run), str(other), "--data", str(p.data), "--out", str(p.out)]


def compare(first: Callable[[Any], Path], second: Callable[[Any], Path] | None = None) -> Callable[[Any], list[str]]:
    return lambda p: ["compare", str(first(p)), str((second or first)(p))]


def foreign(p: Any) -> Path:
    return p.file("mine/notes.txt", "mine").parent  # type: ignore[no-any-return]


def newer(p: Any) -> Path:
    return p.file("new.json", json.dumps({"schema_version": 99, "metrics": {}}))  # type: ignore[no-any-return]


WRITING = ("embed", "direction", "project", "reader-study")
EVERYWHERE: dict[str, Any] = {
    f"{name}: {what}": row
    for name in WRITING
    for what, row in {
        "no such run": (of(name, lambda p: p.here / "no"), "no such file or folder"),
        "a pickle": (of(name, lambda p: p.file("network.pkl", p.pickled())), "network.pkl"),
        "no such data": (with_data(name, lambda p: p.here / "no"), ("no", "no such folder")),
        "scans as data": (with_data(name, lambda p: p.scans), "not a prepared dataset"),
        "--out is a file": (onto(name, lambda p: p.file("f", b"mine")), "f"),
        "--out holds other things": (onto(name, foreign), "mine" if name != "reader-study" else "held-out"),
        "negative seed": (verb(name, "--seed", "-1"), "seed"),
        "no --out": (lambda p, name=name: [name, str(p.run), "--data", str(p.data)], "--out"),
    }.items()
}
ROWS: dict[str, Any] = EVERYWHERE | {
    "embed of two models": (two_models, "different models"),
    "embed of nothing": (lambda p: ["embed", "--data", str(p.data), "--out", str(p.out)], ""),
    "embed by an unknown column": (verb("embed", "--project", "2", "--colour", "weight"), "weight"),
    "embed of few images": (verb("embed", "--count", "1", "--method", "pca"), "1 generated"),
    "embed by an unknown method": (verb("embed", "--method", "tsne"), "--method"),
    "direction to an unknown class": (verb("direction", "--class", "huge", "--from", "small"), "huge"),
    "direction from a class to itself": (verb("direction", "--class", "small", "--from", "small"), "small"),
    "direction by an unknown column": (
        verb("direction", "--class", "big", "--from", "small", "--column", "weight"), "weight",
    ),
    "direction with reach 0": (verb("direction", "--class", "big", "--from", "small", "--reach", "0"), "reach"),
    "direction with words for seeds": (verb("direction", "--class", "big", "--from", "small", "--seeds", "a-b"), "a-b"),
    "project into z": (verb("project", "--space", "z"), "--space"),
    "project without steps": (verb("project", "--steps", "0"), "steps"),
    "project no image": (verb("project", "--count", "0"), "count"),
    "project of a folder that is not there": (lambda p: verb("project", "--images", str(p.here / "no"))(p), "no"),
    "reader-study of few images": (verb("reader-study", "--count", "3"), "count"),
    "reader-study without readers": (verb("reader-study", "--readers", "0"), "readers"),
    "reader-study score of nothing": (lambda p: ["reader-study", "score", str(p.here), str(p.file("a.json"))], "key"),
    "compare with nothing": (lambda p: ["compare", str(p.run)], ""),
    "compare reports that are not there": (compare(lambda p: p.here / "no"), "no"),
    "compare runs without reports": (compare(lambda p: p.run), "report.json"),
    "compare pickles": (compare(lambda p: p.file("a.json", p.pickled())), "a.json"),
    "compare a report of a later version": (compare(newer), "schema_version 99"),
    "compare other JSON": (compare(lambda p: p.file("a.json", "[1, 2]")), "a.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_is_refused_in_one_clear_line(name: str, refused: Callable[[Any], str]) -> None:
    refused(ROWS[name])


def test_what_another_tool_left_is_still_there(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = foreign(place)
    for name in WRITING:
        assert run(onto(name, lambda _: folder)(place)) == 2
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert "remedy:" in capsys.readouterr().err
