"""Generated images as files that say of themselves that they are synthetic, and grids of them."""

from __future__ import annotations

import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stylescan import __version__
from stylescan.data.geometry import Geometry, undo
from stylescan.errors import ConfigError, DataError
from stylescan.files import write_bytes_atomic
from stylescan.generate.file_formats import (
    FORMATS,
    FormatName,
    Output,
    encode_png,
    encode_sidecar,
    is_one_picture,
    parts_of,
    require_format,
)
from stylescan.generate.sample import NO_CLASS, NoiseKind, draw_labels, sample
from stylescan.generate.snapshot import Snapshot
from stylescan.generate.write_together import write_together

TITLE = "SYNTHETIC image, not for diagnosis"
MAX_GRID_PIXELS = 2**26  # what `prepare` reads back, and a viewer shows
_TOGETHER = 16  # images that a writer brings to the disk at once
Progress = Callable[[int, int, str], None]


def grid(images: NDArray[Any], columns: int, gap: int = 2) -> NDArray[Any]:
    """Images [N, C, H, W] in rows of `columns`, `gap` black pixels between them: [C, H', W'], of the same type.

    The last row is filled up with black. ValueError for no images, no columns or a negative gap.
    """
    if images.ndim != 4 or len(images) == 0 or columns < 1 or gap < 0:
        raise ValueError(f"grid of shape {images.shape}, {columns} columns, gap {gap}: expected [N, C, H, W], 1, 0 up")
    n, channels, height, width = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = np.zeros((channels, rows * (height + gap) - gap, columns * (width + gap) - gap), images.dtype)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def provenance(
    snapshot: Snapshot,
    *,
    seeds: Sequence[int],
    labels: Sequence[int],
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    resolution: int | None = None,
) -> dict[str, str]:
    """What a file says of itself: enough to make it again, and no time, host or path."""
    names = snapshot.meta.class_names
    text = {
        "Title": TITLE,
        "Software": f"stylescan {__version__}",
        "model_hash": snapshot.model_hash,
        "seed": ",".join(str(seed) for seed in seeds),
        "psi": repr(float(psi)),
        "noise": noise,
    }
    if cutoff is not None:
        text["cutoff"] = str(cutoff)
    if resolution is not None:
        text["resolution"] = str(resolution)
    kinds = [label for label in labels if label != NO_CLASS]
    if kinds:
        text["class"] = ",".join(names[label] for label in kinds)
    spacing = _spacing_at(_geometry(snapshot), resolution or snapshot.generator.spec.resolution)
    if spacing:
        text["spacing_mm"] = f"{spacing[0]:.6g} x {spacing[1]:.6g} (rows x columns)"
    values = snapshot.meta.values
    if values is not None and not values.is_plain(snapshot.meta.bits):
        text["values"] = f"black and white stand for {values.words()}"
    return text


def read_provenance(path: Path) -> dict[str, str]:
    """The text that `write_images` put into the PNG `path`.

    Raises DataError where the file is missing, no PNG, or does not say that it is synthetic.
    """
    remedy = "give a PNG that `stylescan generate` wrote"
    try:
        with Image.open(path, formats=["PNG"]) as image:
            text = {str(key): str(value) for key, value in getattr(image, "text", {}).items()}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", remedy=remedy) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise DataError(f"{path}: not a readable PNG ({problem})", remedy=remedy) from None
    if not text.get("Title", "").startswith("SYNTHETIC"):
        raise DataError(f"{path}: nothing in it says that it is synthetic", remedy=remedy)
    return text


