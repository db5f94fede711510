"""The command line: the only room that prints or parses arguments. One module a verb."""

from __future__ import annotations

import os
import sys

from cyclopts import App

from stylescan import __version__
from stylescan.cli.demo import demo
from stylescan.cli.evaluate import evaluate
from stylescan.cli.generate import generate
from stylescan.cli.prepare import prepare
from stylescan.cli.presets import presets
from stylescan.cli.train import train
from stylescan.errors import StylescanError

HELP = """
Train style-based generators on medical scans, and say honestly how good the synthetic images are.

From scans to judged images in four commands:

    stylescan prepare SCANS --out DATA --resolution 64
    stylescan train --data DATA --out RUN --minutes 20
    stylescan evaluate RUN --data DATA
    stylescan generate RUN --seeds 0-15 --out IMAGES

Without data: `stylescan demo`. Synthetic images are not for diagnosis.
"""

USER_FAULT, INTERNAL_FAULT, INTERRUPTED = 2, 70, 130

app = App(name="stylescan", help=HELP, version=__version__, help_format="markdown")
for verb in (prepare, train, evaluate, generate, demo, presets):
    app.command(verb)


def _report(message: str, remedy: str = "") -> None:
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr)
    if remedy:
        print(f"remedy: {remedy}", file=sys.stderr)


def run(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Faults of the user give one clear line and no traceback."""
    try:
        app(arguments, result_action="return_value")
    except StylescanError as problem:
        _report(problem.message, problem.remedy)
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
        where = f"{problem.filename}: {problem.strerror}" if isinstance(problem, OSError) else repr(problem)
        _report(
            f"unexpected fault: {where}",
            "Set STYLESCAN_DEBUG=1 to see where, and report it. Nothing that was already written is lost.",
        )
        return INTERNAL_FAULT
    return 0


def main() -> None:
    """Entry point of the `stylescan` command."""
    from stylescan.runtime import tune_allocator

    if not {"--help", "-h", "--version"} & set(sys.argv[1:]):
        tune_allocator()
    sys.exit(run())
