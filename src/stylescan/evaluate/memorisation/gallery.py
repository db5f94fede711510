"""The closest pairs to look at: a generated image, the training image that it resembles most, and the difference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset
from stylescan.evaluate.memorisation.distance import Matches, nearest_subjects
from stylescan.evaluate.memorisation.poses import Search, aligned_to_query
from stylescan.evaluate.pictures import montage, png_uri

PAIRS = 6


def closest(ratios: NDArray[np.float64], count: int = PAIRS) -> NDArray[np.int64]:
    """Positions of the images with the smallest ratios, smallest first."""
    return np.argsort(ratios, kind="stable")[:count].astype(np.int64)


def gallery_row(
    image: NDArray[Any],
    position: int,
    matches: Matches,
    dataset: PreparedDataset,
    train: NDArray[np.int64],
    search: Search,
) -> dict[str, Any]:
    """Pictures of one pair as data URIs: `image` [C, R, R], `nearest` and `next` training image moved onto it, and
    `difference`; with its `ratio`. `position`: its row in `matches`, whose slices count within `train`."""
    near = nearest_subjects(matches)
    moved = []
    for column in (int(near.first[position]), int(near.second[position])):
        found = dataset.read(train[matches.slices[position, column]][None])[0]
        variant, dy, dx = matches.poses[position, column].tolist()
        moved.append(aligned_to_query(found, search, variant, dy, dx))
    return {
        "ratio": round(float(near.ratios[position]), 4),
        "image": _uri(image),
        "nearest": _uri(moved[0]),
        "next": _uri(moved[1]),
        "difference": _uri(difference(image, moved[0])),
    }


def difference(image: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """|image - other| after the gain and offset of `other` that fit best, same type; black where they are equal."""
    x, y = other.astype(np.float64).ravel(), image.astype(np.float64).ravel()
    spread = x.var()
    gain = ((x - x.mean()) * (y - y.mean())).mean() / spread if spread > 0 else 0.0
    rest = np.abs(y - y.mean() - gain * (x - x.mean())).reshape(image.shape)
    result: NDArray[Any] = np.rint(np.minimum(rest, float(np.iinfo(image.dtype).max))).astype(image.dtype)
    return result


def _uri(image: NDArray[Any]) -> str:
    return png_uri(montage(image[None], 1))
