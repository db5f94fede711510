"""Two reports side by side, where that means anything: same extractor, preparation, held-out images and n, or refusal.

The same held-out subjects stand behind both reports, so their intervals are not independent. Where both hold the
values of the jackknife (`jackknife`, one a group left out, in a metric's entry) and the same seed made the groups, the
difference has an interval of its own; elsewhere all that can be said is whether the two intervals overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from stylescan.errors import ConfigError, DataError, first_fault
from stylescan.evaluate.compare_words import reading, remarks
from stylescan.files import read_json, storage_error, write_bytes_atomic
from stylescan.pages import render

REPORT_SCHEMA = 1
REPORT_NAME = "report.json"
LEVEL = 0.95
MARK = '<meta name="generator" content="stylescan compare">'
_GIVE = "Give a report.json that `stylescan evaluate` wrote, the folder it lies in, or the run it belongs to."
_AGAIN = "Evaluate both again with the same --data, --extractor and --count, and compare those reports."
# Top-level keys that are no parts: what was judged, how, and what is compared by itself.
_NO_PARTS = {
    "subject", "data", "extractor", "metrics", "audit", "provenance", "configuration", "origin", "made", "reader_study",
}  # fmt: skip


class _Loose(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Subject(_Loose):
    kind: str


class _Data(_Loose):
    preparation_hash: str
    holdout_hash: str


class _Extractor(_Loose):
    name: str
    hash: str


class _Metrics(_Loose):
    n: int


class _Audit(_Loose):
    verdict: str
    reason: str


class _Bounds(_Loose):
    low: float
    high: float


class _Floor(_Loose):
    value: float


class _Entry(_Loose):
    value: float | None
    interval: _Bounds | None = None
    floor: _Floor | None = None
    jackknife: list[float | None] | None = None
    better: Literal["lower", "higher", "near real"] | None = None
    title: str | None = None


class _Report(_Loose):
    subject: _Subject
    data: _Data
    extractor: _Extractor
    metrics: _Metrics
    audit: _Audit


@dataclass(frozen=True)
class Report:
    """A checked report: its JSON values, and the entries of its metrics by name (classes as 'kid: CLASS')."""

    values: dict[str, Any]
    entries: dict[str, dict[str, Any]]


def load_report(path: str | Path) -> Report:
    """The report at `path`: report.json, its folder, or a run with RUN/report.

    Raises DataError: nothing there, no JSON, no report, of another schema version, or damaged.
    """
    path = Path(path)
    file = path
    if path.is_dir():
        places = [path / REPORT_NAME, path / "report" / REPORT_NAME]
        found = next((place for place in places if place.exists()), None)
        if found is None:
            raise DataError(f"{path}: holds no {REPORT_NAME}, nor report/{REPORT_NAME}", remedy=_GIVE)
        file = found
    raw = read_json(file, DataError, remedy=_GIVE)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or "metrics" not in raw:
        raise DataError(f"{file}: not a report", remedy=_GIVE)
    if version != REPORT_SCHEMA:
        raise DataError(
            f"{file}: schema_version {version}, expected {REPORT_SCHEMA}",
            remedy="Evaluate again with this version of stylescan.",
        )
    try:
        _Report.model_validate(raw)
        return Report(raw, _entries(raw["metrics"]))
    except ValidationError as problem:
        where, said = first_fault(problem)
        raise DataError(f"{file}: damaged report: {where}: {said}", remedy=_GIVE) from None


def _entries(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every metric by name, and every metric of a class by 'NAME: CLASS'; new metrics appear by themselves."""
    found = {name: value for name, value in metrics.items() if isinstance(value, dict) and "value" in value}
    classes = metrics.get("classes")
    for row in classes if isinstance(classes, list) else []:
        for name, value in row.items() if isinstance(row, dict) else ():
            if isinstance(value, dict) and "value" in value:
                title = value.get("title") or name.upper()
                found[f"{name}: {row.get('class')}"] = {**value, "title": f"{title}, class {row.get('class')}"}
    for value in found.values():
        _Entry.model_validate(value)
    return found


def not_comparable(first: dict[str, Any], second: dict[str, Any]) -> str | None:
    """Why two reports (their JSON values) must not be compared; None where they may be."""
    checks = (
        ("feature extractors", first["extractor"]["hash"], second["extractor"]["hash"]),
        ("data preparations", first["data"]["preparation_hash"], second["data"]["preparation_hash"]),
        ("numbers of images", first["metrics"]["n"], second["metrics"]["n"]),
        ("held-out images", first["data"]["holdout_hash"], second["data"]["holdout_hash"]),
    )
    for what, one, other in checks:
        if one != other:
            return f"different {what} ({str(one)[:12]} and {str(other)[:12]})"
    return None


