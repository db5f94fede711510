"""`stylescan generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from stylescan.cli.console import bar, note, say

Flag = Parameter(negative="")


def generate(
    snapshot: Path,
    /,
    *,
    out: Path,
    seeds: str | None = None,
    count: int | None = None,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: Literal["random", "const", "none"] = "random",
    grid: Annotated[bool, Flag] = False,
    columns: int = 8,
    resolution: int | None = None,
    format_: Annotated[Literal["png", "tiff", "nifti", "dicom"], Parameter(name="--format")] = "png",
    bits: Literal[8, 16] | None = None,
    keep_padding: Annotated[bool, Flag] = False,
    overwrite: Annotated[bool, Flag] = False,
    batch: int | None = None,
    compile_: Annotated[bool, Parameter(name="--compile", negative="")] = False,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Make synthetic images from a snapshot, as files that say so.

    A seed always gives the same image. Each file names the model's hash, its seed and class, and 'SYNTHETIC'.

    Parameters
    ----------
    snapshot
        Run folder or snapshot folder.
    out
        Folder of the images; with --grid also a file name ending in .png.
    seeds
        For instance 0-15 or 3,7,20-29; 0-15 if left out.
    count
        Instead of seeds: the seeds 0 to COUNT - 1.
    class_
        Class by name or number; drawn in the training data's shares if left out.
    psi
        Truncation towards the mean: 1 = none, smaller is more typical and less varied.
    cutoff
        Truncate only the first layers.
    noise
        Per-layer noise: random for each seed, the model's constant maps, or none.
    grid
        One picture of all images instead of single files.
    columns
        Images a row of the grid.
    resolution
        Of models that grow (family stylegan): the images at this resolution, one that the run has reached.
    format_
        png, tiff, nifti (.nii.gz, with a .json beside it) or dicom (secondary capture). All carry the pixel spacing where
        the training scans stated it; tiff, nifti and dicom also their own values (HU, ...) where those are known.
    bits
        Depth of the files, and so the steps in which values are written; the data's own if left out.
    keep_padding
        Leave the squares as the model makes them; otherwise the padding of `prepare` is cut off.
    overwrite
        Replace files that stand in OUT.
    batch
        Images at a time; chosen from their size if left out.
    compile_
        Compile the net first: about a tenth faster after 20 s or more on a CPU, so for tens of thousands of images. Needs
        a C++ compiler; where compiling fails, goes on without.
    device
        auto, cpu, cuda or cuda:N.
    threads
        CPU threads.
    """
    from stylescan.errors import ConfigError
    from stylescan.generate.images import write_images, write_sample_grid
    from stylescan.generate.sample import MAX_SEEDS, parse_class, parse_seeds
    from stylescan.generate.snapshot import load_snapshot, with_bits
    from stylescan.runtime import pick_device, set_threads

    if seeds is not None and count is not None:
        raise ConfigError("--seeds and --count: both given", remedy="Give one of them.")
    if count is not None and not 1 <= count <= MAX_SEEDS:
        raise ConfigError(f"--count {count}: expected 1 to {MAX_SEEDS:,}", remedy="Give for instance --count 16.")
    if grid and format_ != "png":
        raise ConfigError(f"--grid with --format {format_}: a grid is a picture to look at, in PNG alone",
                          remedy="Leave out --grid for single files, or --format for a grid.")  # fmt: skip
    if not grid and not out.is_dir() and out.suffix.lower() in (".png", ".tif", ".tiff", ".nii", ".gz", ".dcm"):
        raise ConfigError(f"--out {out}: looks like one file, expected a folder for the images",
                          remedy="Name a folder, or add --grid for one PNG of all images.")  # fmt: skip
    set_threads(threads)
    chosen = parse_seeds("0-15" if seeds is None else seeds) if count is None else list(range(count))
    loaded = with_bits(load_snapshot(snapshot, device=pick_device(device)), bits)
    labels = None if class_ is None else [parse_class(class_, loaded.meta.class_names)] * len(chosen)
    note(f"generating {len(chosen)} images, model {loaded.model_hash[:12]}")
    with bar() as report:
        if grid:
            files = write_sample_grid(
                loaded, out if out.suffix == ".png" else out / "grid.png", chosen, labels=labels, psi=psi, cutoff=cutoff,
                noise=noise, resolution=resolution, unpad=not keep_padding, overwrite=overwrite, batch_size=batch,
                compiled=compile_, warn=note, columns=columns, progress=report,
            )  # fmt: skip
        else:
            files = write_images(
                loaded, out, chosen, labels=labels, psi=psi, cutoff=cutoff,
                noise=noise, resolution=resolution, unpad=not keep_padding, overwrite=overwrite, batch_size=batch,
                compiled=compile_, warn=note, file_format=format_, progress=report,
            )  # fmt: skip
    say(
        f"{len(files)} file{'s' if len(files) != 1 else ''}: {files[0] if grid else out} (SYNTHETIC, not for diagnosis)"
    )
