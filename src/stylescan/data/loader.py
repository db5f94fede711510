"""Batches as a pure function of the number of images already shown: resuming needs no iterator state."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stylescan.data.tensors import to_unit_range
from stylescan.errors import DataError
from stylescan.randomness import numpy_generator


class ImageSource(Protocol):
    """What the loader needs of a dataset."""

    @property
    def num_classes(self) -> int: ...
    @property
    def labels(self) -> np.ndarray: ...
    def read(self, indices: np.ndarray) -> np.ndarray: ...


class BatchReader:
    """Endless shuffled passes over chosen images.

    Parameters: dataset; indices: [n] the images to show, each once a pass; seed: fixes every pass's order.
    The image at position i of the endless stream belongs to pass i // n; its order depends on (seed, pass) alone.
    Raises DataError where `indices` is empty.
    """

    def __init__(self, dataset: ImageSource, indices: np.ndarray, *, seed: int) -> None:
        if len(indices) == 0:
            raise DataError(
                "the training split holds no images", remedy="Run prepare again with more subjects, or another split."
            )
        self.dataset = dataset
        self.indices = np.asarray(indices)
        self.seed = seed
        self._pass = -1
        self._order = self.indices

    def positions(self, nimg: int, batch: int) -> np.ndarray:
        """The dataset indices [batch] shown after `nimg` images; a batch may span passes."""
        n, chosen = len(self.indices), []
        for position in range(nimg, nimg + batch):
            number, offset = divmod(position, n)
            if number != self._pass:
                self._order = numpy_generator(self.seed, "reals", number).permutation(self.indices)
                self._pass = number
            chosen.append(self._order[offset])
        return np.array(chosen)

    def batch(self, nimg: int, batch: int, *, part: tuple[int, int] = (0, 1)) -> tuple[Tensor, Tensor]:
        """(images [n, C, H, W] float in [-1, 1], class indices int64 [n], -1 without) after `nimg` images.

        part: (k, m) reads every m-th image of the batch from the k-th on, n = batch / m, and no other.
        """
        index = self.positions(nimg, batch)[part[0] :: part[1]]
        return to_unit_range(self.dataset.read(index)), torch.from_numpy(self.dataset.labels[index])

    def close(self) -> None:
        """Let go of what reading holds: nothing here, a thread in readers that read ahead."""

    def class_frequencies(self) -> np.ndarray:
        """Share of each class among the chosen images [K] (empty without classes): what fakes are drawn from."""
        k = self.dataset.num_classes
        if k == 0:
            return np.zeros(0)
        counts = np.bincount(self.dataset.labels[self.indices], minlength=k)
        return np.asarray(counts / counts.sum())
