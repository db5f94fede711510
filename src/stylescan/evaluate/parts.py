"""A part of the evaluation: one question about the images, with numbers for report.json and pictures for report.html.

A part is a function of the gathered `Material`. Its name is its key in report.json and its template,
`templates/parts/NAME.html.j2`, which sees `report` (all JSON values), `part` (its own) and `pictures` (its own).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stylescan.evaluate.cache import Progress
from stylescan.evaluate.material import Material


@dataclass(frozen=True)
class Part:
    """`values`: JSON values alone, equal for equal inputs, without path or time. `pictures`: what its template shows,
    data URIs by name."""

    values: dict[str, Any]
    pictures: dict[str, Any] = field(default_factory=dict)


PartRunner = Callable[[Material, Progress | None], Part]
