"""A run's course in pictures, from its folder alone; with a second run, the two side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from stylescan import __version__
from stylescan.errors import ConfigError
from stylescan.files import write_bytes_atomic
from stylescan.generate.animation import check_fps, write_animation
from stylescan.generate.drawing import STAMP, Block, Picture, Table, captioned, draw_table, require_room, write_figure
from stylescan.generate.images import refuse_existing
from stylescan.train.run_charts import loss_chart, loss_shares, share_chart, terms_of, two_runs_chart
from stylescan.train.run_story import RunStory, common_positions, kimg, read_sheet, read_story, spread

Progress = Callable[[int, int, str], None]
MAX_ROWS, MAX_COLUMNS = 100, 32
MAX_FRAMES, MAX_FRAME_PX = 120, 1100  # an animation that a browser opens
_HOLD_S = 2.0  # the last frame stays, before the animation begins anew


@dataclass(frozen=True)
class PictureOptions:
    """rows: moments of the training; columns: images a side in each of them; fps: of the animations."""

    rows: int = 5
    columns: int = 4
    fps: float = 4.0


@dataclass
class _Plan:
    """Files by name, each with what writes it."""

    writers: dict[str, Callable[[Path], object]] = field(default_factory=dict)

    def run(self, out: Path, *, overwrite: bool, progress: Progress | None) -> list[Path]:
        files = [out / name for name in self.writers]
        if not overwrite:
            refuse_existing(files)
        for number, (file, write) in enumerate(zip(files, self.writers.values())):
            write(file)
            if progress:
                progress(number + 1, len(files), "pictures")
        return files


def write_run_pictures(
    run: Path,
    out: Path,
    *,
    other: Path | None = None,
    options: PictureOptions | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write all pictures that the folder `run` has material for into `out`; the files, in order.

    progress.webp and .gif; panels.png where there are real images; losses.png and loss_shares.png where the log holds
    losses; resolutions.png and resolution_R.png of growing runs; side_by_side.png and both_losses.png with `other`.

    Raises ConfigError or DataError, before anything is written, where a folder is no run or has no sample grids, a file
    is there already and `overwrite` is off, or the two runs have no moment in common.
    """
    chosen = options or PictureOptions()
    _check(chosen)
    story = read_story(run)
    plan = _Plan()
    for name in ("progress.webp", "progress.gif"):
        plan.writers[name] = lambda file: write_animation(
            file, progress_frames(story), fps=chosen.fps, hold_s=_HOLD_S, text=_text(story), overwrite=True
        )
    if story.reals is not None:
        _add_figure(plan, "panels.png", lambda: panels(story, chosen), story)
    if any(level.grids for level in story.levels):
        _add_figure(plan, "resolutions.png", lambda: resolutions(story, 2 * chosen.columns), story)
        for level in story.levels:
            if level.grids:
                _add_figure(plan, f"resolution_{level.resolution}.png", _level_grid(story, level.grids[-1]), story)
    if len(loss_shares(story.log)[0]):
        plan.writers["losses.png"] = lambda file: write_bytes_atomic(file, loss_chart(story.log, story.title))
        plan.writers["loss_shares.png"] = lambda file: write_bytes_atomic(file, share_chart(story.log, story.title))
    if other is not None:
        _add_pair(plan, story, read_story(other), chosen)
    return plan.run(out, overwrite=overwrite, progress=progress)


def _check(options: PictureOptions) -> None:
    check_fps(options.fps)
    for name, value, most in (("rows", options.rows, MAX_ROWS), ("columns", options.columns, MAX_COLUMNS)):
        if not 1 <= value <= most:
            raise ConfigError(f"{name}: found {value}, expected 1 to {most}", remedy=f"Leave --{name} out.")


def _add_figure(plan: _Plan, name: str, make: Callable[[], Picture], story: RunStory) -> None:
    plan.writers[name] = lambda file: write_figure(file, make(), _text(story), overwrite=True)


def _add_pair(plan: _Plan, story: RunStory, second: RunStory, options: PictureOptions) -> None:
    pairs = common_positions(list(story.grids), list(second.grids))
    if not pairs:
        raise ConfigError(
            f"{story.name} and {second.name}: no sample grids after equally many images in both",
            remedy="Train both for as long, with equal train.grid_kimg.",
        )
    _add_figure(plan, "side_by_side.png", lambda: side_by_side(story, second, pairs, options), story)
    logs = {_label(story, second): story.log, _label(second, story): second.log}
    if all(terms_of(log) for log in logs.values()):
        title = "Two runs. Different losses have different zeros and units: compare courses, not heights"
        plan.writers["both_losses.png"] = lambda file: write_bytes_atomic(file, two_runs_chart(logs, title))


