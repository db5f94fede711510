"""`data_audit.html`: the audit as one page with its pictures inside, without scripts and without requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stylescan.data.audit.figures import line_chart, tile_uri
from stylescan.data.audit.inspection import spread_sample
from stylescan.data.audit.record import Audit
from stylescan.data.audit.shortcuts import depths_of
from stylescan.data.audit.words import audit_table, concerns, found_lines, further_lines
from stylescan.data.prepared import SPLITS, PreparedDataset
from stylescan.files import write_bytes_atomic
from stylescan.pages import render

PAGE_NAME = "data_audit.html"
_ROW, _MOST_CLASSES, _PAIRS, _DEPTH_BINS = 12, 8, 10, 20
_TILE, _LARGE = 96, 192


@dataclass(frozen=True)
class Tile:
    """A picture of the page. caption : whose it is; remark : why it is shown."""

    uri: str
    caption: str
    remark: str = ""


@dataclass(frozen=True)
class Gallery:
    """A titled row of pictures, with a sentence on what they are."""

    anchor: str
    title: str
    text: str
    rows: list[list[Tile]]
    large: bool = False


def write_audit_page(dataset: PreparedDataset, audit: Audit, path: Path) -> None:
    """Write the page of `audit` with pictures of `dataset`, below 3 MB. Subjects and files go by their public names."""
    write_bytes_atomic(path, render_page(dataset, audit).encode())


def render_page(dataset: PreparedDataset, audit: Audit) -> str:
    """The page as text; every value is escaped."""
    shows = _Pictures(dataset)
    return render(
        "stylescan.data.audit",
        "data_audit.html.j2",
        {},
        audit=audit,
        lead=found_lines(audit),
        table=audit_table(audit),
        concerns=concerns(audit),
        further=further_lines(audit),
        sheets=_sheets(dataset, shows),
        galleries=[gallery for gallery in _galleries(audit, shows) if gallery.rows],
        charts=[chart for chart in (_intensities(audit), _depths(dataset)) if chart],
        settings=_settings(dataset),
    )


class _Pictures:
    """Tiles of a dataset's images, by place in the manifest or by the name of their source."""

    def __init__(self, dataset: PreparedDataset) -> None:
        self._dataset = dataset
        self._first: dict[str, int] = {}
        for index, image in enumerate(dataset.manifest.images):
            self._first.setdefault(image.source, index)

    def tile(self, index: int, remark: str = "", side_px: int = _TILE, *, brief: bool = False) -> Tile:
        record, names = self._dataset.manifest.images[index], self._dataset.class_names
        words = [record.subject, record.side or "", "" if record.slice is None else f"slice {record.slice}"]
        if not brief:
            words += ["" if record.label is None else names[record.label], record.split]
        uri = tile_uri(self._dataset.read([index])[0], side_px)
        return Tile(uri, " · ".join(word for word in words if word), remark)

    def of_source(self, name: str) -> Tile | None:
        index = self._first.get(name)
        return None if index is None else self.tile(index, name)

    def row(self, indices: Iterable[int], side_px: int = _TILE) -> list[list[Tile]]:
        tiles = [self.tile(index, side_px=side_px) for index in indices if index < len(self._dataset)]
        return [tiles] if tiles else []

    def groups(self, groups: Sequence[Sequence[str]]) -> list[list[Tile]]:
        """A row for each group of sources, at most four pictures of each."""
        rows = [[tile for name in group[:4] if (tile := self.of_source(name))] for group in groups[:_PAIRS]]
        return [row for row in rows if row]


