"""Random numbers that depend on what they are for, never on what was drawn before.

Every draw comes from a generator derived from (seed, stream name, position). So a resumed run continues exactly as
an unbroken one would, and no part of the program can shift another part's numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, stream: str, *position: int) -> int:
    """A 63-bit seed from (seed, stream, position), equal on every machine and Python version."""
    text = "\0".join([str(int(seed)), stream, *(str(int(p)) for p in position)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, stream: str, *position: int) -> torch.Generator:
    """A CPU generator for `stream` at `position` (for instance the number of images shown so far)."""
    import torch  # a second to import, which preparing data need not wait for

    generator = torch.Generator("cpu")
    generator.manual_seed(derive_seed(seed, stream, *position))
    return generator


def numpy_generator(seed: int, stream: str, *position: int) -> np.random.Generator:
    """The same for NumPy."""
    return np.random.default_rng(derive_seed(seed, stream, *position))
