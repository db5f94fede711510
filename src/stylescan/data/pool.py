"""Work spread over processes: results come back with the number of their task, and Ctrl-C stops cleanly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar

from stylescan.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")
MAX_WORKERS = 8
_AHEAD = 4  # tasks waiting for each worker: enough to keep it busy, few enough to hold in memory
_TRIAL_S, _WORTHWHILE_S = 0.15, 2.0  # a process imports for about a second: worth it only where more is left to do


class Workers:
    """Processes for one preparation, started when they are first needed and stopped at the end of the `with` block.

    asked: number of processes; None means one a core, up to 8, and none at all for work of a few seconds. While they
    start, the tasks are worked on here.
    """

    def __init__(self, asked: int | None) -> None:
        self._asked = asked
        self.count = asked or min(_cores(), MAX_WORKERS)
        self._pool: ProcessPoolExecutor | None = None
        self._starting: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is under way is finished first, so that no file is cut short; what waits is dropped.
        if self._pool is not None and self._starting is not None:
            self._starting.join()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = self._starting = None

    def expect(self, seconds: float) -> None:
        """Start the processes now where about so much work is coming: they are ready when it begins."""
        if self._pool is None and self.count > 1 and seconds > _WORTHWHILE_S:
            self._begin()

    def _begin(self) -> None:
        self._pool = self._processes()
        self._starting = threading.Thread(target=_start, args=(self._pool, self.count))
        self._starting.start()

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """(number of the task, result) as they finish. `function` must be importable by name, its results picklable.

        Raises what `function` raises, and DataError where a process dies.
        """
        first, began = 0, time.monotonic()
        try:
            while first < len(tasks) and not self._ready(time.monotonic() - began, first, len(tasks)):
                yield first, function(tasks[first])
                first += 1
            if first < len(tasks):
                yield from self._spread(function, tasks, first)
        except BrokenProcessPool:
            again = "run the same command again with --workers 1; what is done is kept"
            raise DataError("a worker process died (out of memory, or killed)", remedy=again) from None

    def _ready(self, spent_s: float, done: int, total: int) -> bool:
        """Whether the processes can take over; starts them where that will pay."""
        if self.count == 1:
            return False
        if self._pool is None and (self._asked is not None or self._worth_a_pool(spent_s, done, total)):
            self._begin()
        if self._starting is None:
            return False
        if self._asked is not None:  # those that were asked for are waited for: a small job must not be over before
            self._starting.join()
        return not self._starting.is_alive()

    def _worth_a_pool(self, spent_s: float, done: int, total: int) -> bool:
        return spent_s > _TRIAL_S and spent_s / max(1, done) * (total - done) > _WORTHWHILE_S

    def _spread(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], following: int
    ) -> Iterator[tuple[int, Result]]:
        pool = self._pool
        assert pool is not None
        waiting: dict[Future[Result], int] = {}
        while following < len(tasks) or waiting:
            while following < len(tasks) and len(waiting) < self.count * _AHEAD:
                waiting[pool.submit(function, tasks[following])] = following
                following += 1
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()

    def _processes(self) -> ProcessPoolExecutor:
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(
                ["stylescan.data.survey", "stylescan.data.render"]
            )  # once, not once a worker
        return ProcessPoolExecutor(self.count, mp_context=context, initializer=_prepare_worker)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _without_main() -> Iterator[None]:
    """Start workers that do not run the user's script again: they need none of it, and it may lack a guard.

    Each would import it as a module, as multiprocessing does for functions that live there; ours live here.
    """
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    main.__spec__ = None
    if "__file__" in kept:
        del main.__file__
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(main, name, value)


def _prepare_worker() -> None:
    """Ctrl-C reaches the whole group; only the parent decides. What the work needs is imported before it is timed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import stylescan.data.render
    import stylescan.data.survey  # noqa: F401


def _start(pool: ProcessPoolExecutor, count: int) -> None:
    """Returns when `count` processes have started; a pool that cannot start says so at the first task."""
    with suppress(BrokenProcessPool), _without_main():
        for started in [pool.submit(_do_nothing) for _ in range(count)]:
            started.result()


def _do_nothing() -> None:
    """Done as soon as a process has started."""
