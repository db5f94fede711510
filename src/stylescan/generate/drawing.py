"""Labelled tables of images on white, for papers: every pixel of an image becomes k x k equal pixels, k whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stylescan.errors import ConfigError
from stylescan.files import write_bytes_atomic
from stylescan.generate.file_formats import encode_png
from stylescan.generate.images import MAX_GRID_PIXELS, grid, refuse_existing

STAMP = "SYNTHETIC, not for diagnosis"
TILE_PX = 112  # images are enlarged to about this side
_INK, _SOFT, _GROUND = (17, 17, 17), (85, 85, 85), (255, 255, 255)
_MIN_TEXT_PX, _TEXT_SHARE, _MIN_WIDTH_PX = 13, 68, 440

Picture = NDArray[np.uint8]  # [H, W, 3]
Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Block:
    """Rows of images under a heading. rows: (label, images [H, W, 3]); None leaves a cell empty."""

    rows: Sequence[tuple[str, Sequence[Picture | None]]]
    heading: str = ""


@dataclass(frozen=True)
class Table:
    """What a figure shows. groups: (title, number of columns), set apart; columns: a label each, or none at all."""

    groups: Sequence[tuple[str, int]]
    blocks: Sequence[Block]
    columns: Sequence[str] = ()
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Drawn:
    """A figure: its pixels [H, W, 3], and where each image lies in it, row by row."""

    picture: Picture
    boxes: list[Box]


def as_tiles(images: NDArray[Any]) -> list[Picture]:
    """uint8 or uint16 [N, C, H, W] as pictures; one channel grey, three colour, other numbers side by side in grey."""
    eight = images if images.dtype == np.uint8 else (images >> 8).astype(np.uint8)
    if eight.shape[1] not in (1, 3):
        n, channels, height, width = eight.shape
        eight = eight.transpose(0, 2, 1, 3).reshape(n, 1, height, channels * width)
    colour = np.repeat(eight, 3, axis=1) if eight.shape[1] == 1 else eight
    return list(np.ascontiguousarray(colour.transpose(0, 2, 3, 1)))


def enlarged(tile: Picture, factor: int) -> Picture:
    """Every pixel repeated `factor` times both ways."""
    return tile.repeat(factor, axis=0).repeat(factor, axis=1)


def zoom_to(side: int, wanted: int) -> int:
    """The whole factor that brings `side` nearest to `wanted` pixels; 1 where it is larger already."""
    return max(1, round(wanted / side))


def require_room(images: int, height: int, width: int) -> None:
    """ConfigError where so many images of a size make a picture that no viewer shows."""
    factor = zoom_to(max(height, width), TILE_PX)
    room = MAX_GRID_PIXELS // (height * width * factor**2)
    if images > room:
        raise ConfigError(
            f"{images:,} images in one picture, expected at most {room:,}",
            remedy="Show fewer, or make several pictures.",
        )


def draw_table(table: Table) -> Drawn:
    """The table as one picture. Text that is too long for its place ends in an ellipsis; titles and captions wrap."""
    return _TableDrawer(table).draw()


def captioned(image: Picture, lines: Sequence[str]) -> Picture:
    """`image` above lines of text: a frame of an animation. Equal sizes and equally many lines give equal frames."""
    font = _font(max(_MIN_TEXT_PX, image.shape[1] // 36))
    step, margin = _line_height(font), _line_height(font) // 3
    foot = Image.new("RGB", (image.shape[1], step * len(lines) + 2 * margin), _GROUND)
    draw = ImageDraw.Draw(foot)
    for number, line in enumerate(lines):
        ink = _INK if number == 0 else _SOFT
        draw.text((margin, margin + number * step), fit(line, font, image.shape[1] - 2 * margin), ink, font)
    return np.concatenate([image, np.asarray(foot)])


def write_figure(path: Path, picture: Picture, text: Mapping[str, str], *, overwrite: bool = False) -> Path:
    """`picture` as a PNG with `text`; ConfigError where the file is there already and `overwrite` is off."""
    if not overwrite:
        refuse_existing([path])
    grey = bool((picture == picture[..., :1]).all())
    planes = picture.transpose(2, 0, 1)[: 1 if grey else 3]
    write_bytes_atomic(path, encode_png(planes, text))
    return path


def require_png(path: Path) -> None:
    """ConfigError unless `path` names a PNG."""
    if path.suffix.lower() != ".png":
        raise ConfigError(
            f"{path}: the picture is a PNG, found the ending {path.suffix!r}", remedy="Name a file that ends in .png."
        )


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=16)
def _font(size: int) -> Font:
    """DejaVu Sans, which Matplotlib ships: Pillow's own font has neither umlauts nor Greek."""
    from matplotlib import get_data_path

    try:
        return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
    except OSError:  # a distribution without the fonts
        return ImageFont.load_default(size)


def _line_height(font: Font) -> int:
    _, top, _, bottom = font.getbbox("Ágjy")
    return round((bottom - top) * 1.3)


def fit(text: str, font: Font, width: float) -> str:
    """`text`, or its beginning with an ellipsis where it is wider than `width` pixels."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, font: Font, width: float) -> list[str]:
    """`text` in lines no wider than `width` pixels, broken between words."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(fit(word, font, width))
    return lines


