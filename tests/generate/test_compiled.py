"""Compiled sampling: the same images, and on without it where it cannot be."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylescan.errors import ConfigError
from stylescan.generate.compiled import CompiledSynthesis, compile_synthesis
from stylescan.generate.frozen import frozen
from stylescan.generate.sample import sample
from stylescan.generate.snapshot import Snapshot, save_snapshot

Make = Callable[..., Snapshot]


class Doubled(torch.nn.Module):
    """The smallest synthesis."""

    noise_shapes = ()

    def forward(self, ws: torch.Tensor, **_options: object) -> torch.Tensor:
        return 2 * ws


def test_goes_on_uncompiled_and_says_so_once() -> None:
    calls: list[int] = []

    def refused(*_call: object) -> torch.Tensor:
        calls.append(1)
        raise RuntimeError("backend raised:\nno compiler")

    told: list[str] = []
    synthesis = CompiledSynthesis(Doubled(), told.append)  # type: ignore[arg-type]
    synthesis.fast = refused
    for _ in range(2):
        assert torch.equal(synthesis(torch.ones(3), noise="none"), torch.full((3,), 2.0))
    assert told == ["not compiled (RuntimeError: backend raised: no compiler); going on uncompiled"]
    assert calls == [1]


@pytest.mark.slow
def test_generate_without_a_compiler(make_snapshot: Make, tmp_path: Path) -> None:
    """In a process of its own: torch remembers what compilers it found."""
    snapshot = make_snapshot("r3gan", classes=0, resolution=16)
    save_snapshot(tmp_path / "snapshot", snapshot.generator, snapshot.meta)
    environment = {**os.environ, "CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [
        sys.executable,
        "-m",
        "stylescan",
        "generate",
        str(tmp_path / "snapshot"),
        "--count",
        "5",
        "--batch",
        "2",
    ]
    for more in (["--out", str(tmp_path / "compiled"), "--compile"], ["--out", str(tmp_path / "plain")]):
        done = subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("going on uncompiled") == ("--compile" in more)
    plain = {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()}
    assert len(plain) == 5
    for name, content in plain.items():
        there = np.asarray(Image.open(tmp_path / "compiled" / name)).astype(int)
        assert np.abs(there - np.asarray(Image.open(io.BytesIO(content)))).max() <= 1


def test_random_noise_to_draw_is_the_uncompiled_nets(make_snapshot: Make) -> None:
    snapshot = make_snapshot(classes=0, resolution=16)
    ready = frozen(snapshot.generator)
    ws = ready.mapping(torch.randn(2, 8))
    expected = ready.synthesis(ws, noise="random", rng=torch.Generator().manual_seed(3))
    fast = compile_synthesis(ready, pytest.fail)
    found = fast.synthesis(ws, noise="random", rng=torch.Generator().manual_seed(3))
    assert isinstance(fast.synthesis, CompiledSynthesis)
    assert torch.equal(found, expected)


class Picky(torch.nn.Module):
    """A synthesis that refuses its `fails`-th call."""

    noise_shapes = ()

    def __init__(self, fails: int) -> None:
        super().__init__()
        self.left = fails

    def forward(self, ws: torch.Tensor, **_options: object) -> torch.Tensor:
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("out of memory")
        return ws


def test_once_compiled_a_failure_is_the_calls_own() -> None:
    told: list[str] = []
    synthesis = CompiledSynthesis(Picky(fails=2), told.append)  # type: ignore[arg-type]
    synthesis.fast = synthesis._run  # as if compiled
    synthesis(torch.ones(1), noise="none")
    with pytest.raises(RuntimeError, match="out of memory"):
        synthesis(torch.ones(1), noise="none")
    assert told == []


def test_a_refusal_of_the_call_is_not_taken_for_one_to_compile(make_snapshot: Make) -> None:
    fast = compile_synthesis(frozen(make_snapshot("r3gan", classes=0, resolution=16).generator), pytest.fail)
    fast.synthesis.fast = fast.synthesis._run  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="noise"):
        fast.synthesis(torch.randn(1, 1, 8), noise=[torch.zeros(1, 1, 4, 4)])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["stylegan2", "stylegan"])
def test_compiled_images_are_the_uncompiled_ones(make_snapshot: Make, family: str) -> None:
    """The last batch is filled up: compiled once, whatever the number of images."""
    snapshot, told = make_snapshot(family, resolution=16), []
    torch._dynamo.reset()
    fast = [part for _, _, part in sample(snapshot, range(5), batch_size=2, compiled=True, warn=told.append)]
    if told:
        pytest.skip(told[0])
    plain = np.concatenate([part for _, _, part in sample(snapshot, range(5), batch_size=2)]).astype(int)
    difference = np.abs(np.concatenate(fast).astype(int) - plain)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01
    assert plain.std() > 1
