"""The verdicts that a reader sees first: distance, variety, sharpness and artefacts, copies. Each claims what was measured.

Pure functions of the report's values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stylescan.evaluate.intervals import CAVEAT
from stylescan.evaluate.metrics import METRICS
from stylescan.evaluate.reached import least_reached
from stylescan.evaluate.words import interpretation, number, row_value

MIN_FINE_DB = 0.5  # 12 % of power: less of it is not called blur or noise
MIN_PEAK_DB = 1.5  # above other real subjects: a blur that only levels the spectrum moves the peaks by about 1

_LEVEL_OF_AUDIT = {"pass": "good", "warn": "mixed", "fail": "bad"}


def departure(result: dict[str, Any], way: str) -> str:
    """Whether the value lies on the side `way` ('above' or 'below') of every draw of the floor.

    'clear': the whole interval does. 'unclear': the value does, and the interval leaves out the draws' mean, or there is
    no interval; for one in ten equal sets lies beyond ten draws by chance. 'none': neither. 'unknown': no value or floor.
    """
    value, floor, interval = result["value"], result["floor"], result["interval"]
    if value is None or floor is None:
        return "unknown"
    sign = 1.0 if way == "above" else -1.0
    furthest = floor["high"] if way == "above" else -floor["low"]
    if sign * value <= furthest:
        return "none"
    if interval is None:
        return "unclear"
    nearest_end = interval["low"] if way == "above" else -interval["high"]
    if nearest_end > furthest:
        return "clear"
    return "unclear" if nearest_end > sign * floor["value"] else "none"


def beside_floor(name: str, metrics: dict[str, dict[str, Any]]) -> str:
    """What the metric measures, its value and interval, and the same of other real subjects, in one sentence."""
    result = metrics[name]
    if result["value"] is None:
        return f"{result['title']} could not be computed: {result['missing'] or 'not defined for these images'}."
    meaning = f"{result['meaning'][0].upper()}{result['meaning'][1:]}"
    interval, floor = result["interval"], result["floor"]
    text = f"{meaning}: {number(result['value'])} ({result['title']}"
    if interval is not None:
        text += f", 95 % interval {number(interval['low'])} to {number(interval['high'])}"
    if floor is not None:
        text += f"; other real subjects {number(floor['value'])}, {number(floor['low'])} to {number(floor['high'])}"
    return f"{text})."


def _only_perhaps(findings: list[str]) -> bool:
    return "clear" not in findings and "unclear" in findings


def _alike_by_blur(metrics: dict[str, dict[str, Any]], rows: list[dict[str, Any]]) -> bool:
    """Whether pairs are no more alike than blur makes them, in images that are blurred."""
    fine, interval = metrics["spectrum"].get("fine_detail_db"), metrics["ms_ssim"]["interval"]
    blurry = departure(metrics["spectrum"], "above") == "clear" and fine is not None and fine <= -MIN_FINE_DB
    blurred = row_value(rows, "blurred_real", "ms_ssim")
    return blurry and interval is not None and blurred is not None and bool(interval["low"] <= blurred)


def _collapsed(metrics: dict[str, dict[str, Any]], rows: list[dict[str, Any]]) -> bool:
    """Whether pairs of generated images from anywhere are clearly more alike than real ones of the same depth."""
    result = metrics["ms_ssim"]
    if _alike_by_blur(metrics, rows):
        return False
    matched = result.get("matched_depth")
    return bool(departure(result, "above") == "clear" and matched and result["interval"]["low"] > matched["value"])


def unlike_classes(reached: list[dict[str, Any]]) -> tuple[str, str] | None:
    """(class, sentence) of a class of real images that is clearly reached less than another; None without one."""
    found = least_reached(reached)
    if found is None:
        return None
    metric, least, most = found

    def said(row: dict[str, Any]) -> str:
        one = row[metric]
        return (
            f"{row['class']} {number(one['value'])} ({number(one['low'])} to {number(one['high'])}; other real subjects "
            f"{number(one['floor']['value'])})"
        )

    text = f"{METRICS[metric].title} of held-out images by their class: {said(least)}, {said(most)}."
    return str(least["class"]), text


def _mostly_missed(metrics: dict[str, dict[str, Any]]) -> bool:
    """Whether recall or coverage lies below half of every draw of its floor, with its whole interval."""
    for name in ("recall", "coverage"):
        interval, floor = metrics[name]["interval"], metrics[name]["floor"]
        if interval is not None and floor is not None and interval["high"] < 0.5 * floor["low"]:
            return True
    return False


def _lack_of_variety(metrics: dict[str, dict[str, Any]], rows: list[dict[str, Any]]) -> str:
    """The verdict on variety in one line: the first of these that holds."""
    alike = departure(metrics["ms_ssim"], "above")
    missed = [departure(metrics[name], "below") for name in ("recall", "coverage")]
    cases = (
        (_collapsed(metrics, rows), "Much less variety than in real images: a sign of collapse."),
        (_mostly_missed(metrics), "Most of the variety of real images is not reached."),
        (
            alike == "clear" and _alike_by_blur(metrics, rows),
            "Pairs of images are more alike than real ones, which blur alone can do.",
        ),
        (alike == "clear", "Less variety than in real images."),
        ("clear" in missed, "Part of the variety of real images is not reached."),
        (_only_perhaps([alike, *missed]), "Perhaps less variety than in real images: not certain at this n."),
        ("unknown" in (alike, *missed), "Variety could not be judged in full."),
        (True, "No lack of variety was found by these measures."),
    )
    return next(text for holds, text in cases if holds)


def variety(
    metrics: dict[str, dict[str, Any]], rows: list[dict[str, Any]], reached: Sequence[dict[str, Any]] = ()
) -> tuple[str, list[str]]:
    """The verdict on variety (collapse, missing kinds of image) in one line, and what it rests on in sentences."""
    headline, unlike = _lack_of_variety(metrics, rows), unlike_classes(list(reached))
    missed = [departure(metrics[name], "below") for name in ("recall", "coverage")]
    matched, collapsed = metrics["ms_ssim"].get("matched_depth"), _collapsed(metrics, rows)
    if unlike is not None:
        headline += f" Real images of class {unlike[0]} are reached least."
    details = [beside_floor(name, metrics) for name in ("recall", "coverage", "ms_ssim")]
    if unlike is not None:
        details.insert(0, unlike[1])
    if matched is not None:
        details.append(
            f"Real images of different people at the same depth score {number(matched['value'])}"
            + ("; pairs of generated images from anywhere are more alike than these." if collapsed else ".")
        )
    if departure(metrics["ms_ssim"], "below") == "clear":
        details.append("Pairs are less alike than real ones; noise and artefacts do that too, so this is no praise.")
    if "clear" in missed and departure(metrics["precision"], "below") == "clear":
        details.append(
            "Precision is low too: real images may be out of reach because generated ones look different, not because "
            "kinds of image are missing."
        )
    details.append(_for_scale("recall", "coverage", rows=rows))
    return headline, [text for text in [*details, CAVEAT] if text]


def _faults(metrics: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Each fault looked for, and whether it was found: a word of `departure`."""
    fine = metrics["spectrum"].get("fine_detail_db")
    spectrum = departure(metrics["spectrum"], "above")
    # The spectrum may differ in coarse structure alone: within half a decibel, detail is called by no name.
    if fine is None or abs(fine) < MIN_FINE_DB:
        wrong = "an unlike spectrum"
    else:
        wrong = "too little fine detail (blur)" if fine < 0 else "too much fine detail (noise or patterns)"
    return {
        wrong: spectrum,
        "white dots": departure(metrics["white_dots"], "above"),
        "a checkerboard pattern": _pattern(metrics["checkerboard"]),
        "images that lie off the real ones": departure(metrics["precision"], "below"),
    }


