"""Editing by style: images that take some layers' styles from one seed and the rest from another, and walks between.

A style-based generator reads one w a layer: those of low resolutions decide pose and large shapes, those of high ones
fine texture (Karras et al. 2019, section 3.1 and figure 3). Both verbs here work on the mapped styles `ws`, never on z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylescan.data.prepared import to_integers
from stylescan.errors import ConfigError
from stylescan.generate.sample import Labels, NoiseKind, check_options, class_indices, styles, synthesise
from stylescan.generate.snapshot import Snapshot
from stylescan.nets.protocols import Generator

Progress = Callable[[int, int, str], None]

# The bands of Karras et al. 2019, figure 3, as resolutions, both ends included.
BANDS = {"coarse": (4, 8), "middle": (16, 32), "fine": (64, 2**30)}


def style_resolutions(generator: Generator) -> list[int]:
    """The resolution that each of the `num_ws` styles steers, ascending. The last may be of the final image alone."""
    sides = [max(shape) for shape in generator.synthesis.noise_shapes][: generator.num_ws]
    return sides + [generator.spec.resolution] * (generator.num_ws - len(sides))


def style_layers(generator: Generator, layers: str | Iterable[int]) -> list[int]:
    """Positions of the styles that `layers` names, ascending.

    layers : positions from 0 to num_ws - 1, or a text: 'coarse' (4 and 8 pixels), 'middle' (16 and 32), 'fine' (64 and
        up), a resolution or a range of them such as '4-16', or several of these with commas between.

    Raises ConfigError where it names nothing in this model, or the model has no styles by layer.
    """
    sides = style_resolutions(generator)
    if generator.num_ws < 2:
        raise ConfigError(
            f"layers: a model of family {generator.spec.family} has no styles by layer",
            remedy="mix with a style-based model",
        )
    if not isinstance(layers, str):
        return _checked_positions(layers, generator.num_ws)
    chosen: set[int] = set()
    for part in layers.split(","):
        low, high = _band(part.strip(), layers)
        found = [position for position, side in enumerate(sides) if low <= side <= high]
        if not found:
            raise ConfigError(
                f"layers: {part.strip()!r} names no layer of a model of {generator.spec.resolution} px",
                remedy=f"its resolutions are {', '.join(str(side) for side in sorted(set(sides)))}",
            )
        chosen.update(found)
    return sorted(chosen)


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
    labels: Labels = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    batch_size: int = 16,
    progress: Progress | None = None,
) -> NDArray[Any]:
    """A straight walk in w from seed to seed: uint8 or uint16 [(len(seeds) - 1) * steps + 1, C, R, R].

    Images 0, steps, 2 * steps ... have just the styles of the seeds. The noise is the first seed's throughout, so that
    nothing flickers.

    Parameters
    ----------
    snapshot
        The generator, from `load_snapshot`.
    seeds
        At least two stations; name the first again at the end for a loop.
    steps
        Images from one station to the next.
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
    stations = map_styles(snapshot, seeds, kinds, psi=psi, cutoff=cutoff)  # [N, num_ws, w_dim]
    shares = torch.arange(steps, device=stations.device)[:, None, None] / steps
    parts = [torch.lerp(a[None], b[None], shares.to(a)) for a, b in pairwise(stations)]
    ws = torch.cat([*parts, stations[-1:]])
    return _synthesise(snapshot, ws, [seeds[0]] * len(ws), noise, batch_size, progress)


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
