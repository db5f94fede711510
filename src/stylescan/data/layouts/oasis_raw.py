"""OASIS-1 as it is handed out: a folder a session, with Analyze pairs of the raw, averaged and atlas-registered scans."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stylescan.data.layouts.beside import SideTable, classes_from, nearest_table, refuse_without_table, value_in
from stylescan.data.layouts.found import Found, Listing, Progress
from stylescan.data.layouts.names import Named, counted, folder_of, keep_one_copy, require_all, sort_names
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source, natural_key, some
from stylescan.errors import ConfigError, DataError

NAME = re.compile(
    r"(?:^|/)(?P<session>(?P<subject>OAS1_\d{4})_MR\d)/(?P<place>PROCESSED/MPRAGE/(?:T88_111|SUBJ_111)|RAW|FSL_SEG)/"
    r"(?P<stem>[^/]+)\.(?:img|hdr)$",
    re.IGNORECASE | re.ASCII,
)
_EXAMPLE = "OAS1_<subject>_MR<visit>/{PROCESSED/MPRAGE/...,RAW,FSL_SEG}/*.{img,hdr}"
TABLE_NAMES = "oasis_cross*sectional*.csv"
# In this order: skull-stripped in atlas space; the same with the skull; the average in the subject's own space.
KINDS = ("t88_masked_gfc", "t88_gfc", "sbj_111")
_TISSUES = "_fseg"  # the tissue labels, on the grid of the atlas


def detect_oasis1(listing: Listing) -> str | None:
    """What was recognised, or None: most names fit."""
    found = sort_names(listing, NAME)
    if not found.recognised:
        return None
    sessions = len({file["session"].upper() for file in found.fitting})
    return f"OASIS-1: {found.share()} look like {_EXAMPLE} ({counted(sessions, 'session')})"


def find_oasis1(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """One volume a session; MR1 and MR2 of a person are one subject. Tissue labels are its mask where they are there.

    `options.modality` names the end of the file names to take (KINDS, or for instance mpr-1_anon); `label_column` a column
    of oasis_cross-sectional.csv. Raises DataError naming sessions without such a volume, or with half of a pair.
    """
    fitting = require_all(sort_names(listing, NAME), listing.root, f"OASIS-1 ({_EXAMPLE})")
    halves = _both_halves(fitting, listing.root)
    files, warnings = keep_one_copy(halves, lambda f: (f["session"].upper(), f.path.name), listing.root, progress)
    pairs = _pairs(files)
    kinds = _kinds(options)
    chosen = {session: _choose(stems, kinds) for session, stems in sorted(pairs.items())}
    lacking = [session for session, stem in chosen.items() if stem is None]
    if lacking:
        raise DataError(f"{listing.root}: {len(lacking)} of {counted(len(chosen), 'session')} have no file that ends with "
                        f"{' or '.join(kinds)}: {some(lacking)}",
                        remedy="complete or remove these sessions, or name another kind with --modality")  # fmt: skip
    sources = [_source(pairs[session], stem, session) for session, stem in chosen.items() if stem is not None]
    table = _table(files)
    sources, notes = _with_classes(sources, table, options)
    return Found(sources, anatomy="brain", notes=(_kind_note(sources), *notes),
                 warnings=(*warnings, *_mixed(sources)))  # fmt: skip


def _kinds(options: PrepareOptions) -> tuple[str, ...]:
    if len(options.modality) > 1:
        raise ConfigError(f"modality {', '.join(options.modality)}: OASIS-1 has T1 scans alone, one volume a session",
                          remedy="name one of them")  # fmt: skip
    return options.modality or KINDS


Pairs = dict[str, dict[str, Named]]  # by stem, then by '.img' or '.hdr'


def _both_halves(files: Sequence[Named], root: Path) -> list[Named]:
    """The files and their other halves. Raises DataError naming files whose other half is missing."""
    found, lone = {file.path: file for file in files}, []
    for file in files:
        suffix = {"img": ".hdr", "IMG": ".HDR", "HDR": ".IMG"}.get(file.path.name[-3:], ".img")
        other = replace(file, path=file.path.with_suffix(suffix), name=file.name[:-4] + suffix)
        found.setdefault(other.path, other)
        if not other.path.is_file():
            lone.append(file.name)
    if lone:
        raise DataError(f"{root}: {len(lone)} Analyze files lack their .img or .hdr: {some(lone)}",
                        remedy="restore the other half of each pair, or remove it")  # fmt: skip
    return list(found.values())


def _pairs(files: Sequence[Named]) -> dict[str, Pairs]:
    """The pairs of each session."""
    pairs: dict[str, Pairs] = defaultdict(lambda: defaultdict(dict))
    for file in files:
        pairs[file["session"].upper()][file["stem"]][file.path.suffix.lower()] = file
    return pairs


def _choose(stems: Pairs, kinds: Sequence[str]) -> str | None:
    """The stem to take: of the first kind that is there, and of several averages the one of most scans."""
    for kind in kinds:
        fitting = [stem for stem in stems if stem.lower().endswith(f"_{kind}".lower())]
        if fitting:
            return max(fitting, key=natural_key)
    return None


def _source(stems: Pairs, stem: str, session: str) -> Source:
    image, header = stems[stem][".img"], stems[stem][".hdr"]
    # The tissue labels lie on the atlas grid: they are no mask of a scan in the subject's own space.
    tissues = [other for other in stems if other.lower().endswith(_TISSUES)] if "t88" in stem.lower() else []
    return Source(
        image.name, (image.path, header.path), "volume", "analyze",
        subject=_person(session),
        mask=stems[max(tissues, key=natural_key)][".img"].path if tissues else None,
        extra={"visit": session.rsplit("_", 1)[-1]},
    )  # fmt: skip


def _table(files: Sequence[Named]) -> SideTable | None:
    """The cross-sectional table nearest to the sessions."""
    bases = {folder_of(file, "session") for file in files}
    return nearest_table(bases, lambda folder: [f for f in sorted(folder.glob(TABLE_NAMES)) if f.is_file()], "ID")


def _with_classes(
    sources: list[Source], table: SideTable | None, options: PrepareOptions
) -> tuple[list[Source], list[str]]:
    column = options.label_column
    if table is None:
        absent = f"{TABLE_NAMES} lies beside the sessions or above"
        refuse_without_table(column, absent, "put it there, saved as CSV")
        return sources, []
    if column is None:
        return sources, [table.note()]
    sessions = {source.name: f"{source.subject}_{source.extra['visit']}" for source in sources}
    # The table leaves the second visit of a person, some days later, empty: it has the class of the first.
    filled = _by_subject(table.rows, column)
    rows = {key: table.rows[key] if value_in(table.rows, key, column) else filled.get(_person(key), {})
            for key in sessions.values()}  # fmt: skip
    classes = classes_from(replace(table, rows=rows), column, sessions.values(), options)
    return [replace(source, label=classes[sessions[source.name]]) for source in sources], []


def _person(session: str) -> str:
    return session.split("_MR", 1)[0]


def _by_subject(rows: Mapping[str, dict[str, str]], column: str) -> dict[str, dict[str, str]]:
    """Of each subject the first row with a value in `column`."""
    found: dict[str, dict[str, str]] = {}
    for key in sorted(rows):
        if value_in(rows, key, column):
            found.setdefault(_person(key), rows[key])
    return found


def _kind_of(source: Source) -> str:
    stem = source.paths[0].stem.lower()
    return next((kind for kind in KINDS if stem.endswith(f"_{kind}")), "as asked")


def _kind_note(sources: Sequence[Source]) -> str:
    masks = sum(source.mask is not None for source in sources)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(map(_kind_of, sources)).items()))
    return f"one volume a session ({kinds}), {counted(masks, 'tissue map')} beside them"


def _mixed(sources: Sequence[Source]) -> list[str]:
    counts = Counter(map(_kind_of, sources))
    if len(counts) == 1:
        return []
    words = ", ".join(f"{kind} {count}" for kind, count in counts.most_common())
    return [f"sessions differ in what they hold ({words}): skull-stripped and whole heads do not mix well"]
