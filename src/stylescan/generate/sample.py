"""From seeds to images: a seed names one image, whatever else is in its batch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylescan.data.tensors import to_integers
from stylescan.errors import ConfigError
from stylescan.generate.compiled import compile_synthesis
from stylescan.generate.frozen import frozen
from stylescan.generate.reached import stage_at
from stylescan.generate.snapshot import Snapshot, SnapshotMeta
from stylescan.nets.protocols import Generator, Noise, Stage, one_hot
from stylescan.randomness import numpy_generator, torch_generator

NoiseKind = Literal["random", "const", "none"]
Progress = Callable[[int, int, str], None]
Batch = tuple[list[int], list[int], NDArray[Any]]
Labels = str | int | Sequence[str | int] | NDArray[np.int64] | None
"""One class for all images or one each, by name or index; None draws them from the training frequencies."""

NO_CLASS = -1
MAX_SEEDS = 1_000_000
_BATCH_PIXELS, _BATCH_LEAST, _BATCH_MOST = 2**20, 4, 32
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


def sample_images(
    snapshot: Snapshot,
    seeds: Sequence[int],
    *,
    labels: Labels = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    resolution: int | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> NDArray[Any]:
    """Synthetic images of `seeds`, all at once: uint8 or uint16 [N, C, R, R], as the training data's bits.

    A seed always gives the same image, in whatever batch and beside whatever other seeds.

    Parameters
    ----------
    snapshot
        The generator, from `load_snapshot`.
    seeds
        Whole numbers from 0 up, one an image.
    labels
        A class for all images or one each, by name or index; drawn in the training data's shares if left out.
    psi
        Truncation towards the class's mean style: 1 = none, smaller is more typical and less varied.
    cutoff
        Truncate only so many first styles.
    noise
        Per-layer noise: `random` for each seed, `const` for the model's own maps, or `none`.
    resolution
        Of models that grow: the images as they are at this resolution, up to the one they were trained to.
    batch_size
        Images at a time, chosen from their size if left out; decides memory and speed, not the result.
    progress
        Called with (images done, images, what).

    Raises
    ------
    ConfigError
        Before any image is made, where an argument does not fit the model.

    Example
    -------
    >>> images = sample_images(snapshot, range(3), labels="kind 1", psi=0.7)
    >>> images.shape, images.dtype.name
    ((3, 1, 16, 16), 'uint8')
    """
    batches = sample(
        snapshot,
        seeds,
        labels=labels,
        psi=psi,
        cutoff=cutoff,
        noise=noise,
        resolution=resolution,
        batch_size=batch_size,
        progress=progress,
    )
    made = [images for _, _, images in batches]
    spec = snapshot.generator.spec
    side = resolution or spec.resolution
    empty = np.empty((0, spec.img_channels, side, side), f"uint{snapshot.meta.bits}")
    return np.concatenate([empty, *made])


def sample(
    snapshot: Snapshot,
    seeds: Sequence[int],
    *,
    labels: Labels = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    resolution: int | None = None,
    batch_size: int | None = None,
    device: torch.device | None = None,
    compiled: bool = False,
    warn: Callable[[str], None] = warnings.warn,
    progress: Progress | None = None,
) -> Iterator[Batch]:
    """Yield (seeds, labels, images) batch by batch: images uint8 or uint16 [N, C, H, W], as the training data's bits.

    labels : a class for all or one each, by name or index; None draws them (NO_CLASS for a model without classes).
    psi : truncation towards the class's mean w, 1 = none. cutoff : truncate only this many first layers.
    noise : 'random' draws each image's maps from its seed, 'const' takes the net's own, 'none' leaves noise out.
    resolution : of growing families, a resolution that they have reached; None for the full one, enlarged to it.
    batch_size : images at a time, None for `batch_for` their size.
    device : where to compute; the snapshot's generator is moved there. None leaves it where it is.
    compiled : torch.compile at the first batch; pays from tens of thousands of images on. `warn` is told where it fails.

    The images are those of a `frozen` copy, made here and now: later changes of the generator do not reach them.
    A seed gives the same image in any batch, but for rounding in the last bit of the sums.
    Raises ConfigError, before any image is made, for arguments that do not fit the model.
    """
    generator = snapshot.generator
    kinds = class_indices(labels, seeds, snapshot.meta)
    size = batch_for(resolution or generator.spec.resolution) if batch_size is None else batch_size
    check_options(generator, psi=psi, cutoff=cutoff, noise=noise, batch_size=size)
    stage = None if resolution is None else stage_at(generator, resolution)
    if device is not None:
        generator.to(device)
    ready = frozen(generator)
    return sample_batches(
        compile_synthesis(ready, warn) if compiled else ready,
        seeds,
        kinds,
        bits=snapshot.meta.bits,
        psi=psi,
        cutoff=cutoff,
        noise=noise,
        stage=stage,
        batch_size=min(size, max(len(seeds), 1)),
        one_shape=compiled,
        progress=progress,
    )


def batch_for(resolution: int) -> int:
    """Images of `resolution` pixels a side to make at a time: 32 up to 128 px, then fewer, at least 4.

    Measured on a CPU: small batches cost up to four times as much an image, more than these gain little.
    """
    return min(_BATCH_MOST, max(_BATCH_LEAST, _BATCH_PIXELS // resolution**2))


def sample_batches(
    generator: Generator,
    seeds: Sequence[int],
    labels: Sequence[int],
    *,
    bits: int,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    stage: Stage | None = None,
    batch_size: int = 16,
    one_shape: bool = False,
    progress: Progress | None = None,
) -> Iterator[Batch]:
    """What `sample` yields, for a bare generator with a class index for each seed; nothing is checked.

    one_shape : fill up the last batch with images that are thrown away, so that all have one shape.
    """
    for start in range(0, len(seeds), batch_size):
        some, kinds = list(seeds[start : start + batch_size]), list(labels[start : start + batch_size])
        more = batch_size - len(some) if one_shape else 0
        made = _images(generator, some + some[-1:] * more, kinds + kinds[-1:] * more, psi, cutoff, noise, stage)
        yield some, kinds, to_integers(made[: len(some)], bits)
        if progress:
            progress(start + len(some), len(seeds), "images")


@torch.inference_mode()  # not around the `yield`: the caller's own code must not run in this mode
def _images(
    generator: Generator,
    seeds: list[int],
    labels: list[int],
    psi: float,
    cutoff: int | None,
    noise: NoiseKind,
    stage: Stage | None,
) -> Tensor:
    return synthesise(generator, styles(generator, seeds, labels, psi=psi, cutoff=cutoff), seeds, noise, stage)


def styles(
    generator: Generator, seeds: Sequence[int], labels: Sequence[int], *, psi: float, cutoff: int | None
) -> Tensor:
    """ws [N, num_ws, w_dim] of `seeds`, each of its class, on the generator's device."""
    device = next(generator.parameters()).device
    c = one_hot(labels, generator.spec.num_classes)  # [N, K] or None
    z = latents(seeds, generator.spec.z_dim).to(device)
    return generator.mapping(z, None if c is None else c.to(device), psi=psi, cutoff=cutoff)


