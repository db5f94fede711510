"""Wrong turns of `prepare --only-class` and `--ignore-classes`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def option(*words: str) -> Callable[[Any], list[str]]:
    return lambda place: place.prepare(place.scans, *words)


def of_flat(*words: str) -> Callable[[Any], list[str]]:
    return lambda place: place.prepare(place.pictures(), *words)


ROWS: dict[str, tuple[Callable[[Any], list[str]], tuple[str, ...] | str]] = {
    "unknown class": (option("--only-class", "bgi"), ("'bgi'", "'big', 'small'")),
    "one known and one unknown": (option("--only-class", "big", "--only-class", "tiny"), "'tiny'"),
    "another case": (option("--only-class", "BIG"), "'BIG'"),
    "empty name": (option("--only-class", ""), "''"),
    "no classes at all": (of_flat("--only-class", "big"), "no image would be left"),
    "both options": (option("--only-class", "big", "--ignore-classes"), ("only-class", "ignore-classes")),
    "no name": (option("--only-class"), "--only-class"),
    "a name for the flag": (option("--ignore-classes", "big"), "big"),
    "another choice for a finished set": (
        lambda place: ["prepare", str(place.scans), "--out", str(place.copy(place.data)), "--only-class", "big"],
        "other settings",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_is_refused_in_one_clear_line(name: str, refused: Callable[[Any], str]) -> None:
    refused(ROWS[name])


def test_the_remedy_names_the_nearest_class(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from stylescan.cli import run

    assert run(place.prepare(place.scans, "--only-class", "BIG")) == 2
    assert "did you mean 'big'?" in capsys.readouterr().err
    assert not Path(place.out).exists()
