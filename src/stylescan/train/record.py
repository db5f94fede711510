"""What a run leaves behind while it trains: log lines, grids, curves, snapshots, checkpoints. The leader alone writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stylescan.config import RunConfig, write_config
from stylescan.data.prepared import PreparedDataset
from stylescan.files import storage_error, write_bytes_atomic, write_json_atomic
from stylescan.generate.sample import apportion
from stylescan.generate.snapshot import SnapshotMeta, save_snapshot
from stylescan.generate.value_range import training_range
from stylescan.train.checkpoint import save_checkpoint
from stylescan.train.pictures import fake_grid, fake_images, real_grid, save_grid
from stylescan.train.run_charts import loss_chart, terms_of
from stylescan.train.run_folder import AGAIN, RunFolder, read_log
from stylescan.train.state import TrainState
from stylescan.train.transfer import TransferPlan


@dataclass(frozen=True)
class Recorder:
    """Writes one run's results into its folder. class_frequencies: [K] shares in the training images."""

    run: RunFolder
    dataset: PreparedDataset
    config: RunConfig
    class_frequencies: np.ndarray

    def begin(self, transfer: TransferPlan | None = None) -> None:
        """A new run's configuration, and what it takes of another model."""
        try:
            self.run.log.unlink(missing_ok=True)
            if transfer is not None:
                write_json_atomic(self.run.transfer, transfer.record())
            write_config(self.run.config, self.config)
        except OSError as problem:
            raise storage_error("the run's configuration", problem, then="repeat the command.") from None

    def reals(self, train_indices: np.ndarray) -> None:
        """A grid of real images."""
        columns, rows = self.config.train.grid_columns, self.config.train.grid_rows
        images = real_grid(self.dataset, train_indices, seed=self.config.seed, columns=columns, rows=rows)
        save_grid(self.run.pictures / "reals.png", images, columns=columns)

    def line(self, state: TrainState, values: dict[str, Any]) -> None:
        """One line of log.jsonl at this moment."""
        self.run.append_log({"step": state.step, "nimg": state.nimg, **values})

    def grid(self, state: TrainState) -> None:
        """A grid of fakes at fixed latents."""
        columns, rows = self.config.train.grid_columns, self.config.train.grid_rows
        images = fake_grid(state.G_ema, bits=self.dataset.bits, columns=columns, rows=rows)
        save_grid(self.run.pictures / f"fakes_{state.nimg:09d}.png", images, columns=columns)

    def curves(self) -> None:
        """Losses and scores so far."""
        log = read_log(self.run.log) if self.run.log.is_file() else []
        if terms_of(log):
            title = f"{self.config.preset}: {self.config.model.family}, {self.config.objective.loss}"
            write_bytes_atomic(self.run.pictures / "losses.png", loss_chart(log, title))

    def fakes(self, state: TrainState, n: int) -> np.ndarray:
        """n fakes at fixed latents, classes in their training shares: uint8 or uint16 [n, C, H, W]."""
        labels = [0] * n
        if self.dataset.num_classes:
            labels = apportion(self.class_frequencies.tolist(), n).tolist()
        return fake_images(state.G_ema, labels, bits=self.dataset.bits, noise="random")

    def checkpoint(self, state: TrainState, *, identity: dict[str, Any], good: bool) -> None:
        """A checkpoint of this moment, and the snapshot where no score chooses one; older ones are dropped.

        good: whether the run is in good health; a sick one's generator does not replace the snapshot of a sound one.
        """
        try:
            # the snapshot first: a run killed in between comes back here, one killed after it needs nothing more
            if state.progress.best_nimg is None and (good or not self.run.snapshot.is_dir()):
                self.snapshot(state)
            save_checkpoint(self.run.checkpoint(state.nimg), state, identity=identity, good=good)
        except OSError as problem:
            raise storage_error(f"the checkpoint at {state.nimg / 1000:g} kimg", problem, then=AGAIN) from None
        self.run.prune(keep=self.config.train.keep_checkpoints, best_nimg=state.progress.best_nimg)

    def snapshot(self, state: TrainState) -> None:
        """The shareable generator."""
        data, manifest = self.dataset, self.dataset.manifest
        meta = SnapshotMeta(
            family=self.config.model.family,
            spec=self.config.spec.model_dump(mode="json"),
            class_names=list(data.class_names),
            class_frequencies=self.class_frequencies.tolist(),
            bits=data.bits,
            plane=manifest.plane,
            geometry=data.output_geometry().model_dump(mode="json"),
            values=training_range(manifest),
            data_content_hash=data.content_hash,
            preparation_hash=data.preparation_hash,
            preset=self.config.preset,
            seed=self.config.seed,
            nimg=state.nimg,
        )
        try:
            save_snapshot(self.run.snapshot, state.G_ema, meta)
        except OSError as problem:
            raise storage_error("the snapshot", problem, then=AGAIN) from None
