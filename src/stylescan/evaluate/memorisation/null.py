"""How much evidence of copies chance makes, drawn once for given numbers of held-out subjects and of images.

Let y = -log(least ratio) of a person, m people held out, and the k greatest y of them. Whatever y's distribution, far
out its tail is close to exponential, whose spacings are independent (Renyi 1953): y_i - y_(i+1) = Z_i / i, Z standard
exponential in the tail's unit, which cancels in the quotients. Given y_1, the greatest, the judged side beyond it is
again exponential:

    by person  as many judged people as held-out ones, image for image: N ~ Binomial(people, exp(-y_1)) of them lie
               beyond, and the sum of their depths is Gamma(N)
    by image   independent images, each as likely as a person to lie beyond y_1 (held-out slices of one person count as
               wholly dependent, the worst case): N ~ Binomial(images, exp(-y_1)), the sum of N squared exponentials

over sum_i (y_i - y_(k+1)) and, n held-out images being m clumps of n / m, n / m times sum_i (y_i - y_(k+1))^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylescan.randomness import numpy_generator

DRAWS = 10_000
LOWEST_SHARE = 0.4  # of the held-out subjects, who tell the scale
LOWEST_MOST = 20


@dataclass(frozen=True)
class Reference:
    """k : how many held-out subjects tell the scale. person, image : sorted quotients under the null, [DRAWS] each."""

    k: int
    person: NDArray[np.float64]
    image: NDArray[np.float64]

    def p(self, person: float, image: float) -> float:
        """Share of draws with at least as much evidence, by person and by image: the greater one. In (0, 1]."""
        shares = (
            (1 + DRAWS - int(np.searchsorted(null, found * (1 - 1e-9)))) / (1 + DRAWS)
            for null, found in ((self.person, person), (self.image, image))
        )
        return max(shares)


def draw_reference(subjects: int, held: int, judged: int) -> Reference:
    """The null for `judged` images against `held` images of `subjects` people, two at least. The same at every call."""
    k = max(1, min(LOWEST_MOST, subjects - 1, round(LOWEST_SHARE * subjects)))
    rng = numpy_generator(0, "audit_null", subjects, held, judged)
    spacings = rng.exponential(size=(DRAWS, k)) / np.arange(1, k + 1)
    above = np.cumsum(spacings[:, ::-1], axis=1)[:, ::-1]  # y_i - y_(k+1)
    # exp(-y_(k+1)) is the (k+1)-th smallest of m uniform numbers.
    beyond = rng.beta(k + 1, subjects - k, DRAWS) * np.exp(-above[:, 0])
    people = rng.binomial(max(1, round(subjects * judged / held)), beyond)
    person = np.where(people > 0, rng.gamma(np.maximum(people, 1)), 0.0) / above.sum(axis=1)
    images = rng.binomial(judged, beyond)
    squares = np.bincount(np.repeat(np.arange(DRAWS), images), rng.exponential(size=images.sum()) ** 2, minlength=DRAWS)
    image = squares / ((above**2).sum(axis=1) * held / subjects)
    return Reference(k, np.sort(person), np.sort(image))
