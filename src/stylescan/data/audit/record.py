"""What an audit records: counts and findings by the names that the manifest uses."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from stylescan.data.audit.odd import OddImage
from stylescan.data.audit.shortcuts import Shortcut
from stylescan.data.audit.sides import Sides
from stylescan.data.prepared import Claim

AUDIT_NAME = "audit.json"
LISTED = 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Findings(_Frozen):
    """What the first look noticed, by the names that the manifest uses (hashed unless ids are kept)."""

    layout: str
    kind: Literal["picture", "volume"]
    modes: dict[str, int]
    sizes: dict[str, int]
    byte_duplicates: list[list[str]] = Field(default_factory=list)
    byte_duplicate_files: int = 0
    near_duplicates: list[tuple[str, str]] = Field(default_factory=list)
    near_duplicate_pairs: int = 0
    near_duplicates_across_subjects: int = 0
    near_duplicates_across_splits: int = 0
    skipped: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)


class Examples(_Frozen):
    """How many images were noticed, and a few of them by their place in the manifest."""

    count: int = 0
    indices: list[int] = Field(default_factory=list)


class PixelFindings(_Frozen):
    """What the prepared pixels show.

    `sampled`: images in which skulls were looked for, spread over `sampled_subjects`; `writing_sampled`: pictures in which
    writing was, at full size. `skull_subjects`: those
    of whose sampled images at least half look like unstripped heads; `heads_checked` is False where the anatomy is known
    to be another. `histograms`: shares of 32 bins of grey values from 0 to the largest, by class (or 'all').
    """

    odd: list[OddImage] = Field(default_factory=list)
    odd_count: int = 0
    sampled: int = 0
    sampled_subjects: int = 0
    heads_checked: bool = True
    skulls: Examples = Examples()
    skull_subjects: list[str] = Field(default_factory=list)
    skull_subject_count: int = 0
    writing_sampled: int = 0
    writing: Examples = Examples()
    dark: Examples = Examples()
    empty: Examples = Examples()
    histograms: dict[str, list[float]] = Field(default_factory=dict)


class Audit(_Frozen):
    """See `words.audit_lines` for how it reads. Counts are images; `subjects` counts subjects (or groups) by split.

    `shortcuts`: those beyond depth and side, by name. `advice`: sentences on what to train. Fields with a default came
    later: audits without them are read.
    """

    content_hash: str
    claim: Claim
    resolution: int
    channels: int
    bits: int
    images: int
    class_names: list[str]
    images_by_split: dict[str, int]
    subjects_by_split: dict[str, int]
    images_by_class: dict[str, dict[str, int]]
    subjects_by_class: dict[str, dict[str, int]]
    images_per_subject: tuple[int, float, int]
    sides: dict[str, int]
    dark: int
    empty: int
    depth_shortcut: Shortcut | None
    side_shortcut: Shortcut | None
    findings: Findings
    shortcuts: dict[str, Shortcut] = Field(default_factory=dict)
    laterality: Sides | None = None
    pixels: PixelFindings | None = None
    advice: list[str] = Field(default_factory=list)
