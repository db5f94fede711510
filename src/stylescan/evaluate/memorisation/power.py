"""Would the audit have found copies, had there been any? Planted copies among held-out images, judged again and again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stylescan.evaluate.memorisation.copies import FAIL, calibrated
from stylescan.evaluate.memorisation.distance import Nearest
from stylescan.evaluate.memorisation.null import draw_reference
from stylescan.evaluate.metrics import Groups
from stylescan.randomness import numpy_generator

SHARE = 0.01  # of the judged images that are planted copies
ENOUGH = 0.8
REPEATS = 200
SIZES = (10, 20, 40)  # numbers of held-out subjects for which power is told


@dataclass(frozen=True)
class Power:
    """power : share of `REPEATS` sets of `n` images with `planted` copies that the audit would have failed."""

    subjects: int
    n: int
    planted: int
    power: float


def number_planted(n: int, share: float = SHARE) -> int:
    """How many of `n` images are planted; at least one."""
    return max(1, round(share * n))


def power_of_test(
    held: Nearest,
    held_subjects: Groups,
    planted: Nearest,
    *,
    n: int,
    seed: int,
    subjects: int | None = None,
    share: float = SHARE,
) -> Power:
    """Power at `subjects` of the held-out subjects, drawn anew for each repetition; at all of them by default.

    Each repetition judges images of held-out subjects, drawn with replacement subject by subject, a `share` of them
    replaced by planted copies drawn from `planted`. `n` images go with all held-out subjects, in proportion with fewer.
    The held-out images against which they are judged are those of this audit: the question is what it could find.
    """
    names, codes = np.unique(np.asarray(held_subjects), return_inverse=True)
    codes = codes.reshape(-1)
    used = len(names) if subjects is None else subjects
    size = max(2, round(n * used / len(names)))
    count = number_planted(size, share)
    slices = [np.flatnonzero(codes == code) for code in range(len(names))]
    reference = draw_reference(used, round(len(codes) * used / len(names)), size)
    whole = calibrated(held, codes, size, reference) if used == len(names) else None
    found = 0
    for repeat in range(REPEATS):
        rng = numpy_generator(seed, "audit_power", used, repeat)
        chosen = np.sort(rng.permutation(len(names))[:used])
        inside = np.concatenate([slices[code] for code in chosen])
        # Drawn from the same subjects: nothing of theirs lies below their own minimum, so only what is planted counts.
        background = np.concatenate([slices[code] for code in rng.choice(chosen, used)])
        copies = planted[rng.integers(0, len(planted.ratios), count)]
        judged = held[np.resize(background, size - count)].and_also(copies)
        calibration = whole or calibrated(held[inside], codes[inside], size, reference)
        found += calibration.test(judged).p <= FAIL
    return Power(used, size, count, found / REPEATS)
