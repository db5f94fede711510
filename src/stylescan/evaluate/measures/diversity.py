"""Diversity: how alike two images of a set are, by multi-scale structural similarity (MS-SSIM) of random pairs.

A generator that has collapsed makes pairs that are more alike than pairs of real images of different people.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d

from stylescan.evaluate.measures.base import Groups, subject_codes
from stylescan.randomness import numpy_generator

PAIRS = 1000
# Wang, Simoncelli & Bovik 2003, sec. 3.2: the share of each scale, the finest first.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
COARSEST_PX = 16  # the least power of two that an 11 px window fits into
WINDOW_PX = 11
SIGMA_PX = 1.5
NEAR_DEPTH = 10  # a depth-matched partner is one of so many images nearest in depth
_BLOCK = 2**17  # pixels of one side of the pairs held at once: maps that fit into a processor's cache

ReadImages = Callable[[NDArray[np.int64]], NDArray[Any]]


def scale_weights(resolution: int) -> tuple[float, ...]:
    """The weights of the scales that `resolution` allows, summing to 1: five from 256 px, 3 at 64 px, 2 at 32, 1 at 16.

    Every scale is at least 16 px wide; smaller images have one scale, and a window that fits.
    """
    scales = max(1, min(len(WEIGHTS), int(math.log2(resolution / COARSEST_PX)) + 1)) if resolution >= COARSEST_PX else 1
    return tuple(weight / sum(WEIGHTS[:scales]) for weight in WEIGHTS[:scales])


def ms_ssim(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """MS-SSIM of each pair of images, uint8 or uint16 [n, C, R, R] -> float64 [n], between 0 and 1.

    Gaussian window of 11 px and sigma 1.5 px, K1 = .01, K2 = .03 of the integer type's range, scales halved by means
    of 2 x 2 (Wang et al. 2003, eq. 7), weights from `scale_weights`. The window stays inside the image, but for the
    coarsest scale, whose few pixels all count, reflected at the border. Negative structure counts as 0.
    """
    if first.shape != second.shape or first.dtype != second.dtype:
        raise ValueError(f"images {first.shape} {first.dtype} and {second.shape} {second.dtype} do not match")
    size = first.shape[-1]
    step = max(1, _BLOCK // int(np.prod(first.shape[1:])))
    out = np.empty(len(first))
    for low in range(0, len(first), step):
        pair = [_unit(images[low : low + step]) for images in (first, second)]
        out[low : low + step] = _ms_ssim_block(pair[0], pair[1], scale_weights(size)).numpy()
    return out


def _unit(images: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max))


def _ms_ssim_block(x: torch.Tensor, y: torch.Tensor, weights: tuple[float, ...]) -> torch.Tensor:
    result = torch.ones(len(x), dtype=torch.float64)
    for scale, weight in enumerate(weights):
        if scale:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
        last = scale == len(weights) - 1
        luminance, structure = _ssim_maps(x, y, padded=last)
        term = (luminance * structure if last else structure).double().mean(dim=(1, 2, 3))
        result *= term.clamp(min=0.0) ** weight
    return result


def _smoothing(size: int, padded: bool, dtype: torch.dtype) -> torch.Tensor:
    """The Gaussian window at each place of a row of `size` pixels, as a matrix [places, size]: where it fits whole, or
    `padded`, at every pixel of a row reflected at its ends. As a matrix product it costs a tenth of a convolution."""
    width = min(WINDOW_PX, size - 1 + size % 2)
    steps = np.arange(width) - (width - 1) / 2
    gauss = np.exp(-((steps / SIGMA_PX) ** 2) / 2)
    gauss /= gauss.sum()
    pad = (width - 1) // 2 if padded else 0
    columns = np.pad(np.arange(size), pad, mode="reflect")
    matrix = np.zeros((len(columns) - width + 1, size))
    for place in range(len(matrix)):
        np.add.at(matrix[place], columns[place : place + width], gauss)
    return torch.from_numpy(matrix).to(dtype)


def _ssim_maps(x: torch.Tensor, y: torch.Tensor, padded: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Luminance, and contrast times structure, at every place of the window."""
    smoothing = _smoothing(x.shape[-1], padded, x.dtype)
    mean_x, mean_y, xx, yy, xy = (smoothing @ (part @ smoothing.T) for part in (x, y, x * x, y * y, x * y))
    c1, c2 = 0.01**2, 0.03**2
    var_x, var_y = (xx - mean_x**2).clamp(min=0.0), (yy - mean_y**2).clamp(min=0.0)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * (xy - mean_x * mean_y) + c2) / (var_x + var_y + c2)
    return luminance, structure