def write_images(
    snapshot: Snapshot,
    folder: Path,
    seeds: Sequence[int],
    *,
    labels: Sequence[int] | None = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    resolution: int | None = None,
    batch_size: int | None = None,
    unpad: bool = True,
    overwrite: bool = False,
    file_format: FormatName = "png",
    workers: int | None = None,
    compiled: bool = False,
    warn: Callable[[str], None] = warnings.warn,
    progress: Progress | None = None,
) -> list[Path]:
    """Sample `seeds` and write one file an image into `folder`; the paths, in the order of the seeds.

    Grey (8 or 16 bits) and 8-bit RGB make one file; other channels one file each, named `..._channel-K.png`, but for
    NIfTI, which holds them together and has a JSON file beside it. TIFF, NIfTI and DICOM are in source values where the
    snapshot knows them (`SnapshotMeta.values`). `unpad` cuts off the padding that `prepare` added. `workers` threads
    write while the net makes the next images. Other arguments: see `sample.sample`. Interrupted, whatever there is of
    files is whole.

    Raises ConfigError, before anything is made, where a file is there already and `overwrite` is off.
    """
    form = require_format(file_format)
    kinds = draw_labels(seeds, snapshot.meta) if labels is None else [int(label) for label in labels]
    batches = sample(
        snapshot,
        seeds,
        labels=None if labels is None else kinds,
        psi=psi,
        cutoff=cutoff,
        noise=noise,
        resolution=resolution,
        batch_size=batch_size,
        compiled=compiled,
        warn=warn,
        progress=progress,
    )
    planned = [folder / name for pair in zip(seeds, kinds) for name in file_names(snapshot, *pair, file_format)]
    if not overwrite:
        refuse_existing([*planned, *map(_sidecar_of, planned)] if form.sidecar else planned)
    text = provenance(
        snapshot, seeds=seeds[:1], labels=kinds[:1], psi=psi, cutoff=cutoff, noise=noise, resolution=resolution
    )
    plan = _Plan(snapshot, folder, text, unpad, file_format)
    writers = workers or min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(writers)
    try:
        waiting: deque[Future[None]] = deque()
        for batch in batches:
            some = list(zip(*batch))
            waiting += [pool.submit(_write_some, plan, some[k : k + _TOGETHER]) for k in range(0, len(some), _TOGETHER)]
            # The disk works while the net makes the next images, but never far behind, so that memory stays bounded.
            while len(waiting) > 2 * writers:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # after a failure or an interruption, nothing more is begun
    return planned


def write_sample_grid(
    snapshot: Snapshot,
    path: Path,
    seeds: Sequence[int],
    *,
    labels: Sequence[int] | None = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    resolution: int | None = None,
    batch_size: int | None = None,
    unpad: bool = True,
    overwrite: bool = False,
    columns: int = 8,
    compiled: bool = False,
    warn: Callable[[str], None] = warnings.warn,
    progress: Progress | None = None,
) -> list[Path]:
    """Sample `seeds` and write them as one picture, rows of `columns`; arguments as in `write_images`."""
    if columns < 1:
        raise ConfigError(f"columns: found {columns}, expected at least 1", remedy="give for instance 8")
    room = MAX_GRID_PIXELS // (resolution or snapshot.generator.spec.resolution) ** 2
    if len(seeds) > room:
        raise ConfigError(f"grid: {len(seeds):,} images in one picture, expected at most {room:,}",
                          remedy="write single files, or several grids")  # fmt: skip
    if not overwrite:
        refuse_existing([path])
    kinds = draw_labels(seeds, snapshot.meta) if labels is None else [int(label) for label in labels]
    batches = sample(
        snapshot,
        seeds,
        labels=labels,
        psi=psi,
        cutoff=cutoff,
        noise=noise,
        resolution=resolution,
        batch_size=batch_size,
        compiled=compiled,
        warn=warn,
        progress=progress,
    )
    images = np.concatenate([images for _, _, images in batches])
    text = provenance(snapshot, seeds=seeds, labels=kinds, psi=psi, cutoff=cutoff, noise=noise, resolution=resolution)
    shown = unpadded(images, snapshot) if unpad else images
    return [write_grid(path, shown, text, columns=columns, overwrite=overwrite)]


def write_grid(
    path: Path,
    images: NDArray[Any],
    text: Mapping[str, str],
    *,
    columns: int = 8,
    overwrite: bool = False,
) -> Path:
    """Images [N, C, H, W] as one PNG with `text` (from `provenance`); several channels but RGB are laid side by side.

    Raises ConfigError where `path` is there already and `overwrite` is off.
    """
    if not overwrite:
        refuse_existing([path])
    if not is_one_picture(images.shape[1], 8 * images.itemsize):
        images = np.concatenate([images[:, k : k + 1] for k in range(images.shape[1])], axis=3)
    write_bytes_atomic(path, encode_png(grid(images, columns), text))
    return path


