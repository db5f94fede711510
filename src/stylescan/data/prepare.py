"""`prepare`: from raw scans to a prepared dataset, in parallel, in bounded memory, and safe to interrupt and repeat.

Two passes: the survey reads every scan once and notes what is needed to decide; then whole shards are rendered, each by
one worker. Finished units are journalled, so the same call continues where an interrupted one stopped. The order of
images, the shards and the hashes depend on the scans and the options alone, not on the number of workers.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from stylescan.data.audit.contact_sheet import SHEET_NAME, write_contact_sheet
from stylescan.data.audit.inspection import inspect_pixels, spread_sample
from stylescan.data.audit.page import PAGE_NAME, write_audit_page
from stylescan.data.audit.record import AUDIT_NAME, Audit, Findings
from stylescan.data.audit.summary import make_audit
from stylescan.data.classes import choose_classes
from stylescan.data.describe import PublicNames, image_modes, make_findings, make_manifest
from stylescan.data.duplicates import load_libraries
from stylescan.data.formats.scans import Picture
from stylescan.data.identity import fingerprint, kept_salt, load_salt
from stylescan.data.laterality import check_sides
from stylescan.data.layouts.found import Found
from stylescan.data.layouts.table import find_sources
from stylescan.data.options import PrepareOptions
from stylescan.data.plan import Plan, make_plan
from stylescan.data.planes import DEFAULT_PLANE
from stylescan.data.pool import Workers
from stylescan.data.prepared import MANIFEST_NAME, SHARD_FOLDER, WORK_FOLDER, PreparedDataset, json_hash
from stylescan.data.render import ShardJob, ShardResult, adopt_shard, masks_name, shows_writing, write_shard
from stylescan.data.sources import SHOWN, Source, read_source
from stylescan.data.spool import LIKELY_GROWTH, Spooled, SpooledShard
from stylescan.data.survey import Failure, Surveyed, SurveyTask, group_range, stamp_of, survey_sources
from stylescan.data.windows import parse_window
from stylescan.data.workspace import Workspace, check_places, finished_request, hold_destination
from stylescan.errors import ConfigError, DataError, StylescanError
from stylescan.files import file_sha256, fsync_file, fsync_folder, read_json, write_bytes_atomic

__all__ = ["PrepareOptions", "prepare"]

PREPARE_VERSION = 1  # raised when the same scans and options would give other pixels or another order
SHARD_BYTES, SHARD_IMAGES = 2**25, 256
BYTES_A_SECOND = 5e7  # of compressed scans, on one core
_SURVEY_PICTURES, _TASKS_A_WORKER = 16, 4
_CLOSELY = 128  # pictures that are read again, to look for writing at full size
Progress = Callable[[int, int, str], None]
Advise = Callable[[PreparedDataset], list[str]]


class _DoneShard(BaseModel):
    """Journal line: the job (as a hash) and what it wrote."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    job: str
    result: ShardResult


def prepare(
    source: Path,
    out: Path,
    options: PrepareOptions | None = None,
    *,
    progress: Progress | None = None,
    advise: Advise | None = None,
    notice: Callable[[str], None] | None = None,
) -> tuple[PreparedDataset, Audit]:
    """Prepare the scans in `source` (a folder, or one file that makes up or lists many) into the folder `out`.

    advise : gives sentences on what to train on the finished dataset, kept in the audit (`advice.training_advice`).
    notice : called with a line for each file that is left out, by its own name, which the audit may not keep.

    Returns the dataset and its audit; see audit.audit_lines. An equal, finished dataset is returned as it is. Raises
    DataError or ConfigError, with a remedy, before anything that stands in `out` is touched.
    """
    source, out, options = Path(source), Path(out), options or PrepareOptions()
    if options.window is not None:
        parse_window(options.window)
    check_places(source, out)
    found, layout, seen = find_sources(source, options, progress)
    sources, kept = choose_classes(found.sources, options)
    found, seen = replace(found, sources=sources), seen + kept
    options = _declared(options, found, layout)
    if options.laterality == "canonicalise":
        check_sides([item.side for item in sources], [item.name for item in sources])
        if options.balance == "depth" and options.plane == "sagittal" and sources[0].kind == "picture":
            raise ConfigError("laterality canonicalise and balance depth: sagittal pictures are numbered anew by the one, "
                              "and matched by their old numbers by the other",
                              remedy="give one of the two")  # fmt: skip
    settings = {**options.recorded(), "layout": layout, "prepare_version": PREPARE_VERSION}
    listing = json_hash([_listed(item) for item in sources])
    current = _up_to_date(out, settings, listing, options)
    if current is None or (out / WORK_FOLDER).exists():
        with hold_destination(out):
            # Asked again: another process may have finished while this one looked.
            current = _up_to_date(out, settings, listing, options)
            if current is None:
                return _prepare(source, out, options, found, settings, listing, seen, progress, advise, notice)
            shutil.rmtree(out / WORK_FOLDER, ignore_errors=True)  # left by a crash after the manifest was written
    return current


