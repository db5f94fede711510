"""What a run's log.jsonl says of its training: the scores on `select`, and losses thinned to what a page can show."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

MAX_POINTS = 160
MAX_EVENTS = 20
MAX_MESSAGE = 300
SCORES = ("kid", "fd")
# Names in the log, as train writes them. sign_real is ADA's r_t, the mean sign of D on real images.
CURVES = (
    "G_loss",
    "D_loss",
    "r1_penalty",
    "pl_penalty",
    "score_real",
    "score_fake",
    "sign_real",
    "sign_fake",
    "augment_p",
    "diversity",
    "overfitting",
)


def read_scores(log: Path | None) -> list[dict[str, float]]:
    """The scores on `select`: nimg with kid and fd where there are, in order; empty without a log."""
    rows = [_numbers(line, ("nimg", *SCORES)) for line in _lines(log) if "kid" in line]
    return [row for row in rows if len(row) >= 2 and "nimg" in row]


def read_curves(log: Path | None, chosen_nimg: int | None = None) -> dict[str, Any] | None:
    """Losses and what else was watched, for curves; None where the log holds none.

    Keys: `points`, at most MAX_POINTS in order of nimg, each the mean over as many log lines as the others; `lines`,
    how many log lines they stand for; `events`, what the watch over the run found (first MAX_EVENTS) and `num_events`;
    `chosen_nimg`, images shown to the network that is judged.
    """
    lines = _lines(log)
    rows = [row for row in (_numbers(line, ("nimg", *CURVES)) for line in lines) if len(row) >= 2 and "nimg" in row]
    events = [_event(line) for line in lines if isinstance(line.get("event"), str)]
    if not rows and not events:
        return None
    rows.sort(key=lambda row: row["nimg"])
    return {
        "points": _thinned(rows),
        "lines": len(rows),
        "events": events[:MAX_EVENTS],
        "num_events": len(events),
        "chosen_nimg": chosen_nimg,
    }


def _lines(log: Path | None) -> list[dict[str, Any]]:
    if log is None or not log.is_file():
        return []
    found = []
    for text in log.read_text("utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue  # the last line of a killed run may be torn
        if isinstance(line, dict):
            found.append(line)
    return found


def _numbers(line: dict[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """Those of `names` whose values are finite numbers that a float can hold."""
    kept = {}
    for name in names:
        value = line.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300:
            kept[name] = float(value)
    return kept


def _event(line: dict[str, Any]) -> dict[str, Any]:
    message = line.get("message")
    return {
        "nimg": _numbers(line, ("nimg",)).get("nimg"),
        "event": line["event"][:MAX_MESSAGE],
        "message": message[:MAX_MESSAGE] if isinstance(message, str) else "",
    }


def _thinned(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """At most MAX_POINTS rows: means over neighbours, so that a peak is weakened but never left out."""
    size = max(1, math.ceil(len(rows) / MAX_POINTS))
    points = []
    for start in range(0, len(rows), size):
        group = rows[start : start + size]
        names = [name for name in ("nimg", *CURVES) if any(name in row for row in group)]
        values = {name: [row[name] for row in group if name in row] for name in names}
        # Divided first: a sum of values near the largest float would overflow.
        points.append({name: math.fsum(v / len(found) for v in found) for name, found in values.items()})
    return points
