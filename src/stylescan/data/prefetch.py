"""Reading ahead: the next batch comes from disk while a device of its own computes the step.

On a CPU it would gain nothing. A batch takes 0.04-0.7 ms to read (22,000-145,000 images/s from memory-mapped shards),
a three-thousandth of a small net's step, and a second thread would share the step's cores.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from stylescan.data.loader import BatchReader, ImageSource

Batch = tuple[Tensor, Tensor]
Key = tuple[int, int, tuple[int, int]]  # nimg, batch, part


def reader_for(device: torch.device, dataset: ImageSource, indices: np.ndarray, *, seed: int) -> BatchReader:
    """The reader that suits `device`: a plain one on a CPU, elsewhere one that reads ahead.

    Its batches are tensors on the CPU in either case, in pinned memory for CUDA: copy them with `non_blocking=True`.
    """
    if device.type == "cpu":
        return BatchReader(dataset, indices, seed=seed)
    return PrefetchingReader(dataset, indices, seed=seed, pin=device.type == "cuda")


class PrefetchingReader(BatchReader):
    """A `BatchReader` that, in one thread, reads the batch that follows the one just given: the same bits, sooner.

    Any other batch (after a resume, a roll back, or at a level of another batch size) is read when it is asked for. An
    error of the thread is raised by the call that asks for that batch, with its own type. The thread starts with the
    first batch and ends with `close`, or with the reader itself. For use from one thread.

    Parameters: as `BatchReader`; pin: put the images in page-locked memory, from which CUDA copies beside the step.
    """

    def __init__(self, dataset: ImageSource, indices: np.ndarray, *, seed: int, pin: bool = False) -> None:
        super().__init__(dataset, indices, seed=seed)
        self._pin = pin
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: tuple[Key, Future[Batch]] | None = None

    def batch(self, nimg: int, batch: int, *, part: tuple[int, int] = (0, 1)) -> Batch:
        """As `BatchReader.batch`; then begins to read the batch after it."""
        key = (nimg, batch, part)
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != key:
            if ahead is not None:
                ahead[1].cancel()
            ahead = key, self._submit(key)
        result = ahead[1].result()
        following = (nimg + batch, batch, part)
        self._ahead = following, self._submit(following)
        return result

    def close(self) -> None:
        """End the thread, after the read it is at; a further `batch` starts another."""
        thread, self._thread, self._ahead = self._thread, None, None
        if thread is not None:
            thread.shutdown(wait=True, cancel_futures=True)

    def _submit(self, key: Key) -> Future[Batch]:
        # every read is the thread's, misses too: the base class remembers the order of a pass, which two must not share
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stylescan-reader")
        return self._thread.submit(self._read, key)

    def _read(self, key: Key) -> Batch:
        nimg, batch, part = key
        images, labels = super().batch(nimg, batch, part=part)
        return images.pin_memory() if self._pin else images, labels
