"""Wrong turns of `generate`: other people's files as a snapshot, forged snapshots, seeds, options and places."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


def option(*more: str) -> Callable[[Any], list[str]]:
    return lambda p: p.generate(*more)


def forged(change: Callable[[dict[str, Any]], Any]) -> Callable[[Any], list[str]]:
    return lambda p: p.generate(snapshot=p.snapshot(change))


def spec(**values: Any) -> Callable[[Any], list[str]]:
    return forged(lambda v: v["spec"].update(values))


def reweighted(change: Callable[[dict[str, Any]], Any]) -> Callable[[Any], list[str]]:
    return lambda p: p.generate(snapshot=p.weights(change))


def weights(content: Callable[[Any], bytes]) -> Callable[[Any], list[str]]:
    """Other bytes as the weights, and a JSON that vouches for them."""

    def make(p: Any) -> list[str]:
        import hashlib

        digest = hashlib.sha256(content(p)).hexdigest()
        folder = p.snapshot(lambda v: v.update(weights_sha256=digest))
        (folder / "generator.safetensors").write_bytes(content(p))
        return list(p.generate(snapshot=folder))

    return make


def meta_text(text: str) -> Callable[[Any], list[str]]:
    return lambda p: p.generate(snapshot=p.file("made/snapshot.json", text).parent)


def foreign(name: str, content: Callable[[Any], bytes]) -> Callable[[Any], list[str]]:
    return lambda p: p.generate(snapshot=p.file(name, content(p)))


def torch_file(p: Any) -> bytes:
    path = p.here / "model.pt"
    torch.save({"G_ema": {"w": torch.zeros(3)}}, path)
    return bytes(path.read_bytes())


def swapped(p: Any) -> list[str]:
    folder = p.copy(p.run / "snapshot")
    data = bytearray((folder / "generator.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "generator.safetensors").write_bytes(data)
    return list(p.generate(snapshot=folder))


def pipe(p: Any) -> list[str]:
    folder = p.copy(p.run / "snapshot")
    (folder / "generator.safetensors").unlink()
    os.mkfifo(folder / "generator.safetensors")
    return list(p.generate(snapshot=folder))


def missing(p: Any) -> list[str]:
    folder = p.copy(p.run / "snapshot")
    (folder / "generator.safetensors").unlink()
    return list(p.generate(snapshot=folder))


def unfinished(p: Any) -> list[str]:
    p.file("run/config.yaml", "preset: small\n")
    return list(p.generate(snapshot=p.here / "run"))


def overlapping(_: Any) -> bytes:
    header = (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'
    )
    return struct.pack("<Q", len(header)) + header + bytes(12)


def nan(tensors: dict[str, Any]) -> None:
    next(t for t in tensors.values() if t.numel() > 1).view(-1)[1] = float("nan")


def half(tensors: dict[str, Any]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].half()


def whole(tensors: dict[str, Any]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].to(torch.int64)


def occupied(p: Any) -> list[str]:
    p.file("x/seed-000003_class-0-big.png", b"mine")
    p.file("x/seed-000003_class-1-small.png", b"mine")
    return list(p.generate("--seeds", "0-5"))


def out(path: Callable[[Any], Path], *more: str) -> Callable[[Any], list[str]]:
    return lambda p: ["generate", str(p.run), "--out", str(path(p)), "--count", "2", *more]


def folder_named_png(p: Any) -> Path:
    (p.here / "sheet.png").mkdir()
    return Path(p.here / "sheet.png")


DEEP = "[" * 100_000

ROWS: dict[str, Any] = {
    # other people's files
    "no such snapshot": (lambda p: p.generate(snapshot=p.here / "no"), ("no", "no such file or folder")),
    "scans as a snapshot": (lambda p: p.generate(snapshot=p.scans), ("scans", "no snapshot.json")),
    "data as a snapshot": (lambda p: p.generate(snapshot=p.data), ("DATA", "no snapshot.json")),
    "a StyleGAN .pkl": (foreign("network-snapshot.pkl", lambda p: p.pickled()), ("network-snapshot.pkl", "a file")),
    "a torch .pt": (foreign("other.pt", torch_file), ("other.pt", "a file")),
    "a run without a snapshot": (unfinished, ("run", "without a snapshot")),
    "pickle named safetensors": (weights(lambda p: p.pickled()), ("generator.safetensors", "not a safetensors file")),
    "torch file named safetensors": (weights(torch_file), "generator.safetensors"),
    "weights with a header of 2**60 bytes": (weights(lambda p: struct.pack("<Q", 2**60)), "generator.safetensors"),
    "weights that overlap": (weights(overlapping), "generator.safetensors"),
    "weights of no bytes": (weights(lambda p: b""), "generator.safetensors"),
    "weights of another snapshot": (swapped, ("generator.safetensors", "SHA-256")),
    "weights are a pipe": (pipe, ("generator.safetensors", "pipe")),
    "weights are missing": (missing, ("generator.safetensors", "no such file")),
    "weights with NaN": (reweighted(nan), ("generator.safetensors", "NaN")),
    "weights of half precision": (reweighted(half), ("generator.safetensors", "float16")),
    "weights of integers": (reweighted(whole), ("generator.safetensors", "int64")),
    "weights with one too many": (reweighted(lambda t: t.update(extra=torch.zeros(2))), "extra"),
    "weights with one too few": (reweighted(lambda t: t.pop("synthesis.const")), "synthesis.const"),
    # forged JSON
    "newer format": (forged(lambda v: v.update(format=99)), ("snapshot.json", "format 99")),
    "unknown family": (spec(family="stylegan9"), ("snapshot.json", "stylegan9")),
    "resolution of 100": (spec(resolution=100), ("snapshot.json", "resolution")),
    "resolution of 2**30": (spec(resolution=2**30), ("snapshot.json", "resolution")),
    "resolution of 4096 over small weights": (spec(resolution=4096), "generator.safetensors"),
    "nets of 16,384 styles over small weights": (spec(w_dim=2**14, z_dim=2**14), "generator.safetensors"),
    "nets of 10**15 styles": (spec(w_dim=10**15), ("snapshot.json", "w_dim")),
    "a billion layers": (spec(mapping_layers=10**9), ("snapshot.json", "mapping_layers")),
    "no channels": (spec(img_channels=0), ("snapshot.json", "img_channels")),
    "unknown field": (spec(hook="os.system"), ("snapshot.json", "hook")),
    "other classes than the nets": (
        forged(lambda v: v.update(class_names=["a"], class_frequencies=[1.0])),
        ("snapshot.json", "class_names"),
    ),
    "frequencies of 0": (forged(lambda v: v.update(class_frequencies=[0.0, 0.0])), "class_frequencies"),
    "negative frequencies": (forged(lambda v: v.update(class_frequencies=[-1.0, 2.0])), "class_frequencies"),
    "12 bits inside": (forged(lambda v: v.update(bits=12)), ("snapshot.json", "bits")),
    "geometry that is none": (forged(lambda v: v.update(geometry={"crop": 1})), ("snapshot.json", "source_height")),
    "snapshot.json with NaN": (meta_text('{"format": 1, "seed": NaN}'), ("snapshot.json", "NaN")),
    "snapshot.json nested deep": (meta_text(DEEP), ("snapshot.json", "nested")),
    "snapshot.json of nothing": (meta_text(""), "snapshot.json"),
    "snapshot.json that is a list": (meta_text("[1, 2]"), "snapshot.json"),
    # seeds and options
    "seeds backwards": (option("--seeds", "5-3"), ("seeds", "backwards")),
    "no seeds": (option("--seeds", ""), "seeds"),
    "negative seed": (option("--seeds=-1"), "seeds"),
    "seeds in words": (option("--seeds", "one"), "seeds"),
    "10**12 seeds": (option("--seeds", "0-999999999999"), "more than 1,000,000"),
    "a seed twice": (option("--seeds", "1,2,1"), "named twice"),
    "a seed of 30 digits": (option("--seeds", "9" * 30), "too large"),
    "--count 0": (option("--count", "0"), "--count 0"),
    "--count 10**12": (option("--count", str(10**12)), "--count"),
    "--count and --seeds": (option("--count", "2", "--seeds", "1"), "both given"),
    "unknown class": (option("--class", "huge"), ("class", "huge")),
    "class number beyond": (option("--class", "2"), ("class", "'2'")),
    "psi nan": (option("--psi", "nan"), ("psi", "nan")),
    "psi inf": (option("--psi", "inf"), ("psi", "inf")),
    "cutoff beyond": (option("--cutoff", "99"), ("cutoff", "99")),
    "negative cutoff": (option("--cutoff", "-1"), ("cutoff", "-1")),
    "unknown noise": (option("--noise", "loud"), "--noise"),
    "12 bits": (option("--bits", "12"), "--bits"),
    "a batch of 0": (option("--batch", "0"), "batch"),
    "no columns": (option("--grid", "--columns", "0"), "columns"),
    "a grid of a million": (option("--grid", "--count", "1000000"), "grid"),
    "no such GPU": (option("--device", "cuda:9"), "--device cuda:9"),
    "no threads": (option("--threads", "0"), "--threads"),
    "no --out": (lambda p: ["generate", str(p.run)], "--out"),
    "no snapshot named": (lambda p: ["generate", "--out", str(p.out)], "SNAPSHOT"),
    # places
    "files are there": (occupied, ("seed-000003", "exists already")),
    "--out is a file": (out(lambda p: p.file("f", b"mine")), ("f", "a file")),
    "--out in /proc": (out(lambda p: Path("/proc/stylescan/x")), "/proc/stylescan"),
    "grid onto a folder": (out(folder_named_png, "--grid", "--overwrite"), "sheet.png"),
    "grid onto a file": (out(lambda p: p.file("a.png", b"mine"), "--grid"), ("a.png", "exists already")),
    "grid with too long a name": (out(lambda p: p.here / ("n" * 300 + ".png"), "--grid"), "nnn"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_is_refused_in_one_clear_line(name: str, refused: Callable[[Any], str]) -> None:
    refused(ROWS[name])
