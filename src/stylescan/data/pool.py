"""Work spread over processes: results come back with the number of their task, and Ctrl-C stops cleanly."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from stylescan.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")
MAX_WORKERS = 8
_AHEAD = 4  # tasks waiting for each worker: enough to keep it busy, few enough to hold in memory


def worker_count(asked: int | None, tasks: int, *, least: int) -> int:
    """Processes to use: as asked, else one a core up to 8; one where there are fewer than `least` tasks to share."""
    if asked is None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        asked = 1 if tasks < least else min(available, MAX_WORKERS)
    return max(1, min(asked, tasks))


def run_tasks(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, Result]]:
    """(number of the task, result) as they finish. `function` must be importable by name. With one worker, no pool.

    What is under way is finished before an exception (or Ctrl-C) leaves this function, so no file is cut short.
    """
    if workers <= 1:
        for number, task in enumerate(tasks):
            yield number, function(task)
        return
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt) as pool:
        try:
            yield from _feed(pool, function, tasks, workers * _AHEAD)
        except BrokenProcessPool:
            again = "run the same command again with --workers 1; what is done is kept"
            raise DataError("a worker process died (out of memory, or killed)", remedy=again) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _feed(
    pool: ProcessPoolExecutor, function: Callable[[Task], Result], tasks: Sequence[Task], ahead: int
) -> Iterator[tuple[int, Result]]:
    waiting: dict[Future[Result], int] = {}
    following = 0
    while following < len(tasks) or waiting:
        while following < len(tasks) and len(waiting) < ahead:
            waiting[pool.submit(function, tasks[following])] = following
            following += 1
        done = next(as_completed(waiting))
        yield waiting.pop(done), done.result()


def _ignore_interrupt() -> None:
    """Ctrl-C reaches the whole group; only the parent decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
