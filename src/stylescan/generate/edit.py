"""Editing by style: images that take some layers' styles from one seed and the rest from another, and walks between.

A style-based generator reads one w a layer: those of low resolutions decide pose and large shapes, those of high ones
fine texture (Karras et al. 2019, section 3.1 and figure 3). Both verbs here work on the mapped styles `ws`, never on z;
but families without w are walked through z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylescan.data.tensors import to_integers
from stylescan.errors import ConfigError
from stylescan.generate.sample import Labels, NoiseKind, check_options, class_indices, latents, styles, synthesise
from stylescan.generate.snapshot import Snapshot
from stylescan.nets.growing import reached_by
from stylescan.nets.protocols import Generator, one_hot

Progress = Callable[[int, int, str], None]

# The bands of Karras et al. 2019, figure 3, as resolutions, both ends included.
BANDS = {"coarse": (4, 8), "middle": (16, 32), "fine": (64, 2**30)}


def style_resolutions(generator: Generator) -> list[int]:
    """The resolution that each of the `num_ws` styles steers, ascending. The last may be of the final image alone."""
    sides = [max(shape) for shape in generator.synthesis.noise_shapes][: generator.num_ws]
    if not sides:  # a style-based family with its noise switched off: two styles a resolution
        sides = [4 * 2 ** (position // 2) for position in range(generator.num_ws)] if generator.num_ws > 1 else []
    return sides + [generator.spec.resolution] * (generator.num_ws - len(sides))


def _sides_in_use(generator: Generator) -> list[int]:
    """`style_resolutions`; of a growing model as far as it has come, since what lies beyond has no effect yet."""
    reached, sides = reached_by(generator), style_resolutions(generator)
    return sides if reached is None else [side for side in sides if side <= reached.read().resolution]


def bands_of(generator: Generator) -> list[str]:
    """Those of BANDS that the model has, of a growing one as far as it has come."""
    sides = _sides_in_use(generator)
    return [name for name, (low, high) in BANDS.items() if any(low <= side <= high for side in sides)]


def style_layers(generator: Generator, layers: str | Iterable[int]) -> list[int]:
    """Positions of the styles that `layers` names, ascending.

    layers : positions from 0 to num_ws - 1, or a text: 'coarse' (4 and 8 pixels), 'middle' (16 and 32), 'fine' (64 and
        up), a resolution or a range of them such as '4-16', or several of these with commas between.

    Raises ConfigError where it names nothing in this model, or the model has no styles by layer.
    """
    require_styles(generator, "layers")
    sides = _sides_in_use(generator)
    if not isinstance(layers, str):
        return _checked_positions(layers, generator.num_ws)
    chosen: set[int] = set()
    for part in layers.split(","):
        low, high = _band(part.strip(), layers)
        found = [position for position, side in enumerate(sides) if low <= side <= high]
        if not found:
            raise ConfigError(
                f"layers: {part.strip()!r} names no layer of a model of {sides[-1]} px",
                remedy=f"its resolutions are {', '.join(str(side) for side in sorted(set(sides)))}",
            )
        chosen.update(found)
    return sorted(chosen)


def require_styles(generator: Generator, what: str) -> None:
    """ConfigError, with `what` was asked for, where the family has no styles by layer."""
    if generator.num_ws < 2:
        raise ConfigError(
            f"{what}: a model of family {generator.spec.family} has no styles by layer: it reads its latent z once",
            remedy="take a model of a style-based family, such as stylegan2",
        )


def _band(text: str, whole: str) -> tuple[int, int]:
    if text in BANDS:
        return BANDS[text]
    low, dash, high = (piece.strip() for piece in text.partition("-"))
    ends = [low, high] if dash else [low, low]
    if not all(end.isascii() and end.isdecimal() and len(end) < 6 for end in ends):
        raise ConfigError(
            f"layers: found {text!r} in {whole!r}",
            remedy=f"give one of {', '.join(BANDS)}, or resolutions such as 4-16",
        )
    return int(ends[0]), int(ends[1])


def _checked_positions(layers: Iterable[int], num_ws: int) -> list[int]:
    chosen = sorted({int(position) for position in layers})
    if not chosen or chosen[0] < 0 or chosen[-1] >= num_ws:
        raise ConfigError(
            f"layers: found {chosen}, expected positions from 0 to {num_ws - 1}",
            remedy="give at least one, or a word such as 'coarse'",
        )
    return chosen


@torch.no_grad()  # not inference mode: the caller may change the styles
def map_styles(
    snapshot: Snapshot, seeds: Sequence[int], labels: Sequence[int], *, psi: float = 1.0, cutoff: int | None = None
) -> Tensor:
    """ws [N, num_ws, w_dim] of `seeds`, each of its class, on the generator's device; a tensor of the caller's own."""
    return styles(snapshot.generator, seeds, labels, psi=psi, cutoff=cutoff).clone()


def mix_styles(
    snapshot: Snapshot,
    rows: Sequence[int],
    columns: Sequence[int],
    *,
    layers: str | Sequence[int] = "coarse",
    row_labels: Labels = None,
    column_labels: Labels = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    batch_size: int = 16,
    progress: Progress | None = None,
) -> NDArray[Any]:
    """Every row's image with `layers` of every column's style: uint8 or uint16 [rows, columns, C, R, R].

    Parameters
    ----------
    snapshot
        The generator, from `load_snapshot`; it must be style-based.
    rows
        Seeds whose styles fill all other layers, and whose noise the images keep.
    columns
        Seeds whose styles fill `layers`.
    layers
        `coarse` (4 and 8 pixels), `middle` (16 and 32), `fine` (64 and up), resolutions such as `4-16`, several of
        these with commas, or positions from 0 to num_ws - 1.
    row_labels, column_labels
        A class for all seeds or one each, by name or index; drawn in the training data's shares if left out.
    psi, cutoff, noise, batch_size, progress
        As in `sample_images`.

    Raises
    ------
    ConfigError
        Before any image is made, where an argument does not fit the model.

    Notes
    -----
    Style mixing: Karras et al. 2019, "A Style-Based Generator Architecture for GANs", section 3.1.

    Example
    -------
    >>> images = mix_styles(snapshot, rows=[0, 1], columns=[10, 11, 12], layers="4-8")
    >>> images.shape
    (2, 3, 1, 16, 16)
    """
    generator = snapshot.generator
    chosen = style_layers(generator, layers)
    check_options(generator, psi=psi, cutoff=cutoff, noise=noise, batch_size=batch_size)
    if not len(rows) or not len(columns):
        raise ConfigError(
            f"style mixing: found {len(rows)} rows and {len(columns)} columns", remedy="give at least one seed of each"
        )
    of_rows = class_indices(row_labels, rows, snapshot.meta)
    of_columns = class_indices(column_labels, columns, snapshot.meta)
    base = map_styles(snapshot, rows, of_rows, psi=psi, cutoff=cutoff)  # [R, num_ws, w_dim]
    source = map_styles(snapshot, columns, of_columns, psi=psi, cutoff=cutoff)  # [K, num_ws, w_dim]
    ws = base[:, None].repeat(1, len(columns), 1, 1)  # [R, K, num_ws, w_dim]
    ws[:, :, chosen] = source[None, :, chosen]
    kept = [seed for seed in rows for _ in columns]
    images = _synthesise(snapshot, ws.flatten(0, 1), kept, noise, batch_size, progress)
    return images.reshape(len(rows), len(columns), *images.shape[1:])


def interpolate_styles(
    snapshot: Snapshot,
    seeds: Sequence[int],
    *,
    steps: int = 8,
    loop: bool = False,
    labels: Labels = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    batch_size: int = 16,
    progress: Progress | None = None,
) -> NDArray[Any]:
    """A walk from seed to seed: uint8 or uint16 [(len(seeds) - 1) * steps + 1, C, R, R], or [len(seeds) * steps, ...].

    It runs straight in w; where a family has no w, along the arc between the two z, since standard normal vectors lie
    near a sphere, on whose chords the generator was never trained (White 2016). Images 0, steps, 2 * steps ... are just
    those of the seeds. The noise is the first seed's throughout, so that nothing flickers.

    Parameters
    ----------
    snapshot
        The generator, from `load_snapshot`.
    seeds
        At least two stations.
    steps
        Images from one station to the next.
    loop
        Walk on from the last station to the first, whose image is not repeated: shown again and again, it is seamless.
    labels
        A class for all stations or one each, by name or index. With one seed twice and two classes, the walk shows
        what the model holds for the difference between the classes.
    psi, cutoff, noise, batch_size, progress
        As in `sample_images`.

    Raises
    ------
    ConfigError
        Before any image is made, where an argument does not fit the model.

    Example
    -------
    >>> walk = interpolate_styles(snapshot, [3, 3], steps=4, labels=["kind 0", "kind 1"])
    >>> walk.shape
    (5, 1, 16, 16)
    """
    generator = snapshot.generator
    check_options(generator, psi=psi, cutoff=cutoff, noise=noise, batch_size=batch_size)
    if len(seeds) < 2 or steps < 1:
        raise ConfigError(
            f"interpolation: found {len(seeds)} seeds and {steps} steps, expected at least 2 and 1",
            remedy="name at least two seeds",
        )
    kinds = class_indices(labels, seeds, snapshot.meta)
    if loop:
        seeds, kinds = [*seeds, seeds[0]], [*kinds, kinds[0]]
    way = _w_walk if generator.num_ws > 1 else _z_walk
    ws = way(snapshot, seeds, kinds, steps, psi, cutoff)
    if loop:
        ws = ws[:-1]
    return _synthesise(snapshot, ws, [seeds[0]] * len(ws), noise, batch_size, progress)


def _w_walk(
    snapshot: Snapshot, seeds: Sequence[int], kinds: Sequence[int], steps: int, psi: float, cutoff: int | None
) -> Tensor:
    """ws [(len(seeds) - 1) * steps + 1, num_ws, w_dim] on straight lines between the seeds' own."""
    stations = map_styles(snapshot, seeds, kinds, psi=psi, cutoff=cutoff)  # [N, num_ws, w_dim]
    shares = torch.arange(steps, device=stations.device)[:, None, None] / steps
    parts = [torch.lerp(a[None], b[None], shares.to(a)) for a, b in pairwise(stations)]
    return torch.cat([*parts, stations[-1:]])


