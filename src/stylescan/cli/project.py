"""`stylescan project`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stylescan.cli.console import bar, note, say
from stylescan.cli.data_option import data_for

if TYPE_CHECKING:
    from stylescan.data.prepared import PreparedDataset


def project(
    target: Path,
    /,
    *,
    out: Path,
    data: Path | None = None,
    split: Literal["train", "select", "holdout"] = "holdout",
    count: int | None = None,
    images: Path | None = None,
    space: Literal["w", "w+", "both"] = "both",
    steps: int = 80,
    seed: int = 0,
    batch: int = 4,
    threads: int | None = None,
) -> None:
    """Find the styles with which a model comes nearest to real images.

    Writes projection.png (real images, reconstructions, error maps), ws.safetensors (the styles) and projection.json
    (how near, how far out). The picture shows real images: the terms of the data hold for it.

    Parameters
    ----------
    target
        Run folder or snapshot folder.
    out
        Folder of the three files; new, empty, or an earlier projection's.
    data
        Prepared dataset; for a run, the one it was trained on if left out.
    split
        Where the images come from, each of another subject as long as there are any.
    count
        Images to project, 16 if left out.
    images
        Instead of a split: folder of PNG images that fit the data.
    space
        w: one style for all layers, as in training; w+: a style of its own a layer; or both.
    steps
        Steps of the search in each space.
    seed
        Decides the choice of images and the search.
    batch
        Images at a time.
    threads
        CPU threads.
    """
    from stylescan.data.prepared import PreparedDataset
    from stylescan.errors import ConfigError
    from stylescan.evaluate.arguments import check_seed, claimed_folder, refuse_foreign
    from stylescan.evaluate.latent.project import project_spaces
    from stylescan.evaluate.latent.projection_files import write_projection
    from stylescan.evaluate.latent.result_files import RESULTS
    from stylescan.evaluate.targets import SnapshotTarget, open_target
    from stylescan.files import storage_error
    from stylescan.runtime import set_threads

    if images is not None and count is not None:
        raise ConfigError("--images and --count: both given", remedy="Give one of them.")
    if count is not None and count < 1:
        raise ConfigError(f"--count {count}: expected 1 or more", remedy="Give for instance --count 16.")
    check_seed(seed)
    refuse_foreign(out, RESULTS)
    set_threads(threads)
    data = data_for(
        target, data, f"stylescan project {target} --out {out}", "images are projected as they were prepared"
    )
    dataset = PreparedDataset.open(data)
    opened = open_target(target, dataset)
    if not isinstance(opened, SnapshotTarget):
        raise ConfigError(f"{target}: holds no generator", remedy="Give a run folder or a snapshot folder.")
    pixels, source = _from_split(dataset, split, count or 16, seed) if images is None else _from_folder(images, dataset)
    note(f"projecting {len(pixels)} images, model {opened.snapshot.model_hash[:12]}")
    for text in opened.notes:
        note(text)
    with claimed_folder(out), bar() as report:
        found = project_spaces(
            opened.snapshot, pixels, ["w", "w+"] if space == "both" else [space],
            steps=steps, seed=seed, batch_size=batch, progress=report,
        )  # fmt: skip
    try:
        write_projection(out, opened.snapshot, pixels, found, source=source, steps=steps, seed=seed)
    except OSError as problem:
        raise storage_error("the projection", problem, then="repeat the command.") from None
    for name, result in found.items():
        say(
            f"{name.upper()}: error of pixels {_middle(result.rmse) * 100:.1f} % of the range, distance by feature maps "
            f"{_middle(result.perceptual):.3g} (medians)"
        )
    shown = "real images beside SYNTHETIC ones" if images is None else "the images given beside SYNTHETIC ones"
    say(f"projection: {out} (the picture shows {shown}, not for diagnosis)")


def _from_split(dataset: PreparedDataset, split: Any, count: int, seed: int) -> tuple[Any, dict[str, Any]]:
    """Images [n, C, R, R] of different subjects, and which they are."""
    from stylescan.errors import DataError
    from stylescan.evaluate.pictures import spread_over_subjects
    from stylescan.randomness import numpy_generator

    positions = dataset.indices(split)
    if not len(positions):
        raise DataError(f"{dataset.path}: no images in the split {split!r}", remedy="Choose another --split.")
    chosen = positions[
        spread_over_subjects(dataset.subjects[positions], count, numpy_generator(seed, "projection_images"))
    ]
    source = {"data_content_hash": dataset.content_hash, "split": split, "positions": chosen.tolist()}
    return dataset.read(chosen), source


def _from_folder(folder: Path, dataset: PreparedDataset) -> tuple[Any, dict[str, Any]]:
    """The PNG images in `folder`, in the order of their names, and which they are."""
    import numpy as np

    from stylescan.errors import DataError
    from stylescan.evaluate.png_images import check_headers, group_channels, read_image

    files = sorted(path for path in folder.glob("*.png") if path.is_file()) if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder}: no folder with PNG images", remedy="Give a folder that holds PNG files.")
    groups = group_channels(files, dataset)
    for group in groups:
        check_headers(group, dataset)
    names = [group[0].name for group in groups]
    return np.stack([read_image(group, dataset) for group in groups]), {"files": names}


def _middle(values: Any) -> float:
    import numpy as np

    return float(np.median(values))