def unpadded(image: NDArray[Any], snapshot: Snapshot) -> NDArray[Any]:
    """`image` [..., R, R] without the padding that `prepare` added to the training images, where it added any."""
    geometry = _geometry(snapshot)
    return image if geometry is None else undo(image, geometry)


def file_names(snapshot: Snapshot, seed: int, label: int, file_format: FormatName = "png") -> list[str]:
    """The file, or one file a channel, of one image: the seed, and the class where there is one."""
    stem = f"seed-{seed:06d}"
    if label != NO_CLASS:
        word = re.sub(r"[^A-Za-z0-9._]+", "-", snapshot.meta.class_names[label]).strip("-.")[:40]
        stem += f"_class-{label}-{word}" if word else f"_class-{label}"
    form, channels = FORMATS[file_format], snapshot.generator.spec.img_channels
    if form.together or is_one_picture(channels, snapshot.meta.bits):
        return [stem + form.suffix]
    return [f"{stem}_channel-{k}{form.suffix}" for k in range(channels)]


def _sidecar_of(path: Path) -> Path:
    return path.with_name(path.name.split(".nii")[0] + ".json")


def refuse_existing(paths: Iterable[Path]) -> None:
    """ConfigError naming the first of `paths` that is there already."""
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path}: exists already", remedy="name another folder, or allow overwriting")
        for parent in path.parents:
            if parent.exists():
                if not parent.is_dir():
                    raise ConfigError(f"{parent}: a file, expected a folder", remedy="name another folder")
                break


@dataclass(frozen=True)
class _Plan:
    """What the files of one call have in common; `text`: the provenance of the first of them."""

    snapshot: Snapshot
    folder: Path
    text: Mapping[str, str]
    unpad: bool
    file_format: FormatName

    @cached_property
    def geometry(self) -> Geometry | None:
        return _geometry(self.snapshot)

    def text_of(self, seed: int, label: int) -> dict[str, str]:
        """The provenance of one image, in the order of `provenance`."""
        own = {"seed": str(seed)}
        if label != NO_CLASS:
            own["class"] = self.snapshot.meta.class_names[label]
        return {**self.text, **own}


def _write_some(plan: _Plan, some: Sequence[tuple[int, int, NDArray[Any]]]) -> None:
    """(seed, label, image [C, R, R]) each to its file or files."""
    write_together({path: content for one in some for path, content in _encoded(plan, *one)})


def _encoded(plan: _Plan, seed: int, label: int, image: NDArray[Any]) -> Iterator[tuple[Path, bytes]]:
    """The paths of one image and what goes there."""
    form, meta, geometry = FORMATS[plan.file_format], plan.snapshot.meta, plan.geometry
    output = Output(
        undo(image, geometry) if plan.unpad and geometry else image,
        plan.text_of(seed, label),
        seed=seed,
        spacing_mm=_spacing_at(geometry, image.shape[-1]),
        plane=meta.plane,
        values=meta.values,
    )
    names = file_names(plan.snapshot, seed, label, plan.file_format)
    for name, part in zip(names, parts_of(output, form.together), strict=True):
        if form.sidecar:
            yield _sidecar_of(plan.folder / name), encode_sidecar(part)
        yield plan.folder / name, form.encode(part)


def _geometry(snapshot: Snapshot) -> Geometry | None:
    return None if snapshot.meta.geometry is None else Geometry.model_validate(snapshot.meta.geometry)


def _spacing_at(geometry: Geometry | None, resolution: int) -> tuple[float, float] | None:
    """(row, column) spacing in millimetres of generated images of `resolution` pixels, where the training data stated one."""
    spacing = None if geometry is None else geometry.output_spacing_mm
    if geometry is None or spacing is None:
        return None
    scale = geometry.output_height / resolution
    return spacing[0] * scale, spacing[1] * scale
