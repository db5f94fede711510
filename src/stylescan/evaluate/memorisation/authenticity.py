"""How near generated images are to training images, in feature space: authenticity, DCR and NNDR, with other subjects
as the yardstick, and each with what held-out real images score in their place.

Within a subject adjacent slices are near-copies: with them as the yardstick an obvious copier looks authentic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.memorisation.neighbours import SubjectDistances


@dataclass(frozen=True)
class Likeness:
    """authenticity : share of images that are farther from their nearest training image than that one is from any
    training image of another subject (Alaa 2022, whose yardstick is any other training image). dcr : distance to the closest
    training record, median and 5th percentile. nndr : that distance over the one to the next other subject, likewise.
    """

    authenticity: float
    dcr_median: float
    dcr_low: float
    nndr_median: float
    nndr_low: float


def likeness(images: SubjectDistances, train_to_others: NDArray[np.float32]) -> Likeness:
    """The scores of some images from their distances to the training subjects, at least two of them.

    train_to_others : [N] distance of each training image to the nearest one of another subject.
    """
    order = np.argsort(images.distances, axis=1, kind="stable")[:, :2]
    first, second = np.take_along_axis(images.distances, order, axis=1).T
    nearest = np.take_along_axis(images.slices, order[:, :1], axis=1)[:, 0]
    ratio = np.divide(first, second, out=np.ones(len(first), np.float32), where=second > 0)
    return Likeness(
        authenticity=float((first > train_to_others[nearest]).mean()),
        dcr_median=float(np.median(first)),
        dcr_low=float(np.quantile(first, 0.05)),
        nndr_median=float(np.median(ratio)),
        nndr_low=float(np.quantile(ratio, 0.05)),
    )