def _sheets(dataset: PreparedDataset, shows: _Pictures) -> list[tuple[str, list[Tile]]]:
    """(class and split, pictures of different subjects) for each class and split that has any."""
    out = []
    for number, name in list(enumerate(dataset.class_names))[:_MOST_CLASSES] or [(-1, "")]:
        for split in SPLITS:
            members = np.zeros(len(dataset), bool)
            members[dataset.indices(split)] = True
            if number >= 0:
                members &= dataset.labels == number
            chosen = spread_sample(dataset.subjects, members, _ROW if split == "train" else _ROW // 2)
            if len(chosen):
                title = f"{name}, {split}" if name else split
                out.append((f"{title}: {int(members.sum())} images", [shows.tile(int(k), brief=True) for k in chosen]))
    return out


def _galleries(audit: Audit, shows: _Pictures) -> list[Gallery]:
    found, pixels = audit.findings, audit.pixels
    out = []
    if pixels is not None:
        out += [
            Gallery("writing", "Writing in the pixels",
                    f"{pixels.writing.count} of {pixels.writing_sampled} sampled images seem to show words. Names and dates "
                    "that a scanner burned in must not reach a model.", shows.row(pixels.writing.indices, _LARGE), large=True),
            Gallery("heads", "Heads with skin and skull",
                    f"{pixels.skulls.count} of {pixels.sampled} sampled images look like heads that were not stripped. The "
                    "check goes by bright, dark and bright rings; it knows no faces.", shows.row(pixels.skulls.indices)),
            Gallery("odd", "Images unlike the rest", f"{pixels.odd_count} in all, the oddest first.",
                    _rows([shows.tile(odd.index, odd.reason) for odd in pixels.odd])),
        ]  # fmt: skip
    out += [
        Gallery("copies", "Byte copies", f"{found.byte_duplicate_files} files equal another, byte for byte.",
                shows.groups(found.byte_duplicates)),
        Gallery("near-copies", "Near copies", f"{found.near_duplicate_pairs} pairs look the same; "
                f"{found.near_duplicates_across_subjects} of them belong to different subjects, and "
                f"{found.near_duplicates_across_splits} stand in different splits.", shows.groups(found.near_duplicates)),
    ]  # fmt: skip
    if pixels is not None:
        out.append(Gallery("dark", "Dark and empty images", f"{audit.dark} very dark, {audit.empty} empty.",
                           shows.row(pixels.dark.indices[:6] + pixels.empty.indices[:6])))  # fmt: skip
    return out


def _rows(tiles: list[Tile]) -> list[list[Tile]]:
    return [tiles] if tiles else []


def _intensities(audit: Audit) -> tuple[str, str] | None:
    series = audit.pixels.histograms if audit.pixels is not None else {}
    # The darkest bin is mostly background and would flatten all else.
    chart = line_chart({name: values[1:] for name, values in series.items()}, label="shares of grey values by class",
                       x_label="grey value, without the darkest bin", ends=("dark", "bright"))  # fmt: skip
    return ("Grey values by class", chart) if chart else None


def _depths(dataset: PreparedDataset) -> tuple[str, str] | None:
    values, use_depth = depths_of(dataset.manifest.images)
    if np.isnan(values).all() or np.nanmin(values) == np.nanmax(values):
        return None
    low, high = (0.0, 1.0) if use_depth else (float(np.nanmin(values)), float(np.nanmax(values)))
    # Slice numbers are whole: a bin that holds none would look like a gap.
    bins = _DEPTH_BINS if use_depth else int(min(_DEPTH_BINS, high - low + 1))
    groups = {name: dataset.labels == k for k, name in enumerate(dataset.class_names)} or {"all": ~np.isnan(values)}
    chart = line_chart({name: _shares(values[members], low, high, bins) for name, members in groups.items()},
                       label="where in their volumes the slices lie, by class",
                       x_label="depth in the volume" if use_depth else "slice number",
                       ends=(f"{low:g}", f"{high:g}"))  # fmt: skip
    return ("Depth by class", chart) if chart else None


def _shares(values: NDArray[np.float64], low: float, high: float, bins: int) -> list[float]:
    values = values[~np.isnan(values)]
    counts = np.histogram(values, bins, (low, high))[0]
    return [float(count) / max(1, len(values)) for count in counts]


def _settings(dataset: PreparedDataset) -> list[tuple[str, str]]:
    manifest = dataset.manifest
    kept = [(name.replace("_", " "), _plain(value)) for name, value in sorted(manifest.preparation.items())
            if value not in (None, [], "", False) and name not in ("plane", "symmetry")]  # fmt: skip
    return [*kept, ("plane", manifest.plane or "not known"), ("symmetry", manifest.symmetry),
            ("content hash", manifest.content_hash), ("preparation hash", manifest.preparation_hash)]  # fmt: skip


def _plain(value: object) -> str:
    return ", ".join(str(part) for part in value) if isinstance(value, (list, tuple)) else str(value)
