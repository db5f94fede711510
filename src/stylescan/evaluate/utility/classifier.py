"""A small residual network that tells classes apart, and its training: the same number of steps whatever it learns from.

Everything random comes from generators of (seed, purpose), and the global generator is neither read nor moved.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from stylescan.evaluate.utility.scores import plain_auc
from stylescan.randomness import torch_generator

MIN_PX, MAX_PX = 8, 64
MAP_PX = 16  # the stem brings larger images to maps of this side
WIDTHS = (16, 32, 64, 64)
GROUPS = 8
_CHUNK = 256


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained: AdamW under a one-cycle learning rate (Smith & Topin 2018).

    checks : how often the classifier is tried on `select`; the best try counts. averaging : weight of each new state in
    the running mean of states that is tried and kept, for single states at high learning rates are erratic.
    """

    steps: int = 160
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    checks: int = 8
    averaging: float = 0.1


@dataclass(frozen=True)
class Labelled:
    """Images float32 [n, C, P, P] in [-1, 1], the class of each, int64 [n], and its subject, str [n]."""

    images: Tensor
    labels: NDArray[np.int64]
    subjects: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.labels)


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias (a norm follows, or the input is centred); its weights are not drawn yet."""
    # skip_init, for the plain constructor would draw from the global generator
    layer = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, inputs, outputs, kernel, stride=stride, padding=1 if kernel > 1 else 0, bias=False
    )
    assert isinstance(layer, nn.Conv2d)
    return layer


class _Block(nn.Module):
    """Two 3 x 3 convolutions with a shortcut; halves the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, 3, stride=2)
        self.second = _conv(outputs, outputs, 3)
        self.shortcut = _conv(inputs, outputs, 1)
        self.norm_first, self.norm_second = nn.GroupNorm(GROUPS, outputs), nn.GroupNorm(GROUPS, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm_second(self.second(F.silu(self.norm_first(self.first(x)))))
        out: Tensor = F.silu(h + self.shortcut(F.avg_pool2d(x, 2)))
        return out


class Classifier(nn.Module):
    """Images [N, C, px, px] in [-1, 1] -> logits [N, classes]; px a power of two from 8 to 64.

    GroupNorm rather than BatchNorm, so that an image's answer does not depend on what else is in its batch.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, classes: int, px: int) -> None:
        super().__init__()
        stride = max(1, px // MAP_PX)
        kernel = 3 if stride == 1 else stride + 2
        self.stem = _conv(channels, WIDTHS[0], kernel, stride=stride)
        self.blocks = nn.Sequential(*(_Block(a, b) for a, b in itertools.pairwise(WIDTHS)))
        self.head = nn.utils.skip_init(nn.Linear, WIDTHS[-1], classes)  # type: ignore[no-untyped-call]
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """keep : factors of the last features [N, width], for dropout."""
        h = self.blocks(F.silu(self.stem((x - self.mean) / self.std))).mean(dim=(2, 3))
        logits: Tensor = self.head(h if keep is None else h * keep)
        return logits


def new_classifier(images: Tensor, classes: int, seed: int) -> Classifier:
    """An untrained classifier for `images`, whose mean and spread by channel it takes; He initialisation."""
    net = Classifier(images.shape[1], classes, images.shape[2])
    rng = torch_generator(seed, "classifier_weights")
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=rng)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    net.mean.copy_(images.mean(dim=(0, 2, 3), keepdim=True))
    net.std.copy_(images.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-3))
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def train_classifier(
    data: Labelled,
    select: Labelled | None,
    classes: int,
    *,
    recipe: Recipe,
    seed: int,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> Classifier:
    """A classifier trained on `data` for `recipe.steps` steps.

    select : the state with the highest AUC on it counts (of equals the lowest loss, then the latest); without it the
    last state counts. augment : (images, generator) -> images, applied to every batch.
    """
    net = new_classifier(data.images, classes, seed)
    kept = copy.deepcopy(net).requires_grad_(False)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=recipe.steps)
    labels, every = torch.from_numpy(data.labels), max(1, recipe.steps // recipe.checks)
    batches = _batches(len(data), recipe.batch, torch_generator(seed, "classifier_order"))
    changes, drops = torch_generator(seed, "classifier_augment"), torch_generator(seed, "classifier_dropout")
    best: tuple[tuple[float, float], dict[str, Tensor]] | None = None
    for step in range(1, recipe.steps + 1):
        rows = next(batches)
        images = data.images[rows]
        if augment is not None:
            images = augment(images, changes)
        keep = (torch.rand(len(rows), net.head.in_features, generator=drops) >= recipe.dropout) / (1 - recipe.dropout)
        loss = F.cross_entropy(net(images.to(memory_format=torch.channels_last), keep), labels[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(kept.parameters()), list(net.parameters()), recipe.averaging)
        if select is not None and (step % every == 0 or step == recipe.steps):
            merit = _merit(kept, select)
            if best is None or merit >= best[0]:
                best = (merit, {name: value.clone() for name, value in kept.state_dict().items()})
    if best is not None:
        kept.load_state_dict(best[1])
    return kept


def _batches(n: int, size: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Positions without end: every image once before any comes again; the last few of a round begin the next batch."""
    waiting = torch.empty(0, dtype=torch.int64)
    while True:
        while len(waiting) < size:
            waiting = torch.cat([waiting, torch.randperm(n, generator=rng)])
        yield waiting[:size]
        waiting = waiting[size:]


def _merit(net: Classifier, select: Labelled) -> tuple[float, float]:
    """AUC on `select`, and minus the loss; higher is better."""
    probabilities = predict(net, select.images)
    named = probabilities[np.arange(len(select)), select.labels]
    return round(plain_auc(probabilities, select.labels), 9), -float(np.log(named.clip(1e-12)).mean())


def predict(net: Classifier, images: Tensor) -> NDArray[np.float64]:
    """Class probabilities [n, classes]."""
    with torch.no_grad():
        logits = [net(part.to(memory_format=torch.channels_last)).double() for part in torch.split(images, _CHUNK)]
    out: NDArray[np.float64] = torch.cat(logits).softmax(dim=1).numpy()
    return out


def fitted(images: Tensor) -> Tensor:
    """Images [n, C, R, R] brought to 64 px at most by exact means, and to 8 at least by repeating pixels; R = 2^k."""
    side = images.shape[-1]
    if side < MIN_PX:
        return F.interpolate(images, scale_factor=MIN_PX // side, mode="nearest")
    return F.avg_pool2d(images, side // MAX_PX) if side > MAX_PX else images
