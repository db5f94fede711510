"""`stylescan pictures`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from stylescan.cli.console import bar, note, say

Flag = Parameter(negative="")


def pictures(
    run: Path,
    other: Path | None = None,
    /,
    *,
    out: Path,
    rows: int = 5,
    columns: int = 4,
    fps: float = 4.0,
    overwrite: Annotated[bool, Flag] = False,
) -> None:
    """Draw a run's course from its folder alone: no data and no new images are needed.

    Writes progress.webp and progress.gif (the sample grids, one after the other), panels.png (generated and real images
    at several moments), losses.png and loss_shares.png (how large each term's part of the sum of absolute losses is).
    Of a growing run also resolutions.png and one resolution_R.png for every resolution reached. With OTHER also
    side_by_side.png (both runs after equally many training images) and both_losses.png.

    Parameters
    ----------
    run
        Run folder.
    other
        A second run, to be shown beside the first: another loss, family or preset on the same data.
    out
        Folder of the pictures.
    rows
        Moments of the training in panels.png and side_by_side.png, evenly spread from the first to the last.
    columns
        Images a side and row in them.
    fps
        Frames a second of the animations.
    overwrite
        Replace pictures that stand in OUT.
    """
    from stylescan.train.run_pictures import PictureOptions, write_run_pictures

    note(f"pictures of {run}" + (f" and {other}" if other else ""))
    with bar() as report:
        files = write_run_pictures(
            run, out, other=other, options=PictureOptions(rows, columns, fps), overwrite=overwrite, progress=report
        )
    for file in files:
        say(str(file))
    say(f"{len(files)} files (generated images are SYNTHETIC, not for diagnosis)")
