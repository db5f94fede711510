"""DICOM as archives and scanners lay it down: by the UIDs in the headers, whatever the files and folders are called."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from stylescan.data.formats.checks import REPLACE
from stylescan.data.formats.dicom_header import has_signature
from stylescan.data.formats.table import suffix_of
from stylescan.data.layouts.dicom_files import FEWEST, FileHeader, Part, parts_of, read_header
from stylescan.data.layouts.found import Found, Listing, Progress
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source, normal_side, some
from stylescan.errors import ConfigError, DataError

_SUFFIXES = {".dcm", ".dicom", ".ima", None}  # files without a known suffix are listed only where they are DICOM
_SCOUTS = {"LOCALIZER", "LOCALISER", "SCOUT"}
_REFORMATS = {"REFORMATTED", "MPR", "CSA MPR", "MIP", "MINIP", "PROJECTION IMAGE", "CSA MIP", "VOLUME RENDERING"}
# Ids that programs write in place of a patient's: one such word for everybody would make everybody one person.
_NOBODY = {"", "0", "00000", "000000", "anon", "anonymous", "anonymised", "anonymized", "deidentified", "de-identified",
           "none", "no id", "noid", "null", "patient", "removed", "unknown", "-", "x"}  # fmt: skip
FOLDER = "folder"  # the --label-column that takes the first folder of each path as the class
_SAY_MODALITY = "take one with --modality, for instance `--modality MR`"


def detect_dicom(listing: Listing) -> str | None:
    """DICOM files and nothing else that could be scans."""
    count = len(_dicom_files(listing))
    if not count or count != len(listing.names):
        return None
    bare = sum(suffix_of(name) is None for name in listing.names)
    known = f", {bare} of them known by their signature alone" if bare else ""
    return f"{count} DICOM files{known}: grouped by the series in their headers"


def _dicom_files(listing: Listing) -> list[int]:
    """Places in the listing of what is DICOM by suffix; without one by signature, which folders were searched for."""
    found = [k for k, name in enumerate(listing.names) if suffix_of(name) in _SUFFIXES]
    return [k for k in found if suffix_of(listing.names[k]) or listing.root.is_dir() or has_signature(listing.files[k])]


def find_dicom(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """Every series a volume (or several), every single image a picture; file names and folders say nothing.

    Sources are named by hashes of the study's and the series' UID, which no renaming changes. Subjects are PatientIDs;
    where none has one, studies. Nothing else of a header is kept. A file whose header cannot be read is a source of its
    own, so that it is named later on. `label_column` 'folder' takes the first folder of each path as the class.

    Raises ConfigError for options that headers cannot obey; DataError, with a remedy, for mixed modalities, for
    patients of whom only some are known, and for files without a SeriesInstanceUID.
    """
    _check_options(options)
    headers, damaged = _read_all(listing, progress)
    notes, warnings = _Notes(), []
    images = notes.drop(headers, lambda h: h.other is not None, "{} files are no images (reports, plans, indexes)")
    images = _of_modality(images, options.modality)
    _require_series(images)
    images = _without_copies(images, notes)
    images = notes.drop(images, lambda h: bool(_SCOUTS & set(h.kinds)), "{} images of localisers (scouts)")
    images = _without_reformats(images, notes)
    subjects, scan_wise = _subjects(images)
    parts = _parts(images, notes)
    labels = {part.name: _class_of(listing, part) if options.label_column else None for part in parts}
    if scan_wise:
        warnings.append("no file names its patient (PatientID): each study counts as a person, so that two studies of "
                        "one patient may part between training and testing")  # fmt: skip
    warnings += _series_warnings(parts, subjects, options)
    if options.label_column is None:
        notes.lines += _hint_classes(listing, parts, subjects)
    volumes = any(part.volume for part in parts)
    sources = [_source(part, subjects[part.headers[0].study], labels[part.name], volumes) for part in parts]
    sources += [
        Source(listing.names[k], (listing.files[k],), "volume" if volumes else "picture", "dicom") for k in damaged
    ]
    return Found(sources, scan_wise=scan_wise, notes=tuple(notes.lines), warnings=tuple(warnings))


class _Notes:
    """Sentences on what was left out."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def drop(self, headers: Iterable[FileHeader], out: Callable[[FileHeader], bool], sentence: str) -> list[FileHeader]:
        """The headers without those that `out` names; `sentence` takes their count."""
        everything = list(headers)
        kept = [header for header in everything if not out(header)]
        if len(kept) < len(everything):
            self.lines.append("left out: " + sentence.format(len(everything) - len(kept)))
        return kept


