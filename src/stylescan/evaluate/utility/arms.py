"""The arms: the same classifier, trained for the same number of steps on different images, several seeds each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylescan.evaluate.cache import Progress
from stylescan.evaluate.utility.classic import augment
from stylescan.evaluate.utility.classifier import (
    Classifier,
    Labelled,
    Recipe,
    new_classifier,
    predict,
    train_classifier,
)
from stylescan.evaluate.utility.cohort import Cohort
from stylescan.files import write_bytes_atomic
from stylescan.randomness import derive_seed

VERSION = 1
SEEDS = 5


@dataclass(frozen=True)
class Arm:
    """What a classifier learns from."""

    name: str
    title: str
    real: bool
    generated: bool
    classic: bool = False


ARMS = (
    Arm("real", "Real", real=True, generated=False),
    Arm("real_classic", "Real, classic augmentation", real=True, generated=False, classic=True),
    Arm("generated", "Generated only", real=False, generated=True),
    Arm("real_generated", "Real and generated", real=True, generated=True),
)


def training_set(arm: Arm, cohort: Cohort, generated: Labelled | None) -> Labelled:
    """The images of `arm`. ValueError where it needs generated ones and there are none."""
    parts = [cohort.train] if arm.real else []
    if arm.generated:
        if generated is None:
            raise ValueError(f"arm {arm.name} needs generated images")
        parts.append(generated)
    return Labelled(
        torch.cat([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.subjects for part in parts]),
    )


def train_arms(
    arms: Sequence[Arm],
    cohort: Cohort,
    generated: Labelled | None,
    *,
    recipe: Recipe,
    seeds: int,
    seed: int,
    cache: Path | None,
    progress: Progress | None,
) -> dict[str, list[Classifier]]:
    """`seeds` classifiers an arm, by its name. Seed k starts every arm from the same weights.

    cache : folder for classifiers that saw real images alone, which the next report on this data needs again.
    Training is on one thread each, as many at once as torch may use threads: results do not depend on that number.
    """
    jobs = [(arm, number) for arm in arms for number in range(seeds)]
    sets = {arm.name: training_set(arm, cohort, generated) for arm in arms}
    keys = {arm.name: _key(arm, cohort, sets[arm.name], recipe) for arm in arms}

    def run(job: tuple[Arm, int]) -> Classifier:
        arm, number = job
        here = derive_seed(seed, "utility", number)
        file = None if cache is None or arm.generated else cache / f"classifier-{keys[arm.name]}-{here:x}.safetensors"
        return _trained(arm, cohort, sets[arm.name], recipe, here, file)

    done: dict[tuple[str, int], Classifier] = {}
    with _single_threads() as workers, _pool(workers) as start:
        for job, net in start(run, jobs):
            done[job[0].name, job[1]] = net
            if progress is not None:
                progress(len(done), len(jobs), "classifiers")
    return {arm.name: [done[arm.name, number] for number in range(seeds)] for arm in arms}


def _trained(arm: Arm, cohort: Cohort, data: Labelled, recipe: Recipe, seed: int, file: Path | None) -> Classifier:
    stored = None if file is None else _load(file, data.images, len(cohort.classes))
    if stored is not None:
        return stored
    change: Callable[[Tensor, torch.Generator], Tensor] | None = None
    if arm.classic:

        def change(images: Tensor, rng: torch.Generator) -> Tensor:
            return augment(images, cohort.flip, rng)

    net = train_classifier(data, cohort.select, len(cohort.classes), recipe=recipe, seed=seed, augment=change)
    if file is not None:
        _store(file, net)
    return net


def predict_all(nets: Sequence[Classifier], images: Tensor) -> NDArray[np.float64]:
    """Class probabilities [seeds, n, classes]."""
    with _single_threads():
        return np.stack([predict(net, images) for net in nets])


@contextmanager
def _single_threads() -> Iterator[int]:
    """One thread an operation, so that sums have one order on every machine; gives the number allowed before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


_Start = Callable[
    [Callable[[tuple[Arm, int]], Classifier], list[tuple[Arm, int]]], Iterator[tuple[tuple[Arm, int], Classifier]]
]


@contextmanager
def _pool(workers: int) -> Iterator[_Start]:
    """Jobs one after the other for one worker, else in threads (torch lets go of the interpreter while it computes)."""
    if workers == 1:
        yield lambda run, jobs: ((job, run(job)) for job in jobs)
        return
    pool = ThreadPoolExecutor(workers)

    def start(
        run: Callable[[tuple[Arm, int]], Classifier], jobs: list[tuple[Arm, int]]
    ) -> Iterator[tuple[tuple[Arm, int], Classifier]]:
        waiting = {pool.submit(run, job): job for job in jobs}
        for one in as_completed(waiting):
            yield waiting[one], one.result()

    try:
        yield start
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _key(arm: Arm, cohort: Cohort, data: Labelled, recipe: Recipe) -> str:
    """Hash of everything that decides a classifier but its seed: never a path, never the held-out images."""
    digest = hashlib.sha256()
    facts = {
        "version": VERSION,
        "torch": torch.__version__,
        "recipe": asdict(recipe),
        "classic": arm.classic,
        "flip": cohort.flip,
        "classes": len(cohort.classes),
    }
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for part in (data, cohort.select):
        if part is not None:
            digest.update(str(tuple(part.images.shape)).encode())
            digest.update(np.ascontiguousarray(part.images.numpy(), "<f4").tobytes())
            digest.update(part.labels.astype("<i8").tobytes())
    return digest.hexdigest()[:32]


def _store(file: Path, net: Classifier) -> None:
    from safetensors.torch import save

    weights = {name: value.contiguous() for name, value in net.state_dict().items()}
    try:
        write_bytes_atomic(file, save(weights, metadata={"sha256": _checksum(weights)}))
    except OSError:
        return  # a read-only or full disk costs time at the next call, not the result


def _load(file: Path, images: Tensor, classes: int) -> Classifier | None:
    """The classifier in `file`; None where there is none, or it does not fit or is damaged."""
    from safetensors import SafetensorError, safe_open

    net = new_classifier(images, classes, 0)
    try:
        with safe_open(file, framework="pt") as stored:
            weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
            checksum = (stored.metadata() or {}).get("sha256")
        if checksum != _checksum(weights):
            return None
        net.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError):
        return None
    return net.requires_grad_(False)


def _checksum(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name].numpy(), "<f4").tobytes())
    return digest.hexdigest()
