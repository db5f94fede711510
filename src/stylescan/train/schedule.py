"""What changes in the course of a run, as a function of the images shown: levels of growing, and the burn-in.

All of it is fixed before step 0 by the configuration and the run's length; a resumed run reads it off its position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

from stylescan.config import GrowthConfig, RunConfig
from stylescan.errors import ConfigError
from stylescan.nets.build import family_of
from stylescan.nets.protocols import Stage


@dataclass(frozen=True)
class Level:
    """A stretch of a run in which the size of the images, the batch and the learning rate are the same.

    depth: of the stage, None for nets that do not grow; first: images shown before it; fade: images over which its
    resolution fades in, 0 = at once; lr: before the lazy correction.
    """

    depth: int | None
    first: int
    fade: float
    batch: int
    lr: float

    def stage(self, nimg: int) -> Stage | None:
        """The stage of the batch that follows `nimg` images."""
        if self.depth is None:
            return None
        return Stage(self.depth, min((nimg - self.first) / self.fade, 1.0) if self.fade else 1.0)


def plan_levels(config: RunConfig) -> tuple[Level, ...]:
    """The run's levels in order; each ends on a whole batch. ConfigError where the configuration does not allow them."""
    train, growth = config.train, config.growth
    grows = family_of(config.model.family).grows
    _check_family(config, grows)
    last = int(math.log2(config.data.resolution)) - 2
    if growth.start is None:
        total = train.total_kimg * 1000
        depth = last if grows != "no" else None
        return (Level(depth, 0, growth.fade * total, train.batch, train.lr),)
    depths = range(_first_depth(growth.start, config.data.resolution), last + 1)
    batches = _each("batch", growth.batch or [train.batch] * len(depths), len(depths))
    lrs = _each("lr", growth.lr or [train.lr] * len(depths), len(depths))
    lengths = _each("images", growth.images or [1.0] * len(depths), len(depths))
    ends = [train.total_kimg * 1000 * share / sum(lengths) for share in accumulate(lengths)]
    firsts = [0]
    for end, batch in zip(ends[:-1], batches):
        steps = max(math.ceil(round((end - firsts[-1]) / batch, 6)), 1)
        firsts.append(firsts[-1] + steps * int(batch))
    if firsts[-1] >= train.total_kimg * 1000:
        raise ConfigError(
            f"{train.total_kimg:g} kimg are too few for {len(depths)} levels of growing: the last one would begin at "
            f"{firsts[-1] / 1000:g} kimg",
            remedy="Train longer (--kimg), set smaller growth.batch, or a larger growth.start.",
        )
    stops = [*firsts[1:], math.ceil(train.total_kimg * 1000)]
    fades = [0.0] + [growth.fade * (stop - first) for first, stop in list(zip(firsts, stops))[1:]]
    return tuple(
        Level(depth, first, fade, int(batch), lr)
        for depth, first, fade, batch, lr in zip(depths, firsts, fades, batches, lrs)
    )


def level_at(levels: tuple[Level, ...], nimg: int) -> Level:
    """The level of the batch that follows `nimg` images."""
    return next(level for level in reversed(levels) if level.first <= nimg)


def shares(levels: tuple[Level, ...], total_nimg: int) -> list[float]:
    """The share of the run's images that each level takes."""
    stops = [*(level.first for level in levels[1:]), total_nimg]
    return [(stop - level.first) / total_nimg for level, stop in zip(levels, stops)]


def burned_in(config: RunConfig, nimg: int) -> float:
    """How far the burn-in has come at `nimg`: from 0 to 1 along half a cosine."""
    images = config.burn_in.share * config.train.total_kimg * 1000
    return 1.0 if nimg >= images else (1 - math.cos(math.pi * nimg / images)) / 2


def between(start: float, end: float, share: float) -> float:
    """`start` at 0, `end` at 1."""
    return end if share >= 1 else start + (end - start) * share


def _check_family(config: RunConfig, grows: str) -> None:
    family, growth = config.model.family, config.growth
    if grows == "no" and growth != GrowthConfig():
        raise ConfigError(
            f"growth: a model of family {family} does not grow",
            remedy="Leave the growth section out, or take the family stylegan (--preset akoa-stylegan).",
        )
    if grows == "fade" and growth.start is not None:
        raise ConfigError(
            f"growth.start: a model of family {family} fades its last resolution in (growth.fade), it does not grow",
            remedy="Leave growth.start out.",
        )
    if grows == "fade" and growth.fade > 0 and not config.spec.fades:
        raise ConfigError(
            f"growth.fade {growth.fade:g}: only the nets of model.generator=skip and model.discriminator=residual fade in",
            remedy="Set growth.fade=0 with plain nets.",
        )


def _first_depth(start: int, resolution: int) -> int:
    known = [2**k for k in range(2, int(math.log2(resolution)) + 1)]
    if start not in known:
        raise ConfigError(
            f"growth.start: found {start}, expected one of {', '.join(map(str, known))}",
            remedy="Give a resolution up to that of the images.",
        )
    return known.index(start)


def _each(name: str, values: tuple[float, ...] | list[float] | list[int] | tuple[int, ...], levels: int) -> list[float]:
    if len(values) != levels or not all(value > 0 for value in values):
        raise ConfigError(
            f"growth.{name}: found {list(values)}, expected {levels} numbers above 0, one a level of growing",
            remedy="Give one number a resolution, from growth.start to the images' size, or leave it out.",
        )
    return list(values)
