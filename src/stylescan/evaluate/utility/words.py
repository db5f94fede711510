"""What classifiers showed, in sentences that need no training in statistics. Pure functions of scores and counts."""

from __future__ import annotations

from collections.abc import Sequence

from stylescan.evaluate.intervals import LEVEL
from stylescan.evaluate.utility.scores import Interval, Score, interval, seed_interval

CAVEAT = (
    "Intervals say how far a number would move with other held-out {unit}; they do not cover other training "
    "subjects or seeds."
)
DEPTH_MATTERS = "Part of what any classifier finds here may be depth rather than anatomy."


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def bounds(found: Interval, signed: bool = False) -> str:
    """For instance '95 % interval 0.71 to 0.85'."""
    if found.low is None or found.high is None:
        return f"no interval: {found.reason}"
    form = "+.3f" if signed else ".3f"
    return f"{LEVEL:.0%} interval {found.low:{form}} to {found.high:{form}}".replace("%", " %", 1)


def of_score(one: Score) -> Interval:
    return interval(one.draws, one.subjects)


def ability(held: Score, unit: str) -> str:
    """Whether a classifier trained on real images tells the classes of held-out ones apart at all."""
    found = of_score(held)
    text = f"AUC {held.value:.3f}, {bounds(found)}; chance is 0.5"
    if found.above(0.5):
        return f"Trained on real images, the classifier tells the classes of held-out real {unit} apart ({text})."
    return (
        f"Even trained on real images, the classifier does not tell the classes of held-out real {unit} apart better "
        f"than chance ({text}): nothing can be concluded about generated images."
    )


def fidelity(real: Score, generated: Score, difference: Score) -> str:
    """Generated against held-out real images by balanced accuracy; only where the classifier is any good."""
    found = of_score(difference)
    text = (
        f"It names the class of {percent(generated.value)} of generated images as asked for, and of "
        f"{percent(real.value)} of held-out real ones rightly (balanced accuracy; difference "
        f"{difference.value:+.3f}, {bounds(found, signed=True)})."
    )
    if found.low is None:
        return text
    if found.below(0):
        return f"{text} Generated images show their class less clearly than real ones."
    if found.above(0):
        return (
            f"{text} Generated images show their class more clearly than real ones do: the model may exaggerate the "
            "difference, or lack the borderline cases that real people have."
        )
    return f"{text} The two were not told apart: that is no proof that they are equal."


def shortcut(depth: Score, gain: Score, unit: str) -> str:
    """What depth alone tells, and whether the classifier knows more."""
    found, more = of_score(depth), of_score(gain)
    text = f"Slice depth alone, without any image, gives held-out {unit} an AUC of {depth.value:.3f} ({bounds(found)})"
    if not found.above(0.5):
        return f"{text}: no sign that depth gives the class away."
    known = "knows more than depth" if more.above(0) else "was not shown to know more than depth"
    return (
        f"{text}: depth gives the class away. {DEPTH_MATTERS} The classifier {known} "
        f"(AUC {gain.value:+.3f}, {bounds(more, signed=True)})."
    )


def transfer(real: Score, generated: Score, share: Interval, unit: str) -> str:
    """Train on generated, test on real (TSTR)."""
    found = of_score(generated)
    text = f"AUC {generated.value:.3f}, {bounds(found)}; chance is 0.5"
    if found.below(0.5):
        return f"A classifier that saw generated images alone is worse than chance on held-out real {unit} ({text})."
    if not found.above(0.5):
        return (
            f"A classifier that saw generated images alone was not shown to be better than chance on held-out real "
            f"{unit} ({text})."
        )
    text = f"A classifier that saw generated images alone tells the classes of held-out real {unit} apart ({text})"
    if share.low is None or share.high is None:
        return text + "."
    reached = (generated.value - 0.5) / (real.value - 0.5)
    return (
        f"{text}: {percent(reached)} of the way from chance to what real images teach "
        f"({percent(share.low)} to {percent(share.high)})."
    )


def benefit(difference: Score, unit: str) -> str:
    """Real and generated against real with classic augmentation. A claim needs both intervals to leave out zero."""
    found, seeds = of_score(difference), seed_interval(difference.by_seed)
    text = (
        "Against classic augmentation of the same real images, adding generated ones changes the AUC by "
        f"{difference.value:+.3f} ({bounds(found, signed=True)} over {unit}; {bounds(seeds, signed=True)} over seeds)"
    )
    if found.above(0) and seeds.above(0):
        return f"{text}: a benefit on these {unit}."
    if found.below(0) and seeds.below(0):
        return f"{text}: a loss on these {unit}."
    return f"{text}: no benefit shown."


def perfection(scores: Sequence[Score], unit: str) -> list[str]:
    """A remark where a score is perfect, for its interval then has no width."""
    perfect = [one for one in scores if one.value == 1.0]
    if not perfect:
        return []
    many = perfect[0].subjects
    return [
        "A score of 1 has an interval without width, for resampling cannot show errors that did not happen: errors in "
        f"up to {percent(1 - 0.05 ** (1 / many))} of {unit} like these {many} cannot be excluded."
    ]
