"""What a run folder tells of its course: sample grids by position, levels of growing, losses and scores from the log."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stylescan.config import RunConfig, read_config
from stylescan.errors import ConfigError, DataError
from stylescan.generate.drawing import Picture
from stylescan.train.run_folder import RunFolder, read_log

_GRID = re.compile(r"fakes_(\d{1,15})\.png")
_GAP = 2  # of the grids that training writes
_NEAR = 0.05  # positions of two runs that differ by less than this share of the larger are the same moment


@dataclass(frozen=True)
class Level:
    """A stretch of a growing run at one resolution: images shown at its beginning, and the grids that belong to it."""

    resolution: int
    first_nimg: int
    grids: tuple[int, ...]


@dataclass(frozen=True)
class RunStory:
    """One run, read. grids: the sample grid at each position (images shown); log: the lines of log.jsonl."""

    name: str
    config: RunConfig
    grids: dict[int, Path]
    reals: Path | None
    log: list[dict[str, Any]]

    @property
    def title(self) -> str:
        """Name, family and loss, for captions."""
        return f"{self.name} ({self.config.model.family}, {self.config.objective.loss})"

    def tiles(self, grid: Path) -> list[list[Picture]]:
        """The images of a grid, row by row."""
        height, width = self._tile
        sheet = read_sheet(grid)
        return [
            [sheet[top : top + height, left : left + width] for left in range(0, sheet.shape[1], width + _GAP)]
            for top in range(0, sheet.shape[0], height + _GAP)
        ]

    def check_grids(self) -> None:
        """DataError for the first grid whose size is no grid's of this run, or not that of the others."""
        height, width = self._tile
        sizes = {file: _size(file) for file in (*self.grids.values(), *([self.reals] if self.reals else []))}
        expected = sizes[next(iter(self.grids.values()))]
        for file, size in sizes.items():
            columns, rest = divmod(size[0] + _GAP, width + _GAP)
            wrong = rest or (size[1] + _GAP) % (height + _GAP) or not 0 < columns <= self.config.train.grid_columns
            if wrong or (file != self.reals and size != expected):
                raise DataError(
                    f"{file}: {size[0]}x{size[1]} px, expected a grid of images of {width}x{height} px"
                    + ("" if wrong else f" of {expected[0]}x{expected[1]} px, like the others"),
                    remedy="Remove it: it is no sample grid of this run.",
                )

    @property
    def _tile(self) -> tuple[int, int]:
        """Height and width of an image in the grids: several channels stand side by side."""
        data = self.config.data
        return data.resolution, data.resolution * (1 if data.channels in (1, 3) else data.channels)

    @cached_property
    def levels(self) -> list[Level]:
        """The levels of a growing run in order; none of other runs.

        A grid made just as a level begins still shows the one before. What a roll-back repeats counts once, at its
        last beginning.
        """
        begins: dict[int, int] = {}
        for line in self.log:
            side, nimg = line.get("resolution"), line.get("nimg")
            if line.get("event") == "level" and type(side) is int and type(nimg) is int and side > 0:
                begins[side] = nimg
        if not begins:
            return []
        first = min(begins, key=lambda side: begins[side])
        if begins[first] > 0 and min(self.grids) < begins[first] and first > 4:
            begins[first // 2] = 0  # a log that begins with the first change
        order = sorted(begins.items(), key=lambda item: item[1])
        ends = [nimg for _, nimg in order[1:]] + [max([*self.grids, order[-1][1]])]
        return [
            Level(side, start, tuple(k for k in sorted(self.grids) if start < k <= end or k == start == 0))
            for (side, start), end in zip(order, ends)
        ]

    def resolution_at(self, nimg: int) -> int | None:
        """The resolution that the grid at `nimg` shows, None for runs that do not grow."""
        return next((level.resolution for level in self.levels if nimg in level.grids), None)


def read_story(path: Path) -> RunStory:
    """Read the run folder `path`; ConfigError where it is none or has no grids, DataError where one is damaged."""
    run = RunFolder(path)
    if not path.is_dir():
        raise ConfigError(f"{path}: {'a file' if path.exists() else 'no such folder'}, expected a run folder",
                          remedy="Give a folder made by `stylescan train`.")  # fmt: skip
    config = read_config(run.config)
    grids = {}
    if run.pictures.is_dir():
        for file in run.pictures.iterdir():
            found = _GRID.fullmatch(file.name)
            if found and file.is_file():
                grids[int(found[1])] = file
    if not grids:
        raise ConfigError(
            f"{run.pictures}: no sample grids (fakes_*.png) in it",
            remedy="Train on (--resume) until the first grid is written, or restore the run's pictures.",
        )
    reals = run.pictures / "reals.png"
    log = read_log(run.log) if run.log.is_file() else []
    story = RunStory(path.resolve().name, config, dict(sorted(grids.items())), reals if reals.is_file() else None, log)
    story.check_grids()
    return story


def read_sheet(path: Path) -> Picture:
    """A PNG as uint8 [H, W, 3]; DataError where it is not whole."""
    with _opened(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _size(path: Path) -> tuple[int, int]:
    with _opened(path) as picture:
        return picture.size


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The PNG in `path`; DataError naming it for anything that Pillow cannot read, now or while it is used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG"]) as picture:
                yield picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise DataError(f"{path}: not a whole PNG image ({problem})", remedy="Remove it: it is damaged.") from None


def spread(positions: list[int], count: int) -> list[int]:
    """At most `count` of `positions`, evenly spread, with the first and the last."""
    if len(positions) <= count:
        return positions
    return [positions[round(k)] for k in np.linspace(0, len(positions) - 1, count)] if count > 1 else positions[-1:]


def common_positions(a: list[int], b: list[int]) -> list[tuple[int, int]]:
    """Pairs of positions at which both runs have a grid: the same, or the nearest to each other within 5 %.

    Each is the other's nearest, so none is used twice; where two or more after the start are the same, these alone.
    """
    pairs = []
    for x in sorted(a):
        y = min(b, key=lambda k: (abs(k - x), k))
        back = min(a, key=lambda k: (abs(k - y), k))
        if back == x and abs(x - y) <= _NEAR * max(x, y):
            pairs.append((x, y))
    same = [pair for pair in pairs if pair[0] == pair[1]]
    return same if sum(x > 0 for x, _ in same) >= 2 else pairs


def kimg(nimg: int) -> str:
    """'26.4 kimg'."""
    return f"{nimg / 1000:g} kimg"
