"""`stylescan embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from stylescan.cli.console import bar, note, say


def embed(
    *targets: Path,
    out: Path,
    data: Path | None = None,
    count: int = 1000,
    project: int = 0,
    split: Literal["train", "select", "holdout"] = "train",
    slices_per_subject: int = 2,
    colour: str = "",
    method: Literal["pca", "umap", "both"] = "both",
    checkpoints: Annotated[str | None, Parameter(name="--checkpoints")] = None,
    steps: int = 80,
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """Picture the styles w of one model, with a test beside each colouring of whether w carries that property.

    Writes pca.png, umap.png, embedding.json and points.csv; with --checkpoints also checkpoints.png. Real images are
    projected into w without their class, a few seconds each; repeating the command takes up where it stopped.

    Parameters
    ----------
    targets
        One run folder or snapshot folder, or several checkpoint folders of one run. Two models are refused.
    out
        Folder of the pictures.
    data
        Prepared dataset of the real images; for a run, the one it was trained on if left out.
    count
        Generated w.
    project
        Real images to project, spread over subjects; some two seconds an image on a CPU at 64 px.
    split
        Where the real images come from.
    slices_per_subject
        Real images a subject; more where there are too few subjects.
    colour
        Columns with commas between: class, depth, slice, side, subject or any of the data's own; all if left out.
    method
        pca, umap (needs the extra `analysis`; compiles for half a minute) or both.
    checkpoints
        `all` or a number: follow the run on the axes of its last checkpoint; the other pictures are then of that one.
    steps
        Of the projection.
    seed
        Decides the generated w and all draws.
    threads
        CPU threads.
    """
    from stylescan.data.prepared import PreparedDataset
    from stylescan.evaluate.arguments import check_seed, claimed_folder, refuse_foreign
    from stylescan.evaluate.latent.embed import embed as make
    from stylescan.evaluate.latent.embed_record import EmbedOptions
    from stylescan.evaluate.latent.embedding import have_umap
    from stylescan.evaluate.latent.follow import follow
    from stylescan.evaluate.latent.one_model import open_model
    from stylescan.evaluate.latent.projected import OptimisingProjector
    from stylescan.evaluate.latent.result_files import RESULTS
    from stylescan.runtime import set_threads
    from stylescan.train.run_folder import data_of

    check_seed(seed)
    refuse_foreign(out, RESULTS)
    set_threads(threads)
    model = open_model(targets, checkpoints=checkpoints)
    if data is None and project:
        data = data_of(targets[0])
    colours = tuple(word.strip() for word in colour.split(",") if word.strip())
    options = EmbedOptions(
        count=count, project=project, split=split, per_subject=slices_per_subject, colours=colours, method=method,
        seed=seed,
    )  # fmt: skip
    note(f"w of model {model.now.model_hash[:12]}")
    if method != "pca" and have_umap():
        note("UMAP compiles for about half a minute before it starts")
    with claimed_folder(out), bar() as report:
        dataset = None if data is None else PreparedDataset.open(data)
        made = [make(model.now, dataset, out, options, OptimisingProjector(steps, seed), report)]
        if model.stages:
            made.append(follow(model.stages, out, count=count, seed=seed))
    for written in made:
        for sentence in written.sentences:
            say(sentence)
    say("files: " + ", ".join(str(file) for written in made for file in written.files))
