"""What every preparation ends with: what is in the set, and what could fool a model or a reader of its scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from stylescan.data.audit.inspection import Inspection
from stylescan.data.audit.record import AUDIT_NAME, Audit, Findings
from stylescan.data.audit.shortcuts import Shortcut, depth_shortcut, find_shortcuts, side_shortcut, table_shortcut
from stylescan.data.audit.sides import look_at_sides
from stylescan.data.audit.words import audit_lines, audit_table
from stylescan.data.prepared import SPLITS, Manifest

__all__ = ["AUDIT_NAME", "Audit", "Findings", "Shortcut", "audit_lines", "audit_table", "make_audit", "table_shortcut"]


def make_audit(
    manifest: Manifest,
    looks: Sequence[str],
    findings: Findings,
    inspection: Inspection | None = None,
    *,
    modes: Sequence[str] = (),
    advice: Sequence[str] = (),
) -> Audit:
    """Count and test a finished set.

    looks : 'ok', 'dark' or 'empty' for each image. inspection : what its pixels show. modes : the kind of each image's
    source ('L', 'RGB', ...). advice : sentences on what to train.
    """
    images = manifest.images
    per_subject = sorted(Counter(image.subject for image in images).values())
    measures = inspection.measures if inspection else None
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
        depth_shortcut=depth_shortcut(images),
        side_shortcut=side_shortcut(images),
        findings=findings,
        shortcuts=find_shortcuts(images, measures, modes),
        laterality=look_at_sides(manifest, measures),
        pixels=inspection.findings if inspection else None,
        advice=list(advice),
    )


def _by_class(manifest: Manifest, *, subjects: bool) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for number, name in enumerate(manifest.class_names):
        here = [image for image in manifest.images if image.label == number]
        chosen = [(image.split, image.subject) for image in here]
        counted = Counter(split for split, _ in (set(chosen) if subjects else chosen))
        table[name] = {split: counted[split] for split in SPLITS}
    return table
