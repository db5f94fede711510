"""`stylescan mix`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from stylescan.cli.console import bar, note, say

Flag = Parameter(negative="")


def mix(
    snapshot: Path,
    /,
    *,
    out: Path,
    sources: str = "0-4",
    targets: str = "5-10",
    layers: str | None = None,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: Literal["random", "const", "none"] = "const",
    keep_padding: Annotated[bool, Flag] = False,
    overwrite: Annotated[bool, Flag] = False,
    batch: int = 16,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Draw the style-mixing figure: what the coarse, middle and fine styles of a model decide.

    Sources stand above, targets at the left. In each block the targets take the sources' styles of one band of
    resolutions: coarse is 4-8 px (pose, large shapes), middle 16-32, fine 64 and up (texture). Works on style-based
    models (stylegan2, stylegan); others have no styles by layer. After Karras et al. 2019, figure 3.

    Parameters
    ----------
    snapshot
        Run folder or snapshot folder.
    out
        The picture, a name ending in .png.
    sources
        Seeds that give the styles of the band, for instance 0-4 or 3,7,20.
    targets
        Seeds that keep all other styles, and their noise.
    layers
        A block for each band named, commas between: coarse, middle, fine, or resolutions such as 4-16. All three, as
        far as the model has them, if left out.
    class_
        Class by name or number; drawn in the training data's shares if left out.
    psi
        Truncation towards the mean: 1 = none; 0.7 shows cleaner, less varied images.
    cutoff
        Truncate only the first layers.
    noise
        Per-layer noise: the model's constant maps, random for each target, or none.
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
    from stylescan.generate.figures import mixing_figure
    from stylescan.generate.images import refuse_existing
    from stylescan.generate.sample import parse_seeds
    from stylescan.generate.snapshot import load_snapshot
    from stylescan.runtime import pick_device, set_threads

    require_png(out)
    if not overwrite:
        refuse_existing([out])
    above, left = parse_seeds(sources), parse_seeds(targets)
    set_threads(threads)
    loaded = load_snapshot(snapshot, device=pick_device(device))
    note(f"mixing {len(above)} sources into {len(left)} targets, model {loaded.model_hash[:12]}")
    with bar() as report:
        figure = mixing_figure(
            loaded, above, left, layers=layers, labels=class_, psi=psi, cutoff=cutoff, noise=noise,
            unpad=not keep_padding, batch_size=batch, progress=report,
        )  # fmt: skip
    write_figure(out, figure.picture, figure.text, overwrite=overwrite)
    say(f"1 file: {out} (SYNTHETIC, not for diagnosis)")