@dataclass(frozen=True)
class PairSimilarity:
    """MS-SSIM of each pair [p], and the subjects that it joins, int64 [p, 2]; no pairs: why there are none."""

    values: NDArray[np.float64]
    subjects: NDArray[np.int64]
    missing: str = ""

    @property
    def mean(self) -> float:
        return float(self.values.mean()) if len(self.values) else float("nan")


def pair_similarity(
    read: ReadImages,
    n: int,
    groups: Groups | None = None,
    *,
    depth: NDArray[np.float64] | None = None,
    pairs: int = PAIRS,
    seed: int = 0,
) -> PairSimilarity:
    """MS-SSIM of random pairs of different subjects among `n` images, the same for every order of the images.

    read : positions -> images uint8 or uint16 [k, C, R, R].
    groups : subject of each image; None = each its own.
    depth : where given, both images of a pair lie at about the same depth.
    pairs : how many; all there are where there are no more.

    Images are numbered by a hash of their content before the seed chooses among them.
    """
    order = _content_order(read, n, groups)
    codes = subject_codes(groups, n)[order]
    if len(np.unique(codes)) < 2:
        return PairSimilarity(np.empty(0), np.empty((0, 2), np.int64), "pairs need images of at least 2 subjects")
    rng = numpy_generator(seed, "diversity_pairs")
    if depth is None:
        chosen = _random_pairs(codes, pairs, rng)
    else:
        chosen = _depth_pairs(codes, np.asarray(depth, np.float64)[order], pairs, rng)
    step = 256
    values = [ms_ssim(*(read(order[chosen[low : low + step, side]]) for side in (0, 1)))
              for low in range(0, len(chosen), step)]  # fmt: skip
    return PairSimilarity(np.concatenate(values), codes[chosen])


def _content_order(read: ReadImages, n: int, groups: Groups | None) -> NDArray[np.int64]:
    names = [""] * n if groups is None else [str(name) for name in groups]
    keys: list[tuple[bytes, str]] = []
    for low in range(0, n, 64):
        for image in read(np.arange(low, min(low + 64, n))):
            keys.append((hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest(), names[len(keys)]))
    return np.array(sorted(range(n), key=keys.__getitem__), np.int64)


def _random_pairs(codes: NDArray[np.int64], pairs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Different pairs (i < j) of different subjects, int64 [p, 2], every allowed pair equally likely."""
    n = len(codes)
    sizes = np.bincount(codes)
    allowed = (n * n - int((sizes * sizes).sum())) // 2
    if allowed <= 4 * pairs:
        first, second = np.nonzero(np.triu(codes[:, None] != codes[None, :]))
        keep = np.sort(rng.permutation(len(first))[:pairs])
        return np.stack([first[keep], second[keep]], axis=1)
    found = np.empty(0, np.int64)
    while len(found) < pairs:
        i, j = np.sort(rng.integers(0, n, (2, 2 * pairs)), axis=0)
        found = np.r_[found, (i * n + j)[codes[i] != codes[j]]]
        found = found[np.sort(np.unique(found, return_index=True)[1])]
    return np.stack(np.divmod(found[:pairs], n), axis=1)


def _depth_pairs(
    codes: NDArray[np.int64], depth: NDArray[np.float64], pairs: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """A random image, and one of the ten of other subjects that are nearest in depth; int64 [p, 2]."""
    found = np.empty((pairs, 2), np.int64)
    for row, i in enumerate(rng.integers(0, len(codes), pairs)):
        others = np.flatnonzero(codes != codes[i])
        # At random before the stable sort, so that images at one depth are equally likely.
        others = others[rng.permutation(len(others))]
        near = others[np.argsort(np.abs(depth[others] - depth[i]), kind="stable")[:NEAR_DEPTH]]
        found[row] = i, near[rng.integers(0, len(near))]
    return found


def mean_similarity(x: NDArray[Any], y: NDArray[Any], x_groups: Groups | None, y_groups: Groups | None) -> float:
    """Mean of `pair_similarity` over pairs of x, images uint8 or uint16 [n, C, R, R]; y plays no part."""
    return pair_similarity(lambda positions: x[positions], len(x), x_groups).mean
