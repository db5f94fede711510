"""`stylescan truncation`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from stylescan.cli.console import bar, note, say

Flag = Parameter(negative="")


def truncation(
    snapshot: Path,
    /,
    *,
    out: Path,
    seeds: str = "0-5",
    psis: str = "0,0.25,0.5,0.75,1",
    cutoff: int | None = None,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    noise: Literal["random", "const", "none"] = "const",
    keep_padding: Annotated[bool, Flag] = False,
    overwrite: Annotated[bool, Flag] = False,
    batch: int = 16,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Draw what truncation does to a model's images: a row a seed, a column a psi.

    psi 1 leaves every style as it is; towards 0 all images become the mean one, cleaner and less varied. Choose from it
    the psi of `generate`. Families without w (dcgan, r3gan, stylegan2-lite) have no mean style and are refused.

    Parameters
    ----------
    snapshot
        Run folder or snapshot folder.
    out
        The picture, a name ending in .png.
    seeds
        Rows, for instance 0-5 or 3,7,20.
    psis
        Columns, numbers with commas between; beyond 0 the style is turned round: --psis=-1,0,1.
    cutoff
        Truncate only so many first styles.
    class_
        Class by name or number; drawn in the training data's shares if left out.
    noise
        Per-layer noise: the model's constant maps, random for each seed, or none.
    keep_padding
        Leave the squares as the model makes them; otherwise the padding of `prepare` is cut off.
    overwrite
        Replace OUT where it is there already.
    batch
        Images at a time.
    device
        auto, cpu, cuda or cuda:N.
    threads
        CPU threads.
    """
    from stylescan.generate.drawing import require_png, write_figure
    from stylescan.generate.figures import parse_psis, truncation_figure
    from stylescan.generate.images import refuse_existing
    from stylescan.generate.sample import parse_seeds
    from stylescan.generate.snapshot import load_snapshot
    from stylescan.runtime import pick_device, set_threads

    require_png(out)
    if not overwrite:
        refuse_existing([out])
    rows, columns = parse_seeds(seeds), parse_psis(psis)
    set_threads(threads)
    loaded = load_snapshot(snapshot, device=pick_device(device))
    note(f"{len(rows)} seeds at {len(columns)} psis, model {loaded.model_hash[:12]}")
    with bar() as report:
        figure = truncation_figure(
            loaded, rows, columns, labels=class_, cutoff=cutoff, noise=noise, unpad=not keep_padding, batch_size=batch,
            progress=report,
        )  # fmt: skip
    write_figure(out, figure.picture, figure.text, overwrite=overwrite)
    say(f"1 file: {out} (SYNTHETIC, not for diagnosis)")
