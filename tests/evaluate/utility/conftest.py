"""Discs and squares by subject, written as a prepared dataset, and folders of generated ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from stylescan.data.geometry import Geometry
from stylescan.data.prepared import ImageRecord, IntensityRecord, Manifest, PreparedDataset, ShardRecord
from stylescan.evaluate.material import Material, gather
from stylescan.evaluate.targets import open_target
from stylescan.evaluate.utility.classifier import Recipe
from stylescan.evaluate.words import number, ratio
from stylescan.files import file_sha256, write_json_atomic

NAMES = ("disc", "square", "ring")
PX = 16
QUICK = Recipe(steps=36, batch=16, learning_rate=4e-3, checks=3)


def draw(labels: NDArray[np.int64], seed: int, px: int = PX, channels: int = 1, bits: int = 8) -> NDArray[Any]:
    """Discs (0), squares (1) and rings (2) of random size, place and brightness, uint8 or uint16 [n, C, px, px]."""
    rng = np.random.default_rng(seed)
    axis = (np.arange(px) - px / 2 + 0.5) * (16 / px)
    out = np.empty((len(labels), channels, px, px), np.float64)
    for i, label in enumerate(labels):
        size, level = rng.uniform(4, 6), rng.uniform(150, 220)
        y, x = np.abs(axis[:, None] - rng.uniform(-1, 1)), np.abs(axis[None, :] - rng.uniform(-1, 1))
        far = np.hypot(x, y)
        inside = (far < size, np.maximum(x, y) < size, (far < size) & (far > size - 2.5))[label]
        out[i] = np.clip(inside * level + rng.normal(20, 4, inside.shape), 0, 255)
    return out.astype(np.uint8) if bits == 8 else (out * 257).astype(np.uint16)


def write_dataset(
    path: Path,
    labels: Sequence[int],
    *,
    train: int = 30,
    select: int = 6,
    holdout: int = 12,
    slices: int = 4,
    depths: Callable[[int, int], float | None] = lambda label, number: None,
    claim: str = "subject-wise",
    names: Sequence[str] = NAMES[:2],
    images: Callable[[NDArray[np.int64]], NDArray[Any]] = lambda each: draw(each, 0),
    sides: str | None = None,
    plane: str | None = None,
    symmetry: str = "none",
) -> PreparedDataset:
    """Subjects in the order of splits; `labels` of the subjects, repeated as often as needed."""
    splits = ["train"] * train + ["select"] * select + ["holdout"] * holdout
    of_subject = np.resize(np.array(labels, np.int64), len(splits))
    pixels = images(np.repeat(of_subject, slices))
    px = pixels.shape[-1]
    geometry = Geometry(source_height=px, source_width=px, resampled_height=px, resampled_width=px)
    records = [
        ImageRecord(
            subject=f"s{person:03d}",
            label=int(of_subject[person]),
            split=splits[person],
            slice=number,
            depth=depths(int(of_subject[person]), number),
            side=sides,
            source=f"{person}-{number}.png",
            source_sha256="0" * 64,
            geometry=geometry,
        )
        for person in range(len(splits))
        for number in range(slices)
    ]
    (path / "shards").mkdir(parents=True)
    shard = path / "shards" / "images-00000.npy"
    np.save(shard, pixels)
    manifest = Manifest(
        content_hash=hashlib.sha256(pixels.tobytes()).hexdigest(),
        preparation={},
        preparation_hash="b" * 64,
        resolution=px,
        channels=pixels.shape[1],
        bits=16 if pixels.dtype == np.uint16 else 8,
        class_names=list(names),
        claim=claim,
        plane=plane,
        symmetry=symmetry,
        intensity=IntensityRecord(),
        shards=[ShardRecord(file="shards/images-00000.npy", count=len(pixels), sha256=file_sha256(shard))],
        images=records,
    )
    write_json_atomic(path / "manifest.json", manifest.model_dump(mode="json"))
    return PreparedDataset.open(path)


def write_folder(path: Path, images: NDArray[Any], classes: Sequence[str] | None) -> Path:
    """PNG files in one folder a class; side by side without classes."""
    for row, image in enumerate(images):
        folder = path if classes is None else path / classes[row]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(folder / f"{row:04d}.png")
    return path


class Means:
    """The mean of each quarter: four features, without weights."""

    name = "means"
    hash = "e" * 64
    dim = 4

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        half = images.shape[-1] // 2
        unit = images.astype(np.float32).mean(axis=1) / np.iinfo(images.dtype).max
        return unit.reshape(len(unit), 2, half, 2, half).mean(axis=(2, 4)).reshape(len(unit), 4)


def judged(folder: Path, dataset: PreparedDataset) -> Material:
    return gather(open_target(folder, dataset), dataset, Means(), n=None, seed=0, full=True, progress=None)


@pytest.fixture(scope="session")
def quick() -> Recipe:
    return QUICK


@pytest.fixture(scope="session")
def shapes_by() -> Callable[..., NDArray[Any]]:
    return draw


@pytest.fixture(scope="session")
def new_dataset() -> Callable[..., PreparedDataset]:
    return write_dataset


@pytest.fixture(scope="session")
def new_folder() -> Callable[..., Path]:
    return write_folder


@pytest.fixture(scope="session")
def material_of() -> Callable[..., Material]:
    return judged


@pytest.fixture(scope="session")
def page() -> Callable[[str, dict[str, Any], dict[str, str]], str]:
    """(template, values, pictures) -> HTML, strict about names that do not exist."""

    def render(name: str, values: dict[str, Any], pictures: dict[str, str]) -> str:
        environment = Environment(
            loader=PackageLoader("stylescan.evaluate", "templates"), autoescape=True, undefined=StrictUndefined
        )
        environment.filters |= {"number": number, "ratio": ratio}
        template = environment.get_template(f"parts/{name}.html.j2")
        return template.render(part=values, pictures=pictures, report={"metrics": {"classes": []}})

    return render


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """A perfect generator: its images come from the population itself."""
    path = tmp_path_factory.mktemp("twins")
    labels = np.arange(120) % 2
    folder = write_folder(path / "made", draw(labels, 1), [NAMES[k] for k in labels])
    return judged(folder, write_dataset(path / "data", [0, 1]))
