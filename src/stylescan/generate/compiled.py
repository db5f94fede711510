"""Compiled sampling, opt-in: `torch.compile` on a frozen generator, with the uncompiled one to fall back on."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from stylescan.nets.protocols import Generator, Noise, Stage, Synthesis

Run = Callable[[Tensor, Noise, Stage | None], Tensor]


def compile_synthesis(generator: Generator, warn: Callable[[str], None]) -> Generator:
    """`generator`, from `frozen`, with a synthesis that compiles itself at the first call; changed in place.

    Every shape of a batch is compiled anew, so keep to one. Where compiling fails (no C++ compiler, an unsupported
    platform), `warn` is told once and sampling goes on uncompiled. Random noise has to be given as maps.
    """
    generator.synthesis = CompiledSynthesis(generator.synthesis, warn)
    return generator


class CompiledSynthesis(nn.Module):
    """A synthesis network behind `torch.compile`; the same call, but `rng` is for the uncompiled way alone."""

    def __init__(self, plain: Synthesis, warn: Callable[[str], None]) -> None:
        super().__init__()
        self.plain = plain
        self.noise_shapes = plain.noise_shapes
        self.warn = warn
        self.proved = False
        # dynamic=False: shapes that may vary make slower kernels, and the batches here are of one size
        self.fast: Run | None = cast(Run, torch.compile(self._run, dynamic=False))

    def _run(self, ws: Tensor, noise: Noise, stage: Stage | None) -> Tensor:
        return self.plain(ws, noise=noise, stage=stage)

    def forward(
        self, ws: Tensor, *, noise: Noise = "random", rng: torch.Generator | None = None, stage: Stage | None = None
    ) -> Tensor:
        """See `Synthesis`."""
        draws = isinstance(noise, str) and noise == "random" and len(self.noise_shapes) > 0
        if self.fast is None or draws:
            return self.plain(ws, noise=noise, rng=rng, stage=stage)
        try:
            images = self.fast(ws, noise, stage)
        except (RuntimeError, OSError, ImportError) as problem:  # the errors of dynamo and inductor are RuntimeErrors
            if self.proved:  # compiled code has run: this is the call's own trouble
                raise
            self.fast = None
            self.warn(f"not compiled ({_in_a_line(problem)}); going on uncompiled")
            return self.plain(ws, noise=noise, rng=rng, stage=stage)
        self.proved = True
        return images


def _in_a_line(problem: Exception) -> str:
    """The kind of error and the beginning of what it says; the cause often stands in the second line."""
    said = " ".join(str(problem).split()[:30])
    return f"{type(problem).__name__}: {said[:200]}" if said else type(problem).__name__
