"""What every preparation ends with: what is in the set, and what could fool a model or a reader of its scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from stylescan.data.prepared import SPLITS, UNITS, Claim, ImageRecord, Manifest
from stylescan.randomness import numpy_generator

AUDIT_NAME = "audit.json"
LISTED = 20
_DEPTH_BINS = 16


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shortcut(_Frozen):
    """How well something other than the anatomy tells the class: subject-wise cross-validated accuracy, in [0, 1].

    `majority`: the accuracy of always naming the most frequent class. `images`: how many had both values.
    """

    accuracy: float
    majority: float
    images: int

    @property
    def notable(self) -> bool:
        """Clearly better than guessing the largest class."""
        return self.accuracy > self.majority + 0.05


class Findings(_Frozen):
    """What the first look noticed, by the names that the manifest uses (hashed unless ids are kept)."""

    layout: str
    kind: Literal["picture", "volume"]
    modes: dict[str, int]
    sizes: dict[str, int]
    byte_duplicates: list[list[str]] = Field(default_factory=list)
    byte_duplicate_files: int = 0
    near_duplicates: list[tuple[str, str]] = Field(default_factory=list)
    near_duplicate_pairs: int = 0
    near_duplicates_across_subjects: int = 0
    skipped: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)


class Audit(_Frozen):
    """See `audit_lines` for how it reads. Counts are images; `subjects` counts subjects (or groups) by split."""

    content_hash: str
    claim: Claim
    resolution: int
    channels: int
    bits: int
    images: int
    class_names: list[str]
    images_by_split: dict[str, int]
    subjects_by_split: dict[str, int]
    images_by_class: dict[str, dict[str, int]]
    subjects_by_class: dict[str, dict[str, int]]
    images_per_subject: tuple[int, float, int]
    sides: dict[str, int]
    dark: int
    empty: int
    depth_shortcut: Shortcut | None
    side_shortcut: Shortcut | None
    findings: Findings


def make_audit(manifest: Manifest, looks: Sequence[str], findings: Findings) -> Audit:
    """Count and test a finished set. `looks`: 'ok', 'dark' or 'empty' for each image."""
    images = manifest.images
    per_subject = sorted(Counter(image.subject for image in images).values())
    return Audit(
        content_hash=manifest.content_hash,
        claim=manifest.claim,
        resolution=manifest.resolution,
        channels=manifest.channels,
        bits=manifest.bits,
        images=len(images),
        class_names=manifest.class_names,
        images_by_split={split: sum(image.split == split for image in images) for split in SPLITS},
        subjects_by_split={split: len({i.subject for i in images if i.split == split}) for split in SPLITS},
        images_by_class=_by_class(manifest, subjects=False),
        subjects_by_class=_by_class(manifest, subjects=True),
        images_per_subject=(per_subject[0], float(np.median(per_subject)), per_subject[-1]),
        sides=dict(sorted(Counter(image.side for image in images if image.side).items())),
        dark=sum(look == "dark" for look in looks),
        empty=sum(look == "empty" for look in looks),
        depth_shortcut=_depth_shortcut(images),
        side_shortcut=_side_shortcut(images),
        findings=findings,
    )


def _by_class(manifest: Manifest, *, subjects: bool) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for number, name in enumerate(manifest.class_names):
        here = [image for image in manifest.images if image.label == number]
        chosen = [(image.split, image.subject) for image in here]
        counted = Counter(split for split, _ in (set(chosen) if subjects else chosen))
        table[name] = {split: counted[split] for split in SPLITS}
    return table


def _depth_shortcut(images: Sequence[ImageRecord]) -> Shortcut | None:
    """Depth alone, in 16 bins of equal counts, against the class."""
    use_depth = all(image.depth is not None for image in images)
    values = [image.depth if use_depth else image.slice for image in images]
    known = [(value, image) for value, image in zip(values, images) if value is not None and image.label is not None]
    if len({image.label for _, image in known}) < 2:
        return None
    depth = np.array([float(value) for value, _ in known])
    edges = np.unique(np.quantile(depth, np.linspace(0, 1, _DEPTH_BINS + 1)[1:-1]))
    return table_shortcut(np.searchsorted(edges, depth, side="right"), [image for _, image in known])


def _side_shortcut(images: Sequence[ImageRecord]) -> Shortcut | None:
    known = [image for image in images if image.side is not None and image.label is not None]
    sides = sorted({str(image.side) for image in known})
    if len({image.label for image in known}) < 2 or len(sides) < 2:
        return None
    return table_shortcut(np.array([sides.index(str(image.side)) for image in known]), known)


def table_shortcut(codes: NDArray[np.integer], images: Sequence[ImageRecord], folds: int = 5) -> Shortcut | None:
    """Predict the class by the most frequent one among training subjects with the same code; folds by subject.

    None where fewer than two subjects exist, since nothing could be left out then.
    """
    labels = np.array([int(image.label or 0) for image in images])
    subjects = np.unique([image.subject for image in images], return_inverse=True)[1]
    count = int(subjects.max()) + 1
    if count < 2:
        return None
    fold_of = numpy_generator(0, "audit folds").permutation(count) % min(folds, count)
    fold = fold_of[subjects]
    right = 0
    for number in range(min(folds, count)):
        table = np.zeros((int(codes.max()) + 1, int(labels.max()) + 1), np.int64)
        np.add.at(table, (codes[fold != number], labels[fold != number]), 1)
        # A code never seen in training falls back to the most frequent class.
        guess = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), table.sum(axis=0).argmax())
        right += int((guess[codes[fold == number]] == labels[fold == number]).sum())
    return Shortcut(accuracy=right / len(labels), majority=float(np.bincount(labels).max() / len(labels)),
                    images=len(labels))  # fmt: skip


def audit_lines(audit: Audit) -> list[str]:
    """The audit as lines of text for a terminal; lines that begin with 'warning:' deserve attention."""
    found = audit.findings
    unit = UNITS[audit.claim]
    low, middle, high = audit.images_per_subject
    lines = [
        found.layout,
        f"{audit.images} images, {audit.resolution}x{audit.resolution}, {audit.channels} channel(s), {audit.bits} bits",
        f"{sum(audit.subjects_by_split.values())} {unit}, {low} to {high} images each (median {middle:g})",
        *_table(audit, unit),
    ]
    lines += [f"sides: {', '.join(f'{side} {count}' for side, count in audit.sides.items())}"] if audit.sides else []
    for what, shortcut in (("depth", audit.depth_shortcut), ("side", audit.side_shortcut)):
        if shortcut is not None:
            share = f"{shortcut.accuracy:.0%} of images (largest class: {shortcut.majority:.0%})"
            text = f"{what} alone tells the class in {share}"
            lines.append(f"warning: {text}: a model may learn {what} instead" if shortcut.notable else text)
    return lines + [f"note: {note}" for note in found.notes] + [f"warning: {text}" for text in _warnings(audit)]


def _table(audit: Audit, unit: str) -> list[str]:
    """Images (and subjects) by class and split, in columns."""
    names = [*audit.class_names, "all"]
    width = max(len("class"), *(len(name) for name in names))
    lines = [
        f"{'class':<{width}}" + "".join(f"{split:>18}" for split in SPLITS) + f"   images ({unit.split(maxsplit=1)[0]})"
    ]
    for name in names:
        images = audit.images_by_split if name == "all" else audit.images_by_class[name]
        people = audit.subjects_by_split if name == "all" else audit.subjects_by_class[name]
        lines.append(f"{name:<{width}}" + "".join(f"{f'{images[s]} ({people[s]})':>18}" for s in SPLITS))
    return lines


def _warnings(audit: Audit) -> list[str]:
    found = audit.findings
    warnings = list(found.warnings)
    if audit.claim == "scan-wise":
        warnings.append("the subjects are scans: nothing says which scans are one person's, so one person may stand in two "
                        "splits, and every score is scan-wise. Name subjects with a table or a CSV list")  # fmt: skip
    if audit.claim == "image-wise":
        warnings.append("no subjects are known: look-alikes are kept together, but one person may stand in two splits, "
                        "so every score is image-wise. Name subjects with --pattern or a CSV list")  # fmt: skip
    if found.byte_duplicate_files:
        copies = _sample(found.byte_duplicates)
        warnings.append(f"{found.byte_duplicate_files} files are byte copies of another: {copies}")
    if found.near_duplicate_pairs:
        warnings.append(f"{found.near_duplicate_pairs} pairs of near copies: {_sample(found.near_duplicates)}")
    if found.near_duplicates_across_subjects:
        warnings.append(f"{found.near_duplicates_across_subjects} pairs of near copies belong to different subjects: "
                        "one person under two names?")  # fmt: skip
    if audit.empty or audit.dark:
        warnings.append(f"{audit.empty} images are empty and {audit.dark} very dark")
    if len(found.modes) > 1:
        warnings.append(f"mixed kinds of image: {_counts(found.modes)}")
    if len(found.sizes) > 1 and found.kind == "picture":
        warnings.append(f"mixed sizes: {_counts(found.sizes)}")
    if found.skipped:
        warnings.append(f"{len(found.skipped)} files skipped: {', '.join(found.skipped[:LISTED])}")
    return warnings


def _sample(groups: Sequence[Sequence[str]]) -> str:
    return "; ".join(" = ".join(group) for group in groups[:3]) + ("; ..." if len(groups) > 3 else "")


def _counts(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    more = f", and {len(ordered) - 6} more" if len(ordered) > 6 else ""
    return ", ".join(f"{name} ({count})" for name, count in ordered[:6]) + more
