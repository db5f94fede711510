"""How w changes while one run trains: its checkpoints on one pair of axes, those of the last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.errors import ConfigError
from stylescan.evaluate.latent.columns import Column
from stylescan.evaluate.latent.embed_record import PUT_IN, Written, probe_words
from stylescan.evaluate.latent.embedding import fit_pca, sampled_w
from stylescan.evaluate.latent.latent_pictures import Stage, stages_sheet
from stylescan.evaluate.latent.probe import Probe, probe_classes
from stylescan.files import write_bytes_atomic, write_json_atomic
from stylescan.generate.sample import draw_labels
from stylescan.generate.snapshot import Snapshot

SCHEMA_VERSION = 1
PERMUTATIONS = 199


def follow(stages: Sequence[Snapshot], out: Path, *, count: int = 1000, seed: int = 0) -> Written:
    """Write checkpoints.png and checkpoints.json to `out`: w of the same z and classes at every checkpoint.

    stages : checkpoints of one run, oldest first, at least two. The axes are the principal ones of the last.
    """
    if len(stages) < 2 or count < 10:
        raise ConfigError(
            f"checkpoints: found {len(stages)}, and {count} images; expected at least 2 and 10",
            remedy="Train on until the run has more checkpoints, or look at it without --checkpoints.",
        )
    seeds = list(range(seed * 1_000_000, seed * 1_000_000 + count))
    last = stages[-1]
    labels = draw_labels(seeds, last.meta)
    clouds = [sampled_w(stage, seeds, labels).astype(np.float64) for stage in stages]
    axes = fit_pca(clouds[-1])
    codes = np.array(labels, np.int64)
    column = Column("class", "category", codes, tuple(last.meta.class_names)) if last.meta.class_names else None
    probes = [_probe(cloud, codes, seed) if column else None for cloud in clouds]
    drawn = []
    for stage, cloud, probe in zip(stages, clouds, probes):
        points = axes.transform(cloud)
        variance = float(cloud.var(axis=0, ddof=1).sum())
        on_axes = float(points.var(axis=0, ddof=1).sum())
        share = on_axes / variance if variance > 0 else 0.0
        cosine = mean_cosine(cloud, clouds[-1])
        auc = None if probe is None else probe.value
        drawn.append(Stage(stage.meta.nimg / 1000, points, variance, share, auc, cosine))
    names = [f"axis {k + 1} of the last ({100 * axes.share[k]:.0f} % of its variance)" for k in range(2)]
    title = f"w of {count} seeds at {len(stages)} checkpoints of one run, on the principal axes of the last"
    write_bytes_atomic(out / "checkpoints.png", stages_sheet(drawn, column, (names[0], names[1]), title))
    values = _values(stages, drawn, probes, count, seed)
    write_json_atomic(out / "checkpoints.json", values)
    return Written([out / "checkpoints.png", out / "checkpoints.json"], _sentences(drawn, probes), values)


def mean_cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean cosine between the rows of `a` and `b`, each about its own mean: 1 = the same arrangement, 0 = unrelated."""
    x, y = a - a.mean(axis=0), b - b.mean(axis=0)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return float(((x * y).sum(axis=1) / np.maximum(lengths, 1e-300)).mean())


def _probe(w: NDArray[np.float64], labels: NDArray[np.int64], seed: int) -> Probe:
    return probe_classes(w, labels, np.arange(len(w)), permutations=PERMUTATIONS, seed=seed)


def _sentences(stages: Sequence[Stage], probes: Sequence[Probe | None]) -> list[str]:
    first, last = stages[0], stages[-1]
    lines = [
        f"From {first.kimg:g} to {last.kimg:g} thousand images the total variance of w went from {first.variance:.3g} "
        f"to {last.variance:.3g}; w of the same z keeps a cosine of {first.cosine:.2f} with the last checkpoint.",
        f"The axes of the last checkpoint hold {first.share:.0%} of the first one's variance and {last.share:.0%} of "
        "its own.",
    ]
    if probes[-1] is not None:
        lines.append(f"Class in w at the last checkpoint: {probe_words(probes[-1])} {PUT_IN}")
    return lines


def _values(
    stages: Sequence[Snapshot], drawn: Sequence[Stage], probes: Sequence[Probe | None], count: int, seed: int
) -> dict[str, Any]:
    rows = [
        {"nimg": snapshot.meta.nimg, "model_hash": snapshot.model_hash, "variance": stage.variance,
         "share_on_axes": stage.share, "cosine_with_last": stage.cosine,
         "class_probe": None if probe is None else probe.as_json()}
        for snapshot, stage, probe in zip(stages, drawn, probes)
    ]  # fmt: skip
    return {"schema_version": SCHEMA_VERSION, "generated": count, "seed": seed, "axes_of": rows[-1]["model_hash"],
            "checkpoints": rows}  # fmt: skip
