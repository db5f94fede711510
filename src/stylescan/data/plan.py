"""From what the survey found to what is made: which slices, at which size, whose, and in which split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from stylescan.data.balance import match_depth
from stylescan.data.duplicates import Copies, find_copies, neighbour_groups, split_groups
from stylescan.data.geometry import Geometry, choose_resolution, plan_picture, plan_volume
from stylescan.data.layouts.found import Found
from stylescan.data.options import PrepareOptions
from stylescan.data.prepared import Claim, IntensityRecord
from stylescan.data.render import RenderItem
from stylescan.data.sources import Source, natural_key, some
from stylescan.data.split import LEAST, SplitPlan, add_select, draw_folds, draw_split, leaks, majority_labels
from stylescan.data.survey import Surveyed, choose_slices, thumbs_of
from stylescan.data.windows import parse_window
from stylescan.errors import DataError

Ranges = Callable[[list[list[Source]]], list[tuple[float, float]]]


@dataclass(frozen=True)
class Plan:
    """Everything decided before a pixel is written. `subjects`, `splits`, `rows` run along `items`."""

    items: list[RenderItem]
    rows: list[Surveyed]
    subjects: list[str]
    splits: list[str]
    class_names: list[str]
    claim: Claim
    resolution: int
    channels: int
    field_of_view_mm: float | None
    intensity: IntensityRecord
    copies: Copies
    anatomy: str | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def make_plan(found: Found, rows: list[Surveyed], options: PrepareOptions, ranges: Ranges) -> Plan:
    """Decide everything from the layout's find and the survey of its sources (same order).

    `ranges` reads the percentiles of given groups.
    """
    sources = found.sources
    notes, warnings = list(found.notes), list(found.warnings)
    volumes = sources[0].kind == "volume"
    slices = [tuple(choose_slices(row, options)) if volumes else (0,) for row in rows]
    kept = [k for k, chosen in enumerate(slices) if chosen]
    if not kept:
        raise DataError("no slice is left of any volume", remedy="lower --min-foreground or widen --slices")
    if len(kept) < len(rows):
        warnings.append(f"{len(rows) - len(kept)} volumes have no slice with enough foreground and are left out")
    sources, rows, slices = [sources[k] for k in kept], [rows[k] for k in kept], [slices[k] for k in kept]
    geometries, resolution, view = (_volume_geometry if volumes else _picture_geometry)(rows, options, notes, warnings)
    subjects, claim, copies = _subjects(sources, rows, volumes, found.scan_wise, notes)
    intensity, limits = _intensity(sources, rows, subjects, claim, options, ranges, warnings)
    splits = _splits(sources, subjects, copies, options, notes, warnings)
    planned = zip(sources, slices, geometries, limits, strict=True)
    items = [RenderItem(source, chosen, geometry, low, high, tuple(row.further))
             for (source, chosen, geometry, (low, high)), row in zip(planned, rows)]  # fmt: skip
    if options.balance == "depth":
        items = _balanced(items, rows, subjects, splits, options, notes, warnings)
        kept = [k for k, item in enumerate(items) if item.slices]
        copies = copies.among(kept)
        items, rows = [items[k] for k in kept], [rows[k] for k in kept]
        subjects, splits = [subjects[k] for k in kept], [splits[k] for k in kept]
    sources = [item.source for item in items]
    channels = _channels(sources, rows, volumes, warnings)
    for note, count in Counter(note for row in rows for note in row.notes).items():
        warnings.append(f"{count} {'volumes' if volumes else 'images'}: {note}")
    names = _class_names(sources, options, warnings)
    return Plan(
        items, rows, subjects, splits, names, claim, resolution, channels, view, intensity, copies, found.anatomy, notes,
        warnings,
    )  # fmt: skip


def _channels(sources: Sequence[Source], rows: Sequence[Surveyed], volumes: bool, warnings: list[str]) -> int:
    channels = max(row.channels for row in rows)
    if volumes and any(row.channels != channels for row in rows):
        fewer = next(source.name for source, row in zip(sources, rows) if row.channels != channels)
        raise DataError(f"{fewer}: fewer contrasts than the {channels} of other volumes",
                        remedy="prepare volumes of equal contrasts together")  # fmt: skip
    if channels > 1 and any(row.channels == 1 for row in rows):
        warnings.append("grey and colour images are mixed: grey ones are stored as equal colour channels")
    return channels


def _balanced(
    items: Sequence[RenderItem], rows: Sequence[Surveyed], subjects: Sequence[str], splits: Sequence[str],
    options: PrepareOptions, notes: list[str], warnings: list[str],
) -> list[RenderItem]:  # fmt: skip
    """The items with the slices that depth matching keeps; some may have none left."""
    owner = [k for k, item in enumerate(items) for _ in item.slices]
    match = match_depth(
        [depth for item, row in zip(items, rows) for depth in _depths(item, row)],
        [items[k].source.label for k in owner],
        [splits[k] for k in owner],
        [subjects[k] for k in owner],
        seed=options.seed,
    )
    notes.append(match.sentence)
    warnings.extend(match.warnings)
    left: dict[int, list[int]] = defaultdict(list)
    numbers = [number for item in items for number in item.slices]
    for k, number, keep in zip(owner, numbers, match.keep):
        if keep:
            left[k].append(number)
    return [replace(item, slices=tuple(left[k])) for k, item in enumerate(items)]


def _depths(item: RenderItem, row: Surveyed) -> list[float | None]:
    """Where each of the item's images lies: a fraction of its volume, or the number of the picture."""
    if item.source.kind == "volume":
        return [(number + 0.5) / len(row.foreground) for number in item.slices]
    return [None if item.source.slice is None else float(item.source.slice)]


