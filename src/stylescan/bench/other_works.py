"""What surrounds training as pieces of work: reading, sampling, and the judging of images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stylescan.bench.rounds import Work
from stylescan.data.loader import BatchReader, ImageSource
from stylescan.errors import ConfigError
from stylescan.evaluate.features import get_extractor
from stylescan.evaluate.metrics import frechet_distance, kid
from stylescan.generate.frozen import frozen
from stylescan.generate.sample import NO_CLASS, batch_for, sample_batches
from stylescan.nets.protocols import Generator
from stylescan.randomness import numpy_generator

EXTRACTOR = "efficientnet-lite0"
JUDGED, COMPARED = 8, 256


def reading_work(source: ImageSource, indices: np.ndarray, *, batch: int) -> Work:
    """Batches in training's order, from the file to floats in [-1, 1]."""
    reader, position = BatchReader(source, indices, seed=0), [0]

    def read() -> None:
        reader.batch(position[0], batch)
        position[0] += batch

    return Work("read batches", "reading", batch, read, has_flops=False)


def sampling_work(G: Generator, *, bits: int) -> Work:
    """A batch of `generate` up to integers, which are not written; the copy made for sampling is not timed."""
    ready, k = frozen(G), G.spec.num_classes
    seeds = range(batch_for(G.spec.resolution))
    labels = [seed % k if k else NO_CLASS for seed in seeds]

    def sample() -> None:
        for _ in sample_batches(ready, seeds, labels, bits=bits, batch_size=len(seeds)):
            pass

    return Work("sample images", "sampling", len(seeds), sample)


def evaluation_works(source: ImageSource, indices: np.ndarray) -> tuple[list[Work], list[str]]:
    """Features by the default extractor, and KID and FD of two sets of them; what could not be had, in words."""
    rng = numpy_generator(0, "bench/features")
    x, y = (rng.standard_normal((COMPARED, 1280)).astype(np.float32) for _ in range(2))
    works = [
        Work("KID", "evaluation", COMPARED, lambda: kid(x, y), has_flops=False),
        Work("FD", "evaluation", COMPARED, lambda: frechet_distance(x, y), has_flops=False),
    ]
    try:
        extractor: Callable[[np.ndarray], np.ndarray] = get_extractor(EXTRACTOR)
    except ConfigError as problem:
        return works, [f"features not measured: {problem.message}"[:200]]
    images = source.read(np.resize(indices, JUDGED))
    return [Work("features", "evaluation", JUDGED, lambda: extractor(images)), *works], []