def _prepare(
    source: Path,
    out: Path,
    options: PrepareOptions,
    found: Found,
    settings: dict[str, object],
    listing: str,
    seen: str,
    progress: Progress | None,
    advise: Advise | None,
    notice: Callable[[str], None] | None,
) -> tuple[PreparedDataset, Audit]:
    request = json_hash([settings, options.salt, str(source.resolve())])
    workspace = Workspace(out, request, overwrite=options.overwrite)
    salt = load_salt(out, options.salt)
    with Workers(options.workers) as workers:
        workers.expect(_likely_seconds(found.sources))
        loading = threading.Thread(target=load_libraries, daemon=True)
        loading.start()
        survey = _survey(found.sources, options, workspace, workers, progress)
        loading.join()
        _check_failures(survey.failures, len(found.sources), options)
        if notice:
            for failure in survey.failures:
                notice(f"left out: {failure.reason}")
        found = replace(found, sources=[item for item in found.sources if item.name in survey.rows])
        rows = [survey.rows[item.name] for item in found.sources]
        plan = make_plan(found, rows, options, _range_reader(options, workers))
        jobs = _shard_jobs(plan, survey.spooled, out, workspace.folder, options)
        _check_room(out, jobs)
        workspace.clear()
        results = _render(jobs, plan, survey.shards, workspace, workers, progress)
        synced = _start_syncing(out / SHARD_FOLDER)
    names = PublicNames(plan, salt, options.keep_ids)
    manifest = make_manifest(plan, results, settings, options, names)
    dataset = PreparedDataset.assemble(out, manifest)
    with ThreadPoolExecutor(1) as beside:  # mostly outside Python, as the audit is
        sheet = beside.submit(write_contact_sheet, dataset, out / SHEET_NAME)
        audit = _audit(dataset, plan, results, make_findings(plan, seen, survey.failures, names), progress, advise)
        sheet.result()
    write_audit_page(dataset, audit, out / PAGE_NAME)
    write_bytes_atomic(out / AUDIT_NAME, audit.model_dump_json(indent=1).encode())
    synced()
    workspace.finish({Path(shard.file).name for shard in (*manifest.shards, *manifest.masks)},
                     _request(settings, listing, salt))  # fmt: skip
    write_bytes_atomic(out / MANIFEST_NAME, manifest.model_dump_json(indent=1).encode())
    workspace.remove()
    return dataset, audit


def _audit(
    dataset: PreparedDataset, plan: Plan, results: Sequence[ShardResult], findings: Findings, progress: Progress | None,
    advise: Advise | None,
) -> Audit:  # fmt: skip
    """Look at the finished pixels, and ask what to train on them."""
    if progress:
        progress(0, 2, "audit")
    looks = [look for result in results for look in result.looks]
    inspection = inspect_pixels(dataset, looks, anatomy=dataset.manifest.anatomy, writing=_writing(plan))
    if progress:
        progress(1, 2, "audit")
    try:
        advice = advise(dataset) if advise else []
    except StylescanError as problem:  # a set that no preset fits is a set all the same
        advice = [f"no preset fits these data: {problem.message}"]
    if progress:
        progress(2, 2, "audit")
    return make_audit(dataset.manifest, looks, findings, inspection, modes=image_modes(plan), advice=advice)


