"""What a run leaves behind while it trains: log lines, grids, curves, snapshots, checkpoints. The leader alone writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stylescan.config import RunConfig, write_config
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import StylescanError
from stylescan.generate.sample import apportion
from stylescan.generate.snapshot import SnapshotMeta, save_snapshot
from stylescan.train.checkpoint import save_checkpoint
from stylescan.train.pictures import fake_grid, fake_images, real_grid, save_curves, save_grid
from stylescan.train.run_folder import RunFolder, read_log
from stylescan.train.state import TrainState


@dataclass(frozen=True)
class Recorder:
    """Writes one run's results into its folder. class_frequencies: [K] shares in the training images."""

    run: RunFolder
    dataset: PreparedDataset
    config: RunConfig
    class_frequencies: np.ndarray

    def begin(self, train_indices: np.ndarray) -> None:
        """A new run's configuration and its grid of real images."""
        self.run.log.unlink(missing_ok=True)
        write_config(self.run.config, self.config)
        save_grid(self.run.pictures / "reals.png", real_grid(self.dataset, train_indices, seed=self.config.seed))

    def line(self, state: TrainState, values: dict[str, Any]) -> None:
        """One line of log.jsonl at this moment."""
        self.run.append_log({"step": state.step, "nimg": state.nimg, **values})

    def grid(self, state: TrainState) -> None:
        """A grid of fakes at fixed latents."""
        images = fake_grid(state.G_ema, bits=self.dataset.bits)
        save_grid(self.run.pictures / f"fakes_{state.nimg:09d}.png", images)

    def curves(self) -> None:
        """Losses and scores so far."""
        if self.run.log.is_file():
            save_curves(self.run.pictures / "losses.png", read_log(self.run.log))

    def fakes(self, state: TrainState, n: int) -> np.ndarray:
        """n fakes at fixed latents, classes in their training shares: uint8 or uint16 [n, C, H, W]."""
        labels = [0] * n
        if self.dataset.num_classes:
            labels = apportion(self.class_frequencies.tolist(), n).tolist()
        return fake_images(state.G_ema, labels, bits=self.dataset.bits, noise="random")

    def checkpoint(self, state: TrainState, *, identity: dict[str, Any]) -> None:
        """A checkpoint of this moment, and the snapshot where no score chooses one; older ones are dropped."""
        try:
            # the snapshot first: a run killed in between comes back here, one killed after it needs nothing more
            if state.progress.best_nimg is None:
                self.snapshot(state)
            save_checkpoint(self.run.checkpoint(state.nimg), state, identity=identity)
        except OSError as problem:
            raise StylescanError(
                f"{self.run.path}: the checkpoint at {state.nimg / 1000:g} kimg could not be written "
                f"({problem.strerror})",
                remedy="Free space or restore permission, then repeat the command with --resume.",
            ) from None
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
            data_content_hash=data.content_hash,
            preparation_hash=data.preparation_hash,
            preset=self.config.preset,
            seed=self.config.seed,
            nimg=state.nimg,
        )
        save_snapshot(self.run.snapshot, state.G_ema, meta)
