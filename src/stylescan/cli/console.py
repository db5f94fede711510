"""What the verbs show: lines on standard output, bars on standard error (plain lines where it is no terminal)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from stylescan.train.loop import Progress as TrainProgress

LINE_EVERY_S = 15.0

Report = Callable[[int, int, str], None]


def say(text: str = "") -> None:
    """A result on standard output."""
    print(text, flush=True)


def note(text: str) -> None:
    """A remark on standard error."""
    print(text, file=sys.stderr, flush=True)


def _is_terminal() -> bool:
    return sys.stderr.isatty()


@contextmanager
def bar() -> Iterator[Report]:
    """A function (done, total, what) that draws one bar a kind of work."""
    if not _is_terminal():
        yield _plain_bar()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks = {}

        def report(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report


def _plain_bar() -> Report:
    shown: dict[str, float] = {}
    finished: set[str] = set()

    def report(done: int, total: int, what: str) -> None:
        now = time.monotonic()
        last = shown.setdefault(what, now)
        ends = done >= total and what not in finished
        if ends or (done < total and now - last >= LINE_EVERY_S):
            note(f"{what}: {done} of {total}")
            shown[what] = now
        if ends:
            finished.add(what)

    return report


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _train_line(p: TrainProgress) -> str:
    shown = {"G": "G_loss", "D": "D_loss", "R1": "r1_penalty", "KID": "kid"}
    losses = "  ".join(f"{name} {p.values[key]:.3g}" for name, key in shown.items() if key in p.values)
    return f"{p.nimg / 1000:.3g} of {p.total_nimg / 1000:.4g} kimg  {p.images_per_s:.1f} img/s  {losses}"


@contextmanager
def train_bar() -> Iterator[Callable[[TrainProgress], None]]:
    """A live bar with kimg, img/s, losses and the time left."""
    if not _is_terminal():
        last = [time.monotonic()]

        def lines(p: TrainProgress) -> None:
            now = time.monotonic()
            if now - last[0] >= LINE_EVERY_S or p.nimg >= p.total_nimg:
                left = (p.total_nimg - p.nimg) / max(p.images_per_s, 1e-9)
                note(f"{_train_line(p)}  left {duration(left)}")
                last[0] = now

        yield lines
        return
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as progress:
        task = progress.add_task("starting")
        yield lambda p: progress.update(task, completed=p.nimg, total=p.total_nimg, description=_train_line(p))
