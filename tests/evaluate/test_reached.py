"""Which classes of real images are reached: a class left out is named, with and without labels on the images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylescan.data.prepared import PreparedDataset
from stylescan.evaluate.judge import evaluate
from stylescan.evaluate.reached import least_reached
from stylescan.evaluate.verdicts import unlike_classes


def folder_of(images: np.ndarray, path: Path) -> Path:
    path.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image[0]).save(path / f"{number:04d}.png")
    return path


@pytest.fixture
def unlike(make_dataset: Callable[..., PreparedDataset], more_shapes: Any, tmp_path: Path) -> PreparedDataset:
    """40 train and 16 held-out subjects of 5 slices each; discs are bright on dark, squares dark on bright."""
    images, labels = two_kinds(more_shapes, 280)
    pools = [iter(images[labels == kind]) for kind in (0, 1)]
    kinds = np.repeat(np.arange(56) % 2, 5)  # one class a subject
    ordered = np.stack([next(pools[kind]) for kind in kinds])
    splits = np.repeat(["train"] * 40 + ["holdout"] * 16, 5)
    subjects = np.repeat([f"s{i:02d}" for i in range(56)], 5)
    return make_dataset(tmp_path / "data", ordered, subjects, splits, kinds.tolist())


def two_kinds(more_shapes: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = more_shapes(n)
    images = images.copy()
    images[labels == 1] = 255 - images[labels == 1]
    return images, labels


def test_a_class_left_out_is_named_without_labels(
    unlike: PreparedDataset, pooled: Any, more_shapes: Any, tmp_path: Path
) -> None:
    shapes = unlike
    images, labels = two_kinds(more_shapes, 200)
    lacking = evaluate(
        folder_of(images[labels == 0][:80], tmp_path / "discs"), shapes, tmp_path / "a", extractor=pooled
    )
    both = evaluate(folder_of(images[:80], tmp_path / "both"), shapes, tmp_path / "b", extractor=pooled)
    rows = lacking.report["metrics"]["reached"]
    assert [row["class"] for row in rows] == ["disc", "square"]
    assert [row["n_real"] for row in rows] == [40, 40]
    assert rows[1]["recall"]["value"] < 0.5 * rows[0]["recall"]["value"]
    card = lacking.report["verdicts"][1]
    assert card["level"] == "bad"
    assert "class square" in card["headline"]
    assert unlike_classes(both.report["metrics"]["reached"]) is None
    assert "class" not in both.report["verdicts"][1]["headline"]
    total = lacking.report["metrics"]["recall"]["value"]
    assert np.mean([row["recall"]["value"] for row in rows]) == pytest.approx(total)


def entry(name: str, value: float, low: float, high: float, floor: float) -> dict[str, Any]:
    bounds = {"value": floor, "low": floor - 0.05, "high": floor + 0.05}
    return {"class": name, "recall": {"value": value, "low": low, "high": high, "floor": bounds}, "coverage": None}


def test_only_a_clear_difference_is_named() -> None:
    good = entry("a", 0.8, 0.7, 0.9, 0.9)
    assert least_reached([good, entry("b", 0.3, 0.2, 0.4, 0.9)]) is not None
    assert least_reached([good, entry("b", 0.7, 0.6, 0.8, 0.9)]) is None  # intervals overlap
    assert least_reached([good, entry("b", 0.3, 0.2, 0.4, 0.35)]) is None  # other real subjects score the same
    assert least_reached([good]) is None
    assert least_reached([good, entry("b", 0.62, 0.56, 0.68, 0.9)]) is None  # clear, but no more than a quarter
    assert least_reached([entry("a", 0.1, 0.09, 0.11, 0.9), entry("b", 0.0, 0.0, 0.01, 0.9)]) is None  # all are missed
    # Reached least relative to its own floor, not in absolute numbers.
    found = least_reached([entry("a", 0.5, 0.48, 0.52, 0.52), entry("b", 0.6, 0.56, 0.64, 0.98)])
    assert found is not None
    assert found[1]["class"] == "b"


def test_few_training_subjects_leave_out_the_floor_and_nothing_else(
    make_dataset: Callable[..., PreparedDataset], pooled: Any, more_shapes: Any, tmp_path: Path
) -> None:
    images, labels = more_shapes(200)
    order = np.argsort(labels, kind="stable")  # 100 discs, then 100 squares; 3 training and 10 held-out subjects
    subjects = np.array(["t0", "h0", "h1", "h2", "h3", "h4", "t1", "h5", "h6", "h7", "h8", "h9", "t2"])
    splits = ["train" if name.startswith("t") else "holdout" for name in subjects]
    counts = [60 if split == "train" else 5 for split in splits]
    kinds = [0] * 6 + [1] * 7
    rows = [order[(100 * kind + np.arange(count) * 7 % 100)] for kind, count in zip(kinds, counts)]
    data = make_dataset(
        tmp_path / "d", images[np.concatenate(rows)], np.repeat(subjects, counts), np.repeat(splits, counts).tolist(),
        np.repeat(kinds, counts).tolist(),
    )  # fmt: skip
    report = evaluate(folder_of(images[:50], tmp_path / "x"), data, tmp_path / "a", extractor=pooled).report
    for row in report["metrics"]["reached"]:
        assert row["recall"]["value"] is not None
        assert row["recall"]["floor"] is None
