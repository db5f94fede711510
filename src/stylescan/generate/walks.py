"""Walks through the latent space as strips and animations: several at once, in a loop, from class to class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stylescan.errors import ConfigError
from stylescan.generate.animation import write_animation
from stylescan.generate.drawing import (
    STAMP,
    Block,
    Box,
    Picture,
    Table,
    as_tiles,
    captioned,
    draw_table,
    enlarged,
    joined,
    require_room,
    write_figure,
    zoom_to,
)
from stylescan.generate.edit import interpolate_styles
from stylescan.generate.figures import settings_words
from stylescan.generate.images import provenance, unpadded
from stylescan.generate.sample import NO_CLASS, NoiseKind, class_indices, parse_class
from stylescan.generate.snapshot import Snapshot

Progress = Callable[[int, int, str], None]
STRIP_STEPS, ANIMATION_STEPS = 8, 24
MAX_PIXELS = 2**28  # of all frames together: about a gigabyte while they are written
FRAME_PX = 288  # a frame of an animation is enlarged to about this width


@dataclass(frozen=True)
class WalkOptions:
    """How walks are made and shown. steps: images from station to station; others as in `interpolate_styles`."""

    steps: int = STRIP_STEPS
    loop: bool = False
    fps: float = 24.0
    psi: float = 1.0
    cutoff: int | None = None
    noise: NoiseKind = "const"
    unpad: bool = True
    batch_size: int = 16


@dataclass(frozen=True)
class Plan:
    """The stations of one walk: seeds, and the class index of each (NO_CLASS without classes)."""

    seeds: list[int]
    kinds: list[int]


def plan_walks(
    snapshot: Snapshot, seeds: Sequence[int], *, rows: int = 1, label: str | None = None, to_label: str | None = None
) -> list[Plan]:
    """Deal `seeds` out to `rows` walks; with `to_label`, each seed walks by itself from class `label` to that class.

    Raises ConfigError where they cannot be dealt out, a walk has one station, or the model has not these classes.
    """
    if to_label is not None:
        names = snapshot.meta.class_names
        ends = [parse_class(label, names) if label is not None else None, parse_class(to_label, names)]
        if ends[0] is None or ends[0] == ends[1]:
            raise ConfigError(
                f"to-class {to_label!r}: the walk starts at {'no class' if ends[0] is None else 'the same class'}",
                remedy=f"name another class to start from, with --class: {', '.join(names)}",
            )
        if rows not in (1, len(seeds)):
            raise ConfigError(
                f"rows: found {rows}, but each of {len(seeds)} seeds walks from class to class by itself",
                remedy="leave --rows out",
            )
        return [Plan([seed, seed], class_indices([ends[0], to_label], [seed, seed], snapshot.meta)) for seed in seeds]
    if rows < 1 or len(seeds) % rows or len(seeds) // rows < 2:
        raise ConfigError(
            f"{len(seeds)} seeds for {rows} walks, expected equally many for each and at least 2",
            remedy=f"give for instance --seeds 0-{3 * max(rows, 1) - 1} for {max(rows, 1)} walks",
        )
    each = len(seeds) // rows
    kinds = class_indices(label, seeds, snapshot.meta)
    return [Plan(list(seeds[k : k + each]), kinds[k : k + each]) for k in range(0, len(seeds), each)]


def write_walks(
    snapshot: Snapshot,
    path: Path,
    plans: Sequence[Plan],
    options: WalkOptions,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make the walks and write them as what `path` ends in: .png a strip, otherwise an animation.

    Raises ConfigError, before any image is made, for what does not fit the model or is too long.
    """
    strip = path.suffix.lower() == ".png"
    legs = len(plans[0].seeds) - (0 if options.loop else 1)
    frames = legs * options.steps + (0 if options.loop else 1)
    side = snapshot.generator.spec.resolution
    if strip:
        require_room(len(plans) * legs * (options.steps + 1), side, side)
    elif frames > _most_frames(len(plans), side):
        raise ConfigError(
            f"{frames:,} frames, expected at most {_most_frames(len(plans), side):,} of this size",
            remedy="take fewer seeds, --steps or --rows",
        )
    walks = [_made(snapshot, plan, options, k, len(plans), progress) for k, plan in enumerate(plans)]
    text = provenance(
        snapshot, seeds=[seed for plan in plans for seed in plan.seeds], labels=[k for plan in plans for k in plan.kinds],
        psi=options.psi, cutoff=options.cutoff, noise=options.noise,
    )  # fmt: skip
    text["interpolation"] = "straight in w" if snapshot.generator.num_ws > 1 else "arcs in z"
    if not strip:
        return write_animation(path, walk_frames(walks), fps=options.fps, text=text, overwrite=overwrite)
    way = "Straight walks in w." if snapshot.generator.num_ws > 1 else "Walks along arcs in z (this family has no w)."
    caption = f"{way} {settings_words(snapshot, options.psi, options.cutoff, options.noise)}"
    picture, _ = walk_strip(walks, f"Interpolation. {STAMP}", caption)
    return write_figure(path, picture, text, overwrite=overwrite)


