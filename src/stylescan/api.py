"""Verbs of the library at both ends of a run: preparing scans, judging images, writing a picture.

They take the command line's options and print nothing. `stylescan.__init__` names every public function and its home.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import ValidationError

from stylescan.advice import training_advice
from stylescan.data.audit.summary import audit_lines
from stylescan.data.options import PrepareOptions
from stylescan.data.prepare import prepare
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError
from stylescan.evaluate.judge import EvaluationResult, evaluate
from stylescan.generate.images import provenance, unpadded, write_grid
from stylescan.generate.snapshot import Snapshot
from stylescan.runs import Data, Notice, silent
from stylescan.train.run_folder import data_of

Report = Callable[[int, int, str], None]


def prepare_scans(
    source: str | Path,
    out: str | Path,
    *,
    resolution: int | None = None,
    layout: str = "auto",
    pattern: str | None = None,
    plane: Literal["axial", "coronal", "sagittal"] | None = None,
    symmetry: Literal["none", "left-right"] | None = None,
    slices: tuple[float, float] = (0.0, 1.0),
    every: int = 1,
    min_foreground: float = 0.05,
    field_of_view_mm: float | None = None,
    contrasts: bool = False,
    percentiles: tuple[float, float] = (0.5, 99.5),
    window: str | None = None,
    modality: Sequence[str] = (),
    label_column: str | None = None,
    laterality: Literal["keep", "canonicalise"] | None = None,
    balance: Literal["depth"] | None = None,
    bits: Literal[8, 16] = 8,
    only_classes: Sequence[str] = (),
    ignore_classes: bool = False,
    holdout: float = 0.2,
    select: float = 0.1,
    folds: int | None = None,
    fold: int = 0,
    seed: int = 0,
    keep_ids: bool = False,
    salt: str | None = None,
    repair: bool = False,
    skip_corrupt: bool = False,
    allow_label_volumes: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Report | None = None,
    notice: Notice = silent,
) -> PreparedDataset:
    """Turn scans into a prepared dataset: squares of one size, split by subject, audited.

    An interrupted call continues when it is repeated; a finished, equal dataset is returned as it is.

    Parameters
    ----------
    source
        Folder of slices (PNG, JPEG, TIFF), of volumes (NIfTI, Analyze) or of DICOM files; one volume; a .npy or .npz
        stack; a zip of PNG with dataset.json; or a CSV list with the columns path, subject, label, split.
    out
        Folder of the prepared dataset.
    resolution
        Side of the squares, a power of two from 16 to 1024; chosen from the scans if left out.
    layout
        How `source` is organised: auto, or a name in `stylescan.data.layouts.table.LAYOUTS`.
    pattern
        Regular expression on each relative path with named groups subject, slice, side, label.
    plane
        How volumes are cut (axial if left out); for pictures, the plane they show.
    symmetry
        `left-right` declares that a mirrored image shows an equally possible subject; as the layout says if left out.
    slices, every, min_foreground
        Which slices of a volume are kept: between two fractions of it, each n-th, with at least this share of anatomy.
    field_of_view_mm
        Side of the square cut from every volume; the largest extent in the set if left out.
    contrasts
        Take the fourth axis of volumes (2 to 8 long) as contrasts: each becomes a channel.
    percentiles
        Source values that become black and white, for more than 8 bits.
    window
        The range of values instead of percentiles: a CT window's name, LEVEL/WIDTH, or header.
    modality
        Which scans of a session to take, by the layout's names (T1w, MR, ...).
    label_column
        Column of the table beside the scans that holds the class.
    laterality
        `canonicalise` turns left sides into right ones.
    balance
        `depth` keeps as many images of each class at each depth.
    bits
        Depth of the prepared images, 8 or 16.
    only_classes
        Keep the images of these classes alone. With one class left the dataset has no classes.
    ignore_classes
        Keep all images and drop their classes.
    holdout, select
        Shares of the subjects (at least 5 each) kept for judging, and for choosing checkpoints.
    folds, fold
        Hold out part `fold` (from 0) of `folds` equal parts of the subjects instead.
    seed
        Draws the split.
    keep_ids, salt
        Keep subject and file names readable; otherwise they are hashed with the salt (random if left out).
    repair
        Split anew by subject where a given split leaks.
    skip_corrupt
        Leave unreadable files out instead of refusing.
    allow_label_volumes
        Take volumes of a few integers, which look like masks, as images.
    overwrite
        Replace a dataset that stands in `out`.
    workers
        Processes; up to 8 if left out. With more than one, a script needs its `if __name__ == "__main__"`.
    progress
        Called with (done, total, what).
    notice
        Called with each line of the audit, which also stands in `out`/audit.json.

    Raises
    ------
    StylescanError
        With a remedy, before anything that stands in `out` is touched.

    Example
    -------
    >>> data = prepare_scans(scans, folder / "data", resolution=16, pattern=r"(?P<subject>p\\d+)", workers=1)
    >>> len(data), data.resolution, data.class_names
    (40, 16, ('big', 'small'))
    """
    try:
        options = PrepareOptions(
            resolution=resolution, layout=layout, pattern=pattern, plane=plane, symmetry=symmetry, slices=slices,
            every=every, min_foreground=min_foreground, field_of_view_mm=field_of_view_mm, contrasts=contrasts,
            percentiles=percentiles, window=window, modality=modality, label_column=label_column,
            laterality=None if laterality == "keep" else laterality, balance=balance, folds=folds, fold=fold,
            bits=bits, only_classes=only_classes, ignore_classes=ignore_classes,
            holdout=holdout, select=select, seed=seed, keep_ids=keep_ids, salt=salt, repair=repair,
            skip_corrupt=skip_corrupt, allow_label_volumes=allow_label_volumes, overwrite=overwrite, workers=workers,
        )  # fmt: skip
    except ValidationError as problem:
        first = problem.errors()[0]
        name = first["loc"][0] if first["loc"] else "options"
        raise ConfigError(
            f"{name}: {first['msg'].removeprefix('Value error, ')}", remedy="See help(stylescan.prepare_scans)."
        ) from None
    dataset, audit = prepare(Path(source), Path(out), options, progress=progress, advise=training_advice, notice=notice)
    for line in audit_lines(audit):
        notice(line)
    return dataset


def evaluate_images(
    target: str | Path,
    data: Data | None = None,
    out: str | Path | None = None,
    *,
    extractor: str = "efficientnet-lite0",
    count: int | None = None,
    seed: int = 0,
    psi: float = 1.0,
    full: bool = False,
    notices: Sequence[str] = (),
    progress: Report | None = None,
) -> EvaluationResult:
    """Judge generated images against held-out subjects; write `out`/report.html and `out`/report.json.

    Parameters
    ----------
    target
        Run folder, snapshot folder, or folder of PNG images made by any generator.
    data
        A prepared dataset with held-out subjects, or its folder; for a run, its own if left out.
    out
        Folder of the report; `target`/report if left out.
    extractor
        Features in which images are compared: efficientnet-lite0, radiomics, inception-v3, or the path of a TorchScript
        or ONNX file.
    count
        Images to judge, 10 or more; as many as held-out slices if left out, 2,000 at most.
    seed
        Decides the generated images and all draws.
    psi
        Truncation; 1 = none, and the honest choice.
    full
        Use every held-out slice, however many; classifiers that learn from generated images, projection of real images,
        and a reader-study pack as well.
    notices
        Terms of the data, shown with the report.
    progress
        Called with (done, total, what).

    Returns
    -------
    EvaluationResult
        `report` (the JSON values), `verdict` (of the memorisation audit), `html` and `json` (the files).

    Raises
    ------
    StylescanError
        Where the data has no hold-out, or the target does not fit the data.

    Example
    -------
    >>> result = evaluate_images(run.path, data, folder / "report")
    >>> result.html.name, result.report["metrics"]["n"]
    ('report.html', 8)
    """
    target = Path(target)
    if data is None:
        data = data_of(target)
    if data is None:
        raise ConfigError(
            f"{target}: no dataset named, and the target remembers none",
            remedy="Name the prepared dataset whose held-out subjects the images are compared with.",
        )
    return evaluate(
        target, data, Path(out) if out else target / "report", extractor=extractor, n=count, seed=seed, psi=psi,
        full=full, notices=notices, progress=progress,
    )  # fmt: skip


def write_picture(
    path: str | Path,
    images: NDArray[Any],
    snapshot: Snapshot,
    *,
    columns: int = 8,
    unpad: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write synthetic images as one PNG, side by side, that says of itself that it is synthetic.

    Parameters
    ----------
    path
        The file, usually ending in .png.
    images
        uint8 or uint16 [N, C, R, R], or [rows, columns, C, R, R] as `mix_styles` gives them.
    snapshot
        The generator that made them; its hash goes into the file.
    columns
        Images a row, where `images` has no columns of its own.
    unpad
        Cut off the padding that `prepare` added.
    overwrite
        Replace a file that stands in the place.

    Raises
    ------
    ConfigError
        For images of another shape, or where the file is there already.

    Example
    -------
    >>> write_picture(folder / "grid.png", sample_images(snapshot, range(6)), snapshot, columns=3).name
    'grid.png'
    """
    if images.ndim == 5:
        columns, images = images.shape[1], images.reshape(-1, *images.shape[2:])
    if images.ndim != 4 or not len(images) or images.dtype.name not in ("uint8", "uint16") or columns < 1:
        raise ConfigError(
            f"picture: found {images.dtype} of shape {images.shape}, {columns} columns",
            remedy="give what sample_images, mix_styles or interpolate_styles return",
        )
    kept = ("Title", "Software", "model_hash", "spacing_mm")
    text = {key: value for key, value in provenance(snapshot, seeds=[], labels=[]).items() if key in kept}
    shown = unpadded(images, snapshot) if unpad else images
    return write_grid(Path(path), shown, text, columns=columns, overwrite=overwrite)
