"""A reader study's files: one blinded page a reader, and the key apart from them.

```
PACK/reader-1.html ...   one self-contained page a reader: the same images, each page in its own order
PACK/key/key.json        what each image is; PACK/key/images/ID.png the images; README.txt
```
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stylescan.data.prepared import PreparedDataset, json_hash
from stylescan.errors import ConfigError, StylescanError
from stylescan.evaluate.cache import Progress
from stylescan.evaluate.material import Material
from stylescan.evaluate.parts import Part
from stylescan.evaluate.readers.blinding import display_pixels, encode_alike, opaque_ids, reading_order
from stylescan.evaluate.readers.choose import Choice, choose_images
from stylescan.evaluate.readers.page import render_page
from stylescan.evaluate.readers.records import KEY_FOLDER, Key, KeyImage, key_path, load_key
from stylescan.evaluate.targets import Target, open_target
from stylescan.files import storage_error, write_bytes_atomic, write_json_atomic

MAX_READERS = 50
README = """This folder says which images are real and which are generated.
Do not give it to readers, nor put it where they can see it: give each reader one reader-N.html and nothing else.
Score their answers with: stylescan reader-study score PACK ANSWERS...
SYNTHETIC - not for diagnosis. The real images stay under the terms of their data.
"""


@dataclass(frozen=True)
class ReaderPack:
    """A pack on disk: its folder, its id, one page a reader, and what whoever runs the study must know."""

    folder: Path
    pack_id: str
    pages: list[Path]
    key: Path
    images: int
    notes: list[str]


def make_pack(
    target: str | Path,
    dataset: PreparedDataset | str | Path,
    out_dir: str | Path,
    *,
    count: int = 100,
    readers: int = 2,
    seed: int = 0,
    psi: float = 1.0,
    progress: Progress | None = None,
) -> ReaderPack:
    """Write a reader study of a run, a snapshot or a folder of images.

    Parameters
    ----------
    target : a run folder, a snapshot folder, or a folder of PNG images made by any generator.
    dataset : prepared data, whose held-out subjects give the real images.
    out_dir : folder of the pack; another pack there is refused, the same one completed.
    count : images a reader, even, 20 to 1000: half of them generated. All readers see the same ones.
    readers : pages to make, 1 to 50.
    seed : decides images, names and orders. Whoever knows it and has the data can repeat the choice.
    psi : truncation of the generator; 1 = none.

    Raises a StylescanError where data or target do not fit, or the pack cannot be written.
    """
    if not 1 <= readers <= MAX_READERS:
        raise ConfigError(f"readers is {readers} (--readers), expected 1 to {MAX_READERS}", remedy="Give --readers 2.")
    if seed < 0:
        raise ConfigError(f"seed is {seed} (--seed), expected 0 or more", remedy="Choose a seed of 0 or more.")
    if not math.isfinite(psi):
        raise ConfigError(f"psi is {psi} (--psi), expected a finite number", remedy="Leave it at 1.")
    data = dataset if isinstance(dataset, PreparedDataset) else PreparedDataset.open(dataset)
    opened = open_target(target, data, psi=psi)
    choice = choose_images(opened, data, count, seed, progress)
    return _write(Path(out_dir), *_assemble(opened, data, choice, readers, seed), choice.notes, progress)


def reader_study_part(material: Material, out_dir: Path, progress: Progress | None = None) -> Part:
    """A pack of 100 images and two readers beside a report, in `out_dir`/reader-study-ID, and the report's note on it.

    The folder carries the pack's id, so that a later pack never stands in an earlier one's place. Where the data holds
    too few images there is no pack, and the note says why.
    """
    try:
        choice = choose_images(material.target, material.dataset, 100, material.seed, progress)
    except StylescanError as problem:
        return Part({"folder": None, "missing": problem.message, "images": 0, "readers": 0, "pack": None, "notes": []})
    key, files = _assemble(material.target, material.dataset, choice, 2, material.seed)
    pack = _write(out_dir / f"reader-study-{key.pack}", key, files, choice.notes, progress)
    return Part(
        {
            "folder": pack.folder.name,
            "missing": None,
            "images": pack.images,
            "readers": len(pack.pages),
            "pack": pack.pack_id,
            "notes": pack.notes,
        }
    )


def _assemble(
    target: Target, dataset: PreparedDataset, choice: Choice, readers: int, seed: int
) -> tuple[Key, list[bytes]]:
    """The key, and the PNG bytes of its images in the same order."""
    real = dataset.read(choice.real)
    made = choice.generated
    files = encode_alike(display_pixels(np.concatenate([real, made.images.astype(real.dtype)]), choice.geometry))
    images = []
    for i, name in enumerate(opaque_ids(len(files), seed)):
        is_real = i < len(choice.real)
        row = i if is_real else i - len(choice.real)
        position = int(choice.real[row]) if is_real else row
        label = int(dataset.labels[position] if is_real else made.labels[row])
        images.append(
            KeyImage(
                id=name,
                sha256=hashlib.sha256(files[i]).hexdigest(),
                origin="real" if is_real else "generated",
                class_name=dataset.class_names[label] if label >= 0 else None,
                subject=str(dataset.subjects[position]) if is_real else None,
                position=position,
            )
        )
    # The id must not tell more than that two packs differ: a hash of all of it at once.
    identity = [[image.model_dump() for image in images], target.describe(), readers, seed]
    key = Key(
        pack=json_hash(identity)[:16],
        seed=seed,
        readers=readers,
        target=target.describe(),
        content_hash=dataset.content_hash,
        preparation_hash=dataset.preparation_hash,
        notes=choice.notes,
        images=images,
    )
    return key, files


def _write(out_dir: Path, key: Key, files: list[bytes], notes: list[str], progress: Progress | None) -> ReaderPack:
    pages = [out_dir / f"reader-{reader}.html" for reader in range(1, key.readers + 1)]
    _refuse_other(out_dir, key)
    try:
        # The key comes first: pages without a key could be read in vain.
        write_bytes_atomic(out_dir / KEY_FOLDER / "README.txt", README.encode())
        for image, content in zip(key.images, files, strict=True):
            write_bytes_atomic(out_dir / KEY_FOLDER / "images" / f"{image.id}.png", content)
        write_json_atomic(key_path(out_dir), key.model_dump(mode="json"))
        ids = [image.id for image in key.images]
        for reader, page in enumerate(pages, start=1):
            order = reading_order(len(files), key.seed, reader).tolist()
            write_bytes_atomic(page, render_page(key.pack, reader, [(ids[i], files[i]) for i in order]).encode())
            if progress is not None:
                progress(reader, len(pages), "pages")
    except OSError as problem:
        raise storage_error(f"{out_dir}: the reader pack", problem, then="repeat the command.") from None
    return ReaderPack(out_dir, key.pack, pages, key_path(out_dir), len(files), notes)


def _refuse_other(out_dir: Path, key: Key) -> None:
    """ConfigError where `out_dir` holds anything but this pack: readers may be at work on another."""
    elsewhere = "Choose another --out."
    if out_dir.exists() and not out_dir.is_dir():
        raise ConfigError(f"{out_dir}: a file, expected the folder of a pack", remedy=elsewhere)
    if key_path(out_dir).exists():
        if load_key(out_dir).pack != key.pack:
            raise ConfigError(f"{out_dir}: holds another reader pack, whose readers may be at work", remedy=elsewhere)
        return
    if out_dir.is_dir() and any(out_dir.glob("reader-*.html")):
        raise ConfigError(f"{out_dir}: holds reader pages without a key", remedy=elsewhere)
