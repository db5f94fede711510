"""Two faults of convolutional generators that an eye finds at once: white dots and checkerboards."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.measures.base import Features, Groups, Terms
from stylescan.evaluate.measures.spectrum import windowed_power

DOT_QUANTILE = 0.99


def dot_height(images: NDArray[Any]) -> NDArray[np.float64]:
    """How far the most isolated bright spot of each image stands out, float64 [n, 1], in shares of the full range.

    A pixel stands out by its value less the greatest of the 16 pixels two steps away, so that spots of up to 2 x 2
    pixels, and the middle of 3 x 3, count as isolated. 0 where nothing stands out. Several channels: the greatest.
    images : uint8 or uint16 [n, C, R, R].
    """
    signed = images.astype(np.int32)
    size = images.shape[-1]
    padded = np.pad(signed, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    ring = np.full_like(signed, -1)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            if max(abs(dy), abs(dx)) == 2:
                np.maximum(ring, padded[:, :, 2 + dy : 2 + dy + size, 2 + dx : 2 + dx + size], out=ring)
    height = (signed - ring).max(axis=(1, 2, 3))
    shares: NDArray[np.float64] = (np.maximum(height, 0) / float(np.iinfo(images.dtype).max))[:, None]
    return shares


def dot_terms(x: Features, y: Features, x_groups: Groups | None, y_groups: Groups | None) -> Terms:
    """1 for each generated image with a bright spot more isolated than in 99 % of the real images, else 0.

    x, y : from `dot_height`. The data's own bright spots set the bar, so that about 1 % of real images pass it.
    """
    bar = float(np.quantile(y[:, 0], DOT_QUANTILE, method="higher"))
    return Terms((x[:, 0] > bar).astype(np.float64), "generated", share=True)


def _lattice(resolution: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Coefficients of rfft2 (flat positions) at the lattice of period 2 and 4 px [p], and around each of them [p, 16]."""
    quarter, half = resolution // 4, resolution // 2
    points = [(0, quarter), (quarter, 0), (quarter, quarter), (-quarter, quarter), (0, half), (half, 0), (half, half),
              (half, quarter), (quarter, half)]  # fmt: skip
    ring = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if max(abs(dy), abs(dx)) == 2]

    def flat(row: int, column: int) -> int:
        row, column = row % resolution, column % resolution
        if column > half:  # rfft2 keeps one of each pair of mirror images
            row, column = -row % resolution, resolution - column
        return row * (half + 1) + column

    around = [[flat(row + dy, column + dx) for dy, dx in ring] for row, column in points]
    return np.array([flat(*point) for point in points]), np.array(around)


def checkerboard_peaks(images: NDArray[Any]) -> NDArray[np.float64]:
    """How far the power at periods of 2 and 4 pixels stands out above its surroundings, float64 [n, 1], in decibels.

    Upsampling by strided or overlapping kernels leaves patterns of just these periods (Odena et al. 2016,
    doi 10.23915/distill.00003). Mean over the 9 lattice frequencies of log power there less the mean log power two
    coefficients away, so that neither contrast nor the slope of the spectrum matters. Images below 16 px: nan.
    images : uint8 or uint16 [n, C, R, R].
    """
    if images.shape[-1] < 16:
        return np.full((len(images), 1), np.nan)
    points, around = _lattice(images.shape[-1])
    decibels = 10.0 * np.log10(windowed_power(images).reshape(len(images), -1))
    peaks = decibels[:, points] - decibels[:, around].mean(axis=2)
    heights: NDArray[np.float64] = peaks.mean(axis=1, keepdims=True)
    return heights


def checkerboard_terms(x: Features, y: Features, x_groups: Groups | None, y_groups: Groups | None) -> Terms:
    """The peak height of each generated image, in decibels, from `checkerboard_peaks`."""
    return Terms(np.asarray(x[:, 0], np.float64), "generated")