def compare(first: str | Path, second: str | Path) -> dict[str, Any]:
    """The comparison of report A (`first`) with report B (`second`) as JSON values, without paths.

    Keys: `a`, `b` (what was judged), `n`, `metrics` (a row each: both values, intervals and floors, `difference` B - A,
    its `interval` where there is one, `reading`), `audit`, `parts` (numbers that both have, by part), `only_a`,
    `only_b`, `remarks`. Raises DataError where the two must not be compared.
    """
    a, b = load_report(first), load_report(second)
    reason = not_comparable(a.values, b.values)
    if reason is not None:
        raise DataError(f"{first} and {second} cannot be compared: {reason}", remedy=_AGAIN)
    same_groups = _seed(a) is not None and _seed(a) == _seed(b)
    names = [*a.entries, *(name for name in b.entries if name not in a.entries)]
    headline = a.values["metrics"].get("headline")
    names.sort(key=lambda name: name != headline)  # a stable sort: the others keep their order
    rows = [_row(name, a.entries.get(name), b.entries.get(name), same_groups) for name in names]
    parts_a, parts_b = _parts(a.values), _parts(b.values)
    return {
        "a": a.values["subject"],
        "b": b.values["subject"],
        "n": a.values["metrics"]["n"],
        "extractor": a.values["extractor"]["name"],
        "metrics": rows,
        "audit": {
            side: {key: report.values["audit"][key] for key in ("verdict", "reason")}
            for side, report in (("a", a), ("b", b))
        },
        "parts": {
            name: [
                {"name": leaf, "a": parts_a[name][leaf], "b": parts_b[name][leaf]}
                for leaf in parts_a[name]
                if leaf in parts_b[name]
            ]
            for name in parts_a
            if name in parts_b
        },
        "only_a": [name for name in parts_a if name not in parts_b],
        "only_b": [name for name in parts_b if name not in parts_a],
        "remarks": remarks(a.values, b.values, rows),
    }


def _seed(report: Report) -> int | None:
    seed = report.values["subject"].get("seed")
    return seed if isinstance(seed, int) else None


def _row(name: str, a: dict[str, Any] | None, b: dict[str, Any] | None, same_groups: bool) -> dict[str, Any]:
    known = a or b or {}
    row: dict[str, Any] = {
        "name": name,
        "title": known.get("title") or name.upper(),
        "better": known.get("better"),
        "a": _side(a),
        "b": _side(b),
        "difference": None,
        "interval": None,
    }
    x, y = row["a"]["value"], row["b"]["value"]
    if x is not None and y is not None:
        row["difference"] = y - x
        if same_groups and a is not None and b is not None:
            row["interval"] = paired_interval(a.get("jackknife"), b.get("jackknife"), y - x)
    return row | reading(row)


def _side(entry: dict[str, Any] | None) -> dict[str, Any]:
    if entry is None:
        return {"value": None, "low": None, "high": None, "floor": None}
    interval, floor = entry.get("interval") or {}, entry.get("floor") or {}
    return {
        "value": entry["value"],
        "low": interval.get("low"),
        "high": interval.get("high"),
        "floor": floor.get("value"),
    }


def paired_interval(
    a: list[float | None] | None, b: list[float | None] | None, difference: float
) -> dict[str, float] | None:
    """95 % interval of `difference` (B - A) from both reports' values with the same groups of subjects left out.

    The delete-a-group jackknife of the difference: variance (g-1)/g times the summed squares about their mean, t with
    g-1 degrees of freedom, as for a single metric. What the subjects move in both alike cancels. None where either is
    missing, their numbers differ, or the metric is undefined without some group.
    """
    if not a or not b or len(a) != len(b) or len(a) < 2 or None in a or None in b:
        return None
    from scipy.stats import t

    g = len(a)
    left_out = np.asarray(b, float) - np.asarray(a, float)
    spread = math.sqrt((g - 1) / g * float(((left_out - left_out.mean()) ** 2).sum()))
    half = float(t.ppf(0.5 + LEVEL / 2.0, g - 1)) * spread
    return {"low": difference - half, "high": difference + half}


def _parts(values: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The numbers in each part of a report, by dotted name; lists and texts are left to the reports themselves."""
    found = {
        name: dict(_numbers(value))
        for name, value in values.items()
        if name not in _NO_PARTS and isinstance(value, dict)
    }
    return {name: numbers for name, numbers in found.items() if numbers}


def _numbers(value: dict[str, Any], prefix: str = "", depth: int = 4) -> list[tuple[str, float]]:
    out: list[tuple[str, float]] = []
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, dict) and depth > 1:
            out += _numbers(inner, f"{name}.", depth - 1)
        elif isinstance(inner, (int, float)) and not isinstance(inner, bool):
            out.append((name, float(inner)))
    return out


def write_comparison(comparison: dict[str, Any], out: str | Path) -> Path:
    """The comparison as one offline HTML page. ConfigError where `out` is another file than an older comparison."""
    from stylescan.evaluate.words import number

    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{out}: the comparison is a web page", remedy="Give --out a file name ending in .html.")
    if out.exists() and not (out.is_file() and MARK in out.read_bytes()[:4096].decode("utf-8", "replace")):
        raise ConfigError(f"{out}: exists, and is no comparison", remedy="Choose another --out.")
    page = render("stylescan.evaluate", "compare.html.j2", {"number": number}, c=comparison)
    try:
        write_bytes_atomic(out, page.encode())
    except OSError as problem:
        raise storage_error(f"{out}: the comparison", problem, then="repeat the command.") from None
    return out
