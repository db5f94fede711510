"""`stylescan interpolate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from stylescan.cli.console import bar, note, say

Flag = Parameter(negative="")


def interpolate(
    snapshot: Path,
    /,
    *,
    out: Path,
    seeds: str = "0-3",
    steps: int | None = None,
    loop: Annotated[bool, Flag] = False,
    rows: int = 1,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    to_class: str | None = None,
    fps: float = 24.0,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: Literal["random", "const", "none"] = "const",
    keep_padding: Annotated[bool, Flag] = False,
    overwrite: Annotated[bool, Flag] = False,
    batch: int = 16,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Walk from seed to seed, as an animation (.webp, .gif, .mp4) or a strip of images (.png).

    The walk runs straight in w. Families without w (dcgan, r3gan, stylegan2-lite) are walked along arcs between their
    latents z instead: these are standard normal and lie near a sphere, on whose chords the model was never trained.
    Jumps in a walk may mean that the model learned images by heart; whether it did, `evaluate` tests.

    Parameters
    ----------
    snapshot
        Run folder or snapshot folder.
    out
        The animation or strip; its ending decides. .mp4 needs the extra `video`: pip install 'stylescan[video]'.
    seeds
        Stations of the walk, in this order: 0,3,7 or 0-5.
    steps
        Images from one station to the next; 24 in an animation and 8 in a strip if left out.
    loop
        Walk back to the first station, so that the animation runs without a jump.
    rows
        So many walks at once in a grid: the seeds are dealt out in order, equally many to each.
    class_
        Class by name or number; drawn for each seed in the training data's shares if left out.
    to_class
        Walk from --class to this class instead, every seed by itself: what differs is what the model holds for the
        difference between the classes.
    fps
        Frames a second of the animation.
    psi
        Truncation towards the mean: 1 = none.
    cutoff
        Truncate only the first layers.
    noise
        Per-layer noise: the model's constant maps, that of the walk's first seed, or none.
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
    from stylescan.generate.animation import check_fps, require_animation
    from stylescan.generate.images import refuse_existing
    from stylescan.generate.sample import parse_seeds
    from stylescan.generate.snapshot import load_snapshot
    from stylescan.generate.walks import ANIMATION_STEPS, STRIP_STEPS, WalkOptions, plan_walks, write_walks
    from stylescan.runtime import pick_device, set_threads

    require_animation(out, also=(".png",))
    check_fps(fps)
    if not overwrite:
        refuse_existing([out])
    options = WalkOptions(
        steps=steps if steps is not None else STRIP_STEPS if out.suffix.lower() == ".png" else ANIMATION_STEPS,
        loop=loop, fps=fps, psi=psi, cutoff=cutoff, noise=noise, unpad=not keep_padding, batch_size=batch,
    )  # fmt: skip
    stations = parse_seeds(seeds)
    set_threads(threads)
    loaded = load_snapshot(snapshot, device=pick_device(device))
    plans = plan_walks(loaded, stations, rows=rows, label=class_, to_label=to_class)
    space = "straight in w" if loaded.generator.num_ws > 1 else "along arcs in z: this family has no w"
    note(f"{len(plans)} walk{'s' if len(plans) > 1 else ''} {space}, model {loaded.model_hash[:12]}")
    with bar() as report:
        write_walks(loaded, out, plans, options, overwrite=overwrite, progress=report)
    say(f"1 file: {out} (SYNTHETIC, not for diagnosis)")
