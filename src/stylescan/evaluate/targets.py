"""What can be judged: a run, a snapshot, or a folder of PNG images made by any generator."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset
from stylescan.errors import DataError, SnapshotError
from stylescan.evaluate.cache import Progress
from stylescan.evaluate.png_images import check_headers, class_text, group_channels, read_image
from stylescan.generate.sample import apportion, sample
from stylescan.generate.snapshot import META_NAME, Snapshot, load_snapshot
from stylescan.nets.build import build_generator
from stylescan.randomness import derive_seed, numpy_generator

MIN_IMAGES = 10


@dataclass(frozen=True)
class Generated:
    """Images to judge: uint8 or uint16 [n, C, R, R] at the data's depth, labels int64 [n] (-1 where none)."""

    images: NDArray[Any]
    labels: NDArray[np.int64]


class Target(Protocol):
    """Something that has, or can make, images."""

    @property
    def available(self) -> int | None:
        """How many images there are; None where any number can be made."""
        ...

    @property
    def log(self) -> Path | None:
        """The training log, where there is one."""
        ...

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader of the results must know."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON values for the report: `kind`, and what identifies the images. No path."""
        ...

    def images(self, n: int, seed: int, progress: Progress | None) -> Generated: ...

    def untrained(self, n: int, seed: int, progress: Progress | None) -> NDArray[Any] | None:
        """Images of the same network before training; None where there is no network."""
        ...


