"""Grey values, edges, layout and scales of one grey image. Grey values in [0, 1]; every feature of a constant is finite.

First-order statistics follow the Image Biomarker Standardisation Initiative (Zwanenburg et al., Radiology 2020,
reference manual sections 3.3 and 3.4); roots and logarithms keep features in one order of size and are named.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.extractors.texture import Grey, entropy_bits, halved, levels

_FLOOR = 1e-3  # a quarter of a grey level of 8 bits: below it there is only rounding
_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_STEEP = (0.5, 0.75, 0.9, 0.99)
_THRESHOLDS = (0.1, 0.25, 0.5, 0.75)
# Cycles a pixel. The Nyquist frequency is 0.5; the corners of the spectrum reach 0.71.
_BANDS = (0.0, 0.0625, 0.125, 0.177, 0.25, 0.354, 0.5, 0.71)


def _log(value: float) -> float:
    return float(np.log10(value + _FLOOR))


def standardised_moments(x: Grey) -> tuple[float, float]:
    """Skewness and excess kurtosis; 0 and 0 of a constant."""
    centred = (x - x.mean()).ravel()
    squared = centred * centred  # products: a power of an array takes ten times as long
    variance = float(squared.mean())
    if variance < _FLOOR**2:
        return 0.0, 0.0
    third, fourth = float(squared @ centred) / x.size, float(squared @ squared) / x.size
    return third / variance**1.5, fourth / variance**2 - 3.0


def first_order(image: Grey) -> dict[str, float]:
    """Of the grey values: moments, quantiles, entropy (64 bins, share of its maximum). Skewness and kurtosis as asinh,
    which grows like a logarithm: one bright pixel on black would dominate otherwise."""
    x = np.sort(image.ravel())
    skewness, kurtosis = standardised_moments(x)
    quantiles = np.quantile(x, _QUANTILES)
    shares = np.bincount(levels(x, 64), minlength=64) / x.size
    inner = x[(x >= quantiles[2]) & (x <= quantiles[6])]
    out = {
        "mean": float(x.mean()),
        "std": float(x.std()),
        "skewness": float(np.arcsinh(skewness)),
        "kurtosis": float(np.arcsinh(kurtosis)),
        "rms": float(np.sqrt(np.mean(x**2))),
        "mean_deviation": float(np.mean(np.abs(x - x.mean()))),
        "robust_deviation": float(np.mean(np.abs(inner - inner.mean()))),
        "interquartile": float(quantiles[5] - quantiles[3]),
        "entropy": float(entropy_bits(shares)) / 6.0,
        "uniformity": float(np.sqrt(np.sum(shares**2))),
        "darkest": float(shares[0]),
        "brightest": float(shares[-1]),
    }
    out.update({f"quantile{q:g}": float(v) for q, v in zip(_QUANTILES, quantiles, strict=True)})
    return {f"grey_{name}": value for name, value in out.items()}


def edges(image: Grey) -> dict[str, float]:
    """Gradient (central differences): log10 of its size, its quantiles, the shares of eight directions, coherence.

    Coherence: difference over sum of the eigenvalues of the mean structure tensor, 1 for parallel stripes.
    """
    dy = 0.5 * (image[2:, 1:-1] - image[:-2, 1:-1])
    dx = 0.5 * (image[1:-1, 2:] - image[1:-1, :-2])
    size = np.hypot(dy, dx)
    laplacian = image[2:, 1:-1] + image[:-2, 1:-1] + image[1:-1, 2:] + image[1:-1, :-2] - 4.0 * image[1:-1, 1:-1]
    # Half a sector further, so that a rounding of an exactly horizontal or vertical edge does not change its bin.
    sector = np.floor(np.arctan2(dy, dx) / (np.pi / 4) + 0.5).astype(np.int64) % 8
    weights = np.bincount(sector.ravel(), size.ravel(), minlength=8)
    yy, xx, xy = np.mean(dy * dy), np.mean(dx * dx), np.mean(dy * dx)
    out = {
        "mean": _log(float(size.mean())),
        "std": _log(float(size.std())),
        "laplacian": _log(float(np.sqrt(np.mean(laplacian**2)))),
        "coherence": float(np.hypot(xx - yy, 2 * xy) / (xx + yy + _FLOOR**2)),
        "share": float(np.mean(size > 0.05)),
    }
    steepest = np.quantile(size, _STEEP)
    out.update({f"quantile{q:g}": _log(float(v)) for q, v in zip(_STEEP, steepest, strict=True)})
    out.update({f"direction{k}": float(v) for k, v in enumerate(weights / (weights.sum() + _FLOOR))})
    return {f"edge_{name}": value for name, value in out.items()}


def layout(image: Grey) -> dict[str, float]:
    """Where the grey lies: what is above four fixed thresholds (area, length of its outline, Euler number), moments of
    the grey as a mass, asymmetry, and the means of 4 x 4 zones.

    The outline counts pixel sides between inside and outside, the Euler number objects minus holes (8-connected, from
    2 x 2 windows: Gray 1971); both by the square root of the area, signed root for the latter.
    """
    h, w = image.shape
    side = np.sqrt(h * w)
    out: dict[str, float] = {}
    for threshold in _THRESHOLDS:
        inside = np.pad(image >= threshold, 1)
        outline = np.count_nonzero(inside[1:] != inside[:-1]) + np.count_nonzero(inside[:, 1:] != inside[:, :-1])
        number = euler_number(inside)
        out[f"area{threshold:g}"] = float(np.count_nonzero(inside)) / image.size
        out[f"outline{threshold:g}"] = float(np.log2(1.0 + outline / side))
        out[f"euler{threshold:g}"] = float(np.sign(number) * np.sqrt(abs(number) / side))
    mass = image / (image.sum() + _FLOOR)
    y, x = (np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w
    rows, columns = mass.sum(axis=1), mass.sum(axis=0)
    cy, cx = float(rows @ y), float(columns @ x)
    out["centre_y"], out["centre_x"] = cy, cx
    out["spread_y"] = float(np.sqrt(max(0.0, rows @ (y - cy) ** 2)))
    out["spread_x"] = float(np.sqrt(max(0.0, columns @ (x - cx) ** 2)))
    out["tilt"] = float((y - cy) @ mass @ (x - cx)) * 12.0
    out["asymmetry_x"] = float(np.mean(np.abs(image - image[:, ::-1])) / (image.mean() + _FLOOR))
    out["asymmetry_y"] = float(np.mean(np.abs(image - image[::-1])) / (image.mean() + _FLOOR))
    for row, band in enumerate(np.array_split(image, 4, axis=0)):
        for column, zone in enumerate(np.array_split(band, 4, axis=1)):
            out[f"zone{row}{column}"] = float(zone.mean())
    return {f"layout_{name}": value for name, value in out.items()}


def euler_number(inside: NDArray[np.bool_]) -> int:
    """Objects minus holes of a mask with an empty border, 8-connected, from counts of 2 x 2 windows (Gray 1971)."""
    a, b, c, d = inside[:-1, :-1], inside[:-1, 1:], inside[1:, :-1], inside[1:, 1:]
    filled = a.astype(np.int8) + b + c + d
    diagonal = np.count_nonzero((filled == 2) & (a == d))
    return int(np.count_nonzero(filled == 1) - np.count_nonzero(filled == 3) - 2 * diagonal) // 4


def haar_bands(image: Grey, depth: int = 3) -> list[tuple[str, Grey]]:
    """Detail bands of the orthonormal Haar wavelet: (name, coefficients), finest first. An odd last line is left out."""
    bands = []
    for level in range(1, depth + 1):
        h, w = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
        a, b = image[0:h:2, 0:w:2], image[0:h:2, 1:w:2]
        c, d = image[1:h:2, 0:w:2], image[1:h:2, 1:w:2]
        bands.append((f"{level}x", (a - b + c - d) / 2.0))
        bands.append((f"{level}y", (a + b - c - d) / 2.0))
        bands.append((f"{level}d", (a - b - c + d) / 2.0))
        image = 2.0 * halved(image)
    return bands


def scales(image: Grey) -> dict[str, float]:
    """Haar bands of three levels and radial bands of the power spectrum.

    A Haar band: log10 of its root mean square, mean absolute value over root mean square (small = sparse), asinh of
    its skewness. The spectrum: log10 of the root mean power a pixel in bands of cycles a pixel.
    """
    out: dict[str, float] = {}
    for name, band in haar_bands(image):
        rms = float(np.sqrt(np.mean(band**2)))
        out[f"haar{name}_rms"] = _log(rms)
        out[f"haar{name}_sparsity"] = float(np.mean(np.abs(band)) + _FLOOR) / (rms + _FLOOR)
        out[f"haar{name}_skewness"] = float(np.arcsinh(standardised_moments(band)[0]))
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2 / image.size
    index, counts = _radial_bands((image.shape[0], image.shape[1]))
    sums = np.bincount(index, power.ravel(), minlength=len(_BANDS))[1:]
    out.update({f"spectrum{k}": _log(float(np.sqrt(v))) for k, v in enumerate(sums / counts)})
    return out


@lru_cache(maxsize=16)
def _radial_bands(shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The band of every frequency (0 = the mean, then 1, 2, ...), and how many frequencies each band holds."""
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :])
    index = np.searchsorted(_BANDS, radius.ravel() - 1e-9, side="left")
    return index, np.maximum(np.bincount(index, minlength=len(_BANDS))[1:], 1)
