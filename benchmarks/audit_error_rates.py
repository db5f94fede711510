"""Error rates of the memorisation audit on the demo population, where it is known that nothing was copied.

    python benchmarks/audit_error_rates.py --out OUT [--draws 200] [--ct-draws 100] [--seed 0] [--plot PNG]

240 virtual subjects of 50 slices at 64 px. Each draw deals them into 160 to train on (T), 40 held out for calibration
and 40 to judge, whose 2,000 real slices play the generated images: whatever the audit finds there is a false alarm.
Then 20 of the 2,000 are replaced by planted copies of training slices, which it should find. The same with 10 and 20
subjects in the place of each 40, and with judged slices spread over more subjects, nearer to independent images.

The audit's own code runs throughout. Only its costly half is done once: each slice is compared with every other
subject's, and a draw keeps what its T would have given (`distance.restrict`). A repeated command continues.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from core_minutes import one_thread

SUBJECTS, SLICES, RESOLUTION = 240, 50, 64
TRAIN, HELD = 160, 40
COPIES_A_SUBJECT = 4
SHORTLIST = 32  # of 240, so that 10 of any 160 are among them
BLOCK = 400


def population(out: Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [12000, 1, 64, 64], code of the subject [12000])."""
    from PIL import Image

    from stylescan.data.demo import write_population

    stored = out / "images.npy"
    if not stored.exists():
        table = write_population(
            out / "population",
            subjects=SUBJECTS,
            seed=seed,
            resolution=RESOLUTION,
            slices_per_subject=SLICES,
            workers=1,
        )
        with table.open() as stream:
            rows = [table.parent / row["path"] for row in csv.DictReader(stream)]
        np.save(stored, np.stack([np.asarray(Image.open(path)) for path in rows])[:, None])
    return np.load(stored), np.repeat(np.arange(SUBJECTS), SLICES)


