"""What slice depth alone tells of the class: where it tells much, a classifier may read depth instead of anatomy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import ImageRecord

BINS = 16


def depths(images: list[ImageRecord], positions: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Depth of each image (a fraction of its volume), else its slice number; None where an image has neither.

    Never a mixture of both: they are not on one scale.
    """
    chosen = [images[position] for position in positions.tolist()]
    if all(image.depth is not None for image in chosen):
        return np.array([image.depth for image in chosen], float)
    if all(image.slice is not None for image in chosen):
        return np.array([image.slice for image in chosen], float)
    return None


def from_depth(
    train: NDArray[np.float64], labels: NDArray[np.int64], test: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """Class probabilities [len(test), classes] from the shares of each class among training slices of like depth.

    16 bins of equal counts; one imagined image of every class in each bin keeps sparse bins undecided.
    """
    edges = np.unique(np.quantile(train, np.linspace(0, 1, BINS + 1)[1:-1]))
    table = np.ones((len(edges) + 1, classes))
    np.add.at(table, (np.searchsorted(edges, train, side="right"), labels), 1)
    shares: NDArray[np.float64] = table / table.sum(axis=1, keepdims=True)
    return shares[np.searchsorted(edges, test, side="right")]
