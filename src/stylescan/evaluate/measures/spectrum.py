"""Detail of every size: the radial power spectrum of generated images against that of real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.measures.base import Features, Groups, Resampled


def _rings(resolution: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Hann window [R, R] of unit mean square, the ring of each coefficient of rfft2, and each coefficient's weight."""
    window = np.hanning(resolution + 1)[:-1]
    plane = np.outer(window, window)
    plane /= np.sqrt((plane**2).mean())
    rows = np.fft.fftfreq(resolution)[:, None] * resolution
    columns = np.fft.rfftfreq(resolution)[None, :] * resolution
    ring = np.rint(np.hypot(rows, columns)).astype(np.int64)
    # rfft2 keeps half of the plane: columns with a mirror image count twice.
    weight = np.where((columns > 0) & (columns < resolution / 2), 2.0, 1.0) * np.ones_like(rows)
    return plane, ring, weight


def windowed_power(images: NDArray[Any]) -> NDArray[np.float64]:
    """Power of every coefficient of rfft2 of each image, float64 [n, R, R // 2 + 1], mean over channels.

    Intensities count from 0 to 1 over the integer type's range; the mean is taken off and a Hann window of unit mean
    square applied, so that the border does not appear as detail. White noise of variance v has power v everywhere.
    The power of rounding to integers, (1 / levels)^2 / 12, is added: what lies below it cannot be seen in such images.
    """
    levels = float(np.iinfo(images.dtype).max)
    unit = images.astype(np.float64) / levels
    unit -= unit.mean(axis=(2, 3), keepdims=True)
    unit *= _rings(images.shape[-1])[0]
    power = np.abs(np.fft.rfft2(unit)) ** 2 / unit[0, 0].size
    summed: NDArray[np.float64] = power.mean(axis=1) + (1.0 / levels) ** 2 / 12.0
    return summed


def radial_profile(images: NDArray[Any]) -> NDArray[np.float64]:
    """Power in decibels at 1, 2, ... R/2 cycles an image, float64 [n, R // 2]: the azimuthal mean of `windowed_power`.

    images : uint8 or uint16 [n, C, R, R].
    """
    resolution = images.shape[-1]
    _, ring, weight = _rings(resolution)
    power = windowed_power(images) * weight
    bins = resolution // 2
    inside = (ring >= 1) & (ring <= bins)
    count = np.bincount(ring[inside], weight[inside], minlength=bins + 1)[1:]
    profile = np.stack([np.bincount(ring[inside], one[inside], minlength=bins + 1)[1:] for one in power])
    decibels: NDArray[np.float64] = 10.0 * np.log10(profile / count)
    return decibels


def spectrum_distance(x: Features, y: Features, x_groups: Groups | None, y_groups: Groups | None) -> float:
    """Root mean square over frequencies of the difference of mean profiles (from `radial_profile`), in decibels.

    After the azimuthal spectra of Durall et al. 2020 (arXiv 2003.01826, sec. 2.1) and Dzanic et al. 2020 (arXiv
    1911.06465, sec. 3), which show generators to fail at high frequencies; every frequency counts alike here.
    """
    return float(np.sqrt(((x.mean(axis=0) - y.mean(axis=0)) ** 2).mean()))


def spectrum_resampler(x: Features, y: Features, x_groups: Groups | None, y_groups: Groups | None) -> Resampled:
    """The distance of the images kept, for the jackknife."""
    return lambda keep_x, keep_y: spectrum_distance(x[keep_x], y[keep_y], None, None)


def fine_detail_db(x: Features, y: Features) -> float:
    """Mean difference x - y of the upper half of frequencies, in decibels: negative = less fine detail than in y."""
    difference = x.mean(axis=0) - y.mean(axis=0)
    return float(difference[len(difference) // 2 :].mean())
