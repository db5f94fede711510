"""The command line: the only room that prints or parses arguments. One module a verb."""

from __future__ import annotations

import errno
import io
import os
import re
import sys

from cyclopts import App, CycloptsError
from cyclopts.exceptions import UnusedCliTokensError

from stylescan import __version__
from stylescan.cli.bench import bench
from stylescan.cli.compare import compare
from stylescan.cli.demo import demo
from stylescan.cli.direction import direction
from stylescan.cli.embed import embed
from stylescan.cli.evaluate import evaluate
from stylescan.cli.export import export
from stylescan.cli.generate import generate
from stylescan.cli.interpolate import interpolate
from stylescan.cli.mix import mix
from stylescan.cli.pictures import pictures
from stylescan.cli.prepare import prepare
from stylescan.cli.presets import presets
from stylescan.cli.project import project
from stylescan.cli.reader_study import reader_study
from stylescan.cli.train import train
from stylescan.cli.truncation import truncation
from stylescan.errors import StylescanError

HELP = """
Train style-based generators on medical scans, and say honestly how good the synthetic images are.

From scans to judged images in four commands:

    stylescan prepare SCANS --out DATA --resolution 64
    stylescan train --data DATA --out RUN --minutes 20
    stylescan evaluate RUN --data DATA
    stylescan generate RUN --seeds 0-15 --out IMAGES

Without data: `stylescan demo`. To look at a model: pictures, mix, interpolate, truncation. To understand it: compare,
embed, direction, project, reader-study. To hand data on: export. What this machine makes of a preset: bench.
Synthetic images are not for diagnosis.
"""

USER_FAULT, INTERNAL_FAULT, INTERRUPTED = 2, 70, 130

app = App(name="stylescan", help=HELP, version=__version__, help_format="markdown", suppress_keyboard_interrupt=False)
VERBS = (
    prepare, train, evaluate, generate, pictures, mix, interpolate, truncation, compare, embed, project, direction,
    reader_study, export, demo, presets, bench,
)  # fmt: skip
for verb in VERBS:
    app.command(verb)


# What a user's disk, permissions or path can do to a write: named, and nothing to report.
_PLACES = {
    getattr(errno, name)
    for name in (
        "EACCES", "EDQUOT", "EEXIST", "EFBIG", "EIO", "EISDIR", "ELOOP", "ENAMETOOLONG", "ENOENT", "ENOSPC", "ENOTDIR",
        "EPERM", "EROFS", "ESTALE",
    )
    if hasattr(errno, name)
}  # fmt: skip
_LONGEST = 4000


def one_line(text: str) -> str:
    """`text` as one printable line: file names from outside may hold line ends and terminal commands."""
    text = re.sub(r"\s*[\r\n]+\s*", " ", text).strip()
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def _report(message: str, remedy: str = "") -> None:
    sys.stdout.flush()
    print(f"error: {one_line(message)}", file=sys.stderr)
    if remedy:
        print(f"remedy: {one_line(remedy)}", file=sys.stderr)


def _report_usage(problem: CycloptsError, arguments: list[str]) -> None:
    """A command line that does not parse."""
    verb = next((f" {word}" for word in arguments[:1] if word in app), "")
    message, guess, suggestion = str(problem).partition(" Did you mean")
    if isinstance(problem, UnusedCliTokensError):
        message = f"stylescan{verb}: not understood: {' '.join(problem.unused_tokens or [])}"
    remedy = f"See `stylescan{verb} --help`."
    _report(message, f"{guess.strip()}{suggestion} {remedy}" if guess else remedy)


def _report_fault(problem: Exception) -> int:
    """A fault that no verb foresaw; the exit code."""
    memory = isinstance(problem, MemoryError) or (
        isinstance(problem, RuntimeError) and re.search("can't allocate memory|out of memory", str(problem)) is not None
    )
    if memory:
        _report("not enough memory for this", "Use smaller images, batches or nets, or close other programs.")
        return USER_FAULT
    if isinstance(problem, OSError) and problem.errno in _PLACES:
        place = f"{problem.filename}: " if problem.filename else ""
        _report(f"{place}{problem.strerror}", "Make room, correct the permissions or the path, and repeat the command.")
        return USER_FAULT
    where = f"{problem.filename}: {problem.strerror}" if isinstance(problem, OSError) else repr(problem)
    _report(
        f"unexpected fault: {where}",
        "Set STYLESCAN_DEBUG=1 to see where, and report it. Nothing that was already written is lost.",
    )
    return INTERNAL_FAULT


def run(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Faults of the user give one clear line and no traceback."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        app(words, result_action="return_value", exit_on_error=False, print_error=False)
    except StylescanError as problem:
        _report(problem.message, problem.remedy)
        return USER_FAULT
    except CycloptsError as problem:
        _report_usage(problem, words)
        return USER_FAULT
    except KeyboardInterrupt:
        _report("interrupted", "Repeat the command: prepare continues by itself, train with --resume.")
        return INTERRUPTED
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as problem:
        if os.environ.get("STYLESCAN_DEBUG"):
            raise
        return _report_fault(problem)
    return 0


def main() -> None:
    """Entry point of the `stylescan` command."""
    from stylescan.allocator import tune_allocator

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path need not be valid Unicode
    if not {"--help", "-h", "--version"} & set(sys.argv[1:]):
        tune_allocator()
    sys.exit(run())
