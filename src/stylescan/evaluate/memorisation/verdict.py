"""What the audit's numbers mean, in words that claim no more than was measured."""

from __future__ import annotations

from dataclasses import dataclass

from stylescan.evaluate.memorisation.copies import FAIL, WARN, CopyTest
from stylescan.evaluate.memorisation.meehan import CT_LEVEL, CopyingTest
from stylescan.evaluate.memorisation.power import ENOUGH, SHARE, Power


@dataclass(frozen=True)
class Findings:
    """All that decides. `exact`: generated images that equal a training image pixel by pixel, None where held-out ones
    do so too and it proves nothing. `subjects`: how the units are called. `held`: how many there are held out."""

    test: CopyTest
    power: Power
    copying: CopyingTest | None
    exact: int | None
    control: float
    subjects: str
    held: int


def verdict(found: Findings) -> tuple[str, str]:
    """(pass | warn | fail | cannot tell, the reason in plain sentences)."""
    test, n = found.test, found.test.n
    copies = (
        f"{test.copies:,} of {n:,} generated images {'is' if test.copies == 1 else 'are'} nearer to one of the training "
        f"{found.subjects} than any held-out image is"
    )
    if found.exact:
        return "fail", (
            f"{found.exact:,} of {n:,} generated images equal{'s' if found.exact == 1 else ''} a training image pixel "
            "by pixel."
        )
    if test.p <= FAIL:
        return "fail", (
            f"{copies}: more and closer than chance allows (p = {p_text(test.p)}). Look at the closest pairs below."
        )
    if test.p <= WARN:
        return "warn", (
            f"{copies}, a little more and closer than chance explains well (p = {p_text(test.p)}). Look at the closest "
            "pairs below."
        )
    if found.copying is not None and found.copying.p <= CT_LEVEL:
        return "warn", (
            "No single image stands out as a copy, but taken together the generated images lie nearer to the training "
            f"images than held-out ones do (C_T {found.copying.z:.1f}, p = {p_text(found.copying.p)}). Copying in part "
            "does that, and so do images of little variety."
        )
    by_chance = f" {copies}; real images of new people are so too (p = {p_text(test.p)})." if test.copies else ""
    power = power_text(found.power.power)
    if found.power.power >= ENOUGH:
        return "pass", (
            f"No evidence of copying at power {power}: had {SHARE:.0%} of the images ({found.power.planted:,} of "
            f"{n:,}) been copies of training images, this audit would have said so with that probability.{by_chance} "
            "Rarer or subtler copies may go unseen."
        )
    return "cannot tell", (
        f"No evidence of copying was found, but had {SHARE:.0%} of the images been copies, this audit would have "
        f"said so with a probability of only {power}. {_why_not(found)}{by_chance}"
    )


def _why_not(found: Findings) -> str:
    """Why the power is small."""
    if found.control >= 0.5:
        return f"{found.held:,} held-out {found.subjects} are too few to tell: set more of them aside."
    return (
        f"Some held-out images are themselves as near to a training image as a copy would be (ratio {found.test.least:.2g}): "
        "perhaps the same people stand on both sides of the split."
    )


def p_text(p: float) -> str:
    """Two digits, or 'less than .001'."""
    return "less than 0.001" if p < 0.001 else f"{p:.2g}"


def power_text(power: float) -> str:
    """Two digits; no certainty beyond what the repetitions can show."""
    return "above 0.98" if power > 0.98 else f"{power:.2f}"
