"""Figures of one model: style mixing and truncation, drawn for a paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from stylescan.errors import ConfigError
from stylescan.generate.drawing import (
    STAMP,
    Block,
    Box,
    Picture,
    Table,
    as_tiles,
    draw_table,
    require_room,
)
from stylescan.generate.edit import bands_of, mix_styles, require_styles, style_layers, style_resolutions
from stylescan.generate.images import provenance, unpadded
from stylescan.generate.sample import NO_CLASS, Labels, NoiseKind, class_indices, sample_images
from stylescan.generate.snapshot import Snapshot

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Figure:
    """A drawn figure [H, W, 3], where its images lie, and the text that its file carries."""

    picture: Picture
    boxes: list[Box]
    text: dict[str, str]


def mixing_figure(
    snapshot: Snapshot,
    sources: Sequence[int],
    targets: Sequence[int],
    *,
    layers: str | None = None,
    labels: Labels = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    unpad: bool = True,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Figure:
    """The style-mixing figure of Karras et al. 2019 (figure 3): sources above, targets at the left, a block a band.

    In a block, every image is its row's target with the block's band of styles from its column's source.

    layers : bands with commas between, each as in `style_layers`; None for those of BANDS that the model has.
    labels : a class for all images; drawn for each if left out. Other arguments as in `mix_styles`.

    Raises ConfigError, before any image is made, where the family has no styles by layer or an argument does not fit.
    """
    generator = snapshot.generator
    require_styles(generator, "style mixing")
    bands = bands_of(generator) if layers is None else [part.strip() for part in layers.split(",")]
    headings = [_band_heading(snapshot, band) for band in bands]
    side = generator.spec.resolution
    require_room((len(bands) * len(targets) + 1) * (len(sources) + 1), side, side)
    of_sources, of_targets = (
        class_indices(labels, sources, snapshot.meta),
        class_indices(labels, targets, snapshot.meta),
    )
    count = _Counter(progress, len(sources) + len(targets) + len(bands) * len(sources) * len(targets))

    def plain(seeds: Sequence[int], kinds: list[int]) -> list[Picture]:
        images = sample_images(
            snapshot, seeds, labels=_named(kinds), psi=psi, cutoff=cutoff, noise=noise, batch_size=batch_size,
            progress=count.part(len(seeds)),
        )  # fmt: skip
        return shown(snapshot, images, unpad)

    above, left = plain(sources, of_sources), plain(targets, of_targets)
    blocks = [Block([("", [None, *above])])]
    for band, heading in zip(bands, headings):
        mixed = mix_styles(
            snapshot, targets, sources, layers=band, row_labels=_named(of_targets), column_labels=_named(of_sources),
            psi=psi, cutoff=cutoff, noise=noise, batch_size=batch_size, progress=count.part(len(sources) * len(targets)),
        )  # fmt: skip
        rows = [
            (seed_label(snapshot, seed, kind), [own, *shown(snapshot, images, unpad)])
            for seed, kind, own, images in zip(targets, of_targets, left, mixed)
        ]
        blocks.append(Block(rows, heading))
    columns = ["", *(seed_label(snapshot, seed, kind) for seed, kind in zip(sources, of_sources))]
    caption = "Each image is its row's target, with the styles of the block's resolutions from its column's source."
    table = Table(
        [("targets", 1), ("sources", len(sources))], blocks, columns, f"Style mixing. {STAMP}",
        f"{caption} {settings_words(snapshot, psi, cutoff, noise)}",
    )  # fmt: skip
    drawn = draw_table(table)
    text = provenance(
        snapshot, seeds=[*sources, *targets], labels=[*of_sources, *of_targets], psi=psi, cutoff=cutoff, noise=noise
    )
    return Figure(drawn.picture, drawn.boxes, {**text, "layers": ",".join(bands)})


def truncation_figure(
    snapshot: Snapshot,
    seeds: Sequence[int],
    psis: Sequence[float],
    *,
    labels: Labels = None,
    cutoff: int | None = None,
    noise: NoiseKind = "random",
    unpad: bool = True,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Figure:
    """Truncation towards the mean style (Karras et al. 2019, appendix B): a row a seed, a column a psi.

    Raises ConfigError, before any image is made, where the family has no w or an argument does not fit.
    """
    require_styles(snapshot.generator, "truncation")
    if not psis or not len(seeds):
        raise ConfigError(
            f"truncation: found {len(seeds)} seeds and {len(psis)} psis", remedy="give at least one of each"
        )
    side = snapshot.generator.spec.resolution
    require_room(len(seeds) * len(psis), side, side)
    kinds = class_indices(labels, seeds, snapshot.meta)
    count = _Counter(progress, len(seeds) * len(psis))
    columns = [
        shown(
            snapshot,
            sample_images(
                snapshot, seeds, labels=_named(kinds), psi=psi, cutoff=cutoff, noise=noise, batch_size=batch_size,
                progress=count.part(len(seeds)),
            ),
            unpad,
        )
        for psi in psis
    ]  # fmt: skip
    rows = [(seed_label(snapshot, seed, kind), list(images)) for seed, kind, images in zip(seeds, kinds, zip(*columns))]
    where = "all styles" if cutoff is None else f"the first {cutoff} of {snapshot.generator.num_ws} styles"
    mean = "its class's mean" if snapshot.meta.class_names else "the mean"
    caption = f"ψ scales the distance of {where} from {mean} style: 1 leaves them as they are, 0 puts the mean there."
    table = Table(
        [("", len(psis))], [Block(rows)], [f"ψ = {psi:g}" for psi in psis], f"Truncation. {STAMP}",
        f"{caption} {settings_words(snapshot, None, None, noise)}",
    )  # fmt: skip
    drawn = draw_table(table)
    text = provenance(snapshot, seeds=seeds, labels=kinds, cutoff=cutoff, noise=noise)
    return Figure(drawn.picture, drawn.boxes, {**text, "psi": ",".join(repr(float(psi)) for psi in psis)})


def parse_psis(text: str) -> list[float]:
    """'0,0.5,1' as numbers; ConfigError for anything but finite ones."""
    found = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(
                f"psis: found {part.strip()[:40]!r} in {text[:80]!r}, expected a number",
                remedy="give numbers with commas between, for instance 0,0.5,1",
            )
        found.append(value)
    return found


def seed_label(snapshot: Snapshot, seed: int, kind: int) -> str:
    """'seed 5', and the class on a line of its own."""
    return f"seed {seed}" if kind == NO_CLASS else f"seed {seed}\n{snapshot.meta.class_names[kind]}"


def shown(snapshot: Snapshot, images: NDArray[Any], unpad: bool) -> list[Picture]:
    """Images [N, C, R, R] as they are drawn."""
    return as_tiles(unpadded(images, snapshot) if unpad else images)


def settings_words(snapshot: Snapshot, psi: float | None, cutoff: int | None, noise: NoiseKind) -> str:
    """Model and settings, for a caption."""
    meta = snapshot.meta
    words = [f"Model {snapshot.model_hash[:12]} ({meta.family}, {meta.nimg / 1000:g} kimg)"]
    if psi is not None and psi != 1:
        words.append(f"ψ = {psi:g}" + ("" if cutoff is None else f" in the first {cutoff} styles"))
    if snapshot.generator.synthesis.noise_shapes:
        words.append({"random": "noise of each seed", "const": "the model's constant noise", "none": "no noise"}[noise])
    return ", ".join(words) + "."


def _band_heading(snapshot: Snapshot, band: str) -> str:
    sides = style_resolutions(snapshot.generator)
    found = sorted({sides[position] for position in style_layers(snapshot.generator, band)})
    pixels = f"{found[0]} px" if len(found) == 1 else f"{found[0]}–{found[-1]} px"
    name = f"{band.capitalize()} styles ({pixels})" if band.isalpha() else f"Styles of {pixels}"
    return f"{name} from the source"


def _named(kinds: list[int]) -> list[int] | None:
    """Class indices as `labels`; None for a model without classes."""
    return None if NO_CLASS in kinds else kinds


class _Counter:
    """Several pieces of work as one bar."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def part(self, size: int) -> Progress:
        """The progress of the next piece, of `size` images."""
        before = self.done
        self.done += size

        def report(done: int, total: int, what: str) -> None:
            if self.progress:
                self.progress(before + done, self.total, "images")

        return report
