"""The first pass: every scan is read once, in workers, and journalled; what cannot be read is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylescan.data.formats.scans import Picture
from stylescan.data.options import PrepareOptions
from stylescan.data.pool import Workers
from stylescan.data.sources import SHOWN, Source, read_source
from stylescan.data.spool import LIKELY_GROWTH, Spooled, SpooledShard
from stylescan.data.survey import Failure, Surveyed, SurveyTask, group_range, stamp_of, survey_sources
from stylescan.data.workspace import Workspace
from stylescan.data.writing import images_a_shard
from stylescan.errors import DataError

Progress = Callable[[int, int, str], None]
BYTES_A_SECOND = 5e7  # of compressed scans, on one core: a guess on the safe side
PICTURES_A_TASK, TASKS_A_WORKER = 16, 4


@dataclass(frozen=True)
class Survey:
    """`rows` by name; `spooled`: the pixels that were kept; `shards`: by their first name, spools that may become one;
    what could not be used."""

    rows: dict[str, Surveyed]
    spooled: dict[str, Spooled]
    shards: dict[str, SpooledShard]
    failures: list[Failure]


def survey_all(
    sources: Sequence[Source],
    options: PrepareOptions,
    workspace: Workspace,
    workers: Workers,
    progress: Progress | None,
) -> Survey:
    """What is known about every source, from the journal of an earlier call or by reading it now."""
    stamps = {item.name: stamp_of(item.paths) for item in sources}
    rows = {row.name: row for row in workspace.rows("survey", Surveyed) if stamps.get(row.name) == row.stamp}
    left = [item for item in sources if item.name not in rows]
    read_bytes = sum(max(0, stamps[item.name][0]) for item in left if item.entry is None)
    workers.expect(read_bytes / BYTES_A_SECOND)
    size = 1 if sources[0].kind == "volume" else _pictures_a_task(left, workers.count)
    spool = workspace.spool_folder() if _room_to_spool(left, read_bytes, workspace.out) else None
    tasks = [
        SurveyTask(left[i : i + size], options, spool / f"{i // size:06d}.raw" if spool else None)
        for i in range(0, len(left), size)
    ]
    failures: list[Failure] = []
    spooled: dict[str, Spooled] = {}
    shards: dict[str, SpooledShard] = {}
    done = len(rows)
    for _, answer in workers.run(survey_sources, tasks):
        good = [row for row in answer.rows if isinstance(row, Surveyed)]
        failures += [row for row in answer.rows if isinstance(row, Failure)]
        rows.update({row.name: row for row in good})
        spooled.update(answer.spooled)
        if answer.shard is not None:
            shards[answer.shard.names[0]] = answer.shard
        workspace.append("survey", good)
        done += len(answer.rows)
        if progress:
            progress(done, len(sources), "reading")
    place = {item.name: number for number, item in enumerate(sources)}
    return Survey(rows, spooled, shards, sorted(failures, key=lambda failure: place[failure.name]))


def _pictures_a_task(sources: Sequence[Source], workers: int) -> int:
    """As many pictures as a shard holds, so that a spool may become one, where that still keeps every worker busy."""
    if not sources:
        return PICTURES_A_TASK
    try:
        scan = read_source(sources[0])
    except DataError:  # which the survey will name
        return PICTURES_A_TASK
    size = images_a_shard(scan.pixels.size) if isinstance(scan, Picture) else PICTURES_A_TASK
    return size if len(sources) >= TASKS_A_WORKER * workers * size else PICTURES_A_TASK


def _room_to_spool(sources: Sequence[Source], read_bytes: int, out: Path) -> bool:
    """Whether the decoded pixels of all pictures, and the shards after them, will surely fit on the disk."""
    if not sources or sources[0].kind == "volume":
        return False
    return 2 * LIKELY_GROWTH * read_bytes < shutil.disk_usage(out).free


def check_failures(failures: Sequence[Failure], total: int, options: PrepareOptions) -> None:
    """Raise DataError where scans failed, naming them, unless they may be left out and others remain."""
    labels = [failure for failure in failures if failure.kind == "labels"]
    if labels:
        raise DataError(f"{len(labels)} of {total} volumes are label maps, not scans: {_reasons(labels)}",
                        remedy="point prepare at the folder of the scans, or say --allow-label-volumes")  # fmt: skip
    if failures and len(failures) == total:
        raise DataError(f"none of the {total} scans can be used: {_reasons(failures)}", remedy="check the files")
    if failures and not options.skip_corrupt:
        raise DataError(f"{len(failures)} of {total} scans cannot be used: {_reasons(failures)}",
                        remedy="replace them, or leave them out with --skip-corrupt")  # fmt: skip


def _reasons(failures: Sequence[Failure]) -> str:
    more = f"; and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
    return "; ".join(failure.reason for failure in failures[:SHOWN]) + more


def range_reader(
    options: PrepareOptions, workers: Workers
) -> Callable[[list[list[Source]]], list[tuple[float, float]]]:
    """What `make_plan` asks for the percentiles of groups of pictures."""

    def ranges(groups: list[list[Source]]) -> list[tuple[float, float]]:
        tasks = [(group, options.percentiles) for group in groups]
        found = dict(workers.run(group_range, tasks))
        return [found[number] for number in range(len(tasks))]

    return ranges
