"""`stylescan compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stylescan.cli.console import say


def compare(a: Path, b: Path, /, *, out: Path | None = None) -> None:
    """Compare two reports, or say why they cannot be compared.

    Only reports with the same extractor, preparation, held-out images and n are compared: other numbers differ for
    reasons that have nothing to do with the images.

    Parameters
    ----------
    a
        report.json, the folder it lies in, or a run with a report.
    b
        The same of the other one.
    out
        Also write the comparison to this HTML file.
    """
    from stylescan.evaluate.compare import compare as compare_reports
    from stylescan.evaluate.compare import write_comparison

    result = compare_reports(a, b)
    page = None if out is None else write_comparison(result, out)
    say(f"A: {a}")
    say(f"B: {b}")
    say()
    for line in table(result):
        say(line)
    say()
    for side in ("a", "b"):
        say(f"memorisation audit {side.upper()}: {result['audit'][side]['verdict']}")
    for name, rows in result["parts"].items():
        say(f"{name}: {len(rows)} numbers in both reports{'' if page else ', shown with --out FILE.html'}")
    for text in result["remarks"]:
        say(text)
    if page is not None:
        say(f"comparison: {page}")


def table(result: dict[str, Any]) -> list[str]:
    """The metrics as aligned lines."""
    from stylescan.evaluate.words import number

    def cell(side: dict[str, Any]) -> str:
        if side["low"] is None:
            return number(side["value"])
        return f"{number(side['value'])} ({number(side['low'])} to {number(side['high'])})"

    rows = [["metric", "A", "B", "B - A", "reading"]]
    for row in result["metrics"]:
        difference = number(row["difference"])
        if row["interval"] is not None:
            difference += f" ({number(row['interval']['low'])} to {number(row['interval']['high'])})"
        rows.append([row["title"], cell(row["a"]), cell(row["b"]), difference, row["reading"]])
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join([*(f"{text:<{width}}" for text, width in zip(row, widths)), row[4]]).rstrip() for row in rows]