def _class_names(sources: Sequence[Source], options: PrepareOptions, warnings: list[str]) -> list[str]:
    names = sorted({source.label for source in sources if source.label is not None}, key=natural_key)
    unlabelled = sum(source.label is None for source in sources)
    if len(names) == 1 and not unlabelled:
        if not options.only_classes:
            warnings.append(f"every image has the class {names[0]!r}: the set is prepared without classes")
        return []
    if names and unlabelled:
        warnings.append(f"{unlabelled} of {len(sources)} scans have no class")
    return names


def _picture_geometry(
    rows: Sequence[Surveyed], options: PrepareOptions, notes: list[str], _warnings: list[str]
) -> tuple[list[Geometry], int, None]:
    longest = Counter(max(row.height, row.width) for row in rows).most_common(1)[0][0]
    resolution, exact = (options.resolution, False) if options.resolution else choose_resolution(longest)
    if options.resolution is None:
        how = "pixels kept, padded or cropped" if exact else "resampled"
        notes.append(f"resolution {resolution} chosen for images of {longest} pixels ({how})")
    planned = [plan_picture(r.height, r.width, resolution, exact=exact, spacing_mm=r.spacing_mm) for r in rows]
    return planned, resolution, None


def _volume_geometry(
    rows: Sequence[Surveyed], options: PrepareOptions, notes: list[str], warnings: list[str]
) -> tuple[list[Geometry], int, float]:
    spacings = [row.spacing_mm or (1.0, 1.0) for row in rows]
    largest = max(max(row.height * s[0], row.width * s[1]) for row, s in zip(rows, spacings))
    finest = min(min(s) for s in spacings)
    view = options.field_of_view_mm or largest
    resolution, exact = (options.resolution, False) if options.resolution else choose_resolution(view / finest)
    if exact and max(max(s) for s in spacings) <= finest * 1.01 and options.field_of_view_mm is None:
        view = resolution * finest  # one voxel is one pixel: nothing is resampled
    notes.append(f"field of view {view:.4g} mm for all volumes, {view / resolution:.3g} mm a pixel")
    if view < largest * 0.999:
        warnings.append(f"the field of view of {view:.4g} mm cuts volumes of up to {largest:.4g} mm")
    thick = sum(max(s) > 2 * min(s) for s in spacings)
    if thick:
        warnings.append(f"{thick} volumes have pixels twice as long as wide in this plane: is another --plane meant?")
    return [plan_volume(r.height, r.width, s, resolution, view) for r, s in zip(rows, spacings)], resolution, view


def _subjects(
    sources: Sequence[Source], rows: Sequence[Surveyed], volumes: bool, scan_wise: bool, notes: list[str]
) -> tuple[list[str], Claim, Copies]:
    """Subject of each source. Without any, look-alikes form groups, and claims are image-wise."""
    thumbs, hashes = thumbs_of(rows), [row.sha256 for row in rows]
    copies = find_copies(thumbs, hashes)
    unknown = [source.name for source in sources if source.subject is None]
    if not unknown:
        subjects = [str(source.subject) for source in sources]
        return subjects, "scan-wise" if scan_wise else "subject-wise", copies
    if len(unknown) < len(sources):
        raise DataError(f"{len(unknown)} of {len(sources)} scans have no subject: {some(unknown)}",
                        remedy="make the pattern find one in every name")  # fmt: skip
    groups = neighbour_groups(thumbs, hashes)
    notes.append(f"{len(sources)} images form {len(set(groups))} groups of look-alikes, the largest of "
                 f"{max(Counter(groups).values())}")  # fmt: skip
    return [f"group-{group:06d}" for group in groups], "image-wise", copies


