"""Two results side by side: how much faster, also with the machine's own drift taken out, and whether that means anything."""

from __future__ import annotations

from dataclasses import dataclass

from stylescan.bench.record import BenchRecord, Figure, Section


@dataclass(frozen=True)
class Row:
    """One figure of both results. Ratios are new / old: speed and corrected above 1 = faster now, memory above 1 = more.

    corrected: speed over the ceilings' ratio, so that a machine that was slower meanwhile does not count. None where a
    result lacks the figure.
    """

    name: str
    old_images_per_s: float | None
    new_images_per_s: float | None
    speed: float | None
    corrected: float | None
    memory: float | None


@dataclass(frozen=True)
class Comparison:
    """Rows in the new result's order, then what only the old one has; ceiling: new / old; warnings: a line each."""

    rows: list[Row]
    ceiling: float
    warnings: list[str]


def compare_records(old: BenchRecord, new: BenchRecord) -> Comparison:
    """Every figure of `new` over that of `old`."""
    ceiling = new.ceiling.gflops / old.ceiling.gflops
    gone = [figure.name for figure in old.figures if new.figure(figure.name) is None]
    names = [figure.name for figure in new.figures] + gone
    rows = [_row(name, old.figure(name), new.figure(name), ceiling) for name in names]
    return Comparison(rows, ceiling, _warnings(old, new))


def _row(name: str, old: Figure | None, new: Figure | None, ceiling: float) -> Row:
    if old is None or new is None:
        before, now = (None if figure is None else figure.images_per_s for figure in (old, new))
        return Row(name, before, now, None, None, None)
    speed = new.images_per_s / old.images_per_s
    memory = None
    if new.peak_memory_mb and old.peak_memory_mb:
        memory = new.peak_memory_mb / old.peak_memory_mb
    return Row(name, old.images_per_s, new.images_per_s, speed, speed / ceiling, memory)


def _warnings(old: BenchRecord, new: BenchRecord) -> list[str]:
    """What differs besides the code."""
    fixed = {"preset", "model", "objective", "augment"}
    pairs: list[tuple[str, Section, Section]] = [
        ("environment", old.environment, new.environment),
        ("setting", old.setting.model_dump(exclude=fixed), new.setting.model_dump(exclude=fixed)),
        ("model", old.setting.model, new.setting.model),
        ("objective", old.setting.objective, new.setting.objective),
        ("augment", old.setting.augment, new.setting.augment),
        ("memory", {"method": old.memory}, {"method": new.memory}),
        ("ceiling", {"dtype": old.ceiling.dtype}, {"dtype": new.ceiling.dtype}),
    ]
    return [
        f"{name}.{key} differs: {_shown(a, key)} before, {_shown(b, key)} now"
        for name, a, b in pairs
        for key in dict.fromkeys([*a, *b])
        if a.get(key) != b.get(key) or (key in a) != (key in b)
    ]


def _shown(values: Section, key: str) -> str:
    return repr(values[key]) if key in values else "not there"
