"""Wrong turns of `evaluate`: things that cannot be judged, and data that cannot judge them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image


def folder(size: tuple[int, int] = (16, 16), count: int = 12, mode: str = "L") -> Callable[[Any], Path]:
    """A folder of images of another generator."""

    def make(p: Any) -> Path:
        path = Path(p.here / "images")
        path.mkdir()
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 255, size[::-1], dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(path / f"{number:02d}.png")
        return path

    return make


def judge(make: Callable[[Any], Path], *more: str) -> Callable[[Any], list[str]]:
    return lambda p: p.evaluate(make(p), *more)


def option(*more: str) -> Callable[[Any], list[str]]:
    return lambda p: p.evaluate(p.run, *more)


def spoilt(name: str, content: Callable[[Any], bytes]) -> Callable[[Any], list[str]]:
    """Twelve good images and a bad one among them."""

    def make(p: Any) -> list[str]:
        (folder(count=11)(p) / name).write_bytes(content(p))
        return list(p.evaluate(p.here / "images"))

    return make


def mixed(p: Any) -> list[str]:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder()(p) / "small.png")
    return list(p.evaluate(p.here / "images", "--full"))


def unknown_class(p: Any) -> list[str]:
    images = folder()(p)
    images.rename(p.here / "medium")
    images.mkdir()
    (p.here / "medium").rename(images / "medium")
    return list(p.evaluate(images))


def against(change: Callable[[dict[str, Any]], Any]) -> Callable[[Any], list[str]]:
    def make(p: Any) -> list[str]:
        return ["evaluate", str(p.run), "--data", str(p.manifest(change)), "--out", str(p.out)]

    return make


def one_held_subject(values: dict[str, Any]) -> None:
    kept = next(image["subject"] for image in values["images"] if image["split"] == "holdout")
    for image in values["images"]:
        if image["split"] == "holdout" and image["subject"] != kept:
            image["split"] = "train"


def none_held(values: dict[str, Any]) -> None:
    for image in values["images"]:
        image["split"] = "train"


def extractor(name: str, content: Callable[[Any], bytes] | None = None) -> Callable[[Any], list[str]]:
    """A file of the user's as extractor, missing or with this content."""

    def make(p: Any) -> list[str]:
        path = p.here / name if content is None else p.file(name, content(p))
        return list(p.evaluate(p.run, "--extractor", str(path)))

    return make


def saved(p: Any) -> bytes:
    """What torch.save makes of an object with a trap."""
    buffer = io.BytesIO()
    torch.save({"net": p.armed()}, buffer)
    return buffer.getvalue()


def with_sidecar(p: Any) -> list[str]:
    p.file("net.json", '{"sise": 32}')
    return extractor("net.onnx", lambda _: b"")(p)


def with_data(data: Callable[[Any], Path]) -> Callable[[Any], list[str]]:
    return lambda p: ["evaluate", str(p.run), "--data", str(data(p)), "--out", str(p.out)]


def out(path: Callable[[Any], Path]) -> Callable[[Any], list[str]]:
    return lambda p: ["evaluate", str(p.run), "--data", str(p.data), "--out", str(path(p))]


ROWS: dict[str, Any] = {
    # targets
    "no such target": (judge(lambda p: p.here / "no"), ("no", "no such file or folder")),
    "a .pkl": (judge(lambda p: p.file("network.pkl", p.pickled())), ("network.pkl", "a file")),
    "an empty folder": (judge(lambda p: p.file("empty/readme.txt").parent), ("empty", "holds 0")),
    "one image": (judge(folder(count=1)), ("images", "holds 1")),
    "images of another size": (judge(folder(size=(20, 30))), ("00.png", "20x30")),
    "images with an alpha channel": (judge(folder(mode="RGBA")), (".png", "RGBA")),
    "images with a palette": (judge(folder(mode="P")), (".png", "mode P")),
    "images of one bit": (judge(folder(mode="1")), (".png", "mode 1")),
    "images of mixed sizes": (mixed, ("small.png", "8x8")),
    "a pickle named png": (spoilt("99.png", lambda p: p.pickled()), "99.png"),
    "an empty png": (spoilt("99.png", lambda p: b""), "99.png"),
    "folder of an unknown class": (unknown_class, "medium"),
    "a forged snapshot": (judge(lambda p: p.snapshot(lambda v: v["spec"].update(resolution=2**30))), "resolution"),
    # data
    "no data named": (lambda p: ["evaluate", str(folder()(p))], "--data"),
    "no such data": (with_data(lambda p: p.here / "no"), ("no", "no such folder")),
    "a run as data": (with_data(lambda p: p.run), ("RUN", "not a prepared dataset")),
    "scans as data": (with_data(lambda p: p.scans), ("scans", "not a prepared dataset")),
    "data without a hold-out": (against(none_held), "no held-out images"),
    "data with one held-out subject": (against(one_held_subject), "one held-out subject"),
    "data of another preparation": (against(lambda v: v.update(preparation_hash="q" * 64)), "prepared as"),
    "data of other classes": (against(lambda v: v.update(class_names=["a", "b"])), "classes"),
    # options
    "--count 3": (option("--count", "3"), "--count"),
    "negative seed": (option("--seed", "-1"), "--seed"),
    "psi nan": (option("--psi", "nan"), "psi"),
    "unknown extractor": (option("--extractor", "inception-v9"), ("inception-v9", "did you mean inception-v3")),
    "misspelt extractor": (option("--extractor", "radiomic"), "did you mean radiomics"),
    "no such extractor file": (extractor("nowhere.onnx"), ("nowhere.onnx", "no such file")),
    "a pickle as extractor": (extractor("net.pt", lambda p: p.pickled()), ("net.pt", "not a TorchScript file")),
    "a checkpoint as extractor": (extractor("net.pt", saved), ("net.pt", "a pickle of torch.save")),
    "a pickle named onnx": (extractor("net.onnx", lambda p: p.pickled()), ("net.onnx", "not an ONNX file")),
    "torch.export as extractor": (extractor("net.pt2", lambda p: b"x"), ("net.pt2", ".onnx")),
    "a folder as extractor": (lambda p: p.evaluate(p.run, "--extractor", str(p.data)), "a folder"),
    "extractor with a bad sidecar": (with_sidecar, ("net.json", "did you mean 'size'")),
    "no threads": (option("--threads", "0"), "--threads"),
    "misspelt option": (option("--ful"), "--ful"),
    # places
    "--out is a file": (out(lambda p: p.file("f", b"mine")), "f"),
    "--out below a file": (out(lambda p: p.file("f", b"mine") / "deeper"), "f/deeper"),
    "--out in /proc": (out(lambda p: Path("/proc/stylescan/x")), "/proc/stylescan"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_is_refused_in_one_clear_line(name: str, refused: Callable[[Any], str]) -> None:
    refused(ROWS[name])


def test_a_place_that_cannot_be_made_costs_no_work(
    refused: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("features are computed for a report that cannot be written")

    monkeypatch.setattr("stylescan.evaluate.judge.gather", never)
    refused(ROWS["--out in /proc"])
