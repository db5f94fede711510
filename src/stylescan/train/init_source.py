"""The model that `--init` names, read as foreign input: a run folder (G_ema and D) or a snapshot folder (G_ema alone).

A snapshot holds no discriminator on purpose: D remembers its training images, so it is not shared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stylescan.config import read_config
from stylescan.errors import CheckpointError
from stylescan.generate.snapshot import META_NAME, load_snapshot, read_meta
from stylescan.nets.build import build_discriminator, build_generator, parse_spec
from stylescan.train.checkpoint import read_meta as read_checkpoint_meta
from stylescan.train.run_folder import RunFolder
from stylescan.train.transfer_rules import InitSource

_REMEDY = "Give another run, or its snapshot folder (RUN/snapshot: the generator alone)."


def load_source(path: Path) -> InitSource:
    """The model in `path`: a run's best kept checkpoint, else its newest whole one; or a snapshot.

    Raises SnapshotError, CheckpointError or ConfigError for anything missing, damaged, of a newer version or with
    values that are not finite. Only safetensors are read; nothing is ever unpickled.
    """
    run = RunFolder(path)
    if run.started and run.list_checkpoints() and not (path / META_NAME).is_file():
        return _from_run(run)
    snapshot = load_snapshot(path)
    tensors = {name: tensor.contiguous() for name, tensor in snapshot.generator.state_dict().items()}
    words = "the source is a snapshot: its discriminator was not shared, so D starts fresh"
    spec = parse_spec(snapshot.meta.spec)
    return InitSource(tensors, None, spec, tuple(snapshot.meta.class_names), snapshot.model_hash, (words,))


def _from_run(run: RunFolder) -> InitSource:
    config = read_config(run.config)
    words: list[str] = []
    folders = list(reversed(run.list_checkpoints()))
    best = run.checkpoint(read_meta(run.snapshot).nimg) if (run.snapshot / META_NAME).is_file() else None
    if best in folders:
        folders.remove(best)
        folders.insert(0, best)
    problems: list[CheckpointError] = []
    for folder in folders:
        try:
            meta = read_checkpoint_meta(folder)
            G = _read_net(folder, "G_ema", meta, build_generator, config.spec)
            D = _read_net(folder, "D", meta, build_discriminator, config.spec)
        except CheckpointError as problem:
            problems.append(problem)
            words.append(f"skipped a damaged checkpoint of the source: {problem.message}")
            continue
        which = "the best on select, or the last" if folder == best else "the newest whole one"
        words.append(f"the source is the run's checkpoint at {int(folder.name) / 1000:g} kimg ({which}), with its D")
        sha256 = str(meta["files"]["G_ema.safetensors"])
        return InitSource(G, D, config.spec, config.data.class_names, sha256, tuple(words))
    raise CheckpointError(problems[0].message, remedy=_REMEDY)


def _read_net(folder: Path, group: str, meta: dict[str, Any], build: Any, spec: Any) -> dict[str, Tensor]:
    """One net of a checkpoint whose hashes were compared; CheckpointError where it does not fit its configuration."""
    path = folder / f"{group}.safetensors"
    if path.name not in meta["files"]:
        raise CheckpointError(f"{path}: not among the files that state.json lists", remedy=_REMEDY)
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(f"{path}: not a safetensors file ({problem})", remedy=_REMEDY) from None
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in build(spec).state_dict().items()}
    for name in sorted(set(expected) | set(stored)):
        if name not in stored or name not in expected or expected[name] != stored[name].shape:
            have = list(stored[name].shape) if name in stored else "nothing"
            want = list(expected[name]) if name in expected else "nothing"
            raise CheckpointError(f"{path}, {name}: found {have}, config.yaml makes it {want}", remedy=_REMEDY)
    for name, tensor in stored.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}, {name}: holds values that are not finite", remedy=_REMEDY)
    return {name: tensor.float() for name, tensor in stored.items()}
