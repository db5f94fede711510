"""Wrong turns of `mix`, `interpolate`, `truncation`, `pictures` and `generate --resolution`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stylescan.generate.snapshot import SnapshotMeta, save_snapshot
from stylescan.nets.build import build_generator, parse_spec
from stylescan.nets.growing import reached_by
from stylescan.nets.protocols import Stage

SMALL = {
    "stylegan": {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 4},
    "dcgan": {"z_dim": 8, "channel_base": 64, "channel_max": 4},
}


def other_family(p: Any, family: str) -> str:
    """A snapshot of an untrained model of another family; a growing one has reached 16 of 32 px."""
    spec = parse_spec({"family": family, "resolution": 32, "img_channels": 1, **SMALL[family]})
    generator = build_generator(spec)
    reached = reached_by(generator)
    if reached is not None:
        reached.note(Stage(2))
    meta = SnapshotMeta(
        family=family, spec=spec.model_dump(mode="json"), data_content_hash="0", preparation_hash="1", preset="x", seed=0,
        nimg=0,
    )  # fmt: skip
    return str(save_snapshot(p.here / "model", generator, meta))


def call(verb: str, name: str, *more: str) -> Callable[[Any], list[str]]:
    return lambda p: [verb, str(p.run), "--out", str(p.out / name), *more]


def of_family(verb: str, family: str, name: str, *more: str) -> Callable[[Any], list[str]]:
    return lambda p: [verb, other_family(p, family), "--out", str(p.out / name), *more]


def pictures(*more: str) -> Callable[[Any], list[str]]:
    return lambda p: ["pictures", str(p.run), "--out", str(p.out), *more]


def spoiled(change: Callable[[Path], Any]) -> Callable[[Any], list[str]]:
    """`pictures` of a copy of the run that was changed."""

    def make(p: Any) -> list[str]:
        run = p.copy(p.run)
        change(run)
        return ["pictures", str(run), "--out", str(p.out)]

    return make


def existing(verb: str, name: str) -> Callable[[Any], list[str]]:
    return lambda p: [verb, str(p.run), "--out", str(p.file(name, b"mine"))]


def grids(run: Path) -> list[Path]:
    return sorted((run / "pictures").glob("fakes_*.png"))


def torn(run: Path) -> None:
    grid = grids(run)[-1]
    grid.write_bytes(grid.read_bytes()[:200])


def without_grids(run: Path) -> None:
    for grid in grids(run):
        grid.unlink()


ROWS: dict[str, tuple[Callable[[Any], list[str]], tuple[str, ...] | str]] = {
    "mix: no run": (lambda p: ["mix", str(p.here / "none"), "--out", str(p.out / "m.png")], "none: no such file"),
    "mix: suffix": (call("mix", "m.jpg"), ("m.jpg", "'.jpg'")),
    "mix: no suffix": (call("mix", "m"), "a PNG"),
    "mix: seeds": (call("mix", "m.png", "--sources", "0-x"), "'x'"),
    "mix: seeds backwards": (call("mix", "m.png", "--targets", "5-1"), "backwards"),
    "mix: band that the model has not": (call("mix", "m.png", "--layers", "coarse,fine"), "'fine' names no layer"),
    "mix: band unknown": (call("mix", "m.png", "--layers", "rough"), "'rough'"),
    "mix: class": (call("mix", "m.png", "--class", "dead"), "'dead'"),
    "mix: psi": (call("mix", "m.png", "--psi", "nan"), "psi"),
    "mix: too many": (call("mix", "m.png", "--sources", "0-999", "--targets", "0-999"), "in one picture"),
    "mix: exists": (existing("mix", "m.png"), "exists already"),
    "mix: family without w": (of_family("mix", "dcgan", "m.png"), ("dcgan", "no styles by layer")),
    "mix: not grown so far": (of_family("mix", "stylegan", "m.png", "--layers", "32"), ("'32'", "of 16 px")),
    "truncation: suffix": (call("truncation", "t.webp"), "'.webp'"),
    "truncation: psis": (call("truncation", "t.png", "--psis", "0,half"), "'half'"),
    "truncation: psis empty": (call("truncation", "t.png", "--psis", ""), "psis"),
    "truncation: cutoff": (call("truncation", "t.png", "--cutoff", "99"), "cutoff"),
    "truncation: family without w": (of_family("truncation", "dcgan", "t.png"), ("truncation", "dcgan")),
    "interpolate: suffix": (call("interpolate", "w.mov"), ("w.mov", "'.mov'", ".webp")),
    "interpolate: one seed": (call("interpolate", "w.gif", "--seeds", "3"), "1 seeds"),
    "interpolate: seeds": (call("interpolate", "w.gif", "--seeds", "3,3"), "twice"),
    "interpolate: no steps": (call("interpolate", "w.gif", "--steps", "0"), "0 steps"),
    "interpolate: negative steps": (call("interpolate", "w.png", "--steps", "-2"), "-2 steps"),
    "interpolate: too long": (call("interpolate", "w.gif", "--steps", "99999"), "frames"),
    "interpolate: fps": (call("interpolate", "w.gif", "--fps", "0"), "fps"),
    "interpolate: rows": (call("interpolate", "w.gif", "--seeds", "0-4", "--rows", "2"), "5 seeds for 2 walks"),
    "interpolate: to-class alone": (call("interpolate", "w.gif", "--seeds", "1", "--to-class", "big"), "'big'"),
    "interpolate: same class": (
        call("interpolate", "w.gif", "--seeds", "1", "--class", "big", "--to-class", "0"), "the same class"),
    "interpolate: exists": (existing("interpolate", "w.webp"), "exists already"),
    "interpolate: class of a model without": (
        of_family("interpolate", "stylegan", "w.gif", "--class", "0", "--to-class", "1"), "knows no classes"),
    "interpolate: psi without w": (of_family("interpolate", "dcgan", "w.gif", "--psi", "0.5"), "psi"),
    "generate: not reached": (of_family("generate", "stylegan", "g", "--resolution", "32"), ("32", "reached 16 px")),
    "generate: no resolution": (of_family("generate", "stylegan", "g.png", "--grid", "--resolution", "0"), "resolution"),
    "generate: does not grow": (call("generate", "g", "--resolution", "8"), ("stylegan2", "does not grow")),
    "pictures: no run": (lambda p: ["pictures", str(p.here / "no"), "--out", str(p.out)], "no such folder"),
    "pictures: a file": (lambda p: ["pictures", str(p.file("f")), "--out", str(p.out)], "a file"),
    "pictures: data for a run": (lambda p: ["pictures", str(p.data), "--out", str(p.out)], "config.yaml"),
    "pictures: no grids": (spoiled(without_grids), "no sample grids"),
    "pictures: no pictures": (spoiled(lambda run: shutil.rmtree(run / "pictures")), "no sample grids"),
    "pictures: torn grid": (spoiled(torn), "not a whole PNG"),
    "pictures: foreign grid": (
        spoiled(lambda run: Image.new("L", (50, 50)).save(run / "pictures" / "fakes_000000009.png")), "50x50 px"),
    "pictures: other is no run": (lambda p: ["pictures", str(p.run), str(p.data), "--out", str(p.out)], "config.yaml"),
    "pictures: rows": (pictures("--rows", "0"), "rows"),
    "pictures: columns": (pictures("--columns", "1000"), "columns"),
    "pictures: fps": (pictures("--fps", "1000"), "fps"),
    "pictures: out is a file": (
        lambda p: ["pictures", str(p.run), "--out", str(p.file("f.txt", b"mine"))], "a file, expected a folder"),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_refused(row: Any, refused: Callable[[Any], str]) -> None:
    refused(row)


def test_mp4_without_av_names_the_extra(
    refused: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    refused((call("interpolate", "w.mp4"), ("av", "not installed")))
