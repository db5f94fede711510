"""The audit from end to end: search, test, positive control, power, the tests of the whole set, verdict and gallery."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.prepared import UNITS, PreparedDataset
from stylescan.data.symmetry import mirror_is_lawful
from stylescan.evaluate.cache import Progress
from stylescan.evaluate.material import Material, RealSet
from stylescan.evaluate.memorisation.authenticity import Likeness, likeness
from stylescan.evaluate.memorisation.copies import CopyTest, copy_test
from stylescan.evaluate.memorisation.distance import FLAT, Bank, Matches, Nearest, nearest_subjects, search_bank
from stylescan.evaluate.memorisation.gallery import closest, gallery_row
from stylescan.evaluate.memorisation.meehan import CopyingTest, copying_test
from stylescan.evaluate.memorisation.neighbours import SubjectDistances, subject_distances
from stylescan.evaluate.memorisation.planted import jittered
from stylescan.evaluate.memorisation.poses import Search, reduced, search_for
from stylescan.evaluate.memorisation.power import SHARE, SIZES, Power, number_planted, power_of_test
from stylescan.evaluate.memorisation.verdict import Findings, verdict
from stylescan.evaluate.parts import Part
from stylescan.evaluate.reference import thin_by_subject
from stylescan.randomness import numpy_generator

PLANTED_POOL = 100
MAX_ROWS = 4000  # training images among the rows of C_T
MANY_SUBJECTS = 2000  # more of them (groups of images, in truth), and the matrices of distances fill the memory
_BLOCK = 256


@dataclass(frozen=True)
class Searched:
    """Every training image `train` [N] of the dataset in the bank, and what was found for each set of queries."""

    train: NDArray[np.int64]
    bank: Bank
    generated: Matches
    held: Matches
    planted: Matches
    exact: NDArray[np.bool_]
    held_exact: int


def run(material: Material, progress: Progress | None) -> Part:
    """The part `audit` of the report. It always has `verdict`, `reason` and `ran`."""
    dataset = material.dataset
    train = dataset.indices("train")
    units = UNITS[dataset.manifest.claim]
    trained = len(np.unique(dataset.subjects[train]))
    if trained < 2:
        return Part(_without(f"The audit compares at least 2 training {units}; the data has {trained}."))
    searched = search_all(material, train, progress)
    generated, held, planted = (nearest_subjects(m) for m in (searched.generated, searched.held, searched.planted))
    test = copy_test(generated, held, material.holdout.subjects)
    powers = _powers(material, held, planted)
    copying, near = _as_a_whole(material, progress)
    exact = None if searched.held_exact else int(searched.exact.sum())
    control = float((planted.ratios < test.least).mean())
    found = Findings(test, powers[-1], copying, exact, control, units, material.holdout.num_subjects)
    word, reason = verdict(found)
    if units != "subjects":
        reason += f" The data names no subjects, so that this holds between {units}, not between people."
    values = {
        "verdict": word,
        "reason": reason,
        "ran": True,
        "units": units,
        "search": _search_values(searched.bank.search),
        "train": {"slices": len(train), "subjects": trained},
        "held_out": {"slices": len(held.ratios), "subjects": material.holdout.num_subjects},
        "copies": _test_values(test),
        "exact": {"generated": int(searched.exact.sum()), "held_out": searched.held_exact},
        "control": _control(generated, planted, held, material),
        "power": [_power_values(power) for power in powers],
        "ratios": {
            name: _spread(r) for name, r in (("generated", generated), ("held_out", held), ("planted", planted))
        },
        "ct": None if copying is None else {key: _rounded(getattr(copying, key)) for key in ("z", "nearer", "p")},
        "likeness": None if near is None else [_likeness_values(*entry) for entry in near],
    }
    return Part(values, _pictures(material, searched, generated, held))


def search_all(material: Material, train: NDArray[np.int64], progress: Progress | None) -> Searched:
    """Put all of `train` into a bank, and search it for generated, held-out and planted images alike."""
    dataset = material.dataset
    search = search_for(dataset.resolution, mirror=mirror_is_lawful(dataset.manifest))
    images, digests = _read(dataset, train, search.side, progress)
    known = set(digests)
    bank = Bank(images, dataset.subjects[train], search)
    held, held_digests = _read(dataset, material.holdout.indices, search.side, None)
    generated = material.generated.images
    copies = jittered(dataset.read(_to_plant(material, train)), numpy_generator(material.seed, "audit_jitter"))
    return Searched(
        train=train,
        bank=bank,
        generated=search_bank(bank, reduced(generated, search.side), progress=progress, what="audit: generated images"),
        held=search_bank(bank, held, progress=progress, what="audit: held-out images"),
        planted=search_bank(bank, reduced(copies, search.side), progress=progress, what="audit: planted copies"),
        exact=np.array([digest in known for digest in _digests(generated)], bool),
        held_exact=sum(digest in known for digest in held_digests),
    )


def _to_plant(material: Material, train: NDArray[np.int64]) -> NDArray[np.int64]:
    """Training images to copy: spread over the subjects, each at most once while there are enough."""
    wanted = max(PLANTED_POOL, number_planted(material.n))
    chosen = train[thin_by_subject(material.dataset.subjects[train], wanted, material.seed)]
    return numpy_generator(material.seed, "audit_plants").permutation(np.resize(chosen, wanted)).astype(np.int64)


def _read(
    dataset: PreparedDataset, positions: NDArray[np.int64], side: int, progress: Progress | None
) -> tuple[NDArray[np.uint16], list[bytes]]:
    """Images at `positions` reduced to `side`, and their digests; in blocks, so full-size ones never fill the memory."""
    out = np.empty((len(positions), side, side), np.uint16)
    digests: list[bytes] = []
    for low in range(0, len(positions), _BLOCK):
        block = dataset.read(positions[low : low + _BLOCK])
        out[low : low + len(block)] = reduced(block, side)
        digests += [digest for digest in _digests(block) if digest]
        if progress is not None:
            progress(low + len(block), len(positions), "audit: training images read")
    return out, digests


def _digests(images: NDArray[Any]) -> list[bytes]:
    """A hash of each image's pixels; empty for a blank image, which is nobody's."""
    spread = images.reshape(len(images), -1).std(axis=1, dtype=np.float64)
    blank = spread < FLAT * np.iinfo(images.dtype).max
    return [
        b"" if empty else hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        for image, empty in zip(images, blank)
    ]


def _powers(material: Material, held: Nearest, planted: Nearest) -> list[Power]:
    """For 10, 20 and 40 of the held-out subjects where there are more, and for all of them, last. Of groups of images,
    which hold one or two each, so few would say nothing."""
    subjects, n, seed = material.holdout.subjects, material.n, material.seed
    subject_wise = material.dataset.manifest.claim != "image-wise"
    fewer = [size for size in SIZES if subject_wise and size < material.holdout.num_subjects]
    return [power_of_test(held, subjects, planted, n=n, seed=seed, subjects=size) for size in (*fewer, None)]


def _control(generated: Nearest, planted: Nearest, held: Nearest, material: Material) -> dict[str, Any]:
    """Planted copies in the place of so many of the generated images: how many lie below every held-out image, and
    whether the verdict would have turned."""
    count = number_planted(material.n)
    test = copy_test(generated[count:].and_also(planted[:count]), held, material.holdout.subjects)
    return {"planted": count, "found": int((planted.ratios[:count] < test.least).sum()), "p": _rounded(test.p)}


def _as_a_whole(
    material: Material, progress: Progress | None
) -> tuple[CopyingTest | None, list[tuple[str, Likeness]] | None]:
    """C_T, and authenticity, DCR and NNDR of generated and of held-out images, all in feature space."""
    train, held = _spared(material), material.holdout
    features = np.concatenate([train.features, held.features])
    subjects = np.concatenate([train.subjects, held.subjects])
    nobody = np.full(material.n, "")
    real = subject_distances(features, subjects, features, subjects, progress=progress)
    generated = subject_distances(material.features, nobody, features, subjects, progress=progress)
    trained = np.isin(real.names, np.unique(train.subjects))
    # Held-out subjects may have been thinned; those of T take their turn in H's place with as many slices.
    rows = np.r_[
        thin_by_subject(train.subjects, min(MAX_ROWS, _like_held(train, held)), material.seed),
        len(train.subjects) + np.arange(len(held.subjects)),
    ]
    some = SubjectDistances(real.names, real.distances[rows], real.slices[rows])
    copying = copying_test(generated, some, subjects[rows], trained, material.seed)
    to_others = real.distances[: len(train.subjects), trained].min(axis=1)
    among = SubjectDistances(real.names[trained], generated.distances[:, trained], generated.slices[:, trained])
    own_place = slice(len(train.subjects), None)
    control = SubjectDistances(
        real.names[trained], real.distances[own_place][:, trained], real.slices[own_place][:, trained]
    )
    return copying, [("generated", likeness(among, to_others)), ("held_out", likeness(control, to_others))]


def _spared(material: Material) -> RealSet:
    """The training images for the tests of the whole set; fewer where they are of very many groups."""
    train = material.train
    if train.num_subjects <= MANY_SUBJECTS:
        return train
    kept = thin_by_subject(train.subjects, MAX_ROWS, material.seed)
    return RealSet(train.indices[kept], train.features[kept], train.subjects[kept], train.labels[kept])


def _like_held(train: RealSet, held: RealSet) -> int:
    """How many training images there are at as many a subject as are held out."""
    return round(len(held.subjects) / held.num_subjects * train.num_subjects)


def _pictures(material: Material, searched: Searched, generated: Nearest, held: Nearest) -> dict[str, Any]:
    def row(image: NDArray[Any], position: int, matches: Matches) -> dict[str, Any]:
        return gallery_row(image, position, matches, material.dataset, searched.train, searched.bank.search)

    shown, beside = closest(generated.ratios).tolist(), closest(held.ratios).tolist()
    read = material.dataset.read
    return {
        "generated": [row(material.generated.images[i], i, searched.generated) for i in shown],
        "held_out": [row(read(material.holdout.indices[i][None])[0], i, searched.held) for i in beside],
    }


def _without(reason: str) -> dict[str, Any]:
    return {"verdict": "cannot tell", "reason": reason, "ran": False}


def _search_values(search: Search) -> dict[str, Any]:
    turns = max(abs(angle) for _, angle in search.variants)
    return {"side": search.side, "shift_px": search.shift, "angle_deg": turns, "mirrored": len(search.mirrors) > 1}


def _test_values(test: CopyTest) -> dict[str, Any]:
    return {
        "n": test.n,
        "copies": test.copies,
        "least_held_out_ratio": _rounded(test.least),
        "evidence_by_person": _rounded(test.by_person),
        "evidence_by_image": _rounded(test.by_image),
        "p": _rounded(test.p),
    }


def _power_values(power: Power) -> dict[str, Any]:
    return {"subjects": power.subjects, "n": power.n, "planted": power.planted, "power": power.power, "share": SHARE}


def _likeness_values(name: str, scores: Likeness) -> dict[str, Any]:
    return {"name": name} | {key: _rounded(value) for key, value in vars(scores).items()}


def _spread(images: Nearest) -> dict[str, float]:
    ratios = images.ratios
    return {
        "least": _rounded(float(ratios.min())),
        "low": _rounded(float(np.quantile(ratios, 0.05))),
        "median": _rounded(float(np.median(ratios))),
    }


def _rounded(value: float) -> float:
    """Six significant digits: the last ones of a float depend on the machine."""
    return float(f"{value:.6g}")