def _most_frames(walks: int, side: int) -> int:
    columns = _columns(walks)
    shown = side * zoom_to(side * columns, FRAME_PX)
    return MAX_PIXELS // (columns**2 * shown**2)


def _columns(walks: int) -> int:
    """Of the grid in which walks are shown at once, nearly square."""
    return math.ceil(math.sqrt(walks))


def _made(
    snapshot: Snapshot, plan: Plan, options: WalkOptions, number: int, total: int, progress: Progress | None
) -> Walk:
    """One walk's images and the names of its stations."""

    def report(done: int, count: int, what: str) -> None:
        if progress:
            progress(number * count + done, total * count, "images")

    images = interpolate_styles(
        snapshot, plan.seeds, steps=options.steps, loop=options.loop,
        labels=None if NO_CLASS in plan.kinds else plan.kinds, psi=options.psi, cutoff=options.cutoff,
        noise=options.noise, batch_size=options.batch_size, progress=report,
    )  # fmt: skip
    names = ["" if kind == NO_CLASS else snapshot.meta.class_names[kind] for kind in plan.kinds]
    shown = unpadded(images, snapshot) if options.unpad else images
    return Walk(shown, list(zip(plan.seeds, names)), options.steps, options.loop)


@dataclass(frozen=True)
class Walk:
    """One walk: images [F, C, H, W]; (seed, class name or '') of each station; images from one to the next."""

    images: NDArray[Any]
    stations: Sequence[tuple[int, str]]
    steps: int
    loop: bool = False

    @property
    def segments(self) -> list[tuple[tuple[int, str], tuple[int, str]]]:
        """From which station to which."""
        ends = [*self.stations[1:], self.stations[0]] if self.loop else self.stations[1:]
        return list(zip(self.stations, ends))

    def words(self, frame: int) -> tuple[str, str, str]:
        """What frame number `frame` shows: seeds, classes, and how far it is from one station to the next."""
        leg, step = divmod(frame, self.steps)
        if leg == len(self.segments):
            return *_words(self.stations[-1], self.stations[-1]), "0 %"
        return *_words(*self.segments[leg]), f"{step / self.steps:.0%}".replace("%", " %")


def _words(start: tuple[int, str], end: tuple[int, str]) -> tuple[str, str]:
    """'seed 3 → 7' and 'control → atrophy', shorter where the two are the same."""
    seeds = f"seed {start[0]}" if start[0] == end[0] else f"seed {start[0]} → {end[0]}"
    return seeds, start[1] if start[1] == end[1] else f"{start[1]} → {end[1]}"


def walk_strip(walks: Sequence[Walk], title: str, caption: str) -> tuple[Picture, list[Box]]:
    """Walks as a strip: a row for each stretch from station to station, both ends included."""
    steps = walks[0].steps
    blocks = []
    for walk in walks:
        tiles = as_tiles(walk.images)
        rows = []
        for number, ends in enumerate(walk.segments):
            places = range(number * steps, (number + 1) * steps + 1)
            rows.append(("\n".join(filter(None, _words(*ends))), [tiles[place % len(tiles)] for place in places]))
        blocks.append(Block(rows))
    shares = [str(Fraction(k, steps)) for k in range(steps + 1)]
    drawn = draw_table(Table([("", steps + 1)], blocks, shares, title, caption))
    return drawn.picture, drawn.boxes


def walk_frames(walks: Sequence[Walk]) -> Iterator[Picture]:
    """The frames of an animation: all walks at once in a grid, with words below."""
    columns = _columns(len(walks))
    factor = zoom_to(walks[0].images.shape[3] * columns, FRAME_PX)
    tiles = [as_tiles(walk.images) for walk in walks]
    for number in range(len(walks[0].images)):
        sheet = joined([enlarged(each[number], factor) for each in tiles], columns)
        seeds, _, share = walks[0].words(number)
        kinds = {walk.words(number)[1] for walk in walks}
        lines = [f"{seeds if len(walks) == 1 else f'{len(walks)} walks'}, {share}"]
        if any(name for walk in walks for _, name in walk.stations):
            lines.append(kinds.pop() if len(kinds) == 1 else "several classes")
        yield captioned(sheet, [*lines, STAMP])
