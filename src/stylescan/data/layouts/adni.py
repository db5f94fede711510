"""The ADNI slices of Alzheimer's disease and normal controls: class folders of sagittal JPEG, subjects in a JSON beside.

The number in front of a name is a scan, and patients have several. Whose scan it is, says `meta_data_with_label.json`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stylescan.data.layouts.found import Found, Listing, Progress
from stylescan.data.layouts.names import Named, counted, folder_of, keep_one_copy, nearby, require_all, sort_names
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source, file_source, natural_key, some
from stylescan.errors import DataError
from stylescan.files import read_json, require_file

NAME = re.compile(
    r"(?:^|/)(?:(?P<split>train|test)/)?(?P<label>AD|NC)/(?P<scan>\d+)_(?P<slice>\d{1,9})\.jpe?g$",
    re.IGNORECASE | re.ASCII,
)
META_NAME = "meta_data_with_label.json"
META_BYTES = 2**26  # the set's own has less than 1 MB
_EXAMPLE = "{train,test}/{AD,NC}/<scan>_<slice>.jpeg"
_PATIENT = re.compile(r"ADNI_(\d{3}_S_\d{4,5})_", re.ASCII)
_SPLITS = {"train": "train", "test": "holdout"}
_CLASSES = {"AD": "AD", "NC": "NC", "CN": "NC"}
_OR_REMOVE = f"take the whole {META_NAME} of the set, or move it elsewhere for a split by scan"


def detect_adni(listing: Listing) -> str | None:
    """What was recognised, or None: most names fit, below train or test or beside the set's JSON."""
    found = sort_names(listing, NAME)
    if not found.recognised:
        return None
    meta = _meta_file(found.fitting)
    if meta is None and not any(file["split"] for file in found.fitting):
        return None  # class folders AD and NC alone are anybody's
    return f"ADNI slices: {found.share()} look like {_EXAMPLE}, {'with' if meta else 'without'} {META_NAME}"


