"""What a comparison of two reports allows to say. Pure functions of its values."""

from __future__ import annotations

from typing import Any

CAVEAT = (
    "The intervals cover the choice of held-out subjects, not training seeds: one run against another says which of the "
    "two models lies nearer, not which recipe is better. Train several seeds of each for that."
)
OVERLAP_ONLY = (
    "Both reports rest on the same held-out subjects, so their intervals are not independent. Intervals apart mean a "
    "difference; intervals that overlap leave it open."
)


def _nearer(row: dict[str, Any]) -> str | None:
    """'A' or 'B', whichever has the better value; None where that is not known or they are equal."""
    a, b, better = row["a"], row["b"], row["better"]
    if better == "near real":
        if a["floor"] is None or b["floor"] is None:
            return None
        x, y = abs(a["value"] - a["floor"]), abs(b["value"] - b["floor"])
    elif better in ("lower", "higher"):
        sign = 1.0 if better == "lower" else -1.0
        x, y = sign * a["value"], sign * b["value"]
    else:
        return None
    return None if x == y else ("A" if x < y else "B")


def reading(row: dict[str, Any]) -> dict[str, Any]:
    """`explained`: whether the intervals can explain the difference (None: there is no interval to say); `nearer`: who
    has the better value; `method`: 'paired', 'overlap' or None; `reading`: all that in a sentence."""
    a, b = row["a"], row["b"]
    if a["value"] is None or b["value"] is None:
        side = "neither report" if a["value"] == b["value"] else ("B alone" if a["value"] is None else "A alone")
        return {"explained": None, "nearer": None, "method": None, "reading": f"A value in {side}."}
    nearer = _nearer(row)
    if a["value"] == b["value"]:
        return {"explained": True, "nearer": None, "method": None, "reading": "Equal."}
    if row["interval"] is not None:
        explained, method = row["interval"]["low"] <= 0.0 <= row["interval"]["high"], "paired"
        why = (
            "the interval of the difference holds zero" if explained else "the interval of the difference excludes zero"
        )
    elif None not in (a["low"], b["low"]):
        explained, method = a["low"] <= b["high"] and b["low"] <= a["high"], "overlap"
        why = "the intervals overlap" if explained else "the intervals lie apart"
    else:
        text = "Cannot tell: there is no interval."
        return {"explained": None, "nearer": nearer, "method": None, "reading": text}
    if explained:
        text = f"Cannot tell them apart: {why}."
    elif nearer is None:
        text = f"Different: {why}."
    else:
        text = f"{nearer} is better: {why}."
    return {"explained": explained, "nearer": nearer, "method": method, "reading": text}


def remarks(a: dict[str, Any], b: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """What a reader of the comparison must know before the numbers."""
    out = []
    one, other = a["subject"], b["subject"]
    if _same_images(one, other):
        out.append("Both reports judge the same images.")
    for key, title, why in (
        ("psi", "psi", "truncation narrows the distribution, so the models themselves are not compared"),
        (
            "seed",
            "seed",
            "other images and other groups of subjects were drawn, so no difference has a paired interval",
        ),
        ("trained_on", "training data", "one of the models may have seen the held-out subjects"),
    ):
        if key in one and key in other and one[key] != other[key]:
            out.append(f"Different {title} ({str(one[key])[:12]} and {str(other[key])[:12]}): {why}.")
    if a.get("provenance") != b.get("provenance"):
        out.append("The reports were made with different versions of software, which can move numbers a little.")
    if any(row["method"] == "overlap" for row in rows):
        out.append(OVERLAP_ONLY)
    out.append(CAVEAT)
    return out


def _same_images(one: dict[str, Any], other: dict[str, Any]) -> bool:
    keys = ("model_hash", "psi", "noise", "seed")
    return one.get("model_hash") is not None and all(one.get(key) == other.get(key) for key in keys)
