"""Virtual people: a shared anatomy, a smooth field of each one's own, and a little change from slice to slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SIDE = 32

People = Callable[..., tuple[NDArray[np.uint8], NDArray[np.str_]]]


def draw_people(subjects: int, slices: int, seed: int, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """(images uint8 [subjects * slices, 1, side, side], subject of each)."""
    rng, shared = np.random.default_rng(seed), np.random.default_rng(0)

    def field(source: np.random.Generator, shape: tuple[int, ...], sigma: float) -> NDArray[np.float64]:
        smooth = gaussian_filter(source.normal(size=shape), [0] * (len(shape) - 2) + [sigma, sigma], mode="wrap")
        return np.asarray(smooth / smooth.std())

    anatomy = field(shared, (side, side), side / 6)
    own = np.repeat(field(rng, (subjects, side, side), side / 12), slices, axis=0)
    change = field(rng, (subjects * slices, side, side), side / 12)
    values = 120 + 35 * anatomy + 18 * own + 5 * change + rng.normal(0, 2, change.shape)
    images = np.rint(np.clip(values, 0, 255)).astype(np.uint8)[:, None]
    return images, np.array([f"{seed}-{subject:03d}" for subject in np.repeat(np.arange(subjects), slices)])


@pytest.fixture
def people() -> People:
    return draw_people


@pytest.fixture
def as_bank() -> Callable[..., Any]:
    """Images and subjects -> a Bank."""
    from stylescan.evaluate.memorisation.distance import Bank
    from stylescan.evaluate.memorisation.poses import reduced, search_for

    def make(images: NDArray[np.uint8], subjects: NDArray[np.str_], *, mirror: bool = False) -> Bank:
        search = search_for(images.shape[-1], mirror=mirror)
        return Bank(reduced(images, search.side), subjects, search)

    return make
