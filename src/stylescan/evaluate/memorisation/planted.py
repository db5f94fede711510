"""Copies with known truth: training images shifted, turned, brightened and noised a little."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHIFT_PX = 3.0  # of an image of 64 px; in proportion at other sizes
ANGLE_DEG = 3.0
GAIN = 0.10
NOISE = 0.02  # standard deviation, of full scale


def jittered(images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Copies of uint8 or uint16 [n, C, R, R], same type: what a generator that repeats its training images would show.

    Each is turned by up to +-ANGLE_DEG about its middle and shifted by up to +-SHIFT_PX in both directions (cubic
    interpolation, edges repeated), multiplied by 1 +- GAIN, all uniform, and given normal noise of NOISE.
    """
    from scipy.ndimage import affine_transform

    largest = float(np.iinfo(images.dtype).max)
    size = images.shape[-1]
    middle = np.full(2, (size - 1) / 2)
    out = np.empty_like(images)
    for number, image in enumerate(images):
        angle = np.deg2rad(rng.uniform(-ANGLE_DEG, ANGLE_DEG))
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        offset = middle - matrix @ middle + rng.uniform(-SHIFT_PX, SHIFT_PX, 2) * size / 64
        gain = rng.uniform(1 - GAIN, 1 + GAIN)
        for channel, plane in enumerate(image):
            moved = affine_transform(plane.astype(np.float64), matrix, offset, order=3, mode="nearest")
            noisy = gain * moved + rng.normal(0.0, NOISE * largest, moved.shape)
            out[number, channel] = np.rint(np.clip(noisy, 0.0, largest))
    return out