class _TableDrawer:
    """One table's measures, and the pen that goes down its page."""

    def __init__(self, table: Table) -> None:
        self.table = table
        shown = [tile for block in table.blocks for _, row in block.rows for tile in row if tile is not None]
        self.factors = {tile.shape: zoom_to(max(tile.shape[:2]), TILE_PX) for tile in shown}
        self.tile_h: int = max(shape[0] * factor for shape, factor in self.factors.items())
        self.tile_w: int = max(shape[1] * factor for shape, factor in self.factors.items())
        for shape in self.factors:  # a smaller image is enlarged to the size of the others
            self.factors[shape] = max(1, min(self.tile_h // shape[0], self.tile_w // shape[1]))
        self.gap: int = max(2, self.tile_w // 48)
        count = sum(number for _, number in table.groups)
        rough = count * (self.tile_w + self.gap)
        self.font = _font(max(_MIN_TEXT_PX, min(rough // _TEXT_SHARE, self.tile_w // 6)))
        self.line: int = _line_height(self.font)
        self.pad: int = self.line
        self.lefts = self._columns()
        self.width = max(self.lefts[-1] + self.tile_w + self.pad, _MIN_WIDTH_PX)
        self.y = self.pad
        self.boxes: list[Box] = []

    def _columns(self) -> list[int]:
        """The left edge of every column, behind the rows' labels."""
        labels = [part for block in self.table.blocks for label, _ in block.rows for part in label.split("\n")]
        widest = max((self.font.getlength(part) for part in labels), default=0)
        self.label_w = min(int(widest) + 1, max(2 * self.tile_w, 120)) if widest else 0
        x = self.pad + (self.label_w + self.line // 2 if widest else 0)
        lefts = []
        for _, number in self.table.groups:
            lefts += [x + k * (self.tile_w + self.gap) for k in range(number)]
            x = lefts[-1] + self.tile_w + self.line
        return lefts

    def draw(self) -> Drawn:
        sheet = Image.new("RGB", (self.width, self._height()), _GROUND)
        pen = ImageDraw.Draw(sheet)
        self._paragraph(pen, self.table.title, _INK)
        self._heads(pen)
        for block in self.table.blocks:
            if block.heading:
                self.y += self.line // 2
                self._paragraph(pen, block.heading, _INK)
            for label, row in block.rows:
                self._row(sheet, pen, label, row)
        self.y += self.line // 3
        self._paragraph(pen, self.table.caption, _SOFT)
        return Drawn(
            np.asarray(sheet.crop((0, 0, self.width, self.y - self.line // 3 + self.pad * 2 // 3))), self.boxes
        )

    def _height(self) -> int:
        """Room enough; what is left over is cut off."""
        rows = sum(len(block.rows) for block in self.table.blocks)
        words = [self.table.title, self.table.caption, *(block.heading for block in self.table.blocks)]
        lines = sum(len(self._wrapped(text)) + 1 for text in words) + 8 + self._column_lines()
        return rows * (self.tile_h + self.gap) + lines * self.line + 2 * self.pad

    def _wrapped(self, text: str) -> list[str]:
        return wrap(text, self.font, self.width - 2 * self.pad)

    def _column_lines(self) -> int:
        return max([label.count("\n") + 1 for label in self.table.columns if label], default=0)

    def _paragraph(self, pen: ImageDraw.ImageDraw, text: str, ink: tuple[int, int, int]) -> None:
        for line in self._wrapped(text):
            pen.text((self.pad, self.y), line, ink, self.font)
            self.y += self.line
        self.y += self.line // 3 if text else 0

    def _heads(self, pen: ImageDraw.ImageDraw) -> None:
        """The groups' titles, and below them the columns' labels, each over its middle."""
        start = 0
        for title, number in self.table.groups:
            left, right = self.lefts[start], self.lefts[start + number - 1] + self.tile_w
            pen.text(((left + right) / 2, self.y), fit(title, self.font, right - left), _INK, self.font, anchor="ma")
            start += number
        self.y += self.line if any(title for title, _ in self.table.groups) else 0
        for left, label in zip(self.lefts, self.table.columns):
            for number, part in enumerate(label.split("\n")):
                place = (left + self.tile_w / 2, self.y + number * self.line)
                pen.text(place, fit(part, self.font, self.tile_w), _SOFT, self.font, anchor="ma")
        self.y += self._column_lines() * self.line + self.line // 4

    def _row(self, sheet: Image.Image, pen: ImageDraw.ImageDraw, label: str, row: Sequence[Picture | None]) -> None:
        parts = label.split("\n") if label else []
        first = self.y + self.tile_h / 2 - (len(parts) - 1) * self.line / 2
        for number, part in enumerate(parts):
            place = (self.pad + self.label_w, first + number * self.line)
            pen.text(place, fit(part, self.font, self.label_w), _INK, self.font, anchor="rm")
        for left, tile in zip(self.lefts, row):
            if tile is not None:
                large = enlarged(tile, self.factors[tile.shape])
                x, y = left + (self.tile_w - large.shape[1]) // 2, self.y + (self.tile_h - large.shape[0]) // 2
                sheet.paste(Image.fromarray(large), (x, y))
                self.boxes.append((x, y, x + large.shape[1], y + large.shape[0]))
        self.y += self.tile_h + self.gap


def joined(tiles: Iterable[Picture], columns: int, *, gap: int = 2) -> Picture:
    """Tiles of one size in rows of `columns`, black between them and where the last row ends early."""
    sheet = grid(np.stack([tile.transpose(2, 0, 1) for tile in tiles]), columns, gap)
    return np.ascontiguousarray(sheet.transpose(1, 2, 0))
