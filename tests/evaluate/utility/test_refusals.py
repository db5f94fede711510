"""What is refused with a reason, and what the parts cope with and name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from stylescan.evaluate.material import Material
from stylescan.evaluate.utility.benefit import utility_values
from stylescan.evaluate.utility.classifier import Recipe
from stylescan.evaluate.utility.fidelity import fidelity_values
from stylescan.evaluate.utility.figure import arms_uri

TINY = Recipe(steps=2, batch=16, checks=1)
NAMES = ("disc", "square", "ring")


def arm(values: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in values["arms"] if row["name"] == name)


def test_no_classes_too_few_subjects_and_unlabelled_images_are_refused_with_a_reason(
    twins: Material, tmp_path: Path, new_dataset: Any, new_folder: Any, material_of: Any, shapes_by: Any, page: Any
) -> None:
    labels = np.arange(40) % 2
    flat = new_folder(tmp_path / "flat", shapes_by(labels, 1), None)
    cases = {
        "carry no class": material_of(flat, twins.dataset),
        "fewer than two classes": material_of(flat, new_dataset(tmp_path / "one", [0], names=["disc"])),
        "4 held-out subjects": material_of(flat, new_dataset(tmp_path / "few", [0, 1], holdout=8)),
    }
    for words_of_reason, material in cases.items():
        for values in (fidelity_values(material, recipe=TINY), utility_values(material, recipe=TINY)):
            assert values.keys() == {"ran", "reason"}
            assert values["ran"] is False
            assert words_of_reason in values["reason"]
        for name in ("conditional", "utility"):
            assert values["reason"] in page(name, values, {})


def test_a_generator_without_one_of_three_classes(
    tmp_path: Path, new_dataset: Any, new_folder: Any, material_of: Any, shapes_by: Any, page: Any
) -> None:
    data = new_dataset(tmp_path / "d", [0, 1, 2], holdout=15, names=NAMES, images=lambda each: shapes_by(each, 0))
    labels = np.arange(40) % 2
    material = material_of(new_folder(tmp_path / "made", shapes_by(labels, 1), [NAMES[k] for k in labels]), data)
    values = utility_values(material, recipe=TINY, seeds=2)
    assert values["missing"] == ["ring"]
    assert any("ring" in note for note in values["notes"])
    assert arm(values, "generated")["ran"]
    assert arm(values, "generated")["scores"]["balanced_accuracy"]["value"] <= 2 / 3
    found = fidelity_values(material, recipe=TINY, seeds=2)
    assert found["confusion"]["generated"][2] == {"n": 0, "shares": None}
    assert found["difference"] is None
    assert "None were generated" in page("conditional", found, {})


def test_a_generator_of_one_class_teaches_nothing_alone(
    twins: Material, tmp_path: Path, new_folder: Any, material_of: Any, shapes_by: Any, page: Any
) -> None:
    folder = new_folder(tmp_path / "made", shapes_by(np.zeros(20, np.int64), 1), ["disc"] * 20)
    values = utility_values(material_of(folder, twins.dataset), recipe=TINY, seeds=2)
    assert not arm(values, "generated")["ran"]
    assert "one class" in arm(values, "generated")["reason"]
    assert arm(values, "real_generated")["ran"]
    assert arm(values, "trts")["scores"]["auc"]["value"] is None
    json.dumps(values, allow_nan=False)
    assert "one class" in page("utility", values, {"arms": arms_uri(values["arms"])})


def test_a_class_with_too_few_subjects_is_left_out_by_name(
    tmp_path: Path, new_dataset: Any, new_folder: Any, material_of: Any, shapes_by: Any, page: Any
) -> None:
    # Of 48 subjects in a row, the one ring is a training subject.
    data = new_dataset(tmp_path / "d", [2] + [0, 1] * 24, names=NAMES, images=lambda each: shapes_by(each, 0))
    labels = np.arange(40) % 3
    material = material_of(new_folder(tmp_path / "made", shapes_by(labels, 1), [NAMES[k] for k in labels]), data)
    values = utility_values(material, recipe=TINY, seeds=1)
    assert values["class_names"] == ["disc", "square"]
    assert any("ring is left out: 1 training and 0 held-out" in note for note in values["notes"])
    assert arm(values, "generated")["generated_images"] == (labels < 2).sum()


def test_without_select_the_last_state_counts(
    tmp_path: Path, new_dataset: Any, new_folder: Any, material_of: Any, shapes_by: Any, page: Any
) -> None:
    data = new_dataset(tmp_path / "d", [0, 1], select=0, claim="image-wise")
    labels = np.arange(40) % 2
    material = material_of(new_folder(tmp_path / "made", shapes_by(labels, 1), [NAMES[k] for k in labels]), data)
    values = utility_values(material, recipe=TINY, seeds=1)
    assert not values["chosen_on_select"]
    assert any("last state" in note for note in values["notes"])
    assert any("too good" in note for note in values["notes"])
    assert values["unit"] == "groups of similar images"
