"""The OAI AKOA knees: one flat folder of sagittal PNG slices, with subject, series, side and slice in each name."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

from stylescan.data.layouts.found import Found, Listing, Progress
from stylescan.data.layouts.names import counted, keep_one_copy, require_all, sort_names
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import file_source, normal_side

# The digits before the sequence are the series; an underscore between the two comes and goes.
NAME = re.compile(
    r"(?:^|/)OAI(?P<subject>\d+)_BaseLine_(?P<series>\d+)(?!\d)_?(?P<sequence>[^/]*?)_(?P<side>left|right|l_e_f_t|r_i_g_h_t)"
    r"\.nii(?:\.gz)?_(?P<slice>\d{1,9})\.png$",
    re.IGNORECASE | re.ASCII,
)
_EXAMPLE = "OAI<subject>_BaseLine_<series>..._RIGHT.nii.gz_<slice>.png"


def detect_akoa(listing: Listing) -> str | None:
    """What was recognised, or None: most names fit, whatever the folders."""
    found = sort_names(listing, NAME)
    return f"AKOA knees: {found.share()} look like {_EXAMPLE}" if found.recognised else None


def find_akoa(listing: Listing, options: PrepareOptions, progress: Progress | None) -> Found:
    """Every slice with subject (who owns both knees and all series), side, slice number, and `series` as an extra.

    The set unpacked into itself is taken once. Raises DataError naming the files that do not fit.
    """
    fitting = require_all(sort_names(listing, NAME), listing.root, f"AKOA knees ({_EXAMPLE})")
    files, warnings = keep_one_copy(fitting, lambda file: file.path.name, listing.root, progress)
    sources = [
        replace(
            file_source(listing.root, file.path),
            subject=file["subject"],
            side=normal_side(file["side"]),
            slice=int(file["slice"]),
            extra={"series": file["series"]},
        )
        for file in files
    ]
    sides = Counter(source.side for source in sources)
    volumes = {(source.subject, source.extra["series"], source.side) for source in sources}
    return Found(
        sources, plane="sagittal", symmetry="none", anatomy="knee",
        notes=(f"{counted(len({s.subject for s in sources}), 'subject')} with {counted(len(volumes), 'volume')}, "
               f"{counted(sides['left'], 'slice')} of left knees and {sides['right']:,} of right ones",),
        warnings=tuple(warnings),
    )  # fmt: skip