def find_adni(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """Every slice with subject, class, slice number, given split, and `scan` (the subject's first, second, ...).

    Without the JSON a scan is a subject, and the claim is scan-wise. Raises DataError for names that do not fit, scans of
    two classes, and a JSON that lacks scans or contradicts the folders.
    """
    fitting = require_all(sort_names(listing, NAME), listing.root, f"ADNI slices ({_EXAMPLE})")
    files, warnings = keep_one_copy(fitting, _key, listing.root, progress)
    classes = _classes(files, listing.root)
    meta = _meta_file(files)
    if meta is None:
        return _scan_wise(listing, files, warnings)
    subjects = _subjects(meta, classes)
    ordinals = _ordinals(subjects)
    folders = {file["split"].lower() for file in files}
    given = folders == set(_SPLITS)
    sources = [
        replace(
            _source(listing.root, file),
            subject=subjects[_scan(file)],
            split=_SPLITS[file["split"].lower()] if given else None,
            # The scan's own number could be looked up in the archive; its place among the subject's cannot.
            extra={"scan": ordinals[_scan(file)]},
        )
        for file in files
    ]
    notes = [f"{META_NAME}: {counted(len(classes), 'scan')} of {counted(len(set(subjects.values())), 'patient')}"]
    notes += [] if given else ["not both folders train and test are here: the split is drawn"]
    return Found(
        sources, plane="sagittal", symmetry="none", anatomy="brain", notes=tuple(notes), warnings=tuple(warnings)
    )


def _scan_wise(listing: Listing, files: Sequence[Named], warnings: list[str]) -> Found:
    """The folders' split is dropped with the subjects: it is known to part patients' scans."""
    sources = [replace(_source(listing.root, file), subject=_scan(file)) for file in files]
    loud = (f"NO SUBJECTS: there is no {META_NAME} here or above, so the split can only be one of scans. Patients "
            "have several, and 216 of the 331 in the set's test folder are in train too: expect kind scores")  # fmt: skip
    return Found(sources, plane="sagittal", symmetry="none", anatomy="brain", scan_wise=True,
                 notes=("the folders train and test are not used, as they part scans of one patient",),
                 warnings=(loud, *warnings))  # fmt: skip


def _source(root: Path, file: Named) -> Source:
    return replace(file_source(root, file.path), label=file["label"].upper(), slice=int(file["slice"]))


def _scan(file: Named) -> str:
    return _plain(file["scan"])


def _plain(scan: str) -> str:
    """A scan's number without the I and the zeros that some lists put in front."""
    return scan.removeprefix("I").lstrip("0") or "0"


def _key(file: Named) -> tuple[str, str, str, int]:
    return file["split"].lower(), file["label"].upper(), _scan(file), int(file["slice"])


def _meta_file(files: Sequence[Named]) -> Path | None:
    """The JSON nearest to the class folders: beside them, or up to three folders above."""
    bases = {folder_of(file, "split" if file["split"] else "label") for file in _one_a_folder(files)}
    return next((folder / META_NAME for folder in nearby(bases) if (folder / META_NAME).is_file()), None)


def _one_a_folder(files: Sequence[Named]) -> list[Named]:
    return list({file.path.parent: file for file in files}.values())


def _classes(files: Sequence[Named], root: Path) -> dict[str, str]:
    """Class of each scan, by its folder."""
    classes: dict[str, str] = {}
    torn = []
    for file in files:
        if classes.setdefault(_scan(file), file["label"].upper()) != file["label"].upper():
            torn.append(file.name)
    if torn:
        raise DataError(f"{root}: {len(torn)} slices lie in another class folder than other slices of their scan: "
                        f"{some(torn)}", remedy="keep each scan in one class folder")  # fmt: skip
    return classes


def _subjects(file: Path, classes: Mapping[str, str]) -> dict[str, str]:
    """Subject of each scan. Raises DataError naming scans that the JSON lacks or files under another class."""
    require_file(file, DataError, remedy=_OR_REMOVE)
    if file.stat().st_size > META_BYTES:
        raise DataError(f"{file}: {file.stat().st_size:,} bytes, expected at most {META_BYTES:,}", remedy=_OR_REMOVE)
    content = read_json(file, DataError, remedy=_OR_REMOVE)
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds {_kind(content)}, expected an object keyed by scan", remedy=_OR_REMOVE)
    entries = {_plain(key): value for key, value in content.items()}
    missing = sorted((scan for scan in classes if scan not in entries), key=natural_key)
    if missing:
        raise DataError(f"{file}: lacks {len(missing)} of {counted(len(classes), 'scan')}: {some(missing)}",
                        remedy=_OR_REMOVE)  # fmt: skip
    subjects, contrary = {}, []
    for scan, folder in classes.items():
        subjects[scan] = _patient(file, scan, entries[scan])
        stated = entries[scan].get("label")
        known = _CLASSES.get(stated.strip().upper()) if isinstance(stated, str) else None
        if known is not None and known != folder:
            contrary.append(f"{scan} ({stated}, in folder {folder})")
    if contrary:
        raise DataError(f"{file}: `label` of {len(contrary)} scans contradicts their folder: {some(contrary)}",
                        remedy="find out which is right, and correct the JSON or move the files")  # fmt: skip
    return subjects


def _patient(file: Path, scan: str, entry: Any) -> str:
    if not isinstance(entry, dict):
        raise DataError(f"{file}: {scan} is {_kind(entry)}, expected an object with `raw`", remedy=_OR_REMOVE)
    raw = entry.get("raw")
    match = _PATIENT.search(raw) if isinstance(raw, str) else None
    if match is None:
        found = "is missing" if raw is None else "names no patient" if isinstance(raw, str) else f"is {_kind(raw)}"
        raise DataError(f"{file}: {scan}.raw {found}, expected ADNI_<###_S_####>_...", remedy=_OR_REMOVE)
    return match.group(1)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _ordinals(subjects: Mapping[str, str]) -> dict[str, str]:
    """'1', '2', ... for the scans of each subject, in the order of their numbers."""
    of: dict[str, list[str]] = defaultdict(list)
    for scan in sorted(subjects, key=natural_key):
        of[subjects[scan]].append(scan)
    return {scan: str(number) for scans in of.values() for number, scan in enumerate(scans, start=1)}