def synthesise(
    generator: Generator, ws: Tensor, seeds: Sequence[int], noise: NoiseKind, stage: Stage | None = None
) -> Tensor:
    """Images [N, C, H, W] of ws [N, num_ws, w_dim]; random noise is that of each image's seed.

    stage : of growing families alone; their images have its resolution.
    """
    maps: Noise = noise
    if noise == "random" and generator.synthesis.noise_shapes:
        maps = [part.to(ws.device) for part in noise_maps(seeds, generator.synthesis.noise_shapes)]
    if stage is None:
        return generator.synthesis(ws, noise=maps)
    return generator.synthesis(ws, noise=maps, stage=stage)


def class_indices(labels: Labels, seeds: Sequence[int], meta: SnapshotMeta) -> list[int]:
    """A class index for each seed; ConfigError where the model does not know a class, or the counts differ."""
    if labels is None:
        return draw_labels(seeds, meta)
    if not meta.class_names:
        raise ConfigError("classes were given to a model that knows none", remedy="leave the class out")
    each = [labels] * len(seeds) if isinstance(labels, str | int) else list(labels)
    found = [parse_class(label, meta.class_names) if isinstance(label, str) else int(label) for label in each]
    if len(found) != len(seeds):
        raise ConfigError(f"labels: {len(found)} for {len(seeds)} seeds", remedy="give one class a seed")
    wrong = [label for label in found if not 0 <= label < len(meta.class_names)]
    if wrong:
        raise ConfigError(
            f"labels: class index {wrong[0]}, expected 0 to {len(meta.class_names) - 1}",
            remedy=f"the classes are, in order: {', '.join(meta.class_names)}",
        )
    unseen = [label for label in found if meta.class_frequencies[label] == 0]
    if unseen:
        seen = [name for name, share in zip(meta.class_names, meta.class_frequencies) if share > 0]
        raise ConfigError(
            f"class {meta.class_names[unseen[0]]!r}: no training image had it, so the model cannot know it",
            remedy=f"give one of: {', '.join(seen)}",
        )
    return found


def check_options(generator: Generator, *, psi: float, cutoff: int | None, noise: str, batch_size: int) -> None:
    """ConfigError naming the first option of sampling that does not fit the model."""
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
