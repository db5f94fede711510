"""Windows: the range of source values that is shown, by a radiologist's name, as LEVEL/WIDTH, or as the file states it.

The named ones are the customary presets of CT workstations, in Hounsfield units. They are conventions, not standards:
departments differ by some tens of units, and LEVEL/WIDTH says any other.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Literal

from stylescan.errors import ConfigError, DataError

HOUNSFIELD = "HU"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_LEVEL_WIDTH = re.compile(rf"({_NUMBER})\s*/\s*({_NUMBER})")
_LARGEST = 1e6  # beyond any scanner's values

# name: (level, width) in HU
CT_WINDOWS: dict[str, tuple[float, float]] = {
    "brain": (40, 80),
    "stroke": (40, 40),
    "subdural": (80, 200),
    "temporal-bone": (600, 2800),
    "bone": (400, 1800),
    "soft-tissue": (40, 400),
    "mediastinum": (40, 400),
    "lung": (-600, 1500),
    "abdomen": (40, 400),
    "liver": (30, 150),
    "angiography": (300, 600),
}


@dataclass(frozen=True)
class Window:
    """A range of source values around `level`, `width` wide. `name`: which preset it is, if it is one (then in HU)."""

    level: float
    width: float
    name: str | None = None

    @property
    def text(self) -> str:
        """How manifest and audit write it: 'brain 40/80', '40/80'."""
        return f"{self.name + ' ' if self.name else ''}{self.level:g}/{self.width:g}"


def parse_window(text: str) -> Window | Literal["header"]:
    """What a user wrote: a name of CT_WINDOWS, 'LEVEL/WIDTH' (for instance -600/1500), or 'header'.

    Case, spaces and underscores in names do not count. Raises ConfigError, with the nearest name, for anything else.
    """
    plain = re.sub(r"[\s_]+", "-", text.strip().casefold())
    if plain == "header":
        return "header"
    if plain in CT_WINDOWS:
        return Window(*CT_WINDOWS[plain], name=plain)
    found = _LEVEL_WIDTH.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"window {text!r}: neither a name, nor LEVEL/WIDTH, nor header", remedy=_nearest(plain))
    level, width = float(found[1]), float(found[2])
    if not (abs(level) <= _LARGEST and 0 < width <= _LARGEST):
        raise ConfigError(f"window {text!r}: level {level:g}, width {width:g}, expected a width above 0, both up to 1e6",
                          remedy="write LEVEL/WIDTH, for instance 40/80 for the values 0 to 80")  # fmt: skip
    return Window(level, width)


def _nearest(name: str) -> str:
    known = [*CT_WINDOWS, "header"]
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"name one of {', '.join(known)}, or write LEVEL/WIDTH, for instance 40/80"


def window_range(
    window: Window | Literal["header"],
    scan_window: tuple[float, float] | None,
    *,
    source: str = "a scan",
    units: str | None = None,
) -> tuple[float, float]:
    """(low, high): the source values that become black and white, level - width/2 and level + width/2.

    That is DICOM's LINEAR_EXACT (PS3.3 C.11.2.1.3.2); its LINEAR differs by half a unit.

    scan_window : the (low, high) in which the file itself asks to be shown, which 'header' takes.
    source, units : name of the scan for errors, and the units of its values where the file states them.

    Raises DataError where 'header' finds no window, and where a named window, in HU, meets values of other units.
    """
    if window == "header":
        if scan_window is None:
            raise DataError(f"{source}: states no window of its own, and --window header was asked for",
                            remedy="give --window LEVEL/WIDTH, or leave it out: percentiles are taken then")  # fmt: skip
        low, high = scan_window
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise DataError(f"{source}: its own window runs from {low:g} to {high:g}, expected a rising range",
                            remedy="give --window LEVEL/WIDTH instead of header")  # fmt: skip
        return float(low), float(high)
    if window.name is not None and units is not None and units.casefold() != HOUNSFIELD.casefold():
        raise DataError(f"{source}: its values are in {units}, and the window {window.name!r} is in Hounsfield units (CT)",
                        remedy="leave --window out, or give LEVEL/WIDTH in the units of the scan")  # fmt: skip
    return window.level - window.width / 2, window.level + window.width / 2
