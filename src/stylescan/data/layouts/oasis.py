"""The OASIS brain slices: folders train, validate and test of axial PNG, and a folder of tissue masks beside each."""

from __future__ import annotations

import re
from dataclasses import replace

from stylescan.data.layouts.found import Found, Listing, Progress
from stylescan.data.layouts.names import Named, counted, keep_one_copy, require_all, sort_names
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source, file_source

NAME = re.compile(
    r"(?:^|/)keras_png_slices_(?:seg_(?P<mask_split>train|validate|test)/seg|(?P<split>train|validate|test)/case)"
    r"_(?P<subject>\d{3})_slice_(?P<slice>\d{1,9})\.nii\.png$",
    re.IGNORECASE | re.ASCII,
)
_EXAMPLE = "keras_png_slices_{train,validate,test}/case_<subject>_slice_<slice>.nii.png"
# 17 subjects in `test` would say little, so those of `validate` are held out with them.
_SPLITS = {"train": "train", "validate": "holdout", "test": "holdout"}


def detect_oasis(listing: Listing) -> str | None:
    """What was recognised, or None: most names fit, and at least one is an image."""
    found = sort_names(listing, NAME)
    images = sum(bool(file["split"]) for file in found.fitting)
    if not found.recognised or not images:
        return None
    masks = len(found.fitting) - images
    return (f"OASIS slices: {found.share()} look like {_EXAMPLE} or its mask "
            f"({counted(images, 'image')}, {counted(masks, 'mask')})")  # fmt: skip


def find_oasis(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """Every image with its subject, slice, mask and given split; the masks themselves are no scans.

    Raises DataError naming the files that do not fit.
    """
    fitting = require_all(sort_names(listing, NAME), listing.root, f"OASIS slices ({_EXAMPLE})")
    files, warnings = keep_one_copy(fitting, _key, listing.root, progress)
    masks = {_place(file): file.path for file in files if file["mask_split"]}
    images = [file for file in files if file["split"]]
    folders = {file["split"].lower() for file in images}
    given = "train" in folders and len(folders) > 1
    sources = [
        replace(
            file_source(listing.root, file.path),
            subject=file["subject"],
            slice=int(file["slice"]),
            split=_SPLITS[file["split"].lower()] if given else None,
            mask=masks.get(_place(file)),
        )
        for file in images
    ]
    lone = len(set(masks) - {_place(file) for file in images})
    return Found(
        sources, plane="axial", symmetry="left-right", anatomy="brain",
        notes=(_split_note(sources, folders) if given else
               f"only the folder {' and '.join(sorted(folders))} is here: the split is drawn",
               "axial slices of whole brains that record no side: a mirrored one counts as possible (--symmetry none "
               "takes that back)"),
        warnings=(*warnings, *_mask_warnings(sources, lone)),
    )  # fmt: skip


def _place(file: Named) -> tuple[str, str, int]:
    """(split, subject, slice): the same for an image and its mask."""
    return (file["split"] or file["mask_split"]).lower(), file["subject"], int(file["slice"])


def _key(file: Named) -> tuple[bool, str, str, int]:
    return (bool(file["mask_split"]), *_place(file))


def _split_note(sources: list[Source], folders: set[str]) -> str:
    held = len({source.subject for source in sources if source.split == "holdout"})
    names = " and ".join(sorted(folders - {"train"}, reverse=True))
    return f"the folders' own split: {counted(held, 'subject')} of {names} held out (those of test alone would be few)"


def _mask_warnings(sources: list[Source], lone: int) -> list[str]:
    missing = sum(source.mask is None for source in sources)
    warnings = [f"{missing:,} of {counted(len(sources), 'image')} have no mask"] if missing else []
    return warnings + ([f"{counted(lone, 'mask')} without an image"] if lone else [])
