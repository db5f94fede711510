"""A reader pack of a folder of drawn shapes, and answers to it by readers of known skill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stylescan.data.prepared import PreparedDataset
from stylescan.evaluate.readers.pack import ReaderPack, make_pack
from stylescan.evaluate.readers.records import Key, KeyImage, load_key


@pytest.fixture
def folder(tmp_path: Path, more_shapes: Callable[[int], tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> Path:
    """60 images of another generator, in one folder a class."""
    images, labels = more_shapes(60)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "images" / ("disc", "square")[label] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)
    return tmp_path / "images"


@pytest.fixture
def pack(tmp_path: Path, folder: Path, shapes: PreparedDataset) -> ReaderPack:
    """40 images, three readers."""
    return make_pack(folder, shapes, tmp_path / "pack", count=40, readers=3, seed=4)


@pytest.fixture
def key(pack: ReaderPack) -> Key:
    return load_key(pack.folder)


Writer = Callable[..., Path]


def answer_writer(folder: Path, key: Key) -> Writer:
    """(reader number, level_of) -> an answers file; `level_of` maps a KeyImage to a level, or None to leave it out."""

    def write(number: int, level_of: Callable[[Any], int | None], /, **changes: Any) -> Path:
        record: dict[str, Any] = {
            "schema_version": 1,
            "kind": "stylescan reader answers",
            "pack": key.pack,
            "reader": number,
            "answers": [
                {"id": image.id, "level": level, "seconds": 2.0}
                for image in key.images
                if (level := level_of(image)) is not None
            ],
        }
        path = folder / f"answers-{number}.json"
        path.write_text(json.dumps(record | changes))
        return path

    return write


@pytest.fixture
def answer_file(tmp_path: Path, key: Key) -> Writer:
    """Writes answers to the pack."""
    return answer_writer(tmp_path, key)


@pytest.fixture
def bare_key() -> Key:
    """A key of 40 images and three readers without a pack."""
    images = [
        KeyImage(
            id=f"{i:08x}",
            sha256="0" * 64,
            origin="real" if i < 20 else "generated",
            class_name=None,
            subject=f"s{i}" if i < 20 else None,
            position=i,
        )
        for i in range(40)
    ]
    return Key(
        pack="0" * 16, seed=0, readers=3, target={}, content_hash="", preparation_hash="", notes=[], images=images
    )


@pytest.fixture
def bare_file(tmp_path: Path, bare_key: Key) -> Writer:
    """Writes answers to the bare key."""
    return answer_writer(tmp_path, bare_key)


@pytest.fixture
def oracle() -> Callable[[Any], int]:
    """A reader who knows."""
    return lambda image: 6 if image.origin == "real" else 1
