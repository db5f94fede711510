"""What to train on freshly prepared data, and about how long it takes here: an estimate that costs a tenth of a second.

Importing the networks to ask them would take longer than preparing a small set. So their cost is written down here, a
test counts it anew, and `stylescan train --dry-run` measures the real thing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from stylescan.data.prepared import PreparedDataset

# Resolution: 1e9 operations of one image shown in training by `auto` on a CPU (G forward and backward through two fakes, D
# through a real and a fake and once for G; lazy penalties left out), and the share of the machine's best matrix product
# that training reaches with them (benchmarks/README.md). Small convolutions reach less.
TRAINING_COST = {
    16: (0.418, 0.19),
    32: (0.813, 0.19),
    64: (1.224, 0.20),
    128: (4.92, 0.34),
    256: (6.70, 0.28),
    512: (8.75, 0.28),
    1024: (11.4, 0.28),
}
KIMG = 100.0  # of `auto` on a CPU
FEW = 1000  # training images below which transfer helps most
# Layout of a prepared set: the presets that repeat what was published on it.
PUBLISHED_ON = {
    "akoa": ("akoa-stylegan", "knee-stylegan"),
    "oasis": ("oasis-stylegan2-lite", "oasis-stylegan-attention"),
    "adni": ("adni-stylegan2",),
}
_SIDE, _PROBE_S = 768, 0.1


def training_advice(dataset: PreparedDataset) -> list[str]:
    """Sentences: the preset that fits, its expected time on this machine's CPU, and what was published on such data."""
    train = len(dataset.indices("train"))
    if not train:
        return ["no training images: nothing to suggest"]
    hours = expected_hours(dataset.resolution, KIMG, matrix_rate())
    lines = [
        f"suggested preset: auto (on a CPU a narrow StyleGAN2, for {KIMG:g} kimg)",
        f"expected cost: about {said(hours)} on this machine's CPU, much less on a GPU; `stylescan train --dry-run` "
        "measures it, --minutes M sets it",
    ]
    if train < FEW:
        lines.append(f"{train} training images are few: --init RUN helps most, with a run on any organ")
    published = _published(str(dataset.manifest.preparation.get("layout")))
    return lines + ([f"published on such data: --preset {' or '.join(published)}"] if published else [])


def _published(layout: str) -> Sequence[str]:
    return PUBLISHED_ON.get(layout, ())


def expected_hours(resolution: int, kimg: float, rate: float) -> float:
    """Hours that `auto` takes for `kimg` on a CPU whose matrix products reach `rate` operations a second."""
    operations, share = TRAINING_COST[resolution]
    return kimg * 1000 * operations * 1e9 / (share * rate) / 3600


def matrix_rate() -> float:
    """Operations a second of a float32 matrix product of 768 rows and columns, on all cores."""
    a = np.ones((_SIDE, _SIDE), np.float32)
    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < _PROBE_S:
        begun = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begun)
    return 2 * _SIDE**3 / best


def said(hours: float) -> str:
    """A duration as a person says it."""
    if hours < 1:
        minutes = max(1, round(hours * 60))
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{hours:.1f} hours" if hours < 10 else f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:.0f} days"
