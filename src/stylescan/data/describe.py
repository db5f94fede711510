"""The manifest's and the audit's words for what was planned and written, in names that give nobody away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from stylescan.data.audit.summary import Findings
from stylescan.data.identity import hide_source, hide_subjects
from stylescan.data.laterality import canonical_place, canonical_record, slice_spans
from stylescan.data.options import PrepareOptions
from stylescan.data.plan import Plan
from stylescan.data.planes import DEFAULT_PLANE
from stylescan.data.prepared import SHARD_FOLDER, ImageRecord, Manifest, ShardRecord, content_hash, json_hash
from stylescan.data.render import RenderItem, ShardResult, masks_name
from stylescan.data.sources import SHOWN
from stylescan.data.survey import Failure


class PublicNames:
    """The names that the manifest and the audit use for subjects and sources."""

    def __init__(self, plan: Plan, salt: str, keep_ids: bool) -> None:
        hide = not keep_ids and plan.claim != "image-wise"
        self.subjects = hide_subjects(set(plan.subjects), salt) if hide else {name: name for name in plan.subjects}
        self._salt, self.kept = salt, keep_ids

    def source(self, name: str) -> str:
        """Relative name, or its hash; of an absolute path only the file's own name is ever kept."""
        if not self.kept:
            return hide_source(name, self._salt)
        return name.rsplit("/", 1)[-1] if name.startswith("/") or ":" in name else name


def make_manifest(
    plan: Plan, results: Sequence[ShardResult], settings: dict[str, object], options: PrepareOptions, names: PublicNames
) -> Manifest:
    """The manifest of what was written; `settings` are completed by what was decided."""
    resolved = {**settings, "resolution": plan.resolution, "field_of_view_mm": plan.field_of_view_mm}
    volumes = plan.items[0].source.kind == "volume"
    plane = (options.plane or DEFAULT_PLANE) if volumes else options.plane
    images = _records(plan, names)
    if options.laterality == "canonicalise":
        images = canonical_records(images, plane, volumes=volumes)
    pixels = [digest for result in results for digest in result.pixel_hashes]
    return Manifest(
        content_hash=content_hash(pixels, images, plan.class_names),
        preparation=resolved,
        preparation_hash=json_hash(resolved),
        resolution=plan.resolution,
        channels=plan.channels,
        bits=options.bits,
        class_names=plan.class_names,
        claim=plan.claim,
        plane=plane,
        symmetry=options.symmetry or "none",
        anatomy=plan.anatomy,
        intensity=plan.intensity,
        shards=[ShardRecord(file=f"{SHARD_FOLDER}/{r.file}", count=r.count, sha256=r.sha256) for r in results],
        masks=[
            ShardRecord(file=f"{SHARD_FOLDER}/{masks_name(Path(r.file)).name}", count=r.count, sha256=r.masks_sha256)
            for r in results
            if r.masks_sha256
        ],
        images=images,
    )


def _records(plan: Plan, names: PublicNames) -> list[ImageRecord]:
    """One record an image, in the order of the shards."""
    label_of = {name: number for number, name in enumerate(plan.class_names)}
    records = []
    for item, row, subject, split in zip(plan.items, plan.rows, plan.subjects, plan.splits, strict=True):
        source, volume = item.source, item.source.kind == "volume"
        shared = {
            "subject": names.subjects[subject],
            "label": label_of.get(source.label) if source.label is not None else None,
            "side": source.side,
            "split": split,
            "source": names.source(source.name),
            "source_sha256": row.sha256,
            "geometry": item.geometry,
            "value_low": item.low,
            "value_high": item.high,
            "extra": {**source.extra, **_further_ranges(item)},
        }
        for number in item.slices:
            depth = (number + 0.5) / len(row.foreground) if volume else None
            place = {"slice": number if volume else source.slice, "depth": depth}
            records.append(ImageRecord.model_validate({**shared, **place}))
    return records


def canonical_records(images: Sequence[ImageRecord], plane: str | None, *, volumes: bool) -> list[ImageRecord]:
    """The records after all sides were made right ones; see laterality.py."""
    keys = [(image.subject, image.side, image.extra.get("series")) for image in images]
    spans = slice_spans(keys, [image.slice for image in images])
    changed = []
    for key, image in zip(keys, images):
        side, extra = canonical_record(image.side, image.extra)
        number, depth = image.slice, image.depth
        if not volumes:  # a volume was turned round before it was cut, so its numbers hold
            number, depth = canonical_place(image.side, plane, number, depth, spans.get(key))
        changed.append(image.model_copy(update={"side": side, "extra": extra, "slice": number, "depth": depth}))
    return changed


def _further_ranges(item: RenderItem) -> dict[str, float]:
    """`value_low_1`, `value_high_1`, ...: the ranges of a volume's contrasts beyond the first."""
    found: dict[str, float] = {}
    for number, (low, high) in enumerate(item.further, start=1):
        found |= {f"value_low_{number}": low, f"value_high_{number}": high}
    return found


def make_findings(plan: Plan, seen: str, failures: Sequence[Failure], names: PublicNames) -> Findings:
    """What the survey and the plan noticed, in public names. `seen`: the sentence on the layout."""
    public = [names.source(item.source.name) for item in plan.items]
    copies = plan.copies
    across = sum(plan.subjects[a] != plan.subjects[b] for a, b in copies.near)
    apart = sum(plan.splits[a] != plan.splits[b] for a, b in copies.near)
    notes, warnings = list(plan.notes), list(plan.warnings)
    if not names.kept and (copies.equal or copies.near):
        notes.append("file names are hashed: --keep-ids shows which they are")
    suspicious = sorted({key for item in plan.items for key in item.source.extra if _personal(key)})
    if suspicious:
        warnings.append(f"the columns {', '.join(suspicious)} are copied into the manifest and may name people")
    return Findings(
        layout=seen,
        kind=plan.items[0].source.kind,
        modes=dict(sorted(Counter(row.mode for row in plan.rows).items())),
        sizes=dict(sorted(Counter(f"{row.height}x{row.width}" for row in plan.rows).items())),
        byte_duplicates=[[public[k] for k in group] for group in copies.equal[:SHOWN]],
        byte_duplicate_files=sum(len(group) - 1 for group in copies.equal),
        near_duplicates=[(public[a], public[b]) for a, b in copies.near[:SHOWN]],
        near_duplicate_pairs=len(copies.near),
        near_duplicates_across_subjects=across,
        near_duplicates_across_splits=apart,
        skipped=[f"{names.source(f.name)}: {f.reason.split(': ', 1)[-1]}" for f in failures],
        notes=notes,
        warnings=warnings,
    )


def image_modes(plan: Plan) -> list[str]:
    """The kind of each image's source ('L', 'RGB', 'volume', ...), in the order of the shards."""
    return [row.mode for item, row in zip(plan.items, plan.rows, strict=True) for _ in item.slices]


def _personal(column: str) -> bool:
    return any(
        word in column.lower() for word in ("name", "patient", "mrn", "birth", "dob", "address", "phone", "email")
    )
