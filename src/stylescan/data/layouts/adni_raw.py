"""ADNI as the archive packs it: `<patient>/<series>/<date>/<image>/..._I<image>.nii`, or one .dcm a slice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stylescan.data.layouts.beside import SideTable, classes_from, header_of, nearest_table, refuse_without_table
from stylescan.data.layouts.dicom_tree import find_dicom
from stylescan.data.layouts.found import Found, Listing, Progress
from stylescan.data.layouts.names import Named, counted, folder_of, keep_one_copy, require_all, sort_names
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source, file_source, some
from stylescan.errors import ConfigError, DataError

NAME = re.compile(
    r"(?:^|/)(?P<subject>\d{3}_S_\d{4,5})/(?P<series>[^/]+)/(?:[^/]+/)*[^/]*_(?P<image>I\d+)"
    r"\.(?:nii|nii\.gz|(?P<dicom>dcm))$",
    re.IGNORECASE | re.ASCII,
)
_EXAMPLE = "<###_S_####>/<series>/.../*_I<image>.{nii,dcm}"
KEY, WHO, GROUP = "Image Data ID", "Subject", "Group"


def detect_adni_raw(listing: Listing) -> str | None:
    """What was recognised, or None: most names fit."""
    found = sort_names(listing, NAME)
    if not found.recognised:
        return None
    patients = len({file["subject"] for file in found.fitting})
    return f"ADNI archive: {found.share()} look like {_EXAMPLE} ({counted(patients, 'patient')})"


def find_adni_raw(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """Every volume with its patient: one a NIfTI file, or one a series of DICOM slices.

    The class is the column `options.label_column`, else Group, of the search's CSV (columns Image Data ID, Subject, ...)
    where it lies beside; `modality` takes the series folders with this word in their names. Raises DataError for images
    that the CSV lacks, or gives to another patient.
    """
    fitting = require_all(sort_names(listing, NAME), listing.root, f"the ADNI archive ({_EXAMPLE})")
    files = _of_series(fitting, options)
    dicom = [file for file in files if file["dicom"]]
    if dicom and len(dicom) < len(files):
        raise DataError(f"{listing.root}: {len(files) - len(dicom)} NIfTI and {len(dicom)} DICOM files, expected one kind",
                        remedy="prepare them one after the other")  # fmt: skip
    if dicom:
        found, taken = _dicom(listing, files, options, progress)
    else:
        files, doubled = keep_one_copy(files, lambda f: (f["subject"], f.path.name), listing.root, progress)
        found = Found([], warnings=tuple(doubled))
        taken = [(file_source(listing.root, file.path), file) for file in files]
    _check_patients(taken, listing.root)
    sources = [replace(source, subject=file["subject"].upper()) for source, file in taken]
    images = {source.name: file["image"].upper() for source, file in taken}
    sources, notes = _with_classes(sources, images, _table(files), options)
    notes = [f"{counted(len(sources), 'volume')} of {counted(len({s.subject for s in sources}), 'patient')}", *notes]
    series = len({file["series"].lower() for file in files})
    if series > 1:
        notes.append(f"{series} kinds of series are mixed: --modality takes those with a word in the folder's name")
    return replace(found, sources=sources, anatomy="brain", scan_wise=False, notes=(*found.notes, *notes))


def _dicom(
    listing: Listing, files: Sequence[Named], options: PrepareOptions, progress: Progress | None
) -> tuple[Found, list[tuple[Source, Named]]]:
    """Slices put together by their headers, each volume with one of its files."""
    # Class and series are told by folders and table here, so the headers are not asked for them.
    found = find_dicom(listing, options.model_copy(update={"label_column": None, "modality": ()}), progress)
    by_path = {file.path: file for file in files}
    taken = [(source, by_path[source.paths[0]]) for source in found.sources if source.paths[0] in by_path]
    # Nor are the headers asked for the patient: that some name none does not matter.
    warnings = tuple(text for text in found.warnings if "(PatientID)" not in text)
    return replace(found, warnings=warnings), taken


def _of_series(files: list[Named], options: PrepareOptions) -> list[Named]:
    if not options.modality:
        return files
    if len(options.modality) > 1:
        raise ConfigError(f"modality {', '.join(options.modality)}: the series of this archive lie on grids of their own",
                          remedy="name one of them")  # fmt: skip
    wanted = options.modality[0]
    chosen = [file for file in files if wanted.lower() in file["series"].lower()]
    if not chosen:
        raise ConfigError(f"modality {wanted!r}: no patient has a series folder with this in its name; there are "
                          f"{some(sorted({file['series'] for file in files}))}",
                          remedy="give a part of one of these")  # fmt: skip
    return chosen


def _check_patients(taken: Sequence[tuple[Source, Named]], root: Path) -> None:
    """A file under one patient that carries another's number has been put in the wrong place."""
    wrong = []
    for source, file in taken:
        named = re.findall(r"(?<!\d)\d{3}_S_\d{4,5}(?!\d)", file.path.name.upper(), re.ASCII)
        if named and set(named) != {file["subject"].upper()}:
            wrong.append(source.name)
    if wrong:
        raise DataError(f"{root}: {len(wrong)} files name another patient than their folder: {some(wrong)}",
                        remedy="put them where they belong")  # fmt: skip


def _table(files: Sequence[Named]) -> SideTable | None:
    """The search's CSV nearest to the patients' folders; its name is anybody's choice, its columns are not."""
    bases = {folder_of(file, "subject") for file in files}

    def tables_in(folder: Path) -> list[Path]:
        return [file for file in sorted(folder.glob("*.csv")) if {KEY, WHO} <= set(header_of(file))]

    return nearest_table(bases, tables_in, KEY, above=2)


def _with_classes(
    sources: list[Source], images: dict[str, str], table: SideTable | None, options: PrepareOptions
) -> tuple[list[Source], list[str]]:
    if table is None:
        absent = f"CSV with the columns {KEY} and {WHO} lies beside the patients' folders"
        refuse_without_table(options.label_column, absent, "put the CSV of your search there")
        return sources, []
    # The archive writes image numbers with an I, some exports without.
    table = replace(table, rows={"I" + key.upper().removeprefix("I"): row for key, row in table.rows.items()})
    other = [source.name for source in sources if _patient(table, images[source.name]) not in (None, source.subject)]
    if other:
        raise DataError(f"{table.file}: gives {counted(len(other), 'image')} to another patient: {some(other)}",
                        remedy="take the CSV of this download")  # fmt: skip
    column = options.label_column or (GROUP if GROUP in table.columns else None)
    if column is None:
        return sources, [table.note()]
    classes = classes_from(table, column, images.values(), options)
    note = f"classes: the column {column} of {table.file.name} (--label-column names another)"
    return [replace(source, label=classes[images[source.name]]) for source in sources], [note]


def _patient(table: SideTable, image: str) -> str | None:
    return table.rows[image][WHO].upper() if image in table.rows else None