def _writing(plan: Plan) -> dict[int, bool] | None:
    """Whether pictures seem to show words, by their place: some, spread over the subjects, read again at full size.

    In the prepared image letters may be too small to be told from noise. None for volumes, whose slices are looked at.
    """
    if plan.items[0].source.kind == "volume":
        return None
    chosen = spread_sample(np.array(plan.subjects), np.ones(len(plan.items), bool), _CLOSELY)
    return {int(k): shows_writing(plan.items[k]) for k in chosen}


def _declared(options: PrepareOptions, found: Found, layout: str) -> PrepareOptions:
    """What the user left open is as the layout says; several modalities of a session are asked for as contrasts."""
    several = layout == "bids" and len(options.modality) > 1
    return options.model_copy(
        update={
            "plane": options.plane or found.plane,
            "symmetry": options.symmetry or found.symmetry or "none",
            "contrasts": options.contrasts or several,
        }
    )


def _listed(item: Source) -> list[object]:
    return [item.name, *stamp_of(item.paths), item.subject, item.label, item.split, item.side, item.slice, item.extra]


def _request(settings: dict[str, object], listing: str, salt: str) -> dict[str, str]:
    return {"settings": json_hash(settings), "sources": fingerprint(salt, listing)}


def _up_to_date(
    out: Path, settings: dict[str, object], listing: str, options: PrepareOptions
) -> tuple[PreparedDataset, Audit] | None:
    """The finished dataset where it is just what is asked for; None where there is work to do."""
    stored = finished_request(out)
    if stored is None:
        return None
    if stored == _request(settings, listing, options.salt or kept_salt(out)):
        try:
            return _reopen(out)
        except DataError:
            if not options.overwrite:
                raise
    if options.overwrite:
        return None
    what = "other settings" if stored.get("settings") != json_hash(settings) else "scans that changed since"
    raise DataError(f"{out}: holds a finished dataset made with {what}",
                    remedy="choose another --out, or replace it with --overwrite")  # fmt: skip


def _reopen(out: Path) -> tuple[PreparedDataset, Audit]:
    dataset, remedy = PreparedDataset.open(out), "run `stylescan prepare` again with --overwrite"
    try:
        audit = Audit.model_validate(read_json(out / AUDIT_NAME, DataError, remedy=remedy))
    except ValidationError:
        raise DataError(f"{out / AUDIT_NAME}: not an audit of this version", remedy=remedy) from None
    notes = ["up to date: the dataset was made from these scans with these settings", *audit.findings.notes]
    return dataset, audit.model_copy(update={"findings": audit.findings.model_copy(update={"notes": notes})})


@dataclass(frozen=True)
class _Survey:
    """`rows` by name; `spooled`: the pixels that were kept; `shards`: by their first name, spools that may become one;
    what could not be used."""

    rows: dict[str, Surveyed]
    spooled: dict[str, Spooled]
    shards: dict[str, SpooledShard]
    failures: list[Failure]


def _survey(
    sources: Sequence[Source],
    options: PrepareOptions,
    workspace: Workspace,
    workers: Workers,
    progress: Progress | None,
) -> _Survey:
    """What is known about every source, from the journal or by reading it now."""
    stamps = {item.name: stamp_of(item.paths) for item in sources}
    rows = {row.name: row for row in workspace.rows("survey", Surveyed) if stamps.get(row.name) == row.stamp}
    left = [item for item in sources if item.name not in rows]
    size = 1 if sources[0].kind == "volume" else _pictures_a_task(left, workers.count)
    spool = workspace.spool_folder() if _room_to_spool(left, stamps, workspace.out) else None
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
    return _Survey(rows, spooled, shards, sorted(failures, key=lambda failure: place[failure.name]))


