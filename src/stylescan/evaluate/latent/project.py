"""Projection: the styles with which a generator comes nearest to given images.

By optimisation, after Karras et al. 2020 ("Analyzing and Improving the Image Quality of StyleGAN", appendix D), with
these differences. The search runs in whitened coordinates of w (`w_space`), with a wall where 95 % of the generator's
own w end. It starts at the best of a pool of generated images, or of a guess learnt from them, instead of the mean.
The distance adds pixels, over a pyramid, to feature maps. The noise inputs are the network's constant maps and stay as
they are: noise that fits the image could draw what the styles cannot.

Nothing here sees an image's class: pool, mean and directions are of all classes in the training frequencies, so that a
w found here says of the class only what the image shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylescan.data.tensors import to_integers
from stylescan.errors import ConfigError
from stylescan.evaluate.latent.perceptual import FeatureMaps, lite0_feature_maps, map_distance
from stylescan.evaluate.latent.projection_search import Search
from stylescan.generate.snapshot import Snapshot

Space = Literal["w", "w+"]
Progress = Callable[[int, int, str], None]

STEPS = 80
BATCH = 4


@dataclass(frozen=True)
class Projection:
    """What `project` found, an image a row.

    ws : [n, num_ws, w_dim]; in W all rows of an image are alike.
    images : the generator's images of ws, at the snapshot's depth, uint8 or uint16 [n, C, R, R].
    perceptual : [n] distance of `images` to the given ones by feature maps, from 0; see `perceptual`.
    rmse : [n] root mean squared difference of the pixels, as a share of the full scale.
    share_farther : [n] share of the generator's own w that lie farther out than the image's outermost style. Near 0:
        the styles are at the edge of what the generator was trained on.
    """

    space: Space
    ws: NDArray[np.float32]
    images: NDArray[Any]
    perceptual: NDArray[np.float32]
    rmse: NDArray[np.float32]
    share_farther: NDArray[np.float32]


def project(
    snapshot: Snapshot,
    images: NDArray[Any],
    *,
    space: Space = "w",
    steps: int = STEPS,
    seed: int = 0,
    batch_size: int = BATCH,
    perceptual: FeatureMaps | None = None,
    progress: Progress | None = None,
) -> Projection:
    """Find the styles whose images come nearest to `images`; synthesis noise is the network's constant maps.

    Each image's result depends on that image, the snapshot, `steps` and `seed` alone, but for rounding.

    Parameters
    ----------
    snapshot : the generator; it stays as it is.
    images : uint8 or uint16 [n, C, R, R] at the snapshot's size, full integer range = the data's intensity window.
    space : `w`, one style for all layers, as in training; `w+`, a style of its own a layer, starting from the solution
        in W after as many steps again. W+ comes nearer to any image, also to such as the generator cannot make.
    steps : of the optimisation in each space.
    seed : decides the pool of starts and the noise of the search.
    batch_size : images at a time; decides memory and speed.
    perceptual : feature maps to compare in; those of the default extractor if left out.
    progress : called with (steps done, steps in all, what), a step counted for each image.

    Raises ConfigError for images or options that do not fit the model, and for W+ where it has no styles by layer.
    """
    found = project_spaces(
        snapshot,
        images,
        [space],
        steps=steps,
        seed=seed,
        batch_size=batch_size,
        perceptual=perceptual,
        progress=progress,
    )
    return found[space]


def project_spaces(
    snapshot: Snapshot,
    images: NDArray[Any],
    spaces: Sequence[Space],
    *,
    steps: int = STEPS,
    seed: int = 0,
    batch_size: int = BATCH,
    perceptual: FeatureMaps | None = None,
    progress: Progress | None = None,
) -> dict[Space, Projection]:
    """What `project` finds for each of `spaces`, without searching W twice; arguments as there."""
    _check(snapshot, images, spaces, steps, batch_size)
    search = Search(snapshot, perceptual or lite0_feature_maps(), steps, seed)
    rounds = 2 if "w+" in spaces else 1
    total = rounds * steps * len(images)
    made: dict[Space, list[Tensor]] = {space: [] for space in spaces}
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        before = rounds * steps * start

        def tick(done: int, size: int = len(batch), before: int = before) -> None:
            if progress is not None:
                progress(before + done * size, total, "projection")

        goal = search.goal(batch)
        u = search.descend(goal, search.start(goal)[:, None], tick)  # [b, 1, k]
        if "w" in made:
            made["w"].append(u)
        if "w+" in made:
            wide = u.repeat(1, snapshot.generator.num_ws, 1)
            made["w+"].append(search.descend(goal, wide, lambda done: tick(steps + done)))
    return {
        space: _projection(search, snapshot, space, images, torch.cat(parts), batch_size)
        for space, parts in made.items()
    }


def refuse_w_plus(snapshot: Snapshot) -> str | None:
    """Why the model has no W+, in words; None where it has one."""
    if snapshot.generator.num_ws > 1:
        return None
    return f"a model of family {snapshot.meta.family} has one style for the whole image, none by layer: W+ would be W"


def _check(snapshot: Snapshot, images: NDArray[Any], spaces: Sequence[Space], steps: int, batch_size: int) -> None:
    spec = snapshot.generator.spec
    expected = (spec.img_channels, spec.resolution, spec.resolution)
    if images.ndim != 4 or images.shape[1:] != expected or images.dtype != f"uint{snapshot.meta.bits}":
        raise ConfigError(
            f"images to project: found {images.dtype} of shape {images.shape}, expected uint{snapshot.meta.bits} of "
            f"shape (n, {', '.join(map(str, expected))})",
            remedy="Take images of data prepared as the model's training data was.",
        )
    if not len(images):
        raise ConfigError("images to project: none", remedy="Give at least one image.")
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise ConfigError(f"{name}: found {value}, expected 1 or more", remedy="Give a larger number.")
    for space in spaces:
        if space not in ("w", "w+"):
            raise ConfigError(f"space: found {space!r}", remedy="Give w or w+.")
    reason = refuse_w_plus(snapshot)
    if "w+" in spaces and reason is not None:
        raise ConfigError(f"space w+: {reason}", remedy="Project into w.")


@torch.no_grad()
def _projection(
    search: Search, snapshot: Snapshot, space: Space, images: NDArray[Any], u: Tensor, batch_size: int
) -> Projection:
    """The projection of `images` found at u [n, 1 or num_ws, k]; distances are of the images as integers."""
    bits, num_ws = snapshot.meta.bits, snapshot.generator.num_ws
    made = np.concatenate([to_integers(search.images(part), bits) for part in torch.split(u, batch_size)])
    distances = []
    for start in range(0, len(images), batch_size):
        pair = [search.goal(some[start : start + batch_size]).maps for some in (images, made)]
        distances.append(map_distance(*pair).cpu())
    difference = (made.astype(np.float64) - images) / np.iinfo(images.dtype).max
    # Spread over the layers after decoding: rounding must not tell the rows of W apart.
    ws = search.space.decode(u).expand(-1, num_ws, -1)
    return Projection(
        space=space,
        ws=np.ascontiguousarray(ws.cpu().numpy()),
        images=made,
        perceptual=torch.cat(distances).numpy(),
        rmse=np.sqrt(np.square(difference).mean(axis=(1, 2, 3))).astype(np.float32),
        share_farther=search.space.share_farther(u).min(dim=1).values.float().cpu().numpy(),
    )
