"""Wrong turns of `train`: data that are none or were tampered with, options, and other people's or torn runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def option(*more: str) -> Callable[[Any], list[str]]:
    return lambda p: p.train(*more)


def bare(*more: str) -> Callable[[Any], list[str]]:
    """Without the length and the sizes that other rows give."""
    return lambda p: ["train", "--data", str(p.data), "--out", str(p.out), *more]


def manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Any], list[str]]:
    return lambda p: p.train(data=p.manifest(change))


def manifest_text(text: str | bytes) -> Callable[[Any], list[str]]:
    def make(p: Any) -> list[str]:
        p.copy(p.data)
        return list(p.train(data=p.file("copy/manifest.json", text).parent))

    return make


def shard(spoil: Callable[[Path, Any], object]) -> Callable[[Any], list[str]]:
    """A copy of the data with its one shard spoilt; the manifest's hash is not what saves us, so it is left alone."""

    def make(p: Any) -> list[str]:
        [file] = (p.copy(p.data) / "shards").glob("*.npy")
        spoil(file, p)
        return list(p.train(data=p.here / "copy"))

    return make


def to_pipe(file: Path, _: Any) -> None:
    file.unlink()
    os.mkfifo(file)


def to_link(file: Path, p: Any) -> None:
    shutil.move(file, p.here / "elsewhere.npy")
    file.symlink_to("../../elsewhere.npy")


def manifest_pipe(p: Any) -> list[str]:
    file = p.copy(p.data) / "manifest.json"
    file.unlink()
    os.mkfifo(file)
    return list(p.train(data=file.parent))


def all_held_out(values: dict[str, Any]) -> None:
    for image in values["images"]:
        image["split"] = "holdout"


def leak(values: dict[str, Any]) -> None:
    values["images"][0]["split"], values["images"][1]["split"] = "train", "holdout"
    values["images"][1]["subject"] = values["images"][0]["subject"]


def resume(*more: str, spoil: Callable[[Path, Any], object] = lambda run, p: None) -> Callable[[Any], list[str]]:
    """Continue a copy of the run that was spoilt."""

    def make(p: Any) -> list[str]:
        run = p.copy(p.run, "run")
        spoil(run, p)
        return ["train", "--data", str(p.data), "--out", str(run), "--resume", *more]

    return make


def config(text: str | bytes | Callable[[str], str]) -> Callable[[Any], list[str]]:
    def spoil(run: Path, p: Any) -> None:
        file = run / "config.yaml"
        content = text(file.read_text()) if callable(text) else text
        p.file("run/config.yaml", content)

    return resume(spoil=spoil)


def every_checkpoint(spoil: Callable[[Path, Any], object]) -> Callable[[Any], list[str]]:
    def each(run: Path, p: Any) -> None:
        for folder in (run / "checkpoints").iterdir():
            spoil(folder, p)

    return resume(spoil=each)


def other_identity(folder: Path, _: Any) -> None:
    meta = json.loads((folder / "state.json").read_text())
    meta["identity"]["config_hash"] = "0" * 64
    (folder / "state.json").write_text(json.dumps(meta))


def newer(folder: Path, _: Any) -> None:
    meta = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**meta, "format": 99}))


def pickled(folder: Path, p: Any) -> None:
    for file in folder.glob("*.safetensors"):
        file.write_bytes(p.pickled())


def torn(folder: Path, _: Any) -> None:
    file = folder / "G.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def other_data(p: Any) -> list[str]:
    data = p.manifest(lambda v: v.update(content_hash="0" * 64))
    return ["train", "--data", str(data), "--out", str(p.copy(p.run, "run")), "--resume"]


def stylegan_pkl(p: Any) -> list[str]:
    """Somebody's network-snapshot.pkl as the run to continue."""
    return list(p.train("--resume", out=p.file("network-snapshot-000600.pkl", p.pickled())))


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)
DEEP = "[" * 50_000
PYTHON_TAG = "!!python/object/apply:os.mkdir [/tmp/stylescan-was-here]\n"

