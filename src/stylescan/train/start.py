"""From a command to a configuration: a new run's from data and preset, a resumed run's from its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from stylescan.config import DataFingerprint, RunConfig, merge, read_config, validate_config
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import CheckpointError
from stylescan.runtime import Team
from stylescan.train.measure import Cost, measure_cost
from stylescan.train.run_folder import RunFolder, require_same
from stylescan.train.transfer_rules import InitSource


def fingerprint(dataset: PreparedDataset) -> DataFingerprint:
    """What a preset may depend on."""
    count = {split: len(dataset.indices(split)) for split in ("train", "select", "holdout")}
    train = dataset.indices("train")
    return DataFingerprint(
        content_hash=dataset.content_hash,
        preparation_hash=dataset.preparation_hash,
        resolution=dataset.resolution,
        channels=dataset.channels,
        bits=dataset.bits,
        class_names=dataset.class_names,
        class_images=tuple(int((dataset.labels[train] == k).sum()) for k in range(dataset.num_classes)),
        train_images=count["train"],
        select_images=count["select"],
        holdout_images=count["holdout"],
        claim=dataset.manifest.claim,
        plane=dataset.manifest.plane,
        symmetry=dataset.manifest.symmetry,
        sided=any(image.side is not None for image in dataset.manifest.images),
    )


def resumed_config(
    run: RunFolder,
    dataset: PreparedDataset,
    *,
    preset: str | None,
    kimg: float | None,
    overrides: Mapping[str, Any],
    source: InitSource | None = None,
) -> RunConfig:
    """The stored configuration, after checking it against the data and every option given again.

    Raises CheckpointError naming the first thing that differs, ConfigError where the stored file is damaged.
    """
    stored = read_config(run.config)
    if source is not None and source.hash != stored.transfer.source:
        found = "from scratch" if stored.transfer.source is None else f"from the model {stored.transfer.source[:12]}"
        raise CheckpointError(
            f"--init: this run was started {found}, not from {source.hash[:12]}",
            remedy="Leave --init out to continue this run, or start a new one in another --out.",
        )
    asked = merge(stored.model_dump(mode="json"), overrides)
    asked = merge(asked, {"data": fingerprint(dataset).model_dump(mode="json")})
    if preset is not None:
        asked["preset"] = preset
    if kimg is not None:
        asked = merge(asked, {"train": {"total_kimg": kimg}})
    require_same(stored, validate_config(asked, source="this command"))
    return stored


def freeze_minutes(
    minutes: float,
    build: Callable[[float | None], RunConfig],
    *,
    cost: Callable[[RunConfig], Cost],
    score_seconds: Callable[[RunConfig], float],
) -> RunConfig:
    """The configuration whose length fills `minutes` (> 0) on this machine: some steps are timed, then it is fixed.

    build: a function of total_kimg (None: the preset's own); cost: what a step takes (`measure_cost`); score_seconds:
    time of one score on `select`.
    """
    config = build(None)
    seconds = cost(config).seconds_per_image
    train = config.train
    scores = round(train.total_kimg / train.score_kimg) if train.score_kimg else 0
    left = max(minutes * 60 - scores * score_seconds(config), minutes * 30)
    # a few per cent for grids, checkpoints and curves
    kimg = 0.96 * left / seconds / 1000
    return build(max(round(kimg, 3), train.batch / 1000))


# How the leader of several processes tells the others what comes next; alone, the first only measures, the rest is free.


def lead_measurement(config: RunConfig, dataset: PreparedDataset, team: Team, device: torch.device) -> Cost:
    """Measure `config` with all processes of the team stepping together."""
    team.share({"measure": config.model_dump(mode="json")}, device)
    return measure_cost(config, dataset, device=device, team=team)


def lead_run(config: RunConfig, team: Team, device: torch.device) -> None:
    """Let the others build their Trainer of `config`; the leader's own follows."""
    team.share({"run": config.model_dump(mode="json")}, device)


def lead_nothing(team: Team, device: torch.device) -> None:
    """Send the others home."""
    team.share({}, device)
    team.disband()


def follow_leader(dataset: PreparedDataset, team: Team, device: torch.device) -> RunConfig | None:
    """Take part in measurements until the leader names the run to train, or None where there is none."""
    while True:
        order = team.share(None, device)
        if "measure" in order:
            measure_cost(validate_config(order["measure"], source="leader"), dataset, device=device, team=team)
            continue
        return validate_config(order["run"], source="leader") if "run" in order else None
