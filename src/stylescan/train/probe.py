"""What is measured for the watch over a run: weights, the first bad step, diversity of fakes, D's overfitting."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from stylescan.data.prepared import PreparedDataset
from stylescan.data.tensors import to_unit_range
from stylescan.nets.protocols import Discriminator, Generator, one_hot
from stylescan.train.health import Probed
from stylescan.train.pictures import fake_images

PROBE_IMAGES = 64
OVERFIT_MARGIN = 0.2  # of scores, between reals and fakes


class FirstBadStep:
    """The first step whose losses are not finite, kept on the device: noting it waits for nothing."""

    def __init__(self, device: torch.device) -> None:
        self._step = torch.full([], -1, dtype=torch.int64, device=device)

    def note(self, step: int, sums: Iterable[Tensor]) -> None:
        """Look at the running sums (scalars) after `step`; a value that is not finite stays in a sum."""
        bad = ~torch.isfinite(torch.stack(list(sums)).sum())
        self._step = torch.where(bad & (self._step < 0), step, self._step)

    def read(self) -> int | None:
        """The step, or None; waits for the device."""
        step = int(self._step)
        return None if step < 0 else step

    def clear(self) -> None:
        """Forget, after a roll back."""
        self._step.fill_(-1)


@torch.no_grad()
def weight_facts(net: nn.Module) -> dict[str, float]:
    """Root mean square of every parameter by name, not finite where any value is not; one wait for the device."""
    named = dict(net.named_parameters())
    norms = torch._foreach_norm(list(named.values()))
    return {n: v / math.sqrt(max(p.numel(), 1)) for (n, p), v in zip(named.items(), torch.stack(norms).tolist())}


def diversity(images: np.ndarray, *, side: int = 16) -> float:
    """Mean distance between pairs of images after averaging to at most side x side; 0 where all are equal.

    images: uint8 or uint16 [N, C, H, W]. A distance is the root mean square difference, 1 between black and white.
    Averaging leaves noise and texture out: anatomy, pose and brightness remain. NaN for fewer than two images.
    """
    if len(images) < 2:
        return math.nan
    pooled = torch.from_numpy(images.astype(np.float32) / np.iinfo(images.dtype).max)
    pooled = nn.functional.adaptive_avg_pool2d(pooled, min(side, *images.shape[2:]))
    flat = pooled.flatten(1).double()
    return float(torch.pdist(flat).mean()) / math.sqrt(flat.shape[1])


def relative_diversity(
    fakes: np.ndarray, fake_labels: np.ndarray, reals: np.ndarray, real_labels: np.ndarray
) -> float | None:
    """Diversity of fakes as a share of the reals', within classes; the least of the classes counts, so that one
    collapsed class shows. None where no class has two different reals. Labels: [N], all equal without classes."""
    shares = []
    for label in np.unique(real_labels):
        real, fake = diversity(reals[real_labels == label]), diversity(fakes[fake_labels == label])
        if math.isfinite(real) and math.isfinite(fake) and real > 0:
            shares.append(fake / real)
    return min(shares, default=None)


@torch.no_grad()
def mean_score(D: Discriminator, images: np.ndarray, labels: np.ndarray, *, batch: int = 16) -> float:
    """D's mean score of images uint8 or uint16 [N, C, H, W] with class indices [N]."""
    device = next(D.parameters()).device
    total = 0.0
    D.eval()  # looking must not move what D keeps from pass to pass (spectral norm, batch norm)
    for start in range(0, len(images), batch):
        some = to_unit_range(images[start : start + batch]).to(device)
        c = one_hot(labels[start : start + batch].tolist(), D.spec.num_classes)
        total += float(D(some, None if c is None else c.to(device)).sum())
    D.train()
    return total / len(images)


def overfitting(train: float, unseen: float, fake: float) -> float | None:
    """r_v = (E D(train) - E D(unseen)) / (E D(train) - E D(fake)) (Karras et al. 2020, 'Training GANs with limited
    data', equation 1). None where D tells reals from fakes by too little for a share of it to mean anything."""
    return (train - unseen) / (train - fake) if train - fake > OVERFIT_MARGIN else None


class Probe:
    """Measures for `on_score`, with the same images and latents every time, so that weights alone make a difference.

    dataset: its train and, where there are any, select images, spread over subjects.
    """

    def __init__(self, dataset: PreparedDataset) -> None:
        self._bits, k = dataset.bits, max(dataset.num_classes, 1)
        each = max(PROBE_IMAGES // k, 8)
        self._labels = np.repeat(np.arange(k), each)  # of the fakes
        train, self._select = dataset.indices("train"), _spread(dataset.indices("select"), PROBE_IMAGES)
        self._seen = _spread(train, PROBE_IMAGES)  # classes in their shares, as in select
        classes = dataset.labels if dataset.num_classes else np.zeros(len(dataset), np.int64)
        chosen = np.concatenate([_spread(train[classes[train] == label], each) for label in range(k)])
        self._reals, self._real_labels = dataset.read(chosen), classes[chosen]
        self._dataset = dataset

    def __call__(self, G: Generator, D: Discriminator) -> Probed:
        """Probe the generator to be shared (G_ema) and D."""
        fakes = fake_images(G, self._labels.tolist(), bits=self._bits, noise="random")
        share = relative_diversity(fakes, self._labels, self._reals, self._real_labels)
        if len(self._select) == 0:
            return Probed(share, None)
        seen, unseen = (
            mean_score(D, self._dataset.read(index), self._dataset.labels[index])
            for index in (self._seen, self._select)
        )
        return Probed(share, overfitting(seen, unseen, mean_score(D, fakes, self._labels)))


def _spread(indices: np.ndarray, n: int) -> np.ndarray:
    """At most n of the indices at equal distances: a dataset lists its images subject by subject."""
    return indices[np.linspace(0, len(indices) - 1, min(n, len(indices))).round().astype(np.int64)]
