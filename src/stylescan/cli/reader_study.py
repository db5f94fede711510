"""`stylescan reader-study` and `stylescan reader-study score`."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from stylescan.cli.console import bar, note, say
from stylescan.cli.data_option import data_for

reader_study = App(
    name="reader-study",
    help="Make a blinded study in which people tell generated from real images; `reader-study score` scores it.",
    help_format="markdown",
)


@reader_study.default
def make(
    target: Path,
    /,
    *,
    out: Path,
    data: Path | None = None,
    count: int = 100,
    readers: int = 2,
    seed: int = 0,
    psi: float = 1.0,
) -> None:
    """Make a blinded reader study: one offline page a reader, and a key to keep from them.

    Half of the images are generated, as they come, half real ones of held-out subjects. Every reader sees the same
    images in another order. Score the answers with `stylescan reader-study score PACK ANSWERS...`.

    Parameters
    ----------
    target
        Run folder, snapshot folder, or folder of PNG images made by any generator.
    out
        Folder of the pack.
    data
        Prepared dataset with held-out subjects; for a run, the one it was trained on if left out.
    count
        Images a reader, half of them real.
    readers
        Pages to make, one for each reader.
    seed
        Decides images, names and orders.
    psi
        Truncation; 1 = none, and the honest choice.
    """
    from stylescan.evaluate.readers.pack import make_pack

    data = data_for(
        target,
        data,
        f"stylescan reader-study {target} --out {out}",
        "the real images come from the held-out subjects of a prepared dataset",
    )
    with bar() as report:
        pack = make_pack(target, data, out, count=count, readers=readers, seed=seed, psi=psi, progress=report)
    for text in pack.notes:
        note(f"note: {text}")
    say(f"{len(pack.pages)} page{'s' if readers > 1 else ''} of {pack.images} images: {pack.pages[0]}")
    say(f"key: {pack.key} (keep it from the readers)")


@reader_study.command
def score(pack: Path, /, *answers: Path, out: Path | None = None) -> None:
    """Score the answers to a reader study: accuracy, d', AUC and agreement, with intervals.

    Parameters
    ----------
    pack
        Folder of the pack, with its key.
    answers
        Files that the readers' pages saved, one a reader.
    out
        Folder of score.html and score.json; PACK/key/score if left out.
    """
    from stylescan.evaluate.readers.scoring import score_study

    result = score_study(pack, answers, out)
    for line in result.interpretation:
        say(line)
    say(f"score: {result.html}")
