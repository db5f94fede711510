"""`stylescan export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from stylescan.cli.console import bar, note, say

Flag = Parameter(negative="")


def export(
    data: Path,
    /,
    *,
    out: Path,
    split: Literal["train", "select", "holdout", "all"] = "train",
    bits: Literal[8, 16] | None = None,
    ignore_classes: Annotated[bool, Flag] = False,
    overwrite: Annotated[bool, Flag] = False,
) -> None:
    """Write a prepared dataset as a zip of PNGs with a dataset.json, for other programs.

    StyleGAN2-ADA, StyleGAN3 and R3GAN read this form, and `stylescan prepare` reads it back with subjects, splits and
    sides. It holds the images of real people: share it as you would share DATA.

    Parameters
    ----------
    data
        Folder of a prepared dataset.
    out
        Name of the archive, ending in .zip.
    split
        Which images: train, select, holdout or all. A model trained elsewhere must not see the hold-out.
    bits
        Depth of the PNGs; the data's own if left out. Most other programs read 8.
    ignore_classes
        Write no labels.
    overwrite
        Replace an archive that stands at OUT.
    """
    from stylescan.data.export import export_zip
    from stylescan.data.prepared import PreparedDataset

    dataset = PreparedDataset.open(data)
    note(f"exporting {data}")
    with bar() as report:
        count = export_zip(
            dataset, out, split=split, bits=bits, ignore_classes=ignore_classes, overwrite=overwrite, progress=report
        )
    say(f"{count} image{'s' if count != 1 else ''}: {out}")
    if (bits or dataset.bits) == 16:
        say("16-bit grey PNGs: StyleGAN2-ADA's and StyleGAN3's loaders expect --bits 8")