def _intensity(
    sources: Sequence[Source], rows: Sequence[Surveyed], subjects: Sequence[str], claim: Claim, options: PrepareOptions,
    ranges: Ranges, warnings: list[str],
) -> tuple[IntensityRecord, list[tuple[float, float]]]:  # fmt: skip
    """(low, high) of each source. 8-bit pictures keep their values; wide ones share a map within their subject."""
    limits = [(row.low, row.high) for row in rows]
    wide = [k for k, row in enumerate(rows) if row.wide]
    if not wide:
        return IntensityRecord(), limits
    units = {row.units for row in rows}
    unit = units.pop() if len(units) == 1 else None
    if options.window is not None:
        if len(units) > 1:
            warnings.append("the values of some scans have other units than those of others")
        window = parse_window(options.window)
        text = window if window == "header" else window.text
        return IntensityRecord(mapping="window", window=text, units=unit), limits
    mapping: Literal["percentile", "mixed"] = "percentile" if len(wide) == len(rows) else "mixed"
    if sources[0].kind == "volume":
        return IntensityRecord(
            mapping="percentile", percentiles=options.percentiles, scope="volume", units=unit
        ), limits
    shared: dict[str, list[int]] = defaultdict(list)
    for k in wide:
        shared[subjects[k] if claim != "image-wise" else str(k)].append(k)
    found = ranges([[sources[k] for k in members] for members in shared.values()])
    for members, limit in zip(shared.values(), found, strict=True):
        for k in members:
            limits[k] = limit
    if claim == "image-wise":
        warnings.append(f"{len(wide)} images of more than 8 bits are scaled one by one, as no subjects are known: "
                        "brightness is not comparable between them")  # fmt: skip
    if mapping == "mixed":
        warnings.append("8-bit images keep their values while others are scaled by percentiles: brightness differs")
    scope: Literal["subject", "image"] = "subject" if claim != "image-wise" else "image"
    return IntensityRecord(mapping=mapping, percentiles=options.percentiles, scope=scope, units=unit), limits


def _splits(
    sources: Sequence[Source], subjects: Sequence[str], copies: Copies, options: PrepareOptions, notes: list[str],
    warnings: list[str],
) -> list[str]:  # fmt: skip
    """Split of each source: the layout's own where it has one and does not leak, else drawn by subject."""
    group_of, believed = split_groups(subjects, copies)
    if not believed:
        warnings.append("most subjects share look-alike images, which therefore do not decide the split")
    groups = [group_of[subject] for subject in subjects]
    sizes, labels = Counter(groups), majority_labels(groups, [source.label for source in sources])
    plan = _split_plan(sources, subjects, groups, sizes, labels, options, warnings)
    notes.extend(plan.notes)
    warnings.extend(plan.warnings)
    return [plan.of[group] for group in groups]


def _split_plan(
    sources: Sequence[Source], subjects: Sequence[str], groups: Sequence[str], sizes: Mapping[str, int],
    labels: Mapping[str, Hashable], options: PrepareOptions, warnings: list[str],
) -> SplitPlan:  # fmt: skip
    given = [source.split for source in sources]
    if all(given) and options.folds is None:
        leaking = leaks([str(split) for split in given], groups)
        if not leaking:
            return _given(dict(zip(groups, map(str, given))), sizes, labels, options)
        if not options.repair:
            _refuse(leaking, subjects, groups)
        warnings.append(f"the given split leaked {len(leaking)} subjects: it was drawn again by subject")
    if options.folds is not None:
        return draw_folds(sizes, labels, folds=options.folds, fold=options.fold, select=options.select,
                          seed=options.seed)  # fmt: skip
    return draw_split(sizes, labels, holdout=options.holdout, select=options.select, seed=options.seed)


def _given(
    given: Mapping[str, str], sizes: Mapping[str, int], labels: Mapping[str, Hashable], options: PrepareOptions
) -> SplitPlan:
    """The split that came with the scans, completed by a part for selection."""
    if "train" not in given.values():
        raise DataError("the given split has no training images", remedy="correct the column `split`")
    plan = add_select(given, sizes, labels, select=options.select, seed=options.seed)
    counts = Counter(plan.of.values())
    few = [f"the given split has {counts[split]} subjects in {split}, fewer than {LEAST}"
           for split in ("holdout", "select") if counts[split] < LEAST]  # fmt: skip
    return replace(plan, warnings=(*plan.warnings, *few))


def _refuse(leaking: Sequence[str], subjects: Sequence[str], groups: Sequence[str]) -> None:
    members = {group: sorted({s for s, g in zip(subjects, groups) if g == group}) for group in leaking[:5]}
    text = "; ".join(" = ".join(names[:3]) for names in members.values())
    what = (
        f"the given split leaks: {len(leaking)} subjects (or copies of their images) stand in several splits ({text})"
    )
    raise DataError(what, remedy="correct the split, or let --repair draw one by subject")
