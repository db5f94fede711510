"""Which augmentations anatomy allows: the discriminator may only see what another subject could have shown.

Never here, whatever the data: inverted intensities and turns by 90 or 180 degrees (no scanner makes them), holes cut
out of an image (they look like lesions), and added noise (G is to learn the scanner's own noise, and air must stay
dark).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stylescan.config import DataFingerprint, did_you_mean
from stylescan.data.symmetry import mirror_refusal
from stylescan.errors import ConfigError


@dataclass(frozen=True)
class Operation:
    """A lawful change of an image. `said` names it at the start of a run; `limit` is its greatest strength.

    `needs`: what the data must be for it; empty where every scan allows it.
    """

    said: str
    limit: float
    needs: str = ""


# limits: degrees; factors (1 / limit .. limit); a share of the image's side; grey values, of the range [-1, 1]
OPERATIONS: dict[str, Operation] = {
    "flip": Operation("flip left-right", 1.0, needs="axial or coronal, symmetry declared left-right, no side recorded"),
    "rotate": Operation("rotate <= 10 degrees", 10.0),
    "scale": Operation("scale <= 10 %", 1.1),
    "anisotropy": Operation("stretch <= 5 %", 1.05),
    "shift": Operation("shift <= 6 %, whole pixels", 1 / 16),
    "brightness": Operation("brightness <= 0.1, air stays dark", 0.1),
    "contrast": Operation("contrast <= 20 %", 1.2),
    "gamma": Operation("gamma 0.8 to 1.25", 1.25),
}


@dataclass(frozen=True)
class Lawful:
    """Names of the operations that a run may use, and (name, reason and remedy) of those it may not."""

    allowed: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]

    def lines(self) -> tuple[str, ...]:
        """What a run says at its start: one line of what is on, one a refused operation."""
        on = ", ".join(OPERATIONS[name].said for name in self.allowed) or "nothing is left"
        return (f"augmentation: {on}", *(f"augmentation without {name}: {reason}" for name, reason in self.refused))


def lawful_operations(data: DataFingerprint, leave_out: Sequence[str] = ()) -> Lawful:
    """The operations that `data` allow, in the table's order, without those in `leave_out`.

    Raises ConfigError for a name in `leave_out` that no operation has.
    """
    for name in leave_out:
        if name not in OPERATIONS:
            raise ConfigError(
                f"augment.leave_out: found {name!r}, expected names of operations",
                remedy=did_you_mean(name, tuple(OPERATIONS)).replace("Known keys", "Known operations"),
            )
    reasons = dict.fromkeys(leave_out, "left out on request (augment.leave_out)")
    unlawful = mirror_refusal(data.plane, data.symmetry, data.sided)
    if unlawful is not None:
        reasons["flip"] = unlawful  # said even where it was left out besides: it would not be allowed anyway
    return Lawful(
        allowed=tuple(name for name in OPERATIONS if name not in reasons),
        refused=tuple((name, reasons[name]) for name in OPERATIONS if name in reasons),
    )
