"""`stylescan prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from stylescan.cli.console import bar, note, say

Flag = Parameter(negative="")


def prepare(
    source: Path,
    /,
    *,
    out: Path,
    resolution: int | None = None,
    layout: str = "auto",
    pattern: str | None = None,
    plane: Literal["axial", "coronal", "sagittal"] | None = None,
    symmetry: Literal["none", "left-right"] | None = None,
    slices: Annotated[tuple[float, float], Flag] = (0.0, 1.0),
    every: int = 1,
    min_foreground: float = 0.05,
    field_of_view_mm: float | None = None,
    contrasts: Annotated[bool, Flag] = False,
    percentiles: Annotated[tuple[float, float], Flag] = (0.5, 99.5),
    window: str | None = None,
    modality: Annotated[list[str] | None, Flag] = None,
    label_column: str | None = None,
    laterality: Literal["keep", "canonicalise"] = "keep",
    balance: Literal["none", "depth"] = "none",
    bits: Literal[8, 16] = 8,
    only_classes: Annotated[list[str] | None, Parameter(name="--only-class", negative="")] = None,
    ignore_classes: Annotated[bool, Flag] = False,
    holdout: float = 0.2,
    select: float = 0.1,
    folds: int | None = None,
    fold: int = 0,
    seed: int = 0,
    repair: Annotated[bool, Flag] = False,
    skip_corrupt: Annotated[bool, Flag] = False,
    allow_label_volumes: Annotated[bool, Flag] = False,
    keep_ids: Annotated[bool, Flag] = False,
    salt: str | None = None,
    overwrite: Annotated[bool, Flag] = False,
    workers: int | None = None,
) -> None:
    """Turn scans into a prepared dataset: squares of one size, split by subject, audited.

    Takes what hospitals and archives have: PNG, JPEG or TIFF slices (flat, or one folder a class); NIfTI and Analyze
    volumes; DICOM series, with other names and in any order; .npy and .npz stacks (MedMNIST's too); a zip of PNG with
    dataset.json; the folders of OAI AKOA, OASIS, ADNI and BIDS; or a CSV list with the columns path, subject, label,
    split (path alone is enough; others are carried along). It says what it recognised and why. An interrupted preparation
    continues when the command is repeated.

    Parameters
    ----------
    source
        Folder of scans, one scan, a stack, a zip, or a CSV list.
    out
        Folder of the prepared dataset.
    resolution
        Side of the squares, a power of two from 16 to 1024. Chosen from the scans if left out.
    layout
        How SOURCE is organised: auto (says what it saw and why), or a name: akoa, oasis, adni, oasis1,
        adni-raw, bids, dicom, stack (npy, npz, MedMNIST), zip (dataset.json), nifti (and Analyze), classes, flat, csv.
    pattern
        Regular expression on each relative path with named groups subject, slice, side, label, for instance
        `(?P<subject>\\d+)_(?P<slice>\\d+)\\.png`.
    plane
        How volumes are cut (axial if left out). For pictures: the plane they show, so that later only lawful
        augmentations are used.
    symmetry
        left-right declares that a mirrored image shows an equally possible subject (a whole brain seen from above, not
        a left knee): training may then flip images. Never lawful for sagittal images or where the side is recorded.
    slices
        Two fractions: the part of each volume to keep, for instance --slices 0.3 0.7.
    every
        Keep each n-th slice.
    min_foreground
        Least share of a volume's slice that must show anatomy.
    field_of_view_mm
        Side of the square cut from every volume; the largest extent in the set if left out.
    contrasts
        Take the fourth axis of volumes (2 to 8 long) as contrasts: each becomes a channel.
    percentiles
        Source values that become black and white, for images of more than 8 bits; per volume, never per slice.
    window
        Instead of percentiles, the range of values to keep, the same for all: for CT a name (brain, lung, bone, abdomen,
        ...), LEVEL/WIDTH such as 40/80, or header for each file's own.
    modality
        Which scans of a session to take: T1w, T2w (BIDS; repeat it, and each becomes a channel), MR, CT (DICOM), ...
    label_column
        Column of the table beside the scans (participants.tsv, the OASIS or ADNI list) that holds the class.
    laterality
        canonicalise turns left sides into right ones, so that all images show the same side.
    balance
        depth leaves images out until each class has as many at each depth, so that depth does not tell the class.
    bits
        Depth of the prepared images.
    only_classes
        Keep the images of this class alone; repeat it to keep several. With one class left the set has no classes, and
        a model of it is unconditional.
    ignore_classes
        Keep all images and drop their classes: an unconditional model of all.
    holdout
        Share of the subjects that only `evaluate` sees (at least 5).
    select
        Share of the subjects on which checkpoints are chosen (at least 5).
    folds
        Hold out one of this many equal parts of the subjects instead: prepare once for each --fold, with the same seed.
    fold
        Which part is held out, from 0.
    seed
        Draws the split.
    repair
        Split anew by subject where a given split leaks.
    skip_corrupt
        Leave unreadable files out (they are listed) instead of stopping.
    allow_label_volumes
        Take volumes of a few integers, which look like masks, as images.
    keep_ids
        Keep subject and file names readable; otherwise they become salted hashes.
    salt
        The salt of those hashes, to give equal names in several datasets; drawn at random if left out.
    overwrite
        Replace a dataset that stands in OUT.
    workers
        Processes; up to 8 if left out.
    """
    options = _options(
        resolution=resolution, layout=layout, pattern=pattern, plane=plane, symmetry=symmetry, slices=slices,
        every=every, min_foreground=min_foreground, field_of_view_mm=field_of_view_mm, contrasts=contrasts,
        percentiles=percentiles, window=window, modality=tuple(modality or ()), label_column=label_column,
        laterality=None if laterality == "keep" else laterality, balance=None if balance == "none" else balance,
        folds=folds, fold=fold, bits=bits, only_classes=tuple(only_classes or ()), ignore_classes=ignore_classes,
        holdout=holdout, select=select, seed=seed, repair=repair, skip_corrupt=skip_corrupt,
        allow_label_volumes=allow_label_volumes, keep_ids=keep_ids, salt=salt, overwrite=overwrite, workers=workers,
    )  # fmt: skip
    run_prepare(source, out, options)
    say()
    say(f"prepared dataset: {out}")
    say(f"look at it:       {out / 'data_audit.html'}")
    say(f"next:             stylescan train --data {out} --out RUN --minutes 20")


def _options(**values: Any) -> Any:
    from pydantic import ValidationError

    from stylescan.data.options import PrepareOptions
    from stylescan.errors import ConfigError

    try:
        return PrepareOptions(**values)
    except ValidationError as problem:
        first = problem.errors()[0]
        name = _option_name(str(first["loc"][0])) if first["loc"] else "options"
        found = f" (found {first['input']})" if first["loc"] and first["type"] != "value_error" else ""
        raise ConfigError(
            f"{name}: {first['msg'].removeprefix('Value error, ')}{found}", remedy="See `stylescan prepare --help`."
        ) from None


def _option_name(field: str) -> str:
    return "--only-class" if field == "only_classes" else "--" + field.replace("_", "-")


def run_prepare(source: Path, out: Path, options: Any) -> Any:
    """Prepare with a bar and print the audit; returns the dataset."""
    from stylescan.advice import training_advice
    from stylescan.data.audit.summary import audit_lines
    from stylescan.data.prepare import prepare as prepare_data

    note(f"preparing {source}")
    with bar() as report:
        dataset, audit = prepare_data(source, out, options, progress=report, advise=training_advice, notice=note)
    for line in audit_lines(audit):
        say(line)
    return dataset