def open_target(path: str | Path, dataset: PreparedDataset, *, psi: float = 1.0) -> Target:
    """The run, snapshot or image folder at `path`, checked against `dataset`.

    Raises DataError or SnapshotError: nothing there, another resolution or channel count, other classes, another
    preparation.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"{path}: no such file or folder", remedy="Give a run folder, a snapshot folder or a folder of PNG images."
        )
    if (path / META_NAME).is_file():
        return SnapshotTarget("snapshot", load_snapshot(path), dataset, psi, None)
    if (path / "snapshot").is_dir() or (path / "config.yaml").is_file():
        log = path / "log.jsonl"
        return SnapshotTarget("run", load_snapshot(path), dataset, psi, log if log.is_file() else None)
    return FolderTarget(path, dataset)


class SnapshotTarget:
    """Images from a snapshot: seeds from `seed * 1,000,000` on, classes in the training frequencies, noise random."""

    def __init__(self, kind: str, snapshot: Snapshot, dataset: PreparedDataset, psi: float, log: Path | None) -> None:
        self.available = None
        self.log = log
        self._kind = kind
        self._snapshot = snapshot
        self._psi = psi
        self.notes = check_snapshot(snapshot, dataset)
        if psi != 1.0:
            self.notes.append(
                f"psi is {psi}: truncation narrows the distribution, so that these numbers do not describe the model "
                "at psi 1."
            )

    @property
    def snapshot(self) -> Snapshot:
        """The generator that makes the images."""
        return self._snapshot

    def describe(self) -> dict[str, Any]:
        meta = self._snapshot.meta
        return {
            "kind": self._kind,
            "model_hash": self._snapshot.model_hash,
            "family": meta.family,
            "preset": meta.preset,
            "nimg": meta.nimg,
            "training_seed": meta.seed,
            "trained_on": meta.data_content_hash,
            "psi": self._psi,
            "noise": "random",
        }

    def images(self, n: int, seed: int, progress: Progress | None) -> Generated:
        return self._make(self._snapshot, n, seed, progress, "generated images")

    def untrained(self, n: int, seed: int, progress: Progress | None) -> NDArray[Any] | None:
        spec = self._snapshot.generator.spec
        net = build_generator(spec, seed=derive_seed(seed, "untrained"))
        blank = dataclasses.replace(self._snapshot, generator=net.requires_grad_(False).eval())
        return self._make(blank, n, seed, progress, "images of an untrained net").images

    def _make(self, snapshot: Snapshot, n: int, seed: int, progress: Progress | None, what: str) -> Generated:
        labels = self.labels(n, seed)
        images: list[NDArray[Any]] = []
        done = 0
        for batch in sample(snapshot, self.seeds(n, seed), labels=labels, psi=self._psi, noise="random"):
            images.append(batch[2])
            done += len(batch[2])
            if progress is not None:
                progress(done, n, what)
        return Generated(np.concatenate(images), np.full(n, -1, np.int64) if labels is None else labels)

    def seeds(self, n: int, seed: int) -> list[int]:
        """The seeds of the `n` images judged."""
        return list(range(seed * 1_000_000, seed * 1_000_000 + n))

    def labels(self, n: int, seed: int) -> NDArray[np.int64] | None:
        """Their classes, in the training frequencies to within one image and in random order; None without classes."""
        meta = self._snapshot.meta
        if not meta.class_names:
            return None
        return numpy_generator(seed, "evaluate_labels").permutation(apportion(meta.class_frequencies, n))


def check_snapshot(snapshot: Snapshot, dataset: PreparedDataset) -> list[str]:
    """SnapshotError unless the model makes images such as the data holds, prepared alike and with its classes; notes."""
    meta, spec = snapshot.meta, snapshot.generator.spec
    retrain = "Give the prepared data that the model was trained on (--data)."
    if (spec.resolution, spec.img_channels) != (dataset.resolution, dataset.channels):
        raise SnapshotError(
            f"{snapshot.folder}: makes {spec.img_channels} channels at {spec.resolution} px, the data has "
            f"{dataset.channels} at {dataset.resolution} px",
            remedy=retrain,
        )
    if meta.class_names and tuple(meta.class_names) != dataset.class_names:
        raise SnapshotError(
            f"{snapshot.folder}: classes are {', '.join(meta.class_names)}, the data has "
            f"{', '.join(dataset.class_names) or 'none'}",
            remedy=retrain,
        )
    if meta.preparation_hash != dataset.preparation_hash or meta.bits != dataset.bits:
        raise SnapshotError(
            f"{snapshot.folder}: the training data was prepared as {meta.preparation_hash[:12]}, {meta.bits} bits, "
            f"this data as {dataset.preparation_hash[:12]}, {dataset.bits} bits: intensities or geometry differ, "
            "so that a distance would measure the preparation",
            remedy=retrain,
        )
    if meta.data_content_hash != dataset.content_hash:
        return [
            "The model was trained on other data, prepared in the same way: held-out subjects of this data may have "
            "been training subjects there, which would flatter every number."
        ]
    return []


class FolderTarget:
    """PNG images in a folder, or in one folder a class below it, in the order of their names.

    An image of several channels may lie in one file a channel, as `stylescan generate` writes it. A class comes from
    the folder's name, else from the file's own text `class`, as `stylescan generate` writes it. Images without the
    padding that `prepare` added get it back.
    """

    def __init__(self, path: Path, dataset: PreparedDataset) -> None:
        if not path.is_dir():
            raise DataError(
                f"{path}: a file, expected a folder",
                remedy="Give a run folder, a snapshot folder or a folder of PNG images.",
            )
        self.log = None
        self._path = path
        self._dataset = dataset
        files = sorted(p for p in [*path.glob("*.png"), *path.glob("*/*.png")] if p.is_file())
        self._images = group_channels(files, dataset)
        self.available = len(self._images)
        if self.available < MIN_IMAGES:
            raise DataError(
                f"{path}: holds {self.available} PNG images, expected a run, a snapshot or at least {MIN_IMAGES} "
                "generated images",
                remedy="Generate more images, and give the folder that holds them.",
            )
        self._labels = np.array([self._label(files[0]) for files in self._images], np.int64)
        # Every header, before any feature is computed: one bad file among thousands must not wait for its turn.
        for image in self._images:
            check_headers(image, dataset)
        self.notes: list[str] = []
        if dataset.num_classes and (self._labels < 0).any():
            self.notes.append("The images carry no class, so that nothing is said of single classes.")

    def _label(self, file: Path) -> int:
        names = self._dataset.class_names
        if file.parent == self._path:
            word = class_text(file) if names else None
            return names.index(word) if word in names else -1
        if file.parent.name in names:
            return names.index(file.parent.name)
        raise DataError(
            f"{file.parent}: no class of the data (classes: {', '.join(names) or 'none'})",
            remedy="Name the folders as the classes are named, or put all images into one folder.",
        )

    def describe(self) -> dict[str, Any]:
        return {"kind": "folder", "images_in_folder": self.available}

    def images(self, n: int, seed: int, progress: Progress | None) -> Generated:
        chosen = np.sort(numpy_generator(seed, "folder_images").permutation(len(self._images))[:n])
        size, channels = self._dataset.resolution, self._dataset.channels
        out = np.empty((len(chosen), channels, size, size), np.uint16 if self._dataset.bits == 16 else np.uint8)
        for row, position in enumerate(chosen):
            out[row] = read_image(self._images[position], self._dataset)
            if progress is not None:
                progress(row + 1, len(chosen), "images read")
        return Generated(out, self._labels[chosen])

    def untrained(self, n: int, seed: int, progress: Progress | None) -> NDArray[Any] | None:
        return None