ROWS: dict[str, Any] = {
    # data
    "raw scans as data": (lambda p: p.train(data=p.scans), ("scans", "prepared")),
    "no such data": (lambda p: p.train(data=p.here / "no"), ("no", "no such folder")),
    "a file as data": (lambda p: p.train(data=p.file("data.csv")), ("data.csv", "a file")),
    "a run as data": (lambda p: p.train(data=p.run), ("RUN", "not a prepared dataset")),
    "manifest that is no JSON": (manifest_text(b"\x80\x04K\x01."), "manifest.json"),
    "manifest of another program": (manifest_text('{"name": "a web page"}'), "manifest.json"),
    "newer manifest": (manifest(lambda v: v.update(schema_version=99)), ("manifest.json", "schema_version 99")),
    "manifest with NaN": (manifest_text('{"schema_version": 1, "x": NaN}'), ("manifest.json", "NaN")),
    "manifest with a key twice": (manifest_text('{"schema_version": 1, "schema_version": 1}'), "twice"),
    "manifest nested 50,000 deep": (manifest_text(DEEP), ("manifest.json", "nested")),
    "manifest with a number of 5,000 digits": (manifest_text(f'{{"schema_version": {"9" * 5000}}}'), "manifest.json"),
    "manifest is a pipe": (manifest_pipe, ("manifest.json", "pipe")),
    "manifest with an unknown field": (manifest(lambda v: v.update(hook="x")), ("manifest.json", "hook")),
    "manifest whose split leaks": (manifest(leak), ("manifest.json", "leaks")),
    "manifest whose resolution is no power": (manifest(lambda v: v.update(resolution=17)), "manifest.json"),
    "shard that climbs": (manifest(lambda v: v["shards"][0].update(file="../../x.npy")), ("shards", "../../x.npy")),
    "shard with an absolute path": (manifest(lambda v: v["shards"][0].update(file="/etc/x.npy")), "/etc/x.npy"),
    "shard of 10**18 images": (manifest(lambda v: v["shards"][0].update(count=10**18)), "counts"),
    "shard that is missing": (shard(lambda f, p: f.unlink()), ("images-00000.npy", "missing")),
    "shard cut short": (shard(lambda f, p: f.write_bytes(f.read_bytes()[:-50])), ("images-00000.npy", "truncated")),
    "shard of objects": (
        shard(lambda f, p: np.save(f, np.array([p.armed(), None], dtype=object))),
        "images-00000.npy",
    ),
    "pickle named npy": (shard(lambda f, p: f.write_bytes(p.pickled())), "images-00000.npy"),
    "zip named npy": (shard(lambda f, p: np.savez(f.open("wb"), a=np.zeros(3))), "images-00000.npy"),
    "shard of another shape": (shard(lambda f, p: np.save(f, np.load(f)[:, :, :8])), ("images-00000.npy", "8, 16")),
    "shard of another type": (shard(lambda f, p: np.save(f, np.load(f).astype("f4"))), ("images-00000.npy", "float32")),
    "shard in column-major order": (
        shard(lambda f, p: np.save(f, np.asfortranarray(np.load(f)))),
        ("images-00000.npy", "column-major"),
    ),
    "shard is a pipe": (shard(to_pipe), ("images-00000.npy", "pipe")),
    "shard is a link outside": (shard(to_link), ("images-00000.npy", "leads out")),
    "nothing to train on": (manifest(all_held_out), "training split"),
    # options
    "unknown preset": (option("--preset", "smal"), ("--preset", "smal")),
    "unknown key": (option("--set", "train.lrr=1"), "train.lrr"),
    "--set of the data": (option("--set", "data.bits=8"), "data.bits"),
    "--set without a value": (option("--set", "train.lr"), ("--set", "KEY=VALUE")),
    "--set of the wrong type": (option("--set", "train.lr=fast"), ("train.lr", "fast")),
    "--set of a mapping": (option("--set", "train.lr={a: 1}"), "train.lr"),
    "--set of broken YAML": (option("--set", "train.lr=[1"), "train.lr"),
    "--set that runs code": (option("--set", f"train.lr={PYTHON_TAG}"), "train.lr"),
    "--kimg 0": (bare("--kimg", "0"), "kimg"),
    "--kimg nan": (bare("--kimg", "nan"), "kimg"),
    "--kimg and --minutes": (bare("--kimg", "1", "--minutes", "1"), "both given"),
    "--minutes 0": (bare("--minutes", "0"), ("minutes", "0")),
    "--minutes -1": (bare("--minutes", "-1"), ("minutes", "-1")),
    "--minutes nan": (bare("--minutes", "nan"), ("minutes", "nan")),
    "--minutes inf": (bare("--minutes", "inf"), ("minutes", "inf")),
    "no threads": (option("--threads", "0"), "--threads"),
    "no such GPU": (option("--device", "cuda:9"), "--device cuda:9"),
    "unknown device": (option("--device", "tpu9"), "--device tpu9"),
    "negative seed": (option("--seed", "-1"), "seed"),
    "a batch of 0": (option("--set", "train.batch=0"), "train.batch"),
    "a batch beyond any machine": (option("--set", "train.batch=1000000000000"), "train.batch"),
    "nets beyond any machine": (option("--set", "model.z_dim=1000000000000"), "model.z_dim"),
    "layers beyond any machine": (option("--set", "model.mapping_layers=1000000000"), "model.mapping_layers"),
    "no --data": (lambda p: ["train", "--out", str(p.out)], "--data"),
    "no --out": (lambda p: ["train", "--data", str(p.data)], "--out"),
    "misspelt option": (lambda p: ["train", "--dta", str(p.data), "--out", str(p.out)], "--data"),
    "an option twice": (option("--data", "other"), "--data"),
    "a flag with a value": (option("--resume=perhaps"), "--resume"),
    # places
    "--out is a file": (lambda p: p.train(out=p.file("f", b"mine")), ("f", "a file")),
    "--out holds other files": (lambda p: p.train(out=p.file("mine/a.txt", b"mine").parent), ("mine", "other files")),
    "--out is the data": (lambda p: p.train(out=p.copy(p.data), data=p.here / "copy"), ("copy", "other files")),
    "--out in /proc": (lambda p: p.train(out=Path("/proc/stylescan/run")), "/proc/stylescan"),
    # runs
    "a run again": (lambda p: p.train(out=p.run), ("RUN", "already holds a run")),
    "resume with another rate": (resume("--set", "train.lr=0.5"), "train.lr"),
    "resume with another length": (resume("--kimg", "9"), "total_kimg"),
    "resume with another preset": (resume("--preset", "demo"), "preset"),
    "resume with another seed": (resume("--seed", "7"), "seed"),
    "resume on other data": (other_data, "data.content_hash"),
    "resume of another model": (every_checkpoint(other_identity), "another configuration"),
    "resume of a newer version": (every_checkpoint(newer), "format 99"),
    "resume of pickles": (every_checkpoint(pickled), "every checkpoint is damaged"),
    "resume where every checkpoint is torn": (every_checkpoint(torn), ("every checkpoint is damaged", "G.safetensors")),
    "resume of somebody's .pkl": (stylegan_pkl, ("network-snapshot-000600.pkl", "a file")),
    "config that runs code": (config(PYTHON_TAG), "config.yaml"),
    "config with a field that runs code": (config(lambda text: text + f"hook: {PYTHON_TAG}"), "config.yaml"),
    "config of a billion laughs": (config(BOMB), "config.yaml"),
    "config whose preset is a billion laughs": (config(BOMB + "preset: *i\n"), "config.yaml"),
    "config nested 50,000 deep": (config(DEEP), "config.yaml"),
    "config of a million lines": (config("a: 1\n" * 1_000_000), "config.yaml"),
    "config with an unknown key": (config(lambda text: text + "trian: {}\n"), ("config.yaml", "trian")),
    "config of the wrong type": (config(lambda text: text.replace("batch: 4", "batch: four")), "train.batch"),
    "config that is a list": (config("- a\n- b\n"), ("config.yaml", "list")),
    "config that is no text": (config(b"\xff\xfe\x00"), "config.yaml"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_is_refused_in_one_clear_line(name: str, refused: Callable[[Any], str]) -> None:
    line = refused(ROWS[name])
    assert not Path("/tmp/stylescan-was-here").exists()
    assert len(line) < 2000
