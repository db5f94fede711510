"""The generator as it stood at an earlier checkpoint of a run, read without the rest of the training state.

```
RUN/checkpoints/000012000/{G_ema.safetensors, state.json}   the averaged weights; position and SHA-256 of every file
RUN/snapshot/snapshot.json                                  what the network is
```
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stylescan.errors import CheckpointError
from stylescan.files import file_sha256, read_json, require_file
from stylescan.generate.snapshot import Snapshot, find_snapshot, read_meta
from stylescan.nets.build import build_generator, parse_spec

WEIGHTS_NAME = "G_ema.safetensors"
STATE_NAME = "state.json"
_AGAIN = "Leave this checkpoint out, or copy it again: it is incomplete, damaged or of another run."


def list_checkpoints(run: Path) -> list[Path]:
    """The checkpoint folders of `run`, oldest first; CheckpointError where there is none."""
    folder = run / "checkpoints"
    found = []
    if folder.is_dir():
        found = sorted(item for item in folder.iterdir() if item.name.isdecimal() and (item / STATE_NAME).is_file())
    if not found:
        raise CheckpointError(f"{run}: no checkpoints in it", remedy="Give a run folder made by `stylescan train`.")
    return sorted(found, key=lambda item: int(item.name))


def is_checkpoint(folder: Path) -> bool:
    """Whether `folder` is a checkpoint inside a run."""
    return (folder / STATE_NAME).is_file() and (folder / WEIGHTS_NAME).is_file()


def run_of(checkpoint: Path) -> Path:
    """The run folder that a checkpoint lies in."""
    return checkpoint.resolve().parent.parent


def load_checkpoint_generator(checkpoint: Path, *, device: torch.device | None = None) -> Snapshot:
    """The averaged generator of one checkpoint, with the run's own record of its network.

    `model_hash` is that of the checkpoint's weights and `meta.nimg` its position. Nothing is ever unpickled. Raises
    CheckpointError where a file is missing, damaged or does not fit the run's network, SnapshotError where the run
    has no snapshot yet.
    """
    meta = read_meta(find_snapshot(run_of(checkpoint)))
    nimg, expected = _read_state(checkpoint)
    weights = checkpoint / WEIGHTS_NAME
    require_file(weights, CheckpointError, remedy=_AGAIN)
    try:
        found = file_sha256(weights)
        stored = load_file(weights)
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(f"{weights}: not a safetensors file ({problem})", remedy=_AGAIN) from None
    if found != expected:
        raise CheckpointError(f"{weights}: SHA-256 {found[:12]}, expected {expected[:12]}", remedy=_AGAIN)
    generator = build_generator(parse_spec(meta.spec))
    own = generator.state_dict()
    _require_fit(weights, own, stored)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stored[name])
    generator.requires_grad_(False).eval()
    record = meta.model_copy(update={"nimg": nimg, "weights_sha256": found})
    return Snapshot(generator.to(device) if device else generator, record, found, checkpoint)


def run_identity(checkpoint: Path) -> str:
    """The hash of the configuration that the checkpoint's run was started with."""
    state = read_json(checkpoint / STATE_NAME, CheckpointError, remedy=_AGAIN)
    identity = state.get("identity") if isinstance(state, dict) else None
    value = identity.get("config_hash") if isinstance(identity, dict) else None
    if not isinstance(value, str):
        raise CheckpointError(f"{checkpoint / STATE_NAME}: does not say which run it belongs to", remedy=_AGAIN)
    return value


def _read_state(checkpoint: Path) -> tuple[int, str]:
    """Images shown so far and the weights' SHA-256, as the checkpoint records them."""
    file = checkpoint / STATE_NAME
    state = read_json(file, CheckpointError, remedy=_AGAIN)
    position = state.get("position") if isinstance(state, dict) else None
    files = state.get("files") if isinstance(state, dict) else None
    nimg = position.get("nimg") if isinstance(position, dict) else None
    expected = files.get(WEIGHTS_NAME) if isinstance(files, dict) else None
    if type(nimg) is not int or nimg < 0 or not isinstance(expected, str):
        raise CheckpointError(f"{file}: holds no position of a run, or does not name {WEIGHTS_NAME}", remedy=_AGAIN)
    return nimg, expected


def _require_fit(file: Path, own: dict[str, Tensor], stored: dict[str, Tensor]) -> None:
    for name in sorted(set(own) | set(stored)):
        have, want = stored.get(name), own.get(name)
        if have is None or want is None or have.shape != want.shape or have.dtype != want.dtype:
            raise CheckpointError(f"{file}, {name}: does not fit the network of this run", remedy=_AGAIN)
        if not torch.isfinite(have).all():
            raise CheckpointError(f"{file}, {name}: holds NaN or infinite weights", remedy=_AGAIN)
