"""From seeds to images: a seed names one image, whatever else is in its batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylescan.data.prepared import to_integers
from stylescan.errors import ConfigError
from stylescan.generate.snapshot import Snapshot, SnapshotMeta
from stylescan.nets.protocols import Generator, Noise, one_hot
from stylescan.randomness import numpy_generator, torch_generator

NoiseKind = Literal["random", "const", "none"]
Progress = Callable[[int, int, str], None]
Batch = tuple[list[int], list[int], NDArray[Any]]

NO_CLASS = -1
MAX_SEEDS = 1_000_000
_SEEDS_REMEDY = "give whole numbers and ranges from 0 up, for instance 0-15,20"


def parse_seeds(text: str) -> list[int]:
    """'0-15,20' as [0, ..., 15, 20], in the order given. Ranges include both ends.

    Raises ConfigError for anything else, for a seed named twice, and for more than a million seeds.
    """
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = (piece.strip() for piece in part.partition("-"))
        first, last = _seed(low, text), _seed(high if dash else low, text)
        if last < first:
            raise ConfigError(f"seeds: {part.strip()!r} runs backwards", remedy=f"write {last}-{first}")
        if len(seeds) + last - first >= MAX_SEEDS:
            raise ConfigError(f"seeds: {text!r} names more than {MAX_SEEDS:,}", remedy="make them in several calls")
        seeds += range(first, last + 1)
    known: set[int] = set()
    for seed in seeds:
        if seed in known:
            raise ConfigError(f"seeds: {seed} is named twice in {text!r}", remedy="name every seed once")
        known.add(seed)
    return seeds


def _seed(text: str, whole: str) -> int:
    # isdecimal alone takes the digits of every script, and int() takes signs, spaces and underscores
    if not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"seeds: found {text!r} in {whole!r}, expected a whole number", remedy=_SEEDS_REMEDY)
    if len(text) > 19 or int(text) >= 2**63:
        raise ConfigError(f"seeds: {text[:24]} is too large, expected less than 2^63", remedy=_SEEDS_REMEDY)
    return int(text)


def parse_class(text: str, class_names: Sequence[str]) -> int:
    """The index of the class called `text`, or with that number. ConfigError names the classes there are."""
    if not class_names:
        raise ConfigError(f"class {text!r}: this model knows no classes", remedy="leave the class out")
    if text not in class_names and text in map(str, range(len(class_names))):
        return int(text)
    if text not in class_names:
        raise ConfigError(f"class {text!r} is not among the model's", remedy=f"give one of: {', '.join(class_names)}")
    return list(class_names).index(text)


def latents(seeds: Sequence[int], z_dim: int) -> Tensor:
    """z [N, z_dim], standard normal, each row from its own seed alone."""
    rows = [torch.randn(z_dim, generator=torch_generator(seed, "z")) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, z_dim)


def noise_maps(seeds: Sequence[int], shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """One standard normal map [N, 1, H, W] for each shape, each image's from its own seed alone."""
    sizes = [height * width for height, width in shapes]
    drawn = torch.stack([torch.randn(sum(sizes), generator=torch_generator(seed, "noise")) for seed in seeds])
    return [part.reshape(-1, 1, *shape) for part, shape in zip(torch.split(drawn, sizes, dim=1), shapes)]


def apportion(frequencies: Sequence[float], n: int) -> NDArray[np.int64]:
    """Labels int64 [n], ascending, in the frequencies' proportions to within one image (largest remainder)."""
    share = np.asarray(frequencies, dtype=np.float64)
    exact = share / share.sum() * n
    counts = np.floor(exact).astype(np.int64)
    for extra in np.argsort(counts - exact, kind="stable")[: n - int(counts.sum())]:
        counts[extra] += 1
    return np.repeat(np.arange(len(share)), counts)


def draw_labels(seeds: Sequence[int], meta: SnapshotMeta) -> list[int]:
    """A class for each seed, from the frequencies in the training data; NO_CLASS for a model without classes."""
    if not meta.class_names:
        return [NO_CLASS] * len(seeds)
    share = np.asarray(meta.class_frequencies, np.float64)
    return [int(numpy_generator(seed, "label").choice(len(share), p=share / share.sum())) for seed in seeds]


