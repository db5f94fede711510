"""The arms in one picture: a dot a seed, a bar for the interval over subjects."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

GREY, BLUE = "#808890", "#3b82c4"


def arms_uri(arms: Sequence[dict[str, Any]]) -> str:
    """AUC of each arm tested on real images, as an SVG data URI: transparent, in greys that read on light and dark.

    arms : rows of the utility part's values.
    """
    import matplotlib
    from matplotlib.figure import Figure

    shown = [
        arm for arm in arms if arm["ran"] and arm["tested_on"] == "real" and arm["scores"]["auc"]["value"] is not None
    ]
    figure = Figure(figsize=(5.6, 0.7 + 0.45 * len(shown)), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle=":")
    for row, arm in enumerate(shown):
        auc = arm["scores"]["auc"]
        if auc["interval"] is not None:
            axes.plot([auc["interval"]["low"], auc["interval"]["high"]], [row, row], color=GREY, linewidth=2)
        dots = [value for value in auc["seeds"] if value is not None]
        axes.plot(dots, [row - 0.22] * len(dots), color=BLUE, marker=".", markersize=5, linestyle="none", alpha=0.7)
        axes.plot([auc["value"]], [row], color=BLUE, marker="D", markersize=6, linestyle="none")
    axes.set_yticks(range(len(shown)), [arm["title"] for arm in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel("AUC on held-out real images (dotted: chance)", color=GREY)
    axes.tick_params(colors=GREY, which="both")
    for name, spine in axes.spines.items():
        spine.set_color(GREY)
        spine.set_visible(name in ("left", "bottom"))
    buffer = io.BytesIO()
    # No date and no random ids inside, so that equal runs give equal pages.
    with matplotlib.rc_context({"svg.hashsalt": "stylescan"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
