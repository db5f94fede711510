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

from stylescan.errors import CheckpointError, ForeignCheckpointError
from stylescan.files import file_sha256, fsync_folder, read_json, write_bytes_atomic, write_json_atomic
from stylescan.train.state import Progress, TrainState, load_optimiser_tensors, position

FORMAT_VERSION = 1
PLAIN_GROUPS = ("G", "D", "G_ema", "objective")  # tensors that are there before the first step
_REMEDY = "Delete this checkpoint's folder and repeat the command with --resume: the one before it is taken."


def save_checkpoint(folder: Path, state: TrainState, *, identity: dict[str, Any]) -> None:
    """Write the whole state to `folder`, which appears complete or not at all.

    identity: what must match on loading (the configuration's hash) and what is recorded for a warning (environment).
    """
    aside = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    files = {}
    for group, tensors in state.tensors().items():
        path = aside / f"{group}.safetensors"
        # the format stores plain row-major tensors only; channels-last ones are copied
        write_bytes_atomic(path, save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))
        files[path.name] = file_sha256(path)
    meta = {"format": FORMAT_VERSION, "position": position(state), "files": files, "identity": identity}
    write_json_atomic(aside / "state.json", meta)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(aside, folder)
    fsync_folder(folder.parent)


def read_meta(folder: Path) -> dict[str, Any]:
    """`state.json`, with every file's hash checked; CheckpointError where anything is missing, torn or altered."""
    meta = read_json(folder / "state.json", CheckpointError, remedy=_REMEDY)
    if not isinstance(meta, dict) or meta.get("format") != FORMAT_VERSION or not isinstance(meta.get("files"), dict):
        found = meta.get("format") if isinstance(meta, dict) else type(meta).__name__
        raise CheckpointError(
            f"{folder / 'state.json'}: found format {found!r}, expected {FORMAT_VERSION}",
            remedy="Resume with the version of stylescan that wrote it.",
        )
    for name, expected in meta["files"].items():
        path = folder / Path(str(name)).name
        if not path.is_file() or file_sha256(path) != expected:
            raise CheckpointError(f"{path}: missing or damaged (its SHA-256 is not the recorded one)", remedy=_REMEDY)
    return meta


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


def load_checkpoint(folder: Path, state: TrainState, *, config_hash: str) -> dict[str, Any]:
    """Put the checkpoint in `folder` into `state`; returns its identity record.

    Everything is read and compared before the first value changes. Raises CheckpointError where the checkpoint is
    torn, of another configuration, or does not fit the networks.
    """
    meta = read_meta(folder)
    identity = meta.get("identity", {})
    if identity.get("config_hash") != config_hash:
        raise ForeignCheckpointError(
            f"{folder}: made with another configuration or other data than this run's config.yaml",
            remedy="Start a new run in another folder (--out), or put the run's own config.yaml back.",
        )
    groups: dict[str, dict[str, Tensor]] = {}
    for group in state.tensors():
        try:
            groups[group] = load_file(folder / f"{group}.safetensors")
        except (OSError, SafetensorError) as problem:
            raise CheckpointError(f"{folder / group}.safetensors: not readable ({problem})", remedy=_REMEDY) from None
    targets = state.tensors()
    for group in PLAIN_GROUPS:
        _check_group(group, targets[group], groups[group], folder)
    try:
        progress = Progress(**meta["position"])
    except (KeyError, TypeError):
        raise CheckpointError(f"{folder / 'state.json'}: holds no position of a run", remedy=_REMEDY) from None
    with torch.no_grad():
        for group in PLAIN_GROUPS:
            for name, target in targets[group].items():
                target.copy_(groups[group][name])
    load_optimiser_tensors(state.opt_G, state.G, groups["opt_G"])
    load_optimiser_tensors(state.opt_D, state.D, groups["opt_D"])
    state.progress = progress
    return dict(identity)