def sample(
    snapshot: Snapshot,
    seeds: Sequence[int],
    *,
    labels: Sequence[int] | NDArray[np.int64] | None = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    batch_size: int = 16,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> Iterator[Batch]:
    """Yield (seeds, labels, images) batch by batch: images uint8 or uint16 [N, C, H, W], as the training data's bits.

    labels : a class index for each seed; None draws them from the training frequencies (NO_CLASS without classes).
    psi : truncation towards the class's mean w, 1 = none. cutoff : truncate only this many first layers.
    noise : 'random' draws each image's maps from its seed, 'const' takes the net's own, 'none' leaves noise out.
    device : where to compute; the snapshot's generator is moved there. None leaves it where it is.

    A seed gives the same image in any batch, but for rounding in the last bit of the sums.
    Raises ConfigError, before any image is made, for arguments that do not fit the model.
    """
    generator = snapshot.generator
    kinds = _checked_labels(labels, seeds, snapshot.meta)
    _check_options(generator, psi=psi, cutoff=cutoff, noise=noise, batch_size=batch_size)
    if device is not None:
        generator.to(device)
    return sample_batches(
        generator,
        seeds,
        kinds,
        bits=snapshot.meta.bits,
        psi=psi,
        cutoff=cutoff,
        noise=noise,
        batch_size=batch_size,
        progress=progress,
    )


def sample_batches(
    generator: Generator,
    seeds: Sequence[int],
    labels: Sequence[int],
    *,
    bits: int,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Iterator[Batch]:
    """What `sample` yields, for a bare generator with a class index for each seed; nothing is checked."""
    for start in range(0, len(seeds), batch_size):
        some, kinds = list(seeds[start : start + batch_size]), list(labels[start : start + batch_size])
        yield some, kinds, to_integers(_images(generator, some, kinds, psi, cutoff, noise), bits)
        if progress:
            progress(start + len(some), len(seeds), "images")


@torch.inference_mode()  # not around the `yield`: the caller's own code must not run in this mode
def _images(
    generator: Generator, seeds: list[int], labels: list[int], psi: float, cutoff: int | None, noise: NoiseKind
) -> Tensor:
    device = next(generator.parameters()).device
    c = one_hot(labels, generator.spec.num_classes)  # [N, K] or None
    z = latents(seeds, generator.spec.z_dim).to(device)
    ws = generator.mapping(z, None if c is None else c.to(device), psi=psi, cutoff=cutoff)  # [N, num_ws, w_dim]
    maps: Noise = noise
    if noise == "random" and generator.synthesis.noise_shapes:
        maps = [part.to(device) for part in noise_maps(seeds, generator.synthesis.noise_shapes)]
    return generator.synthesis(ws, noise=maps)  # [N, C, H, W]


def _checked_labels(
    labels: Sequence[int] | NDArray[np.int64] | None, seeds: Sequence[int], meta: SnapshotMeta
) -> list[int]:
    if labels is None:
        return draw_labels(seeds, meta)
    if not meta.class_names:
        raise ConfigError("classes were given to a model that knows none", remedy="leave the class out")
    found = [int(label) for label in labels]
    if len(found) != len(seeds):
        raise ConfigError(f"labels: {len(found)} for {len(seeds)} seeds", remedy="give one class a seed")
    wrong = [label for label in found if not 0 <= label < len(meta.class_names)]
    if wrong:
        raise ConfigError(
            f"labels: class index {wrong[0]}, expected 0 to {len(meta.class_names) - 1}",
            remedy=f"the classes are, in order: {', '.join(meta.class_names)}",
        )
    return found


def _check_options(generator: Generator, *, psi: float, cutoff: int | None, noise: str, batch_size: int) -> None:
    if not math.isfinite(psi):
        raise ConfigError(f"psi: found {psi}, expected a finite number", remedy="give a psi from 0 to 1")
    if cutoff is not None and not 0 <= cutoff <= generator.num_ws:
        raise ConfigError(
            f"cutoff: found {cutoff}, expected 0 to {generator.num_ws}, the number of the model's styles",
            remedy="leave it out to truncate every layer",
        )
    if noise not in ("random", "const", "none"):
        raise ConfigError(f"noise: found {noise!r}", remedy="give random, const or none")
    if batch_size < 1:
        raise ConfigError(f"batch_size: found {batch_size}, expected 1 or more", remedy="give a larger batch size")
