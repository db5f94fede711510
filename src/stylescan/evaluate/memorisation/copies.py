"""Are there more copies among the judged images than held-out people make by chance?

A copy is an image whose ratio (distance to its nearest training subject over that to the next other one, see
`distance.Nearest`) lies below `least`, every held-out image's. Real images fall there too: half of all equally large
sets of new people hold the one person who is the most like somebody in training, and brings a clump of slices. So the
number of copies alone says little. Each is weighed by its depth = log(least / ratio), in two ways:

    by person  sum over the training subjects that were copied of the greatest depth: one person's clump counts once
    by image   sum over copies of depth^2: squares let one deep copy outweigh a clump of shallow ones

How deep is deep, the held-out people say themselves: the k of them with the lowest ratios, against the next one, make
the same two sums, and only the quotients count. `null.Reference` knows how large these get by chance; p is the greater
one of the two ways. Few held-out people know their own scale badly, and the null takes account of that.

Why both. A generator's images are independent of each other, not one person's slices; where held-out clumps are large,
many of its images fall below `least` without any copying, each near another person. By image they weigh no more than
the clumps do; by person they would. Real test subjects, and a generator that shows few people, come in clumps: one who
happens to resemble a training subject outweighs, by image, what many others do together; by person, that counts once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylescan.evaluate.memorisation.distance import Nearest
from stylescan.evaluate.memorisation.null import Reference, draw_reference
from stylescan.evaluate.metrics import Groups

FAIL = 0.01
WARN = 0.05
DEEPEST = 0.02  # ratios below count as this: one exact copy has much evidence, not an infinite amount


@dataclass(frozen=True)
class CopyTest:
    """n : judged images. copies : those with a ratio below `least`, the least held-out ratio. p : see above.

    by_person, by_image : the evidence over that of the lowest held-out subjects.
    """

    n: int
    copies: int
    least: float
    by_person: float
    by_image: float
    p: float


@dataclass(frozen=True)
class Calibration:
    """What the held-out images say: their `least` ratio, and `scale`, the evidence (by person, by image) of their k
    lowest subjects against the next one. `reference`: the null of quotients with it."""

    least: float
    scale: tuple[float, float]
    reference: Reference

    def test(self, judged: Nearest) -> CopyTest:
        """Test judged images, as many as the reference was drawn for."""
        person, image = (
            found / scale if scale > 0 else 0.0 for found, scale in zip(evidence_below(judged, self.least), self.scale)
        )
        n, copies = len(judged.ratios), int((judged.ratios < self.least).sum())
        return CopyTest(n, copies, self.least, person, image, self.reference.p(person, image))


def calibrated(held: Nearest, held_subjects: Groups, judged: int, reference: Reference | None = None) -> Calibration:
    """The calibration by held-out images and the subject of each; at least two subjects.

    judged : how many images will be tested. reference : one drawn before for the same numbers.
    """
    codes = np.unique(np.asarray(held_subjects), return_inverse=True)[1].reshape(-1)
    lowest = np.full(codes.max() + 1, np.inf)
    np.minimum.at(lowest, codes, held.ratios)
    reference = reference or draw_reference(len(lowest), len(held.ratios), judged)
    ascending = np.argsort(lowest, kind="stable")
    among = np.isin(codes, ascending[: reference.k])
    ordered = np.maximum(lowest[ascending], DEEPEST)
    next_one = float(ordered[reference.k])
    # The null knows each held-out person as one depth, whomever it resembles.
    by_person = float(np.log(next_one / ordered[: reference.k]).sum())
    _, by_image = evidence_below(held[among], next_one)
    return Calibration(float(lowest.min()), (by_person, by_image), reference)


def copy_test(judged: Nearest, held: Nearest, held_subjects: Groups) -> CopyTest:
    """Test judged images against held-out images and their subjects, two at least."""
    return calibrated(held, held_subjects, len(judged.ratios)).test(judged)


def evidence_below(images: Nearest, least: float) -> tuple[float, float]:
    """(by person, by image) of the images with ratios below `least`."""
    below = images[images.ratios < least]
    depth: NDArray[np.float64] = np.log(max(least, DEEPEST) / np.maximum(below.ratios, DEEPEST))
    greatest = np.zeros(1 + below.who.max(initial=0))
    np.maximum.at(greatest, below.who, depth)
    return float(greatest.sum()), float((depth**2).sum())