def progress_frames(story: RunStory) -> Iterator[Picture]:
    """The sample grids in order, each with its kimg, and its resolution where the run grows; large ones are reduced."""
    for nimg in spread(list(story.grids), MAX_FRAMES):
        side, sheet = story.resolution_at(nimg), read_sheet(story.grids[nimg])
        factor = -(-sheet.shape[1] // MAX_FRAME_PX)
        if factor > 1:
            sheet = np.asarray(Image.fromarray(sheet).reduce(factor))
        yield captioned(sheet, [kimg(nimg) + (f", {side} px" if side else ""), f"{story.title}. {STAMP}"])


def panels(story: RunStory, options: PictureOptions) -> Picture:
    """Generated images at several moments, always of the same latents, and beside them real ones of the same classes."""
    assert story.reals is not None
    moments = spread(list(story.grids), options.rows)
    reals = story.tiles(story.reals)
    rows = []
    for number, nimg in enumerate(moments):
        fakes = pick(story.tiles(story.grids[nimg]), options.columns)
        rows.append((_moment(story, nimg), [*fakes, *pick(reals, len(fakes), shift=number)]))
    width = len(rows[0][1]) // 2
    caption = (
        f"{story.title}. Left: {STAMP}, the same latents in every row. Right: real training images, other ones in every "
        "row; share them only as the data allow."
    )
    return _drawn(Table([("generated", width), ("real", width)], [Block(rows)], (), "", caption))


def resolutions(story: RunStory, columns: int) -> Picture:
    """The first and the last grid of every resolution that a growing run has reached."""
    blocks = []
    for level in story.levels:
        ends = sorted({level.grids[0], level.grids[-1]}) if level.grids else []
        rows = [(kimg(nimg), pick(story.tiles(story.grids[nimg]), columns)) for nimg in ends]
        if rows:
            heading = f"{level.resolution} x {level.resolution} px, from {kimg(level.first_nimg)}"
            blocks.append(Block(rows, heading))
    count = max(len(row) for block in blocks for _, row in block.rows)
    caption = f"{story.title}. The first and the last sample grid of each resolution, enlarged. {STAMP}."
    return _drawn(Table([("", count)], blocks, (), "", caption))


def side_by_side(story: RunStory, other: RunStory, pairs: list[tuple[int, int]], options: PictureOptions) -> Picture:
    """Both runs' images at moments that both have; where these differ a little, the row names both."""
    rows = []
    for index in spread(list(range(len(pairs))), options.rows):
        here, there = pairs[index]
        left = pick(story.tiles(story.grids[here]), options.columns)
        right = pick(other.tiles(other.grids[there]), options.columns)
        label = kimg(here) if here == there else f"{here / 1000:g} and\n{kimg(there)}"
        rows.append((label, [*left, *right]))
        sides = len(left), len(right)
    groups = [(_label(story, other), sides[0]), (_label(other, story), sides[1])]
    caption = f"After equally many training images. Left: {story.title}. Right: {other.title}. {STAMP}."
    if story.config.data.content_hash != other.config.data.content_hash:
        caption += " The two were trained on different data."
    return _drawn(Table(groups, [Block(rows)], (), "", caption))


def pick(tiles: list[list[Picture]], count: int, *, shift: int = 0) -> list[Picture]:
    """`count` images of a grid, its rows (which hold a class each) in turn; `shift` moves on to images not yet shown."""
    rows, columns = len(tiles), len(tiles[0])
    count = min(count, rows * columns)
    step = -(-count // rows)
    return [tiles[k % rows][(k // rows + shift * step) % columns] for k in range(count)]


def _level_grid(story: RunStory, nimg: int) -> Callable[[], Picture]:
    def make() -> Picture:
        words = f"{story.resolution_at(nimg)} px, {kimg(nimg)}"
        return captioned(read_sheet(story.grids[nimg]), [words, f"{story.title}. {STAMP}"])

    return make


def _drawn(table: Table) -> Picture:
    shown = [tile for block in table.blocks for _, row in block.rows for tile in row if tile is not None]
    require_room(len(shown), *shown[0].shape[:2])
    return draw_table(table).picture


def _moment(story: RunStory, nimg: int) -> str:
    side = story.resolution_at(nimg)
    return kimg(nimg) + (f"\n{side} px" if side else "")


def _label(story: RunStory, other: RunStory) -> str:
    """What tells a run from the other: its name, or with equal names the family and loss."""
    return story.name if story.name != other.name else story.title


def _text(story: RunStory) -> Mapping[str, str]:
    return {"Title": f"{STAMP}: pictures of a training run", "Software": f"stylescan {__version__}", "run": story.title}