def _check_options(options: PrepareOptions) -> None:
    if options.pattern is not None:
        raise ConfigError("--pattern is matched against file names, and DICOM scans are known by their headers alone",
                          remedy=f"leave it out; `--label-column {FOLDER}` takes the first folder of each path as the "
                                 "class")  # fmt: skip
    if options.contrasts:
        raise ConfigError("--contrasts: series of DICOM are not joined into channels",
                          remedy="convert them to NIfTI with the contrasts along the fourth axis, or leave it out")  # fmt: skip
    if options.label_column not in (None, FOLDER):
        raise ConfigError(f"--label-column {options.label_column!r}: DICOM files carry no classes",
                          remedy=f"use --label-column {FOLDER} for a folder a class, or a CSV list")  # fmt: skip


def _read_all(listing: Listing, progress: Progress | None) -> tuple[list[FileHeader], list[int]]:
    """Every readable header, and the places in the listing of the files without one."""
    headers, damaged = [], []
    files = _dicom_files(listing)
    for done, k in enumerate(files, 1):
        try:
            headers.append(read_header(listing.files[k]))
        except DataError:
            damaged.append(k)
        if progress:
            progress(done, len(files), "reading headers")
    return headers, damaged


def _of_modality(images: list[FileHeader], wanted: Sequence[str]) -> list[FileHeader]:
    """The images of one modality, and of series whose description holds every other wanted word."""
    counts = Counter(header.modality or "none" for header in images)
    chosen = {word.upper() for word in wanted} & set(counts)
    if len(chosen) > 1 or (not chosen and len(counts) > 1):
        seen = ", ".join(f"{count} of {name}" for name, count in sorted(counts.items()))
        raise DataError(f"images of several modalities: {seen}; expected one", remedy=_SAY_MODALITY)
    others = [word.lower() for word in wanted if word.upper() not in chosen]
    kept = [h for h in images if (not chosen or (h.modality or "none") in chosen)
            and all(word in h.description.lower() for word in others)]  # fmt: skip
    if images and not kept:
        seen = ", ".join(f"{count} of {name}" for name, count in sorted(counts.items()))
        raise DataError(f"--modality {' '.join(wanted)}: found {seen}, and no series description with these words",
                        remedy="give a modality that is there, or words that stand in the series' descriptions")  # fmt: skip
    return kept


def _require_series(images: Sequence[FileHeader]) -> None:
    bare = [h.path.name for h in images if not h.series or not h.study]
    if bare:
        raise DataError(f"{len(bare)} files without SeriesInstanceUID or StudyInstanceUID: {some(bare)}",
                        remedy="move them elsewhere, or give their paths in a CSV list")  # fmt: skip
    owners: dict[str, set[str]] = defaultdict(set)
    for header in images:
        if header.patient.lower() not in _NOBODY:
            owners[header.study].add(header.patient)
    shared = sum(len(patients) > 1 for patients in owners.values())
    if shared:
        raise DataError(f"{shared} studies carry several PatientIDs (a StudyInstanceUID belongs to one patient)",
                        remedy=f"anonymise the files again with UIDs of their own for each study, or {REPLACE}")  # fmt: skip


def _without_copies(images: list[FileHeader], notes: _Notes) -> list[FileHeader]:
    """One file of each object: archives hold the same one twice."""
    seen: set[tuple[str, str, object, int]] = set()

    def again(header: FileHeader) -> bool:
        if not header.instance:
            return False
        place = header.place
        key = (header.series, header.instance, place and place.position, header.instance_number)
        twice = key in seen
        seen.add(key)
        return twice

    return notes.drop(images, again, "{} files are copies of others (the same SOPInstanceUID)")


def _without_reformats(images: list[FileHeader], notes: _Notes) -> list[FileHeader]:
    """Without slices that were computed from another series of the study, where that one is here too."""
    scans = Counter((h.study, h.series) for h in images if h.stacked and not _REFORMATS & set(h.kinds))
    original = {study for (study, _), count in scans.items() if count >= FEWEST}
    return notes.drop(
        images,
        lambda h: bool(_REFORMATS & set(h.kinds)) and h.study in original,
        "{} images reformatted or projected from another series",
    )


