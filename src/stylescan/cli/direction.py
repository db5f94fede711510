"""`stylescan direction`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from stylescan.cli.console import bar, note, say
from stylescan.cli.data_option import data_for


def direction(
    target: Path,
    /,
    *,
    out: Path,
    data: Path | None = None,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    project: int = 160,
    slices_per_subject: int = 2,
    column: list[str] | None = None,
    seeds: str = "0-5",
    reach: float = 3.0,
    read: int = 64,
    steps: int = 80,
    extractor: str = "efficientnet-lite0",
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """Learn the way from one class to another in w, test it on held-out subjects, and show images along it.

    Writes strip.png, curves.png, direction.json and direction.safetensors. Real images of training and held-out
    subjects are projected into w without their class, a few seconds each; repeating the command takes up where it
    stopped.

    Parameters
    ----------
    target
        Run folder or snapshot folder.
    out
        Folder of the results.
    data
        Prepared dataset with classes and held-out subjects; for a run, the one it was trained on if left out.
    class_
        The class that the direction leads to; of two classes, the first if left out.
    from_
        The class that it leads from.
    project
        Real images to project from each split, half of each class; some two seconds an image on a CPU at 64 px.
    slices_per_subject
        Real images a subject; more where there are too few subjects.
    column
        A numeric column of the data to read along the strip; may be repeated. Up to six if left out.
    seeds
        Rows of the strip.
    reach
        Ends of the strip, in standard deviations of w along the direction.
    read
        Seeds from which the columns are read at each step.
    steps
        Of the projection.
    extractor
        Features from which the columns are read.
    seed
        Decides all draws.
    threads
        CPU threads.
    """
    from stylescan.data.prepared import PreparedDataset
    from stylescan.evaluate.arguments import check_seed, claimed_folder, refuse_foreign
    from stylescan.evaluate.features import get_extractor
    from stylescan.evaluate.latent.class_strip import find_direction
    from stylescan.evaluate.latent.projected import OptimisingProjector
    from stylescan.evaluate.latent.result_files import RESULTS
    from stylescan.evaluate.latent.strip_readings import DirectionOptions
    from stylescan.generate.edit import require_styles
    from stylescan.generate.sample import parse_seeds
    from stylescan.generate.snapshot import load_snapshot
    from stylescan.runtime import set_threads

    check_seed(seed)
    refuse_foreign(out, RESULTS)
    set_threads(threads)
    data = data_for(
        target,
        data,
        f"stylescan direction {target} --out OUT",
        "a direction is learned and tested on the subjects of a prepared dataset",
    )
    options = DirectionOptions(
        positive=class_, negative=from_, project=project, per_subject=slices_per_subject,
        columns=tuple(column or ()), seeds=tuple(parse_seeds(seeds)), reach=reach, read_seeds=read, seed=seed,
    )  # fmt: skip
    snapshot, dataset = load_snapshot(target), PreparedDataset.open(data)
    require_styles(snapshot.generator, "direction")
    note(f"a class direction in w of model {snapshot.model_hash[:12]}")
    with claimed_folder(out), bar() as report:
        made = find_direction(
            snapshot, dataset, out, options, OptimisingProjector(steps, seed), get_extractor(extractor), report
        )
    for sentence in made.sentences:
        say(sentence)
    say("files: " + ", ".join(str(file) for file in made.files))
