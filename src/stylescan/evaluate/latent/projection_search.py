"""The search behind `project`: from a good start down to the styles whose image is nearest, in whitened coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from numpy.typing import NDArray
from torch import Tensor

from stylescan.data.tensors import to_unit_range
from stylescan.evaluate.latent.perceptual import FeatureMaps, map_distance, pyramid, pyramid_distance, unit_maps
from stylescan.evaluate.latent.w_space import SAMPLES, WSpace, sample_w
from stylescan.generate.snapshot import Snapshot
from stylescan.randomness import torch_generator

NOISE: Final = "const"
_POOL = 512
_SHORTLIST = 8
_PAIRS = 32
_AT_A_TIME = 16  # images without gradients: bounds memory
_RATE = 0.2
_WARM_UP, _RAMP_DOWN = 0.05, 0.5  # shares of the steps
_SHAKE, _SHAKE_UNTIL = 0.05, 0.5  # standard deviation of the noise on u at first; share of the steps it lasts
_WALL, _PULL = 1.0, 0.03


@dataclass(frozen=True)
class Goal:
    """Images to come near to, as the distance sees them."""

    pixels: list[Tensor]
    maps: list[Tensor]

    def row(self, i: int) -> Goal:
        return Goal([x[i : i + 1] for x in self.pixels], [x[i : i + 1] for x in self.maps])


class Search:
    """The generator, its w, a pool of its images, and the distance that is made small."""

    def __init__(self, snapshot: Snapshot, feature_maps: FeatureMaps, steps: int, seed: int) -> None:
        self._snapshot = snapshot
        self._generator = snapshot.generator
        self._device = next(snapshot.generator.parameters()).device
        self._feature_maps = feature_maps
        self._steps = steps
        self._seed = seed
        w = sample_w(snapshot, SAMPLES, seed)
        self.space = WSpace.of(w)
        self._edge = self.space.edge
        self._pool = self.space.encode(w[:_POOL])  # [p, k]
        images = self.images(self._pool[:, None])
        self._pool_pixels = pyramid(images)
        self._guess = _LinearGuess(images, self._pool)
        pairs = self.goal_of(images[: 2 * _PAIRS])
        halves = [Goal([x[k::2] for x in pairs.pixels], [x[k::2] for x in pairs.maps]) for k in range(2)]
        # Both terms in units of what separates two random images of this generator, so that none drowns the other.
        self._pixel_unit = _positive_median(pyramid_distance(halves[0].pixels, halves[1].pixels))
        self._map_unit = _positive_median(map_distance(halves[0].maps, halves[1].maps))

    def goal(self, images: NDArray[Any]) -> Goal:
        """`images` as integers [b, C, R, R]."""
        return self.goal_of(to_unit_range(images).to(self._device))

    @torch.no_grad()
    def goal_of(self, images: Tensor) -> Goal:
        parts = [unit_maps(self._feature_maps, part) for part in torch.split(images, _AT_A_TIME)]
        return Goal(pyramid(images), [torch.cat(maps) for maps in zip(*parts, strict=True)])

    @torch.no_grad()
    def start(self, goal: Goal) -> Tensor:
        """The u [b, k] whose image is nearest by the whole distance: of the pool's nearest by pixels, and the guess."""
        chosen = []
        for i in range(len(goal.pixels[0])):
            one = goal.row(i)
            short = torch.argsort(pyramid_distance(self._pool_pixels, one.pixels), stable=True)[:_SHORTLIST]
            guess = self._guess(one.pixels[0])  # [1, k]
            guess = guess * (self._edge / self.space.remoteness(guess)).clamp(max=1).sqrt()[:, None]
            candidates = torch.cat([self._pool[short], guess])
            images = torch.cat([self._pool_pixels[0][short], self.images(guess[:, None])])
            chosen.append(candidates[self._distance(images, one).argmin()])
        return torch.stack(chosen)

    def descend(self, goal: Goal, start: Tensor, tick: Callable[[int], None]) -> Tensor:
        """The best u [b, layers, k] met on the way down from `start`; layers is 1 or num_ws."""
        u = start.clone().requires_grad_(True)
        adam = torch.optim.Adam([u], lr=_RATE, betas=(0.9, 0.999))
        best, lowest = start.clone(), torch.full((len(start),), math.inf, device=self._device)
        for step in range(self._steps + 1):
            t = step / self._steps
            shake = _SHAKE * max(0.0, 1 - t / _SHAKE_UNTIL) ** 2 if start.shape[1] == 1 else 0.0
            tried = u + shake * self._noise(step, u.shape[-1]) if shake else u
            loss = self._distance(self._images_with_gradient(tried), goal) + self._outside(u)  # [b]
            if not shake:
                better = loss.detach() < lowest
                lowest = torch.where(better, loss.detach(), lowest)
                best = torch.where(better[:, None, None], u.detach(), best)
            if step < self._steps:
                adam.param_groups[0]["lr"] = _RATE * _ramp(t)
                adam.zero_grad()
                loss.sum().backward()  # type: ignore[no-untyped-call]
                adam.step()
                tick(step + 1)
        return best

    def _distance(self, images: Tensor, goal: Goal) -> Tensor:
        pixels = pyramid_distance(pyramid(images), goal.pixels) / self._pixel_unit
        return pixels + map_distance(unit_maps(self._feature_maps, images), goal.maps) / self._map_unit

    def _outside(self, u: Tensor) -> Tensor:
        """What w pay for lying far out: steeply beyond 95 % of the generator's w, hardly anything within. [b]

        The faint pull decides where the image does not: along directions that it hardly shows.
        """
        far = self.space.remoteness(u)  # [b, layers]
        return (_WALL * (far / self._edge - 1).clamp(min=0).square() + _PULL * far).mean(dim=1)

    def _noise(self, step: int, dimension: int) -> Tensor:
        # The same for all images: an image's neighbours in the batch, or its place there, must not matter.
        drawn = torch.randn(dimension, generator=torch_generator(self._seed, "projection_noise", step))
        return drawn.to(self._device)

    def _images_with_gradient(self, u: Tensor) -> Tensor:
        ws = self.space.decode(u)
        return self._generator.synthesis(ws.expand(-1, self._generator.num_ws, -1), noise=NOISE)

    @torch.no_grad()
    def images(self, u: Tensor) -> Tensor:
        return torch.cat([self._images_with_gradient(part) for part in torch.split(u, _AT_A_TIME)])