@torch.no_grad()
def _z_walk(
    snapshot: Snapshot, seeds: Sequence[int], kinds: Sequence[int], steps: int, psi: float, cutoff: int | None
) -> Tensor:
    """The same for families without w: arcs between the seeds' z, and straight lines between the one-hot classes."""
    generator = snapshot.generator
    device = next(generator.parameters()).device
    z = latents(seeds, generator.spec.z_dim)  # [N, z_dim]
    shares = torch.arange(steps) / steps
    arcs = torch.cat([*(slerp(a, b, shares) for a, b in pairwise(z)), z[-1:]]).to(device)
    c = one_hot(kinds, generator.spec.num_classes)  # [N, K] or None
    if c is not None:
        parts = [torch.lerp(a[None], b[None], shares[:, None]) for a, b in pairwise(c)]
        c = torch.cat([*parts, c[-1:]]).to(device)
    return generator.mapping(arcs, c, psi=psi, cutoff=cutoff)


def slerp(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    """Spherical interpolation from a [D] to b [D] at shares [S]: [S, D] (Shoemake 1985, the formula of section 3.3).

    Straight where the two point the same way or opposite ways, between which no arc is the shortest.
    """
    cosine = torch.dot(a, b) / (a.norm() * b.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    t = shares.to(a)[:, None]
    if torch.sin(angle) < 1e-4:
        return torch.lerp(a[None], b[None], t)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


@torch.inference_mode()
def _synthesise(
    snapshot: Snapshot,
    ws: Tensor,
    noise_seeds: Sequence[int],
    noise: NoiseKind,
    batch_size: int,
    progress: Progress | None,
) -> NDArray[Any]:
    """Integers [N, C, R, R] of ws [N, num_ws, w_dim], each with the noise of its seed."""
    made = []
    for start in range(0, len(ws), batch_size):
        some, seeds = ws[start : start + batch_size], noise_seeds[start : start + batch_size]
        made.append(to_integers(synthesise(snapshot.generator, some, seeds, noise), snapshot.meta.bits))
        if progress:
            progress(start + len(some), len(ws), "images")
    return np.concatenate(made)
