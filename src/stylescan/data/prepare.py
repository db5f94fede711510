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
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from stylescan.data.audit.contact_sheet import SHEET_NAME, write_contact_sheet
from stylescan.data.audit.inspection import inspect_pixels, spread_sample
from stylescan.data.audit.page import PAGE_NAME, write_audit_page
from stylescan.data.audit.record import AUDIT_NAME, Audit, Findings
from stylescan.data.audit.summary import make_audit
from stylescan.data.classes import choose_classes
from stylescan.data.describe import PublicNames, image_modes, make_findings, make_manifest
from stylescan.data.duplicates import load_libraries
from stylescan.data.identity import fingerprint, kept_salt, load_salt
from stylescan.data.laterality import check_sides
from stylescan.data.layouts.found import Found
from stylescan.data.layouts.table import find_sources
from stylescan.data.options import PrepareOptions
from stylescan.data.plan import Plan, make_plan
from stylescan.data.pool import Workers
from stylescan.data.prepared import MANIFEST_NAME, SHARD_FOLDER, WORK_FOLDER, PreparedDataset, json_hash
from stylescan.data.reading import check_failures, range_reader, survey_all
from stylescan.data.render import ShardResult, shows_writing
from stylescan.data.sources import Source
from stylescan.data.survey import stamp_of
from stylescan.data.windows import parse_window
from stylescan.data.workspace import Workspace, check_places, finished_request, hold_destination
from stylescan.data.writing import check_room, render_all, shard_jobs, start_syncing
from stylescan.errors import ConfigError, DataError, StylescanError
from stylescan.files import read_json, write_bytes_atomic

__all__ = ["PrepareOptions", "prepare"]

PREPARE_VERSION = 1  # raised when the same scans and options would give other pixels or another order
_CLOSELY = 128  # pictures that are read again, to look for writing at full size
Progress = Callable[[int, int, str], None]
Advise = Callable[[PreparedDataset], list[str]]


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
        loading = threading.Thread(target=load_libraries, daemon=True)
        loading.start()
        survey = survey_all(found.sources, options, workspace, workers, progress)
        loading.join()
        check_failures(survey.failures, len(found.sources), options)
        if notice:
            for failure in survey.failures:
                notice(f"left out: {failure.reason}")
        found = replace(found, sources=[item for item in found.sources if item.name in survey.rows])
        rows = [survey.rows[item.name] for item in found.sources]
        plan = make_plan(found, rows, options, range_reader(options, workers))
        jobs = shard_jobs(plan, survey.spooled, out, workspace.folder, options)
        check_room(out, jobs)
        workspace.clear()
        results = render_all(jobs, plan, survey.shards, workspace, workers, progress)
        synced = start_syncing(out / SHARD_FOLDER)
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
    known: list[object] = [
        item.name,
        *stamp_of(item.paths),
        item.subject,
        item.label,
        item.split,
        item.side,
        item.slice,
        item.extra,
    ]
    return [*known, *stamp_of((item.mask,))] if item.mask is not None else known


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