class _LinearGuess:
    """Ridge regression of u on shrunken images, learnt from generated ones: often a better start than any of them."""

    _SIDE, _RIDGE = 16, 1.0

    def __init__(self, images: Tensor, u: Tensor) -> None:
        x = self._shrunken(images)
        self._mean = x.mean(dim=0)
        x = x - self._mean
        self._u_mean = u.mean(dim=0)
        # Through the products of images, which are fewer than their pixels; in double precision for one answer anywhere.
        products = x.double() @ x.double().T
        ridge = self._RIDGE * torch.eye(len(x)).to(products)
        solved = torch.linalg.solve(products + ridge, (u - self._u_mean).double())
        self._weights: Tensor = (x.double().T @ solved).to(u)

    def __call__(self, images: Tensor) -> Tensor:
        """u [n, k] of images [n, C, R, R]."""
        return self._u_mean + (self._shrunken(images) - self._mean) @ self._weights

    def _shrunken(self, images: Tensor) -> Tensor:
        shrunken: Tensor = torch.nn.functional.adaptive_avg_pool2d(images, self._SIDE)
        return shrunken.flatten(1)


def _ramp(t: float) -> float:
    """Learning rate at the share t of the steps: a warm-up, then a plateau, then down along a cosine."""
    down = min(1.0, (1 - t) / _RAMP_DOWN)
    return min(1.0, (t + 0.01) / _WARM_UP) * (0.5 - 0.5 * math.cos(math.pi * down))


def _positive_median(values: Tensor) -> float:
    middle = float(values.median()) if len(values) else 0.0
    return middle if middle > 1e-6 else 1.0
