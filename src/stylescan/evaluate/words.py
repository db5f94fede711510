"""What the numbers say, in sentences that need no training in statistics. Pure functions of the report's values."""

from __future__ import annotations

from typing import Any

from stylescan.evaluate.intervals import CAVEAT
from stylescan.evaluate.metrics import DISTANCES, METRICS


def number(value: float | None) -> str:
    """Three significant digits without an exponent where it can be avoided; an en dash for nothing."""
    if value is None:
        return "–"
    if value and (abs(value) >= 1e6 or abs(value) < 1e-4):
        return f"{value:.2e}"
    text = f"{value:.3g}"
    return f"{value:,.0f}" if "e" in text else text


def ratio(value: float) -> str:
    """Two significant digits: 65, 1.4, 0.92."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def row_value(rows: list[dict[str, Any]], row: str, metric: str) -> float | None:
    """The value of `metric` in the row called `row`; None where either is missing."""
    found = next((r.get(metric) for r in rows if r["name"] == row), None)
    return None if found is None else float(found)


def closeness(metric: str, result: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The one-line verdict on distance to held-out real images."""
    value, floor = result["value"], result["floor"]
    blurred, untrained = row_value(rows, "blurred_real", metric), row_value(rows, "untrained", metric)
    if value is None:
        return f"{METRICS[metric].title} could not be computed on this hold-out."
    if floor is not None and value <= floor["high"]:
        return "By this measure, at this n, not told apart from other real subjects."
    if untrained is not None and value >= 0.9 * untrained:
        return "No nearer to real images than an untrained network."
    if blurred is not None and value <= blurred:
        return "Farther from real images than other real subjects are, nearer than blurred ones."
    if blurred is not None:
        return "Farther from real images than blurred real images are."
    return "Farther from real images than other real subjects are." if floor else "No floor to read this against."


def sentence(metric: str, result: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """For instance 'KID 0.12 = 65 x the floor of 0.0018; blurred real images score 0.3; an untrained net 0.9.'"""
    parts = [f"{METRICS[metric].title} {number(result['value'])}"]
    floor, times = result["floor"], result["ratio_to_floor"]
    if times is not None and times > 0:
        parts[0] += f" = {ratio(times)} x the floor of {number(floor['value'])}"
    elif floor is not None and floor["low"] <= 0:
        parts.append(f"the floor is no different from zero ({number(floor['low'])} to {number(floor['high'])})")
    elif floor is not None:
        parts.append(f"the floor is {number(floor['value'])}")
    blurred, untrained = row_value(rows, "blurred_real", metric), row_value(rows, "untrained", metric)
    if blurred is not None:
        parts.append(f"blurred real images score {number(blurred)}")
    if untrained is not None:
        parts.append(f"an untrained net scores {number(untrained)}")
    return "; ".join(parts) + "."


def certainty(metric: str, result: dict[str, Any]) -> str:
    """The interval, what it does not cover, and whether the value is only indicative."""
    title = METRICS[metric].title
    interval = result["interval"]
    if interval is None:
        text = f"{title} has no interval: {result['interval_missing']}."
    else:
        text = (
            f"{title} lies between {number(interval['low'])} and {number(interval['high'])} "
            f"({interval['level']:.0%} interval, jackknife over {interval['groups']} groups of held-out subjects). "
            f"{CAVEAT}"
        )
    if result["indicative"]:
        text += (
            f" {title} is indicative only: n = {min(result['n_generated'], result['n_real'])} is less than the "
            "feature dimension, so that its covariances are incomplete; compare it at equal n alone."
        )
    return text


def interpretation(headline: str, metrics: dict[str, dict[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    """The verdict on distance; then, headline metric first, what each distance says and how certain it is."""
    order = [headline, *(name for name in DISTANCES if name != headline)]
    each = [(sentence(name, metrics[name], rows), certainty(name, metrics[name])) for name in order]
    return [closeness(headline, metrics[headline], rows), *(text for pair in each for text in pair)]
