"""Both parts from end to end: what a perfect and a useless generator score, what is refused, what is never looked at."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylescan.evaluate.material import Material
from stylescan.evaluate.utility import arms
from stylescan.evaluate.utility.arms import ARMS, train_arms, training_set
from stylescan.evaluate.utility.benefit import utility_values
from stylescan.evaluate.utility.classifier import Recipe
from stylescan.evaluate.utility.cohort import gather_cohort
from stylescan.evaluate.utility.fidelity import fidelity_values
from stylescan.evaluate.utility.figure import arms_uri

TINY = Recipe(steps=2, batch=16, checks=1)
NAMES = ("disc", "square", "ring")


@pytest.fixture(scope="module")
def conditional(twins: Material, quick: Recipe) -> dict[str, Any]:
    return fidelity_values(twins, recipe=quick, seeds=2)


@pytest.fixture(scope="module")
def utility(twins: Material, quick: Recipe) -> dict[str, Any]:
    return utility_values(twins, recipe=quick, seeds=2)


def arm(values: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in values["arms"] if row["name"] == name)


def auc(values: dict[str, Any], name: str) -> float:
    return float(arm(values, name)["scores"]["auc"]["value"])


# -- what is found --------------------------------------------------------------------------------------------------


def test_a_perfect_generator_teaches_and_shows_as_much_as_real_images(
    conditional: dict[str, Any], utility: dict[str, Any]
) -> None:
    assert auc(utility, "real") > 0.95
    assert auc(utility, "generated") > 0.95
    assert utility["tstr_share"]["value"] == pytest.approx(1, abs=0.1)
    assert conditional["generated"]["scores"]["balanced_accuracy"]["value"] > 0.9
    assert arm(utility, "trts")["scores"]["accuracy"] == conditional["generated"]["scores"]["accuracy"]
    assert [row["real_images"] for row in utility["arms"]] == [120, 120, 0, 120, 120]
    assert [row["generated_images"] for row in utility["arms"]] == [0, 0, 120, 120, 0]
    assert utility["test"] == {"n": 48, "subjects": 12}
    assert utility["chance"] == {"auc": 0.5, "balanced_accuracy": 0.5, "majority_accuracy": 0.5}
    for rows in conditional["confusion"].values():
        assert [sum(row["shares"]) for row in rows] == pytest.approx([1, 1])
        assert all(row["shares"][k] > 0.8 for k, row in enumerate(rows))


def test_shuffled_classes_teach_nothing(
    twins: Material, quick: Recipe, tmp_path: Path, new_folder: Any, material_of: Any, shapes_by: Any
) -> None:
    # Of either class, half are discs and half squares.
    folder = new_folder(
        tmp_path / "made", shapes_by(np.arange(120) % 2, 1), [NAMES[k] for k in np.arange(120) // 2 % 2]
    )
    material = material_of(folder, twins.dataset)
    values = utility_values(material, recipe=quick, seeds=2)
    assert auc(values, "real") > 0.95
    assert abs(auc(values, "generated") - 0.5) < 0.2
    assert auc(values, "trts") == pytest.approx(0.5, abs=0.1)
    fidelity = fidelity_values(material, recipe=quick, seeds=2)
    low_high = fidelity["generated"]["scores"]["balanced_accuracy"]["interval"]
    assert low_high["low"] < 0.5 < low_high["high"]
    assert fidelity["difference"]["interval"]["high"] < 0
    assert "less clearly" in fidelity["sentences"][1]


def test_depth_that_gives_the_class_away_is_said(
    tmp_path: Path, new_dataset: Any, new_folder: Any, material_of: Any, shapes_by: Any
) -> None:
    labels = np.arange(40) % 2
    folder = new_folder(tmp_path / "made", shapes_by(labels, 1), [NAMES[k] for k in labels])
    planted = new_dataset(tmp_path / "planted", [0, 1], depths=lambda label, number: 0.2 + 0.1 * number + 0.35 * label)
    found = fidelity_values(material_of(folder, planted), recipe=TINY, seeds=2)
    assert found["depth"]["scores"]["auc"]["value"] > 0.8
    assert "gives the class away" in found["sentences"][-1]
    fair = new_dataset(tmp_path / "fair", [0, 1], depths=lambda label, number: 0.2 + 0.1 * number)
    found = fidelity_values(material_of(folder, fair), recipe=TINY, seeds=2)
    assert found["depth"]["scores"]["auc"]["value"] == 0.5
    assert "no sign" in found["sentences"][-1]


def test_unknown_depth_is_said(twins: Material) -> None:
    unknown = [image.model_copy(update={"slice": None}) for image in twins.dataset.manifest.images]
    dataset = type(twins.dataset).open(twins.dataset.path)
    dataset.manifest = dataset.manifest.model_copy(update={"images": unknown})
    found = fidelity_values(dataclasses.replace(twins, dataset=dataset), recipe=TINY, seeds=1)
    assert found["depth"] == {"ran": False, "reason": found["sentences"][-1]}
    assert "depth" in found["sentences"][-1]


def test_a_classifier_no_better_than_chance_allows_no_conclusion(
    tmp_path: Path, new_dataset: Any, new_folder: Any, material_of: Any, shapes_by: Any
) -> None:
    # Every subject shows discs, whatever its class.
    data = new_dataset(tmp_path / "d", [0, 1], images=lambda each: shapes_by(each * 0, 0))
    labels = np.arange(40) % 2
    folder = new_folder(tmp_path / "made", shapes_by(labels, 1), [NAMES[k] for k in labels])
    material = material_of(folder, data)
    assert "nothing can be concluded" in fidelity_values(material, recipe=TINY, seeds=2)["sentences"][0]
    values = utility_values(material, recipe=TINY, seeds=2)
    assert len(values["sentences"]) == 1
    assert "nothing can be concluded" in values["sentences"][0]
    assert values["tstr_share"] is None


# -- what is never looked at ------------------------------------------------------------------------------------------


def test_held_out_classes_change_no_classifier(twins: Material) -> None:
    def weights(material: Material) -> list[torch.Tensor]:
        cohort = gather_cohort(material)
        nets = train_arms(ARMS, cohort, cohort.train, recipe=TINY, seeds=1, seed=0, cache=None, progress=None)
        return [value for trained in nets.values() for value in trained[0].state_dict().values()]

    dataset = type(twins.dataset).open(twins.dataset.path)
    held = dataset.indices("holdout")
    dataset.labels[held] = 1 - dataset.labels[held]
    mutated = dataclasses.replace(twins, dataset=dataset)
    assert (gather_cohort(mutated).test.labels != gather_cohort(twins).test.labels).all()
    assert all(torch.equal(a, b) for a, b in zip(weights(twins), weights(mutated), strict=True))


def test_no_arm_trains_on_select_or_held_out_subjects(twins: Material) -> None:
    cohort = gather_cohort(twins)
    dataset = twins.dataset
    allowed = set(dataset.subjects[dataset.indices("train")])
    for each in ARMS:
        data = training_set(each, cohort, dataclasses.replace(cohort.train, subjects=np.array(["made"] * 120)))
        assert set(data.subjects) <= allowed | {"made"}
        assert ("made" in data.subjects) == each.generated
        assert bool(allowed & set(data.subjects)) == each.real
    assert set(cohort.select.subjects) == set(dataset.subjects[dataset.indices("select")])
    assert set(cohort.test.subjects) == set(dataset.subjects[dataset.indices("holdout")])


# -- the same again ---------------------------------------------------------------------------------------------------


def test_equal_inputs_give_equal_values_with_and_without_stored_classifiers(
    twins: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stored in (twins.dataset.path / "cache").glob("classifier-*"):
        stored.unlink()
    first = utility_values(twins, recipe=TINY, seeds=2)
    assert len(list((twins.dataset.path / "cache").glob("classifier-*"))) == 4  # two arms of real images, two seeds
    trained: list[int] = []
    real_training = arms.train_classifier

    def counting(*args: Any, **options: Any) -> Any:
        trained.append(options["seed"])
        return real_training(*args, **options)

    monkeypatch.setattr(arms, "train_classifier", counting)
    again = utility_values(twins, recipe=TINY, seeds=2)
    assert len(trained) == 4
    assert json.dumps(first, sort_keys=True) == json.dumps(again, sort_keys=True)
    # A damaged file is trained again; another recipe never meets it.
    for stored in (twins.dataset.path / "cache").glob("classifier-*"):
        content = bytearray(stored.read_bytes())
        content[-1] ^= 255
        stored.write_bytes(content)
    trained.clear()
    assert json.dumps(utility_values(twins, recipe=TINY, seeds=2)) == json.dumps(first)
    assert len(trained) == 8
    trained.clear()
    fidelity_values(twins, recipe=TINY, seeds=2)
    assert not trained
    fidelity_values(twins, recipe=dataclasses.replace(TINY, dropout=0.5), seeds=1)
    assert len(trained) == 1


def test_progress_reaches_its_total(twins: Material) -> None:
    seen: list[tuple[int, int]] = []
    utility_values(
        twins,
        recipe=TINY,
        seeds=2,
        progress=lambda done, total, what: seen.append((done, total)) if what == "classifiers" else None,
    )
    assert seen == [(k + 1, 8) for k in range(8)]


# -- the page --------------------------------------------------------------------------------------------------------


def test_the_pages_say_what_the_values_say(conditional: dict[str, Any], utility: dict[str, Any], page: Any) -> None:
    picture = arms_uri(utility["arms"])
    assert picture == arms_uri(utility["arms"])
    text = page("utility", utility, {"arms": picture}) + page("conditional", conditional, {})
    for values in (conditional, utility):
        json.dumps(values, allow_nan=False)
        for sentence in values["sentences"]:
            assert sentence in text
    for title in ("Real, classic augmentation", "Generated only", "Real, tested on generated", "as square"):
        assert title in text
    assert "nan" not in text
    assert "<script" not in text
