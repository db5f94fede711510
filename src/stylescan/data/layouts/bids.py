"""BIDS: `sub-<label>/[ses-<label>/]anat/sub-<label>_..._<suffix>.nii.gz`, and `participants.tsv` beside the subjects."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stylescan.data.layouts.beside import SideTable, classes_from, read_table, refuse_without_table
from stylescan.data.layouts.found import Found, Listing, Progress
from stylescan.data.layouts.names import MOST, Named, counted, folder_of, keep_one_copy, nearby, sort_names
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source, file_source, natural_key, some
from stylescan.errors import ConfigError, DataError

NAME = re.compile(
    r"(?:^|/)(?P<subject>sub-[A-Za-z0-9]+)/(?:(?P<session>ses-[A-Za-z0-9]+)/)?"
    r"(?P<datatype>anat|func|dwi|fmap|perf|pet|swi|mrs|beh|eeg|ieeg|meg|nirs|micr)/"
    r"(?P<stem>(?P=subject)_(?:[A-Za-z0-9-]+_)*(?P<suffix>[A-Za-z0-9]+))\.nii(?:\.gz)?$",
    re.ASCII,
)
DEFAULT_SUFFIX = "T1w"
_EXAMPLE = "sub-<label>/[ses-<label>/]anat/sub-<label>_..._<suffix>.nii.gz"
_ASIDE = {"derivatives", "sourcedata", "code", "stimuli", "models", "phenotype"}


def detect_bids(listing: Listing) -> str | None:
    """What was recognised, or None: most NIfTI files outside derivatives fit, and one lies in `anat`."""
    fitting, others = _sorted(listing)
    anatomical = [file for file in fitting if file["datatype"] == "anat"]
    if not anatomical or len(fitting) < MOST * (len(fitting) + len(others)):
        return None
    described = any((folder / "dataset_description.json").is_file() for folder in nearby(_roots(fitting), above=0))
    return (f"BIDS: {len(fitting):,} of {len(fitting) + len(others):,} NIfTI names look like {_EXAMPLE}, "
            f"{len(anatomical):,} of them in anat, {'with' if described else 'without'} dataset_description.json")  # fmt: skip


def find_bids(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """The anatomical volumes of `options.modality` (T1w unless said); several suffixes of a session become one source.

    The class is the column `options.label_column` of participants.tsv. Raises DataError naming NIfTI files that do not
    fit, and subjects without a value in that column.
    """
    fitting, others = _sorted(listing)
    if others:
        raise DataError(f"{listing.root}: {len(others)} NIfTI files do not look like {_EXAMPLE}: {some(others)}",
                        remedy="move them to derivatives/, or elsewhere")  # fmt: skip
    files, warnings = keep_one_copy([file for file in fitting if file["datatype"] == "anat"],
                                    lambda file: (file["subject"], file["session"], file.path.name),
                                    listing.root, progress)  # fmt: skip
    suffixes = options.modality or (DEFAULT_SUFFIX,)
    _check_suffixes(files, suffixes, listing.root)
    sources, left_out = _sources(files, suffixes, listing.root)
    if left_out:
        warnings.append(f"{counted(left_out, 'session')} without all of {', '.join(suffixes)}: left out")
    if not sources:
        raise DataError(
            f"{listing.root}: no session has all of {', '.join(suffixes)}", remedy="name fewer with --modality"
        )
    sources, notes = _with_classes(sources, _participants(files), options)
    several = sum(count > 1 for count in Counter(_session_of(source) for source in sources).values())
    if several:
        notes.append(f"{counted(several, 'session')} with several {suffixes[0]} (acq-, run-, ...): all are taken")
    return Found(sources, notes=(*notes,), warnings=tuple(warnings))


def _sorted(listing: Listing) -> tuple[list[Named], list[str]]:
    """The files that fit and the NIfTI files that do not, without what BIDS puts aside."""
    found = sort_names(listing, NAME)
    fitting = [file for file in found.fitting if not _ASIDE & set(file.name.split("/")[:-1])]
    others = [name for name in found.strays if not _ASIDE & set(name.split("/")[:-1])]
    return fitting, [name for name in others if name.lower().endswith((".nii", ".nii.gz"))]


def _roots(files: Sequence[Named]) -> set[Path]:
    return {folder_of(file, "subject") for file in files}


def _check_suffixes(files: Sequence[Named], suffixes: Sequence[str], root: Path) -> None:
    there = Counter(file["suffix"] for file in files)
    absent = [suffix for suffix in suffixes if suffix not in there]
    if absent:
        listed = ", ".join(f"{suffix} ({count})" for suffix, count in there.most_common())
        raise ConfigError(f"modality {', '.join(absent)}: none in {root}; anat holds {listed or 'nothing'}",
                          remedy="name one of these with --modality")  # fmt: skip


def _sources(files: Sequence[Named], suffixes: Sequence[str], root: Path) -> tuple[list[Source], int]:
    """One source for each volume, or for each set of suffixes; and how many sessions lack one."""
    sessions: dict[tuple[str, str], list[Named]] = defaultdict(list)
    for file in files:
        if file["suffix"] in suffixes:
            sessions[file["subject"], file["session"]].append(file)
    sources, left_out, unclear = [], 0, []
    for (subject, session), members in sorted(sessions.items()):
        groups = _groups(members, suffixes)
        if groups is None:
            unclear.append(f"{subject}/{session}" if session else subject)
        elif not groups:
            left_out += 1
        else:
            sources += [replace(file_source(root, group[0].path), paths=tuple(file.path for file in group),
                                subject=subject) for group in groups]  # fmt: skip
    if unclear:
        raise DataError(f"{root}: which {' and '.join(suffixes)} belong together is not clear in "
                        f"{counted(len(unclear), 'session')}: {some(unclear)}",
                        remedy="keep one of each, or give those of one volume the same entities")  # fmt: skip
    return sources, left_out


def _groups(members: Sequence[Named], suffixes: Sequence[str]) -> list[list[Named]] | None:
    """Files that make one volume each: one a suffix, or those that agree in all but the suffix; None where unclear."""
    if len(suffixes) == 1:
        return [[file] for file in sorted(members, key=lambda f: natural_key(f.name))]
    of: dict[str, list[Named]] = {suffix: [f for f in members if f["suffix"] == suffix] for suffix in suffixes}
    if not all(of.values()):
        return []
    if all(len(files) == 1 for files in of.values()):
        return [[files[0] for files in of.values()]]
    entities = [{f["stem"].rsplit("_", 1)[0]: f for f in files} for files in of.values()]
    shared = set.intersection(*(set(one) for one in entities))
    if any(set(one) != shared for one in entities):
        return None
    return [[one[key] for one in entities] for key in sorted(shared, key=natural_key)]


def _session_of(source: Source) -> str:
    return str(source.paths[0].parent)


def _participants(files: Sequence[Named]) -> SideTable | None:
    tables = [folder / "participants.tsv" for folder in sorted(_roots(files))]
    table = next((file for file in tables if file.is_file()), None)
    return read_table(table, "participant_id") if table else None


def _with_classes(
    sources: list[Source], table: SideTable | None, options: PrepareOptions
) -> tuple[list[Source], list[str]]:
    column = options.label_column
    if table is None:
        refuse_without_table(column, "participants.tsv lies beside the subjects' folders", "put it there")
        return sources, []
    if column is None:
        return sources, [table.note()] if table.columns else []
    # Some tables leave the 'sub-' out.
    rows = {key if key.startswith("sub-") else f"sub-{key}": row for key, row in table.rows.items()}
    subjects = {str(source.subject) for source in sources}
    classes = classes_from(replace(table, rows=rows), column, subjects, options)
    return [replace(source, label=classes[str(source.subject)]) for source in sources], [
        f"classes: the column {column} of {table.file.name}"
    ]
