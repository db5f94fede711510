"""Which model a picture of w is of: one snapshot, or several checkpoints of one run. Anything else is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stylescan.errors import ConfigError
from stylescan.generate.checkpoint_generator import (
    is_checkpoint,
    list_checkpoints,
    load_checkpoint_generator,
    run_identity,
    run_of,
)
from stylescan.generate.edit import require_styles
from stylescan.generate.snapshot import Snapshot, load_snapshot

_REFUSAL = (
    "each training run finds its own w: axis 1 of one model has nothing to do with axis 1 of another, even where both "
    "were trained on the same data with the same settings"
)


@dataclass(frozen=True)
class OneModel:
    """`now`: the generator that is looked at. `stages`: the same network at several times, oldest first, or none."""

    now: Snapshot
    stages: tuple[Snapshot, ...] = ()


def open_model(targets: Sequence[Path], *, checkpoints: str | None = None) -> OneModel:
    """The one model that `targets` (runs, snapshots or checkpoint folders) name.

    checkpoints : 'all' or a number: also so many checkpoints of the run, spread over it, the last always among them.

    Raises ConfigError where the targets are not one model's, it has no w, or `checkpoints` is not understood.
    """
    if not targets:
        raise ConfigError("embed: no model given", remedy="Give a run folder or a snapshot folder.")
    model = _open(targets, checkpoints)
    require_styles(model.now.generator, "embed")
    return model


def _open(targets: Sequence[Path], checkpoints: str | None) -> OneModel:
    if checkpoints is not None:
        if len({path.resolve() for path in targets}) > 1:
            _refuse(targets)
        chosen = _choose(list_checkpoints(targets[0]), checkpoints)
        return _of_stages(chosen)
    if all(is_checkpoint(path) for path in targets):
        return _of_stages(_one_run(targets))
    opened = [load_checkpoint_generator(path) if is_checkpoint(path) else load_snapshot(path) for path in targets]
    if len({snapshot.model_hash for snapshot in opened}) > 1:
        _refuse(targets)
    return OneModel(opened[0])


def _of_stages(folders: Sequence[Path]) -> OneModel:
    stages = tuple(load_checkpoint_generator(folder) for folder in folders)
    return OneModel(stages[-1], stages if len(stages) > 1 else ())


def _one_run(targets: Sequence[Path]) -> list[Path]:
    """The checkpoint folders in the order of training, if they are of one run."""
    folders = sorted({path.resolve() for path in targets}, key=lambda path: path.name)
    if len({(run_of(folder), run_identity(folder)) for folder in folders}) > 1:
        _refuse(targets)
    return folders


def _choose(folders: list[Path], checkpoints: str) -> list[Path]:
    if checkpoints == "all":
        return folders
    if not (checkpoints.isascii() and checkpoints.isdecimal() and 1 <= int(checkpoints) < 10_000):
        raise ConfigError(
            f"checkpoints: found {checkpoints!r}, expected 'all' or a number from 1 up", remedy="Give for instance all."
        )
    n, last = min(int(checkpoints), len(folders)), len(folders) - 1
    return [folders[round(last - k * last / max(n - 1, 1))] for k in reversed(range(n))]


def _refuse(targets: Sequence[Path]) -> None:
    names = ", ".join(str(path) for path in targets)
    raise ConfigError(
        f"w of different models in one picture ({names}): {_REFUSAL}",
        remedy="Make one figure a model, in an --out of its own, and compare numbers that do not depend on axes (the "
        "probes beside the pictures). To follow one run, give it with --checkpoints all.",
    )
