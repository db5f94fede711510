"""The second pass: whole shards are rendered, each by one worker, journalled, and kept where an earlier call made them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from stylescan.data.options import PrepareOptions
from stylescan.data.plan import Plan
from stylescan.data.planes import DEFAULT_PLANE
from stylescan.data.pool import Workers
from stylescan.data.prepared import SHARD_FOLDER, json_hash
from stylescan.data.render import ShardJob, ShardResult, adopt_shard, masks_name, write_shard
from stylescan.data.spool import Spooled, SpooledShard
from stylescan.data.survey import stamp_of
from stylescan.data.workspace import Workspace
from stylescan.errors import DataError
from stylescan.files import file_sha256, fsync_file, fsync_folder

Progress = Callable[[int, int, str], None]
SHARD_BYTES, SHARD_IMAGES = 2**25, 256
_WRITE_REMEDY = "make room or correct the permissions, and run the same command again"


class _DoneShard(BaseModel):
    """Journal line: the job (as a hash) and what it wrote."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    job: str
    result: ShardResult


def images_a_shard(image_bytes: int) -> int:
    """Up to 32 MB, and up to 256 images, of so many bytes each."""
    return max(1, min(SHARD_IMAGES, SHARD_BYTES // image_bytes))


def shard_jobs(
    plan: Plan, spooled: dict[str, Spooled], out: Path, work: Path, options: PrepareOptions
) -> list[ShardJob]:
    """Consecutive sources together, up to 32 MB or 256 images a shard; a volume stays whole."""
    limit = images_a_shard(plan.channels * plan.resolution**2 * options.bits // 8)
    masks = any(item.source.mask is not None for item in plan.items)
    batches: list[list[int]] = [[]]
    held = 0
    for k, item in enumerate(plan.items):
        if batches[-1] and held + len(item.slices) > limit:
            batches.append([])
            held = 0
        batches[-1].append(k)
        held += len(item.slices)
    return [
        ShardJob(
            items=tuple(replace(plan.items[k], spooled=spooled.get(plan.items[k].source.name)) for k in batch),
            target=out / SHARD_FOLDER / f"images-{number:05d}.npy",
            temporary=work / f"images-{number:05d}.tmp",
            resolution=plan.resolution,
            channels=plan.channels,
            bits=options.bits,
            plane=options.plane or DEFAULT_PLANE,
            masks=masks,
            canonical=options.laterality == "canonicalise",
        )
        for number, batch in enumerate(batches)
    ]


def check_room(out: Path, jobs: Sequence[ShardJob]) -> None:
    """Raise DataError where the shards will not fit on the disk."""
    needed = sum(job.count for job in jobs) * jobs[0].channels * jobs[0].resolution ** 2 * jobs[0].bits // 8
    free = shutil.disk_usage(out).free
    if needed > free:
        raise DataError(f"{out}: {needed / 2**30:.1f} GB needed, {free / 2**30:.1f} GB free on this disk",
                        remedy="make room, choose another --out, or lower --resolution")  # fmt: skip


def render_all(
    jobs: Sequence[ShardJob],
    plan: Plan,
    spools: dict[str, SpooledShard],
    workspace: Workspace,
    workers: Workers,
    progress: Progress | None,
) -> list[ShardResult]:
    """The result of every job in order; a shard that an earlier call finished is hashed and kept."""
    hashes = {row.name: row.sha256 for row in plan.rows}
    keys = [_job_hash(job, hashes) for job in jobs]
    earlier = {row.job: row.result for row in workspace.rows("shards", _DoneShard)}
    done: dict[int, ShardResult] = {}
    for number, (key, job) in enumerate(zip(keys, jobs)):
        old = earlier.get(key)
        if old and old.file == job.target.name and _stands(old, job):
            done[number] = old
        elif (spool := spools.get(job.items[0].source.name)) and (adopted := adopt_shard(job, spool)):
            done[number] = adopted
            workspace.append("shards", [_DoneShard(job=key, result=adopted)])
    left = [number for number in range(len(jobs)) if number not in done]
    total, written = sum(job.count for job in jobs), sum(result.count for result in done.values())
    try:
        for position, result in workers.run(write_shard, [jobs[number] for number in left]):
            done[left[position]] = result
            workspace.append("shards", [_DoneShard(job=keys[left[position]], result=result)])
            written += result.count
            if progress:
                progress(written, total, "writing")
    except OSError as problem:
        raise DataError(
            f"{workspace.out}: cannot write ({problem.strerror or problem})", remedy=_WRITE_REMEDY
        ) from None
    return [done[number] for number in range(len(jobs))]


def _job_hash(job: ShardJob, hashes: dict[str, str]) -> str:
    items = [[hashes[i.source.name], i.slices, i.geometry.model_dump(), i.low, i.high, i.further] for i in job.items]
    masks = [stamp_of((item.source.mask,)) for item in job.items if item.source.mask is not None]
    return json_hash([items, job.resolution, job.channels, job.bits, job.plane, masks, job.canonical])


def _stands(old: ShardResult, job: ShardJob) -> bool:
    """Whether what an earlier call wrote is still there, byte for byte."""
    written = [(job.target, old.sha256)]
    written += [(masks_name(job.target), old.masks_sha256)] if old.masks_sha256 else []
    return all(file.is_file() and file_sha256(file) == sha256 for file, sha256 in written)


def start_syncing(folder: Path) -> Callable[[], None]:
    """Send the shards to the disk while the audit is made; the call that is handed back waits until they are there."""

    def sync() -> None:
        for file in folder.iterdir():
            fsync_file(file)
        fsync_folder(folder)

    pool = ThreadPoolExecutor(1)
    done = pool.submit(sync)
    pool.shutdown(wait=False)

    def wait() -> None:
        try:
            done.result()
        except OSError as problem:
            raise DataError(f"{folder}: cannot write ({problem.strerror or problem})", remedy=_WRITE_REMEDY) from None

    return wait