def planted_copies(images: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(jittered copies of some slices of every subject, code of the subject)."""
    from stylescan.evaluate.memorisation.planted import jittered
    from stylescan.randomness import numpy_generator

    rng = numpy_generator(0, "benchmark_plants")
    chosen = np.concatenate([rng.choice(np.flatnonzero(codes == c), COPIES_A_SUBJECT) for c in range(SUBJECTS)])
    return jittered(images[chosen], rng), codes[chosen]


def all_matches(out: Path, name: str, bank: Any, queries: np.ndarray, own: np.ndarray) -> Any:
    """Every query against the whole bank, block by block, each kept on disk."""
    from stylescan.evaluate.memorisation.distance import Matches, search_bank

    names = [field.name for field in fields(Matches)]
    parts = []
    for low in range(0, len(queries), BLOCK):
        file = out / f"{name}-{low:05d}.npz"
        if not file.exists():
            started = time.process_time()
            block = slice(low, low + BLOCK)
            found = search_bank(bank, queries[block], own[block], subjects=SHORTLIST)
            aside = file.with_name(f"aside-{file.name}")
            np.savez(aside, **{key: getattr(found, key) for key in names})
            aside.rename(file)
            print(
                f"{file.name}: {(time.process_time() - started) / len(queries[block]) * 1e3:.1f} ms a query", flush=True
            )
        with np.load(file, allow_pickle=False) as stored:
            parts.append([stored[key] for key in names])
    return Matches(*(np.concatenate(column) for column in zip(*parts)))


class Memory:
    """Who any slices resemble under any choice of T."""

    def __init__(self, matches: Any, bank: Any, queries: np.ndarray, own: np.ndarray) -> None:
        self.matches, self.bank, self.queries, self.own = matches, bank, queries, own
        self.longer: dict[int, Any] = {}  # the few slices whose shortlist was too short for some T

    def __call__(self, rows: np.ndarray, train: np.ndarray) -> Any:
        from stylescan.evaluate.memorisation.distance import SUBJECTS as NEEDED
        from stylescan.evaluate.memorisation.distance import nearest_subjects, restrict, search_bank

        enough = train[self.matches.subjects[rows]].sum(axis=1) >= NEEDED
        near = nearest_subjects(restrict(some(self.matches, rows[enough]), train))
        order = [np.flatnonzero(enough)]
        for place in np.flatnonzero(~enough):
            row = int(rows[place])
            if row not in self.longer:
                one = slice(row, row + 1)
                self.longer[row] = search_bank(self.bank, self.queries[one], self.own[one], subjects=SUBJECTS // 2)
            near = near.and_also(nearest_subjects(restrict(self.longer[row], train)))
            order.append(np.array([place]))
        return near[np.argsort(np.concatenate(order))]


def some(matches: Any, rows: np.ndarray) -> Any:
    """The matches of some queries."""
    from stylescan.evaluate.memorisation.distance import Matches

    return Matches(*(getattr(matches, field.name)[rows] for field in fields(Matches)))


def one_draw(
    draw: int, real: Memory, planted: Memory, codes: np.ndarray, plant_codes: np.ndarray
) -> list[dict[str, Any]]:
    """What the audit says of one deal of the subjects, for each size of hold-out."""
    from stylescan.evaluate.memorisation.copies import FAIL, WARN, copy_test
    from stylescan.evaluate.memorisation.power import number_planted, power_of_test
    from stylescan.randomness import numpy_generator

    rng = numpy_generator(0, "benchmark_draw", draw)
    order = rng.permutation(SUBJECTS)
    train = np.zeros(SUBJECTS, bool)
    train[order[:TRAIN]] = True
    rows_of = [np.flatnonzero(codes == subject) for subject in range(SUBJECTS)]
    pool = planted(np.flatnonzero(train[plant_codes]), train)
    results = []
    for name, held_count, judged_count, each in (
        ("40", 40, 40, 50),
        ("20", 20, 20, 50),
        ("10", 10, 10, 50),
        ("spread", 20, 60, 16),
    ):
        held_rows = np.concatenate([rows_of[s] for s in order[TRAIN : TRAIN + held_count]])
        judged_subjects = order[SUBJECTS - judged_count :]
        judged_rows = np.concatenate([rng.choice(rows_of[s], each, replace=False) for s in judged_subjects])
        held, judged = real(held_rows, train), real(judged_rows, train)
        count = number_planted(len(judged_rows))
        copies = pool[rng.choice(len(pool.ratios), count, replace=False)]
        clean = copy_test(judged, held, codes[held_rows])
        rest = judged[rng.permutation(len(judged_rows))[count:]]
        dirty = copy_test(rest.and_also(copies), held, codes[held_rows])
        power = power_of_test(
            held, codes[held_rows], pool[rng.choice(len(pool.ratios), 100)], n=len(judged_rows), seed=draw
        )
        results.append(
            {
                "draw": draw,
                "size": name,
                "n": len(judged_rows),
                "planted": count,
                "p": clean.p,
                "copies": clean.copies,
                "by_image": clean.by_image,
                "by_person": clean.by_person,
                "least": clean.least,
                "alarm": clean.p <= FAIL,
                "warned": clean.p <= WARN,
                "p_planted": dirty.p,
                "copies_planted": dirty.copies,
                "found": dirty.p <= FAIL,
                "power": power.power,
            }
        )
    return results


def ct_draws(images: np.ndarray, codes: np.ndarray, draws: int) -> list[float]:
    """p of C_T where the judged images are real and new, on 16 x 16 thumbnails as features."""
    from stylescan.evaluate.memorisation.meehan import copying_test
    from stylescan.evaluate.memorisation.neighbours import SubjectDistances, subject_distances
    from stylescan.randomness import numpy_generator

    features = images.reshape(-1, 16, 4, 16, 4).mean(axis=(2, 4)).reshape(len(images), -1).astype(np.float32)
    few = np.flatnonzero(np.arange(len(images)) % 5 == 0)  # every fifth slice: the cost is quadratic
    features, codes = features[few], codes[few]
    names = np.array([f"{code:03d}" for code in codes])
    everybody = subject_distances(features, names, features, names)
    values = []
    for draw in range(draws):
        order = numpy_generator(0, "benchmark_draw", draw).permutation(SUBJECTS)
        known = np.sort(order[: TRAIN + HELD])
        judged = np.isin(codes, order[TRAIN + HELD :])

        def part(rows: np.ndarray, known: np.ndarray = known) -> Any:
            return SubjectDistances(
                everybody.names[known], everybody.distances[rows][:, known], everybody.slices[rows][:, known]
            )

        trained = np.isin(known, order[:TRAIN])
        values.append(copying_test(part(judged), part(~judged), names[~judged], trained, draw).p)
    return values


def interval(hits: int, n: int) -> tuple[float, float]:
    """95 % Clopper-Pearson interval of a share."""
    from scipy.stats import beta

    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(0.975, hits + 1, n - hits))
    return low, high


def summary(results: list[dict[str, Any]], ct: list[float]) -> dict[str, Any]:
    """Shares with their intervals, by size of hold-out."""
    table = {}
    for size in ("40", "20", "10", "spread"):
        rows = [row for row in results if row["size"] == size]
        entry: dict[str, Any] = {"n": rows[0]["n"], "planted": rows[0]["planted"], "draws": len(rows)}
        for key in ("alarm", "warned", "found"):
            hits = sum(bool(row[key]) for row in rows)
            entry[key] = {"count": hits, "interval": interval(hits, len(rows))}
        entry["power_predicted"] = float(np.mean([row["power"] for row in rows]))
        entry["copies_by_chance_median"] = float(np.median([row["copies"] for row in rows]))
        entry["copies_by_chance_most"] = int(max(row["copies"] for row in rows))
        table[size] = entry
    table["ct"] = {f"p <= {level}": sum(p <= level for p in ct) for level in (0.01, 0.05, 0.5)} | {"draws": len(ct)}
    return table


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Left: how often p falls to a level when nothing is copied. Right: power promised and share found."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.6), layout="constrained", dpi=110)
    left, right = figure.subplots(1, 2)
    titles = {"40": "40 held-out subjects", "20": "20", "10": "10", "spread": "20, judged slices of 60 subjects"}
    colours = {"40": "#1f5f99", "20": "#c46b1f", "10": "#4a8f3c", "spread": "#8a5fa8"}
    levels = np.array([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    left.plot([0.001, 1], [0.001, 1], color="#808890", linestyle=":", label="promised")
    for size, title in titles.items():
        p = np.array([row["p"] for row in results if row["size"] == size])
        share = [(p <= level).mean() for level in levels]
        left.plot(levels, share, color=colours[size], marker="o", markersize=3.5, label=title)
    left.set_xscale("log")
    left.set_yscale("symlog", linthresh=0.005)
    ticks = [0.01, 0.05, 0.2, 0.5, 1.0]
    left.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    left.set_yticks([0.0, 0.005, *ticks], ["0", "0.005", *(f"{tick:g}" for tick in ticks)])
    left.minorticks_off()
    left.set_ylim(-0.0003, 1.2)
    left.set_xlabel("level (0.01: fail, 0.05: warn)")
    left.set_ylabel("share of draws with p at or below it")
    left.set_title("Nothing copied: 200 draws", fontsize=10)
    for level in (0.01, 0.05):
        left.axvline(level, color="#808890", linewidth=0.6)
    left.legend(fontsize=7.5, frameon=False)
    sizes = ["10", "20", "40"]
    place = np.arange(3)
    found = [np.mean([row["found"] for row in results if row["size"] == size]) for size in sizes]
    promised = [np.mean([row["power"] for row in results if row["size"] == size]) for size in sizes]
    right.bar(place - 0.19, promised, 0.36, color="#b9c4cf", label="power promised (mean)")
    right.bar(place + 0.19, found, 0.36, color="#1f5f99", label="share found")
    right.axhline(0.8, color="#808890", linewidth=0.8, linestyle=":")
    right.set_xticks(place, sizes)
    right.set_ylim(0, 1.15)
    right.set_xlabel("held-out subjects")
    right.set_title("1 % planted copies", fontsize=10)
    right.legend(fontsize=7.5, frameon=False, loc="upper left", ncols=2)
    for axes in (left, right):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--ct-draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the population")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    one_thread()
    from stylescan.evaluate.memorisation.distance import Bank
    from stylescan.evaluate.memorisation.poses import reduced, search_for

    options.out.mkdir(parents=True, exist_ok=True)
    images, codes = population(options.out, options.seed)
    plants, plant_codes = planted_copies(images, codes)
    search = search_for(RESOLUTION, mirror=False)
    bank = Bank(reduced(images, search.side), codes, search)
    nobody = np.full(len(plants), -1)
    memories = []
    for name, pictures, own in (("real", images, codes), ("planted", plants, nobody)):
        queries = reduced(pictures, search.side)
        memories.append(Memory(all_matches(options.out, name, bank, queries, own), bank, queries, own))
    real, planted = memories
    results = [row for draw in range(options.draws) for row in one_draw(draw, real, planted, codes, plant_codes)]
    ct = ct_draws(images, codes, options.ct_draws)
    table = summary(results, ct)
    (options.out / "results.json").write_text(json.dumps({"summary": table, "draws": results, "ct_p": ct}, indent=1))
    print(json.dumps(table, indent=1))
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
