"""One picture that shows a prepared set at a glance: rows by class, columns spread over subjects and splits."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stylescan.data.prepared import SPLITS, UNITS, PreparedDataset
from stylescan.files import write_bytes_atomic
from stylescan.randomness import numpy_generator

SHEET_NAME = "contact_sheet.png"
_TILE, _GAP, _MARGIN, _HEAD, _CAPTION = 112, 6, 18, 50, 16
_COLUMNS, _MOST_ROWS = 12, 12
_PAPER, _INK, _SOFT = (250, 250, 248), (30, 32, 36), (120, 124, 130)
_SPLIT_INK = {"train": (74, 96, 132), "select": (176, 124, 32), "holdout": (160, 52, 60)}


def write_contact_sheet(dataset: PreparedDataset, path: Path) -> None:
    """A PNG of up to 12 x 12 images with the class beside each row and split and subject below each image."""
    rows = _rows(dataset)
    label_width = max(_width(name, 13) for name, _ in rows) + 14 if dataset.class_names else 0
    left = _MARGIN + label_width
    width = left + _COLUMNS * (_TILE + _GAP) - _GAP + _MARGIN
    height = _HEAD + len(rows) * (_TILE + _CAPTION + _GAP) + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _heading(draw, dataset, width)
    for row, (name, indices) in enumerate(rows):
        top = _HEAD + row * (_TILE + _CAPTION + _GAP)
        if label_width and (row == 0 or rows[row - 1][0] != name):
            draw.text((_MARGIN, top + _TILE // 2), name, _INK, _font(13), anchor="lm")
        for column, index in enumerate(indices):
            x = left + column * (_TILE + _GAP)
            sheet.paste(_tile(dataset.read([index])[0]), (x, top))
            _caption(draw, dataset, index, x, top + _TILE)
    stream = io.BytesIO()
    sheet.save(stream, "PNG", compress_level=4)
    write_bytes_atomic(path, stream.getvalue())


def _rows(dataset: PreparedDataset) -> list[tuple[str, list[int]]]:
    """(class, indices) for each row; without classes, or with few, several rows show one class."""
    classes = list(range(dataset.num_classes)) or [-1]
    rows_each = max(1, 4 // len(classes))
    rows: list[tuple[str, list[int]]] = []
    for label in classes[:_MOST_ROWS]:
        members = np.flatnonzero(dataset.labels == label) if dataset.num_classes else np.arange(len(dataset))
        chosen = _spread(dataset, members, rows_each * _COLUMNS)
        name = dataset.class_names[label] if dataset.num_classes else ""
        rows += [(name, chosen[i : i + _COLUMNS]) for i in range(0, len(chosen), _COLUMNS)]
    return rows or [("", [0])]


def _spread(dataset: PreparedDataset, members: NDArray[np.int64], count: int) -> list[int]:
    """Up to `count` of `members`: subjects in turn, splits in proportion, at least one of each; train first."""
    generator = numpy_generator(0, "contact sheet")
    order = generator.permutation(members)
    # The k-th image of its subject comes after every subject's (k-1)-th.
    turns: dict[str, int] = {}
    turn = []
    for index in order:
        subject = str(dataset.subjects[index])
        turns[subject] = turns.get(subject, -1) + 1
        turn.append(turns[subject])
    order = order[np.argsort(turn, kind="stable")]
    by_split = {split: [int(i) for i in order if dataset.manifest.images[int(i)].split == split] for split in SPLITS}
    # Smaller splits first, so that each shows at least one image; train takes the room that is left.
    chosen: dict[str, list[int]] = {}
    for split in reversed(SPLITS):
        room = count - sum(len(indices) for indices in chosen.values())
        quota = room if split == "train" else max(1, round(count * len(by_split[split]) / max(1, len(order))))
        chosen[split] = by_split[split][:quota]
    return [index for split in SPLITS for index in chosen[split]]


def _tile(image: NDArray[np.generic]) -> Image.Image:
    """[C, R, R] integers as an RGB tile; small images are enlarged without smoothing, so that pixels stay visible."""
    grey = image if image.dtype == np.uint8 else (np.asarray(image, np.uint16) // 257).astype(np.uint8)
    if len(grey) not in (1, 3):
        grey = grey[:1]
    pixels = np.moveaxis(np.repeat(grey, 3, axis=0) if len(grey) == 1 else grey, 0, -1)
    picture = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8))
    small = picture.width < _TILE
    if small:
        factor = _TILE // picture.width
        picture = picture.resize((picture.width * factor,) * 2, Image.Resampling.NEAREST)
    return picture.resize((_TILE, _TILE), Image.Resampling.BICUBIC if small else Image.Resampling.LANCZOS)


def _heading(draw: ImageDraw.ImageDraw, dataset: PreparedDataset, width: int) -> None:
    counts = {split: len(dataset.indices(split)) for split in SPLITS}
    unit = UNITS[dataset.manifest.claim]
    title = f"{len(dataset)} images of {len(set(dataset.subjects.tolist()))} {unit}"
    size = f"{dataset.resolution} x {dataset.resolution}, {dataset.bits} bits"
    plane = f", {dataset.manifest.plane}" if dataset.manifest.plane else ""
    draw.text((_MARGIN, 18), title + ", " + size + plane, _INK, _font(15), anchor="lm")
    x = _MARGIN
    for split in SPLITS:
        text = f"{split} {counts[split]}"
        draw.rectangle((x, 34, x + 9, 43), _SPLIT_INK[split])
        draw.text((x + 14, 39), text, _SOFT, _font(11), anchor="lm")
        x += 14 + _width(text, 11) + 18


def _caption(draw: ImageDraw.ImageDraw, dataset: PreparedDataset, index: int, x: int, y: int) -> None:
    record = dataset.manifest.images[index]
    draw.rectangle((x, y, x + _TILE - 1, y + 2), _SPLIT_INK[record.split])
    text = record.subject + (f"  {record.side}" if record.side else "")
    text += f"  #{record.slice}" if record.slice is not None else ""
    while _width(text, 9) > _TILE:
        text = text[:-2] + "…"
    draw.text((x, y + 9), text, _SOFT, _font(9), anchor="lm")


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _width(text: str, size: int) -> int:
    return int(np.ceil(_font(size).getlength(text)))
