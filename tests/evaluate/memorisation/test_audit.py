"""The audit from end to end on virtual people: new people pass, planted copies and exact copies fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset
from stylescan.evaluate.judge import SYNTHETIC
from stylescan.evaluate.material import Material, gather
from stylescan.evaluate.memorisation.audit import run
from stylescan.evaluate.memorisation.copies import CopyTest
from stylescan.evaluate.memorisation.gallery import closest, difference
from stylescan.evaluate.memorisation.meehan import CopyingTest
from stylescan.evaluate.memorisation.planted import jittered
from stylescan.evaluate.memorisation.power import Power
from stylescan.evaluate.memorisation.verdict import Findings, p_text, power_text, verdict
from stylescan.evaluate.targets import Generated


@dataclass
class Given:
    """A target that has these images."""

    stack: NDArray[Any]
    log: Path | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def available(self) -> int | None:
        return len(self.stack)

    def describe(self) -> dict[str, Any]:
        return {"kind": "folder", "images_in_folder": len(self.stack)}

    def images(self, n: int, seed: int, progress: Any) -> Generated:
        return Generated(self.stack[:n], np.full(n, -1, np.int64))

    def untrained(self, n: int, seed: int, progress: Any) -> None:
        return None


class Blocks:
    """Means of 8 x 8 blocks of a 32-px image."""

    name, hash, dim = "blocks", "d" * 64, 16

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        return images.reshape(len(images), 4, 8, 4, 8).mean(axis=(2, 4)).reshape(len(images), -1).astype(np.float32)


Make = Callable[..., PreparedDataset]


@pytest.fixture
def dataset(make_dataset: Make, people: Any, tmp_path: Path) -> PreparedDataset:
    """40 training and 24 held-out people of 6 slices each, 32 px."""
    images, subjects = people(64, 6, 1)
    splits = np.repeat(["train"] * 40 + ["holdout"] * 24, 6).tolist()
    return make_dataset(tmp_path / "data", images, subjects.tolist(), splits)


def material(dataset: PreparedDataset, images: NDArray[Any], seed: int = 0) -> Material:
    return gather(Given(images), dataset, Blocks(), n=None, seed=seed, full=False, progress=None)


@pytest.fixture
def new_people(people: Any) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = people(144, 1, 2)[0]
    return images


def test_new_people_pass_and_the_control_is_found(dataset: PreparedDataset, new_people: Any) -> None:
    seen: list[tuple[int, int, str]] = []
    part = run(material(dataset, new_people), lambda *event: seen.append(event))
    values = part.values
    assert values["verdict"] == "pass"
    assert values["ran"] is True
    assert "No evidence of copying at power" in values["reason"]
    assert "private" not in values["reason"]
    assert values["power"][-1]["power"] >= 0.8
    assert values["control"]["found"] == values["control"]["planted"] == 1
    assert [row["subjects"] for row in values["power"]] == [10, 20, 24]
    assert values["train"] == {"slices": 240, "subjects": 40}
    assert values["exact"] == {"generated": 0, "held_out": 0}
    assert values["ratios"]["planted"]["median"] < values["ratios"]["held_out"]["least"]
    assert {what for _, _, what in seen} >= {"audit: generated images", "audit: held-out images"}
    json.dumps(values, allow_nan=False)
    for name in ("generated", "held_out"):
        ratios = [row["ratio"] for row in part.pictures[name]]
        assert len(ratios) == 6
        assert ratios == sorted(ratios)
        assert ratios[0] == pytest.approx(values["ratios"][name]["least"], abs=1e-4)


def test_jittered_training_slices_fail(dataset: PreparedDataset, new_people: Any) -> None:
    rng = np.random.default_rng(9)
    copies = jittered(dataset.read(rng.choice(240, 6, replace=False)), rng)
    part = run(material(dataset, np.concatenate([new_people[:138], copies])), None)
    assert part.values["verdict"] == "fail"
    assert part.values["copies"]["copies"] >= 5
    assert part.values["copies"]["p"] <= 0.01
    assert "of 144 generated images are nearer to one of the training subjects" in part.values["reason"]
    assert part.pictures["generated"][0]["ratio"] < part.values["copies"]["least_held_out_ratio"]


def test_one_exact_training_image_is_a_fail_whatever_the_power(dataset: PreparedDataset, new_people: Any) -> None:
    part = run(material(dataset, np.concatenate([new_people[:143], dataset.read([7])])), None)
    assert part.values["verdict"] == "fail"
    assert "1 of 144 generated images equals a training image" in part.values["reason"]
    few = run(material(dataset, np.concatenate([dataset.read([7]), new_people[:11]])), None)
    assert few.values["verdict"] == "fail"


def test_blank_images_are_nobodys_copies(make_dataset: Make, people: Any, tmp_path: Path, new_people: Any) -> None:
    images, subjects = people(30, 4, 1)
    images[[0, 100]] = 0
    blank = make_dataset(tmp_path / "b", images, subjects.tolist(), ["train"] * 80 + ["holdout"] * 40)
    part = run(material(blank, np.concatenate([images[:1], new_people[:39]])), None)
    assert part.values["exact"] == {"generated": 0, "held_out": 0}
    assert part.values["verdict"] != "fail"


def test_held_out_copies_of_training_make_exactness_no_proof(
    make_dataset: Make, people: Any, tmp_path: Path, new_people: Any
) -> None:
    images, subjects = people(30, 4, 1)
    images[90] = images[3]  # the same picture under two names, on both sides of the split
    leaky = make_dataset(tmp_path / "l", images, subjects.tolist(), ["train"] * 80 + ["holdout"] * 40)
    part = run(material(leaky, np.concatenate([images[:1], new_people[:39]])), None)
    assert part.values["exact"] == {"generated": 1, "held_out": 1}
    assert part.values["verdict"] == "cannot tell"
    assert "the same people stand on both sides" in part.values["reason"]


def test_few_held_out_subjects_cannot_tell(make_dataset: Make, people: Any, tmp_path: Path, new_people: Any) -> None:
    images, subjects = people(43, 6, 1)
    few = make_dataset(tmp_path / "few", images, subjects.tolist(), ["train"] * 240 + ["holdout"] * 18)
    values = run(material(few, new_people), None).values
    assert values["verdict"] == "cannot tell"
    assert "3 held-out subjects are too few" in values["reason"]
    assert values["power"][-1]["power"] < 0.8


def test_one_training_subject_cannot_be_audited(make_dataset: Make, people: Any, tmp_path: Path) -> None:
    images, subjects = people(4, 4, 1)
    lone = make_dataset(tmp_path / "lone", images, subjects.tolist(), ["train"] * 4 + ["holdout"] * 12)
    values = run(material(lone, images[:12]), None).values
    assert (values["verdict"], values["ran"]) == ("cannot tell", False)


def test_image_wise_data_claims_no_more(dataset: PreparedDataset, new_people: Any) -> None:
    dataset.manifest = dataset.manifest.model_copy(update={"claim": "image-wise"})
    values = run(material(dataset, new_people), None).values
    assert values["units"] == "groups of similar images"
    assert [row["subjects"] for row in values["power"]] == [24]
    assert values["reason"].endswith(
        "The data names no subjects, so that this holds between groups of similar images, not between people."
    )


def test_equal_inputs_give_equal_values_and_order_is_nothing(dataset: PreparedDataset, new_people: Any) -> None:
    one = run(material(dataset, new_people), None)
    assert one == run(material(dataset, new_people), None)
    reversed_order = run(material(dataset, new_people[::-1].copy()), None).values
    assert reversed_order["copies"] == one.values["copies"]
    assert reversed_order["ratios"] == one.values["ratios"]
    assert reversed_order["ct"] == one.values["ct"]


def test_deep_images_of_several_channels(make_dataset: Make, people: Any, tmp_path: Path) -> None:
    images, subjects = people(30, 4, 1)
    deep = np.repeat(images, 2, axis=1).astype(np.uint16) * 257
    data = make_dataset(tmp_path / "deep", deep, subjects.tolist(), ["train"] * 80 + ["holdout"] * 40)

    class First(Blocks):
        def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
            return super().__call__(images[:, :1])

    copies = jittered(data.read(np.arange(0, 80, 2)), np.random.default_rng(0))
    made = gather(Given(copies), data, First(), n=None, seed=0, full=False, progress=None)
    part = run(made, None)
    assert part.values["copies"]["copies"] >= 38


def test_template_shows_every_value_and_escapes(dataset: PreparedDataset, new_people: Any) -> None:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from stylescan.evaluate.words import number, ratio

    environment = Environment(
        loader=PackageLoader("stylescan.evaluate", "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"number": number, "ratio": ratio}
    template = environment.get_template("parts/audit.html.j2")
    part = run(material(dataset, new_people), None)
    page = template.render(report={"notice": SYNTHETIC}, part=part.values, pictures=part.pictures)
    assert page.count('<figure class="row">') == 12
    assert "1 of 1" in page
    assert "script" not in page
    marked = part.values | {"reason": "<b>"}
    assert "&lt;b&gt;" in template.render(report={}, part=marked, pictures=part.pictures)
    refused = {"verdict": "cannot tell", "reason": "no", "ran": False}
    assert "Cannot tell" in template.render(report={}, part=refused, pictures={})


PASSING = Findings(
    CopyTest(n=2000, copies=0, least=0.7, by_person=0.0, by_image=0.0, p=1.0),
    Power(subjects=40, n=2000, planted=20, power=0.99),
    CopyingTest(z=-1.0, nearer=0.5, p=0.3),
    exact=0,
    control=1.0,
    subjects="subjects",
    held=40,
)


@pytest.mark.parametrize(
    ("change", "word", "said"),
    [
        ({}, "pass", "at power above 0.98: had 1% of the images (20 of 2,000)"),
        ({"exact": 2}, "fail", "2 of 2,000 generated images equal a training image"),
        ({"exact": None}, "pass", "No evidence"),
        ({"p": 0.01, "copies": 5}, "fail", "5 of 2,000 generated images are nearer"),
        ({"p": 0.05, "copies": 1}, "warn", "1 of 2,000 generated images is nearer"),
        ({"p": 0.051, "copies": 3}, "pass", "real images of new people are so too (p = 0.051)"),
        ({"copying": CopyingTest(-20.0, 0.9, 0.005)}, "warn", "No single image stands out"),
        ({"copying": None}, "pass", "No evidence"),
        ({"power": Power(12, 600, 6, 0.15), "held": 12}, "cannot tell", "only 0.15. 12 held-out subjects are too few"),
        (
            {"power": Power(12, 600, 6, 0.15), "control": 0.4},
            "cannot tell",
            "Some held-out images are themselves as near",
        ),
        ({"power": Power(12, 600, 6, 0.15), "p": 0.001, "copies": 9}, "fail", "9 of 2,000"),
    ],
)
def test_verdicts(change: dict[str, Any], word: str, said: str) -> None:
    of_test = {key: change[key] for key in ("p", "copies") if key in change}
    rest = {key: value for key, value in change.items() if key not in of_test}
    found = replace(PASSING, test=replace(PASSING.test, **of_test), **rest)
    answer, reason = verdict(found)
    assert answer == word
    assert said in reason
    assert "private" not in reason


def test_small_parts() -> None:
    assert [p_text(p) for p in (0.0001, 0.0123, 1.0)] == ["less than 0.001", "0.012", "1"]
    assert [power_text(p) for p in (1.0, 0.985, 0.98, 0.8)] == ["above 0.98", "above 0.98", "0.98", "0.80"]
    assert closest(np.array([0.5, 0.1, 0.5, 0.3]), 3).tolist() == [1, 3, 0]
    image = np.random.default_rng(0).integers(0, 200, (1, 8, 8)).astype(np.uint8)
    assert difference(image, image // 2 * 2).max() <= 1
    assert (difference(image, np.zeros_like(image)) > 0).any()  # a flat image explains nothing


def test_jitter_stays_within_what_it_promises() -> None:
    base = np.zeros((200, 1, 64, 64), np.uint8)
    base[:, :, 28:36, 28:36] = 150
    copies = jittered(base, np.random.default_rng(0)).astype(float)
    weight = np.where(copies > 60, copies, 0)[:, 0]
    y = (weight.sum(axis=2) * np.arange(64)).sum(axis=1) / weight.sum(axis=(1, 2)) - 31.5
    x = (weight.sum(axis=1) * np.arange(64)).sum(axis=1) / weight.sum(axis=(1, 2)) - 31.5
    assert 2.5 < np.abs(y).max() < 3.4
    assert 2.5 < np.abs(x).max() < 3.4
    flat = np.full((200, 1, 64, 64), 150, np.uint8)
    middle = jittered(flat, np.random.default_rng(2)).mean(axis=(1, 2, 3)) / 150
    assert 0.895 < middle.min() < 0.92
    assert 1.08 < middle.max() < 1.105
    level = np.full((20, 1, 64, 64), 128, np.uint8)
    assert jittered(level, np.random.default_rng(1)).std(axis=(2, 3)).mean() == pytest.approx(0.02 * 255, rel=0.03)
