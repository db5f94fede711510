"""What `quality_per_minute.py` found, as a Markdown table for each folder of runs, and as one JSON file.

    python benchmarks/quality_table.py OUT/demo OUT/hippocampus [--marks 2 4 8] [--json benchmarks/quality_per_minute.json]

A cell is KID on `select` / on the hold-out; best last mark first. The JSON has every mark of every run, by folder.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def records_of(out: Path) -> list[Record]:
    """The runs of a folder that were scored at least once, by name and seed."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*/marks.json"))]
    return sorted((r for r in records if r["marks"]), key=lambda r: (r["name"], r["seed"]))


def table_of(records: Sequence[Record], marks: Collection[float] | None = None) -> str:
    """Markdown, a row a run that reached any of the marks, a column a mark."""
    rows = {id(r): {m["minutes"]: m for m in r["marks"] if marks is None or m["minutes"] in marks} for r in records}
    shown = [r for r in records if rows[id(r)]]
    columns = sorted({minutes for r in shown for minutes in rows[id(r)]})
    heads = ["configuration", "seed", "images shown", *(f"{minutes:g} min" for minutes in columns)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]

    def rank(record: Record) -> tuple[float, float]:
        last = max(rows[id(record)])
        return -last, rows[id(record)][last]["select_kid"]

    for record in sorted(shown, key=rank):
        row = rows[id(record)]
        kids = [f"{_kid(row[m]['select_kid'])} / {_kid(row[m]['holdout_kid'])}" if m in row else "" for m in columns]
        cells = [record["name"], str(record["seed"]), f"{row[max(row)]['nimg']:,}", *kids]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _kid(value: float) -> str:
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.3f}")


def as_json(runs: Mapping[str, Sequence[Record]]) -> str:
    """Every mark of every run, by folder, four digits behind the point."""
    found = {
        name: [
            {
                "name": record["name"],
                "seed": record["seed"],
                "marks": [
                    {k: round(v, 4) if isinstance(v, float) else v for k, v in sorted(mark.items())}
                    for mark in record["marks"]
                ],
            }
            for record in records
        ]
        for name, records in runs.items()
    }
    return json.dumps(found, indent=1) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="+", help="folders of runs, each named after its data")
    parser.add_argument(
        "--marks", type=float, nargs="*", help="these core-minutes alone, and runs that reached one of them"
    )
    parser.add_argument("--json", type=Path, help="write every mark here too")
    arguments = parser.parse_args()
    runs = {out.name: records_of(out) for out in arguments.out}
    if len(runs) < len(arguments.out):
        parser.error("two folders of one name, which the JSON could not tell apart; rename one")
    for name, records in runs.items():
        if not records:
            parser.error(f"{name}: no run that was scored; give a folder that quality_per_minute.py wrote (--out)")
        print(f"\n{name}\n\n{table_of(records, arguments.marks)}")
    if arguments.json:
        arguments.json.write_text(as_json(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
