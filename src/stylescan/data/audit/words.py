"""The audit in words: a table of counts, what was found, and what stands in the way, each with its remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stylescan.columns import aligned
from stylescan.data.audit.record import LISTED, Audit
from stylescan.data.prepared import SPLITS, UNITS


@dataclass(frozen=True)
class Concern:
    """Something that stands in the way, and what to do about it ('' where the text says it)."""

    text: str
    remedy: str = ""


def audit_table(audit: Audit) -> list[list[str]]:
    """Images (and subjects) by class and split: a header, a row a class, and a last row for all."""
    unit = UNITS[audit.claim].split(maxsplit=1)[0]
    rows = [[f"images ({unit})", *SPLITS, "all"]]
    counted = [(name, audit.images_by_class[name], audit.subjects_by_class[name]) for name in audit.class_names]
    for name, images, people in (*counted, ("all", audit.images_by_split, audit.subjects_by_split)):
        cells = [f"{images[split]} ({people[split]})" for split in SPLITS]
        rows.append([name, *cells, f"{sum(images.values())} ({sum(people.values())})"])
    return rows


def found_lines(audit: Audit) -> list[str]:
    """What is in the set, in sentences, without the table and without what stands in the way."""
    unit, found = UNITS[audit.claim], audit.findings
    low, middle, high = audit.images_per_subject
    return [
        found.layout,
        f"{audit.images} images, {audit.resolution}x{audit.resolution}, {audit.channels} channel(s), {audit.bits} bits",
        f"{sum(audit.subjects_by_split.values())} {unit}, {low} to {high} images each (median {middle:g})",
    ]


def further_lines(audit: Audit) -> list[str]:
    """What else was found and is no reason to worry: sides, shortcuts that were tried, notes."""
    lines = [f"sides: {', '.join(f'{side} {count}' for side, count in audit.sides.items())}"] if audit.sides else []
    lines += _sides_lines(audit)
    tried = {"depth": audit.depth_shortcut, "side": audit.side_shortcut, **audit.shortcuts}
    lines += [_told(name, shortcut.accuracy, shortcut.majority)
              for name, shortcut in tried.items() if shortcut is not None and not shortcut.notable]  # fmt: skip
    pixels = audit.pixels
    if pixels is not None:
        text = f"writing looked for in {pixels.writing_sampled} images"
        if pixels.heads_checked:
            text += f", unstripped heads in {pixels.sampled} of {pixels.sampled_subjects} {UNITS[audit.claim]}"
        lines.append(text)
    return lines + [f"note: {note}" for note in audit.findings.notes]


def audit_lines(audit: Audit) -> list[str]:
    """The audit as lines of text for a terminal; lines that begin with 'warning:' deserve attention."""
    lines = [*found_lines(audit), *aligned(audit_table(audit), gap="   "), *further_lines(audit)]
    for concern in concerns(audit):
        lines.append(f"warning: {concern.text}" + (f". {concern.remedy}" if concern.remedy else ""))
    return lines + list(audit.advice)


def _told(name: str, accuracy: float, majority: float) -> str:
    return f"{name} alone tells the class in {accuracy:.0%} of images (largest class: {majority:.0%})"


def _sides_lines(audit: Audit) -> list[str]:
    sides = audit.laterality
    if sides is None:
        return []
    single = ", ".join(f"{name} {count}" for name, count in sides.one_side.items() if count) or "none"
    lines = [f"subjects with both sides: {sides.both_sides}; with one side only: {single}"]
    if sides.stored != "unclear":
        how = {"alike": "stored alike (not mirror images)", "mirrored": "mirror images of each other"}[sides.stored]
        lines.append(f"left and right images are {how} on average: correlation {sides.as_is:.2f} as they are, "
                     f"{sides.mirrored:.2f} mirrored")  # fmt: skip
    return lines


def concerns(audit: Audit) -> list[Concern]:
    """What stands in the way, the gravest first."""
    return [
        *_privacy(audit), *_claims(audit), *_copies(audit), *_shortcuts(audit), *_images(audit),
        *(Concern(text) for text in audit.findings.warnings),
    ]  # fmt: skip


def _privacy(audit: Audit) -> list[Concern]:
    pixels = audit.pixels
    if pixels is None:
        return []
    out = []
    if pixels.writing.count:
        text = f"{pixels.writing.count} of {pixels.writing_sampled} sampled images seem to show writing"
        out.append(
            Concern(text, "Look at them: burned-in names and dates must be covered, and a model would learn them")
        )
    if pixels.skull_subject_count:
        text = (f"{pixels.skull_subject_count} of {pixels.sampled_subjects} sampled {UNITS[audit.claim]} look like heads "
                "with skin and skull")  # fmt: skip
        out.append(
            Concern(text, "Faces can be rebuilt from such volumes: deface or strip them before anything is shared")
        )
    return out


def _claims(audit: Audit) -> list[Concern]:
    if audit.claim == "scan-wise":
        text = ("the subjects are scans: nothing says which scans are one person's, so one person may stand in two "
                "splits, and every score is scan-wise")  # fmt: skip
        return [Concern(text, "Name subjects with a table or a CSV list")]
    if audit.claim == "image-wise":
        text = ("no subjects are known: look-alikes are kept together, but one person may stand in two splits, "
                "so every score is image-wise")  # fmt: skip
        return [Concern(text, "Name subjects with --pattern or a CSV list")]
    return []


def _copies(audit: Audit) -> list[Concern]:
    found, out = audit.findings, []
    if found.near_duplicates_across_splits:
        text = f"{_pairs(found.near_duplicates_across_splits)} in different splits"
        out.append(Concern(text, "Scores may be too good: give both files of a pair the same subject, or remove one"))
    if found.byte_duplicate_files:
        text = f"{found.byte_duplicate_files} files are byte copies of another: {_sample(found.byte_duplicates)}"
        out.append(Concern(text, "Remove the copies"))
    if found.near_duplicate_pairs:
        out.append(Concern(f"{_pairs(found.near_duplicate_pairs)}: {_sample(found.near_duplicates)}"))
    if found.near_duplicates_across_subjects:
        text = f"{_pairs(found.near_duplicates_across_subjects)} across subjects: one person under two names?"
        out.append(Concern(text))
    return out


_SHORTCUT_REMEDY = {
    "depth": "--balance depth keeps as many images of each class at each depth",
    "side": "--laterality canonicalise turns left sides into right ones",
    "size": "Give all classes the same size, or --ignore-classes",
    "file format": "Save all classes in one format: compression leaves marks that a model learns",
    "kind of image": "Save all classes in one mode (grey, 8 bits)",
    "border brightness": "The ground differs between classes: crop or mask it in all alike",
    "brightness": "If this is the scanner and not the disease, scale all classes alike",
}


def _shortcuts(audit: Audit) -> list[Concern]:
    tried = {"depth": audit.depth_shortcut, "side": audit.side_shortcut, **audit.shortcuts}
    return [
        Concern(f"{_told(name, found.accuracy, found.majority)}: a model may learn {name} instead",
                _SHORTCUT_REMEDY.get(name, ""))
        for name, found in tried.items() if found is not None and found.notable
    ]  # fmt: skip


def _images(audit: Audit) -> list[Concern]:
    found, out = audit.findings, []
    if audit.laterality is not None and audit.laterality.contradiction:
        out.append(Concern("a left-right symmetry is declared although the images record their sides",
                           "Mirroring stays off; leave --symmetry out, or drop the sides"))  # fmt: skip
    if audit.empty or audit.dark:
        out.append(
            Concern(f"{audit.empty} images are empty and {audit.dark} very dark", "Leave them out of the source")
        )
    if audit.pixels is not None and audit.pixels.odd_count:
        first = audit.pixels.odd[0]
        text = f"{audit.pixels.odd_count} images are unlike the rest (the oddest: number {first.index}, {first.reason})"
        out.append(Concern(text, "Look at them on the audit's page"))
    if len(found.modes) > 1:
        out.append(Concern(f"mixed kinds of image: {_counts(found.modes)}"))
    if len(found.sizes) > 1 and found.kind == "picture":
        out.append(Concern(f"mixed sizes: {_counts(found.sizes)}"))
    if found.skipped:
        out.append(Concern(f"{len(found.skipped)} files skipped: {', '.join(found.skipped[:LISTED])}"))
    return out


def _pairs(count: int) -> str:
    return f"{count} pair{'' if count == 1 else 's'} of near copies"


def _sample(groups: Sequence[Sequence[str]]) -> str:
    return "; ".join(" = ".join(group) for group in groups[:3]) + ("; ..." if len(groups) > 3 else "")


def _counts(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    more = f", and {len(ordered) - 6} more" if len(ordered) > 6 else ""
    return ", ".join(f"{name} ({count})" for name, count in ordered[:6]) + more
