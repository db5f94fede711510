"""C_T: do generated images as a whole lie nearer to training images than held-out ones do?

Meehan, Chaudhuri, Dasgupta 2020 (A Non-Parametric Test to Detect Data-Copying in Generative Models), in one cell: the
Mann-Whitney statistic of d(G, T) against d(H, T), standardised; negative where G is nearer. Its textbook null takes
slices for independent, which adjacent slices of one person are not. Here the null comes from the subjects: under it,
which of them were trained on is a label like any other, so T and H are drawn anew among all subjects, as many as there
were, while G stays. That holds whatever the dependence within G or within a subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.memorisation.neighbours import SubjectDistances
from stylescan.randomness import numpy_generator

RELABELLINGS = 199
CT_LEVEL = 0.01


@dataclass(frozen=True)
class CopyingTest:
    """z : C_T. nearer : share of pairs (generated, held out) whose generated image is the nearer one, .5 = no
    difference. p : share of relabellings with a Z no larger, the true one counted among them."""

    z: float
    nearer: float
    p: float


def mann_whitney(first: NDArray[Any], second: NDArray[Any]) -> tuple[float, float]:
    """(z, share of pairs with first < second, ties by half); z is negative where `first` is the smaller.

    Mann & Whitney 1947, without correction for ties.
    """
    ordered = np.sort(second)
    greater = len(ordered) - np.searchsorted(ordered, first, side="right")
    equal = np.searchsorted(ordered, first, side="right") - np.searchsorted(ordered, first, side="left")
    a, b = len(first), len(second)
    below = float(greater.sum() + 0.5 * equal.sum())
    return (a * b / 2 - below) / float(np.sqrt(a * b * (a + b + 1) / 12)), below / (a * b)


def copying_test(
    generated: SubjectDistances, real: SubjectDistances, real_subjects: NDArray[Any], train: NDArray[Any], seed: int
) -> CopyingTest:
    """C_T and its p.

    Parameters
    ----------
    generated, real : distances of generated and of all real images (training and held-out) to all real subjects.
    real_subjects : [n] subject of each real row.
    train : [S] boolean, which of the subjects were trained on; at least one is, and at least one is not.
    """
    codes = np.searchsorted(real.names, real_subjects)
    held = int((~train).sum())

    def statistic(trained: NDArray[Any]) -> tuple[float, float]:
        rows = ~trained[codes]
        to_train = real.distances[rows][:, trained].min(axis=1)
        return mann_whitney(generated.distances[:, trained].min(axis=1), to_train)

    z, nearer = statistic(train)
    as_low = 1
    for number in range(RELABELLINGS):
        labels = np.ones(len(train), bool)
        labels[numpy_generator(seed, "audit_relabel", number).permutation(len(train))[:held]] = False
        as_low += statistic(labels)[0] <= z
    return CopyingTest(z, nearer, as_low / (RELABELLINGS + 1))
