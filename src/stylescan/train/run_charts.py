"""Curves of one run or two: losses, the share of each term, scores."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Log = Sequence[Mapping[str, Any]]
# Okabe & Ito 2008: told apart by everybody
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WORDS = {
    "G_loss": "G", "D_loss": "D", "r1_penalty": "R1", "r2_penalty": "R2", "gp_penalty": "gradient penalty",
    "drift_penalty": "drift", "pl_penalty": "path length", "score_real": "real images", "score_fake": "generated images",
    "kid": "KID on select",
}  # fmt: skip
_TOTAL = "G + D"
_KIMG = "thousand real images shown (kimg)"
_SMOOTH = 0.03  # of the lines: the window of the mean drawn over the raw curve


def terms_of(log: Log) -> list[str]:
    """The terms of the objective that the log holds: G's and D's loss, then the penalties."""
    names = {name for line in log for name in line if name.endswith(("_loss", "_penalty"))}
    known = [name for name in WORDS if name in names]
    return known + sorted(names - set(known))


def series(log: Log, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(kimg, value) of the finite numbers called `name`, in order of kimg."""
    points = sorted(
        (float(line["nimg"]) / 1000, float(line[name])) for line in log if _number(line, "nimg") and _number(line, name)
    )
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def loss_shares(log: Log) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """kimg [T], and the part of each term in the sum of the absolute values of all terms of G and D, [T] each.

    Values are those that the optimiser follows on average over steps (a lazy penalty's gain makes up for its interval).
    A penalty that one line lacks keeps its last value. Lines in which all terms are zero are left out.
    """
    names = terms_of(log)
    last = dict.fromkeys(names, 0.0)
    kimg, rows = [], []
    for line in sorted((line for line in log if _number(line, "nimg")), key=lambda line: float(line["nimg"])):
        fresh = {name: abs(float(line[name])) for name in names if _number(line, name)}
        last.update(fresh)
        total = math.fsum(last.values())
        if "G_loss" in fresh and "D_loss" in fresh and 0 < total < math.inf:
            kimg.append(float(line["nimg"]) / 1000)
            rows.append([last[name] / total for name in names])
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    return np.array(kimg), {name: table[:, column] for column, name in enumerate(names)}


def loss_chart(log: Log, title: str) -> bytes:
    """Losses and their sum, penalties, D's scores and the score on select over kimg: a PNG."""
    terms = terms_of(log)
    losses = [*(name for name in terms if name.endswith("_loss")), _TOTAL]
    log = [
        {**line, _TOTAL: line["G_loss"] + line["D_loss"]}
        if _number(line, "G_loss") and _number(line, "D_loss")
        else line
        for line in log
    ]
    penalties = [name for name in terms if name.endswith("_penalty")]
    panels = [("loss", losses), ("penalty", penalties), ("D's score", ["score_real", "score_fake"]), ("KID", ["kid"])]
    panels = [(label, names) for label, names in panels if any(len(series(log, name)[0]) for name in names)]

    def draw(figure: Any) -> None:
        for panel, (label, names) in zip(_panels(figure, len(panels)), panels):
            for name, colour in zip(names, COLOURS):
                _curve(panel, log, name, colour, WORDS.get(name, name))
            panel.set_ylabel(label)
            if label == "penalty" and all((series(log, name)[1] > 0).all() for name in names):
                panel.set_yscale("log")
            panel.legend(loc="upper right", frameon=False, ncols=4)
        figure.suptitle(title, fontsize=10)

    return _png(draw, 1.9 * len(panels) + 0.7)


def share_chart(log: Log, title: str) -> bytes:
    """Shares of the terms in the sum of absolute losses over kimg, stacked to 100 %: a PNG."""
    kimg, shares = loss_shares(log)

    def draw(figure: Any) -> None:
        [panel] = _panels(figure, 1)
        means = [_mean(values) for values in shares.values()]
        panel.stackplot(
            kimg, means, labels=[WORDS.get(name, name) for name in shares], colors=COLOURS, alpha=0.85, lw=0
        )
        panel.set_ylim(0, 1)
        panel.set_xlim(kimg[0], max(kimg[-1], kimg[0] + 1e-9))
        panel.yaxis.set_major_formatter(lambda value, position: f"{value:.0%}")
        panel.set_ylabel("share of the sum of\nabsolute losses of G and D")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False, ncols=4)
        figure.suptitle(title, fontsize=10)

    return _png(draw, 3.6)


def two_runs_chart(logs: Mapping[str, Log], title: str) -> bytes:
    """The same quantities of two runs over kimg, a panel each: a PNG."""
    wanted = [("G_loss", "G's loss"), ("D_loss", "D's loss"), ("score_real", "D's score\nof real images"),
              ("score_fake", "D's score\nof generated images"), ("kid", "KID on select")]  # fmt: skip
    panels = [(name, label) for name, label in wanted if any(len(series(log, name)[0]) for log in logs.values())]

    def draw(figure: Any) -> None:
        for number, (panel, (name, label)) in enumerate(zip(_panels(figure, len(panels)), panels)):
            for (run, log), colour in zip(logs.items(), COLOURS):
                _curve(panel, log, name, colour, run)
            panel.set_ylabel(label)
            if number == 0:
                panel.legend(loc="upper right", frameon=False, ncols=2)
        figure.suptitle(title, fontsize=10)

    return _png(draw, 1.7 * len(panels) + 0.7)


def _curve(panel: Any, log: Log, name: str, colour: str, label: str) -> None:
    """The raw curve, pale, and its running mean; points where there are few."""
    x, y = series(log, name)
    few = len(x) <= 30
    if not few:
        panel.plot(x, y, color=colour, alpha=0.25, linewidth=0.8)
    panel.plot(x, y if few else _mean(y), color=colour, label=label, linewidth=1.4, marker="o" if few else None, ms=3)


def _mean(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The running mean over a window of `_SMOOTH` of the points, shorter at the ends."""
    half = int(len(y) * _SMOOTH / 2)
    sums = np.concatenate([[0.0], np.cumsum(y)])
    at = np.arange(len(y))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(y))
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _panels(figure: Any, count: int) -> list[Any]:
    found = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for panel in found:
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    found[-1].set_xlabel(_KIMG)
    return found


def _png(draw: Callable[[Any], None], height: float) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def _number(line: Mapping[str, Any], name: str) -> bool:
    value = line.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
