"""Checkpoints: a folder of safetensors and one JSON, written aside, fsynced, renamed.

```
RUN/checkpoints/00012000/{G,D,G_ema,opt_G,opt_D,objective}.safetensors  state.json
```
`state.json` names every file with its SHA-256, so a torn or altered checkpoint is known as such.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from stylescan.errors import CheckpointError, ForeignCheckpointError, StylescanError
from stylescan.files import file_sha256, fsync_folder, read_json, write_bytes_atomic, write_json_atomic
from stylescan.train.state import Progress, TrainState, load_optimiser_tensors, position

FORMAT_VERSION = 1
PLAIN_GROUPS = ("G", "D", "G_ema", "objective")  # tensors that are there before the first step
_REMEDY = "Delete this checkpoint's folder and repeat the command with --resume: the one before it is taken."


ASIDE = ".writing"  # the end of the names of checkpoints being written or removed


def save_checkpoint(folder: Path, state: TrainState, *, identity: dict[str, Any], good: bool = True) -> None:
    """Write the whole state to `folder`, which appears complete or not at all.

    identity: what must match on loading (the configuration's hash) and what is recorded for a warning (environment).
    good: whether the run was in good health, so that it may be rolled back to here; a bad checkpoint never replaces a
    good one. An OSError leaves what was there before and nothing else.
    """
    if not good and is_good(folder):
        return
    aside = folder.with_name(f".{folder.name}{ASIDE}")
    for left in folder.parent.glob(f".*{ASIDE}"):  # a full disk may be full of them
        shutil.rmtree(left, ignore_errors=True)
    try:
        _write(aside, state, identity, good)
        _swap(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    fsync_folder(folder.parent)


def _write(folder: Path, state: TrainState, identity: dict[str, Any], good: bool) -> None:
    folder.mkdir(parents=True)
    files = {}
    for group, tensors in state.tensors().items():
        path = folder / f"{group}.safetensors"
        # the format stores plain row-major tensors only; channels-last ones are copied
        write_bytes_atomic(path, save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))
        files[path.name] = file_sha256(path)
    meta = {"format": FORMAT_VERSION, "position": position(state), "files": files, "identity": identity, "good": good}
    write_json_atomic(folder / "state.json", meta)


def _swap(aside: Path, folder: Path) -> None:
    """Move `aside` to `folder`; an older one there is put aside first and comes back where the move fails."""
    old = folder.with_name(f".{folder.name}.old{ASIDE}")
    if folder.is_dir():
        os.replace(folder, old)
    try:
        os.replace(aside, folder)
    except OSError:
        if old.is_dir():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def is_good(folder: Path) -> bool:
    """Whether `folder` says that it was written in good health; its files' hashes are not looked at."""
    try:
        meta = read_json(folder / "state.json", CheckpointError, remedy="")
    except CheckpointError:
        return False
    return isinstance(meta, dict) and meta.get("good", True) is True  # older ones carry no mark


def read_meta(folder: Path) -> dict[str, Any]:
    """`state.json`, with every file's hash checked; CheckpointError where anything is missing, torn or altered."""
    _require_readable(folder)
    meta = read_json(folder / "state.json", CheckpointError, remedy=_REMEDY)
    if isinstance(meta, dict) and isinstance(meta.get("format"), int) and meta["format"] > FORMAT_VERSION:
        raise ForeignCheckpointError(
            f"{folder / 'state.json'}: format {meta['format']}, this version reads up to {FORMAT_VERSION}",
            remedy="Resume with the version of stylescan that wrote it.",
        )
    if not isinstance(meta, dict) or meta.get("format") != FORMAT_VERSION or not isinstance(meta.get("files"), dict):
        found = meta.get("format") if isinstance(meta, dict) else type(meta).__name__
        raise CheckpointError(
            f"{folder / 'state.json'}: found format {found!r}, expected {FORMAT_VERSION}",
            remedy="Resume with the version of stylescan that wrote it.",
        )
    for name, expected in meta["files"].items():
        path = folder / Path(str(name)).name
        try:
            whole = path.is_file() and file_sha256(path) == expected
        except OSError:  # a bad sector
            whole = False
        if not whole:
            raise CheckpointError(f"{path}: missing or damaged (its SHA-256 is not the recorded one)", remedy=_REMEDY)
    return meta


def _require_readable(folder: Path) -> None:
    """A file that may not be read is not a damaged one: an older checkpoint must not be taken in its place."""
    path = folder
    try:
        for path in sorted(folder.iterdir()):
            path.open("rb").close()
    except PermissionError:
        raise StylescanError(
            f"{path}: no permission to read it",
            remedy="Restore the permission to read the run folder, then repeat the command with --resume.",
        ) from None
    except OSError:
        pass  # missing or unreadable for another reason: whoever needs it says so


def _check_group(group: str, into: dict[str, Tensor], stored: dict[str, Tensor], folder: Path) -> None:
    remedy = "Resume with the configuration that the run was started with."
    if set(into) != set(stored):
        odd = sorted(set(into) ^ set(stored))[0]
        raise CheckpointError(f"{folder / group}.safetensors: {odd} is on one side only", remedy=remedy)
    for name, target in into.items():
        if target.shape != stored[name].shape or target.dtype != stored[name].dtype:
            raise CheckpointError(
                f"{folder / group}.safetensors, {name}: found {list(stored[name].shape)} {stored[name].dtype}, "
                f"expected {list(target.shape)} {target.dtype}",
                remedy=remedy,
            )


def _read_progress(meta: dict[str, Any], folder: Path) -> Progress:
    try:
        progress = Progress(**meta["position"])
    except (KeyError, TypeError):
        progress = Progress(step=-1)
    if any(type(number) is not int or number < 0 for number in (progress.step, progress.nimg)):
        raise CheckpointError(f"{folder / 'state.json'}: holds no position of a run", remedy=_REMEDY)
    return progress


def load_checkpoint(folder: Path, state: TrainState, *, config_hash: str) -> dict[str, Any]:
    """Put the checkpoint in `folder` into `state`; returns its identity record.

    Everything is read and compared before the first value changes. Raises CheckpointError where the checkpoint is
    torn, of another configuration, or does not fit the networks.
    """
    meta = read_meta(folder)
    identity = meta.get("identity")
    if not isinstance(identity, dict):
        raise CheckpointError(f"{folder / 'state.json'}: does not say which run it belongs to", remedy=_REMEDY)
    if identity.get("config_hash") != config_hash:
        raise ForeignCheckpointError(
            f"{folder}: made with another configuration or other data than this run's config.yaml",
            remedy="Start a new run in another folder (--out), or put the run's own config.yaml back.",
        )
    unnamed = {f"{group}.safetensors" for group in state.tensors()} - set(meta["files"])
    if unnamed:
        raise CheckpointError(f"{folder / 'state.json'}: does not name {min(unnamed)}", remedy=_REMEDY)
    groups: dict[str, dict[str, Tensor]] = {}
    for group in state.tensors():
        try:
            groups[group] = load_file(folder / f"{group}.safetensors")
        except (OSError, SafetensorError) as problem:
            raise CheckpointError(f"{folder / group}.safetensors: not readable ({problem})", remedy=_REMEDY) from None
    targets = state.tensors()
    for group in PLAIN_GROUPS:
        _check_group(group, targets[group], groups[group], folder)
    progress = _read_progress(meta, folder)
    with torch.no_grad():
        for group in PLAIN_GROUPS:
            for name, target in targets[group].items():
                target.copy_(groups[group][name])
    load_optimiser_tensors(state.opt_G, state.G, groups["opt_G"])
    load_optimiser_tensors(state.opt_D, state.D, groups["opt_D"])
    state.progress = progress
    return dict(identity)