def _likely_seconds(sources: Sequence[Source]) -> float:
    """About how long one core will read: a guess on the safe side, from the files' sizes."""
    return sum(max(0, stamp_of(item.paths)[0]) for item in sources if item.entry is None) / BYTES_A_SECOND


def _pictures_a_task(sources: Sequence[Source], workers: int) -> int:
    """As many pictures as a shard holds, so that a spool may become one, where that still keeps every worker busy."""
    if not sources:
        return _SURVEY_PICTURES
    try:
        scan = read_source(sources[0])
    except DataError:  # which the survey will name
        return _SURVEY_PICTURES
    size = _images_a_shard(scan.pixels.size) if isinstance(scan, Picture) else _SURVEY_PICTURES
    return size if len(sources) >= _TASKS_A_WORKER * workers * size else _SURVEY_PICTURES


def _images_a_shard(image_bytes: int) -> int:
    return max(1, min(SHARD_IMAGES, SHARD_BYTES // image_bytes))


def _room_to_spool(sources: Sequence[Source], stamps: dict[str, tuple[int, int]], out: Path) -> bool:
    """Whether the decoded pixels of all pictures, and the shards after them, will surely fit on the disk."""
    if not sources or sources[0].kind == "volume":
        return False
    likely = LIKELY_GROWTH * sum(stamps[item.name][0] for item in sources if item.entry is None)
    return 2 * likely < shutil.disk_usage(out).free


def _check_failures(failures: Sequence[Failure], total: int, options: PrepareOptions) -> None:
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


def _range_reader(
    options: PrepareOptions, workers: Workers
) -> Callable[[list[list[Source]]], list[tuple[float, float]]]:
    def ranges(groups: list[list[Source]]) -> list[tuple[float, float]]:
        tasks = [(group, options.percentiles) for group in groups]
        found = dict(workers.run(group_range, tasks))
        return [found[number] for number in range(len(tasks))]

    return ranges


def _shard_jobs(
    plan: Plan, spooled: dict[str, Spooled], out: Path, work: Path, options: PrepareOptions
) -> list[ShardJob]:
    """Consecutive sources together, up to 32 MB or 512 images a shard; a volume stays whole."""
    limit = _images_a_shard(plan.channels * plan.resolution**2 * options.bits // 8)
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


def _check_room(out: Path, jobs: Sequence[ShardJob]) -> None:
    needed = sum(job.count for job in jobs) * jobs[0].channels * jobs[0].resolution ** 2 * jobs[0].bits // 8
    free = shutil.disk_usage(out).free
    if needed > free:
        raise DataError(f"{out}: {needed / 2**30:.1f} GB needed, {free / 2**30:.1f} GB free on this disk",
                        remedy="make room, choose another --out, or lower --resolution")  # fmt: skip


def _start_syncing(folder: Path) -> Callable[[], None]:
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
            remedy = "make room or correct the permissions, and run the same command again"
            raise DataError(f"{folder}: cannot write ({problem.strerror or problem})", remedy=remedy) from None

    return wait


def _job_hash(job: ShardJob, hashes: dict[str, str]) -> str:
    items = [[hashes[i.source.name], i.slices, i.geometry.model_dump(), i.low, i.high, i.further] for i in job.items]
    return json_hash([items, job.resolution, job.channels, job.bits, job.plane, job.masks, job.canonical])


def _stands(old: ShardResult, job: ShardJob) -> bool:
    """Whether what an earlier call wrote is still there, byte for byte."""
    written = [(job.target, old.sha256)]
    written += [(masks_name(job.target), old.masks_sha256)] if old.masks_sha256 else []
    return all(file.is_file() and file_sha256(file) == sha256 for file, sha256 in written)


def _render(
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
        remedy = "make room or correct the permissions, and run the same command again"
        raise DataError(f"{workspace.out}: cannot write ({problem.strerror or problem})", remedy=remedy) from None
    return [done[number] for number in range(len(jobs))]