def _subjects(images: Sequence[FileHeader]) -> tuple[dict[str, str], bool]:
    """The subject of each study, and whether these are studies because nobody is named."""
    known = {h.study: h for h in images if h.patient.lower() not in _NOBODY}
    if not known:
        return {h.study: h.study for h in images}, True
    unknown = [h.path.name for h in images if h.study not in known]
    if unknown:
        raise DataError(f"{len(unknown)} of {len(images)} images do not name their patient (PatientID): {some(unknown)}",
                        remedy="give them PatientIDs (any pseudonym), or move them elsewhere: persons must not part "
                               "between training and testing")  # fmt: skip
    issuers: dict[str, set[str]] = defaultdict(set)
    for header in known.values():
        issuers[header.patient].add(header.issuer)
    # One id from two hospitals is two persons; where an issuer is missing, taking them for one is the safe side.
    several = {patient for patient, names in issuers.items() if len(names) > 1 and "" not in names}
    return {s: f"{h.patient}@{h.issuer}" if h.patient in several else h.patient for s, h in known.items()}, False


def _parts(images: Sequence[FileHeader], notes: _Notes) -> list[Part]:
    series: dict[tuple[str, str], list[FileHeader]] = defaultdict(list)
    for header in images:
        series[header.study, header.series].append(header)
    grouped = [parts_of(members) for members in series.values()]
    split = [parts for parts in grouped if sum(part.volume for part in parts) > 1]
    if split:
        volumes = sum(part.volume for parts in split for part in parts)
        notes.lines.append(
            f"{len(split)} series hold several volumes (orientations, echoes, time points): {volumes} in all"
        )
    parts = [part for parts in grouped for part in parts]
    if any(part.volume for part in parts):
        loose = [p for p in parts if not p.volume and p.headers[0].frames == 1]
        if loose:
            notes.lines.append(f"left out: {len(loose)} single images beside the volumes (scouts, screenshots)")
        parts = [part for part in parts if part.volume or part.headers[0].frames > 1]
    return parts


def _class_of(listing: Listing, part: Part) -> str:
    folders = {h.path.relative_to(listing.root).parts[0] if len(h.path.relative_to(listing.root).parts) > 1 else ""
               for h in part.headers}  # fmt: skip
    if "" in folders or len(folders) > 1:
        where = "beside the class folders" if "" in folders else f"in {len(folders)} class folders at once"
        raise DataError(f"a series lies {where} (for instance {part.headers[0].path.name})",
                        remedy="move each series into the folder of its class")  # fmt: skip
    return folders.pop()


def _hint_classes(listing: Listing, parts: Sequence[Part], subjects: dict[str, str]) -> list[str]:
    """A word where the first folders look like classes: two or more, each with several patients of its own."""
    members: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for header in part.headers:
            below = header.path.relative_to(listing.root).parts if header.path != listing.root else ()
            members[below[0] if len(below) > 1 else ""].add(subjects[header.study])
    apart = sum(map(len, members.values())) == len(set().union(*members.values())) if members else False
    if len(members) < 2 or "" in members or not apart or min(map(len, members.values())) < 2:
        return []
    return [
        f"the {len(members)} first folders hold patients of their own: --label-column {FOLDER} takes them as classes"
    ]


def _series_warnings(parts: Sequence[Part], subjects: dict[str, str], options: PrepareOptions) -> list[str]:
    warnings = []
    per_subject = Counter(subjects[part.headers[0].study] for part in parts if part.volume)
    several = sum(count > 1 for count in per_subject.values())
    if several:
        warnings.append(f"{several} of {len(per_subject)} patients have several volumes (contrasts, repeats), and all are "
                        "taken: a word of the series' descriptions after --modality takes one kind")  # fmt: skip
    if any(part.headers[0].modality == "CT" for part in parts) and options.window is None:
        warnings.append("CT without a window: each volume's Hounsfield units are cut at percentiles of its own; "
                        "`--window brain` (or another) keeps them comparable")  # fmt: skip
    return warnings


def _source(part: Part, subject: str, label: str | None, volumes: bool) -> Source:
    sides = {normal_side(header.side) for header in part.headers}
    side = sides.pop() if len(sides) == 1 else ""
    return Source(
        part.name,
        tuple(header.path for header in part.headers),
        "volume" if part.volume or volumes else "picture",  # a film is refused by its reader, whatever it is called
        "dicom",
        subject=subject,
        label=label,
        side=side if side in ("left", "right") else None,
    )
