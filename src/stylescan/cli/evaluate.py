"""`stylescan evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from stylescan.cli.console import bar, note, say
from stylescan.cli.data_option import data_for

Flag = Parameter(negative="")


def evaluate(
    target: Path,
    /,
    *,
    data: Path | None = None,
    out: Path | None = None,
    extractor: str = "efficientnet-lite0",
    count: int | None = None,
    seed: int = 0,
    psi: float = 1.0,
    full: Annotated[bool, Flag] = False,
    threads: int | None = None,
) -> None:
    """Judge a run, a snapshot or a folder of images against held-out subjects.

    Writes report.html, one file that opens offline, and report.json. Every number stands beside its floor (real
    against real), blurred real images, an untrained net and its n. An audit looks for copies of training images.

    Parameters
    ----------
    target
        Run folder, snapshot folder, or folder of PNG images made by any generator.
    data
        Prepared dataset with held-out subjects; for a run, the one it was trained on if left out.
    out
        Folder of the report; TARGET/report if left out.
    extractor
        Features in which images are compared: efficientnet-lite0, radiomics, inception-v3, or the path of a TorchScript
        or ONNX file.
    count
        Images to judge; as many as held-out slices if left out.
    seed
        Decides the generated images and all draws.
    psi
        Truncation; 1 = none, and the honest choice.
    full
        Use every held-out slice, however many; classifiers that learn from generated images, projection of real images,
        and a reader-study pack as well. Some minutes more.
    threads
        CPU threads.
    """
    from stylescan.runtime import set_threads

    set_threads(threads)
    data = data_for(
        target,
        data,
        f"stylescan evaluate {target}",
        "images are judged against the held-out subjects of a prepared dataset",
    )
    result = run_evaluate(
        target, data, out or target / "report", extractor=extractor, n=count, seed=seed, psi=psi, full=full
    )
    say(f"report: {result.html}")


def run_evaluate(target: Path, data: Path, out: Path, *, notices: tuple[str, ...] = (), **options: Any) -> Any:
    """Evaluate with a bar, print the interpretation, return the result."""
    from stylescan.evaluate.judge import evaluate as judge

    note(f"evaluating {target}")
    with bar() as report:
        result = judge(target, data, out, notices=notices, progress=report, **options)
    for card in result.report["verdicts"]:
        say(f"{card['label']}: {card['headline']}")
    for line in result.report["interpretation"][1:]:
        say(line)
    say(f"memorisation audit: {result.verdict} ({result.report['audit']['reason']})")
    return result