def _pattern(result: dict[str, Any]) -> str:
    found = departure(result, "above")
    if found in ("clear", "unclear") and result["value"] - result["floor"]["value"] < MIN_PEAK_DB:
        return "none"
    return found


def artefacts(metrics: dict[str, dict[str, Any]], rows: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """The verdict on sharpness and artefacts in one line, and what it rests on in sentences."""
    fine = metrics["spectrum"].get("fine_detail_db")
    kinds = _faults(metrics)
    clear = [kind for kind, found in kinds.items() if found == "clear"]
    perhaps = [kind for kind, found in kinds.items() if found == "unclear"]
    if clear:
        headline = f"Found: {', '.join(clear)}."
    elif perhaps:
        headline = f"Perhaps {', '.join(perhaps)}: not certain at this n."
    elif "unknown" in kinds.values():
        headline = "Sharpness and artefacts could not be judged in full."
    else:
        headline = "None of the artefacts looked for was found."
    details = [
        beside_floor(name, metrics) for name in ("precision", "density", "spectrum", "white_dots", "checkerboard")
    ]
    if fine is not None:
        details.append(
            f"In the finer half of detail the images have {number(abs(fine))} dB {'less' if fine < 0 else 'more'} power than "
            "held-out ones."
        )
    details.append(_for_scale("precision", "spectrum", rows=rows))
    details.append("Blur, noise, white dots and patterns of 2 and 4 pixels were looked for; other faults were not.")
    return headline, [text for text in [*details, CAVEAT] if text]


def cards(
    headline: str,
    metrics: dict[str, dict[str, Any]],
    rows: list[dict[str, Any]],
    reached: Sequence[dict[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Closeness, variety and artefacts as `label`, `level` (good, mixed, bad, unknown), `headline` and `details`."""
    distance = interpretation(headline, metrics, rows)
    lacks = [departure(metrics["ms_ssim"], "above"), *(departure(metrics[n], "below") for n in ("recall", "coverage"))]
    faults = list(_faults(metrics).values())
    poor = _collapsed(metrics, rows) or _mostly_missed(metrics) or unlike_classes(list(reached)) is not None
    return [
        {"label": "Distance to real images", "level": _level_of_distance(metrics[headline], headline, rows),
         "headline": distance[0], "details": distance[1:3]},
        {"label": "Variety", "level": "bad" if poor else _level(lacks)}
        | dict(zip(("headline", "details"), variety(metrics, rows, reached), strict=True)),
        {"label": "Sharpness and artefacts", "level": _level(faults)}
        | dict(zip(("headline", "details"), artefacts(metrics, rows), strict=True)),
    ]  # fmt: skip


def audit_card(audit: dict[str, Any]) -> dict[str, Any]:
    """The memorisation audit's verdict in the form of `cards`."""
    verdict = str(audit["verdict"])
    return {
        "label": "Copies of training images",
        "level": _LEVEL_OF_AUDIT.get(verdict, "unknown"),
        "headline": f"{verdict[:1].upper()}{verdict[1:]}.",
        "details": [audit["reason"]],
    }


def _level_of_distance(result: dict[str, Any], name: str, rows: list[dict[str, Any]]) -> str:
    value, floor = result["value"], result["floor"]
    if value is None or floor is None:
        return "unknown"
    if value <= floor["high"]:
        return "good"
    blurred = row_value(rows, "blurred_real", name)
    return "bad" if blurred is not None and value > blurred else "mixed"


def _level(findings: list[str]) -> str:
    if "clear" in findings or "unclear" in findings:
        return "mixed"
    return "unknown" if "unknown" in findings else "good"


def _for_scale(*names: str, rows: list[dict[str, Any]]) -> str:
    """What blurred real images and an untrained net score, where known."""
    parts = []
    for row, who in (("blurred_real", "blurred real images"), ("untrained", "an untrained net")):
        known = [(METRICS[name].title, row_value(rows, row, name)) for name in names]
        text = ", ".join(f"{title} {number(value)}" for title, value in known if value is not None)
        if text:
            parts.append(f"{who}: {text}")
    return f"For scale, {'; '.join(parts)}." if parts else ""
