"""All metrics with floor, interval and rows on a small population, and each planted fault caught by its metric."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset
from stylescan.evaluate import verdicts, words
from stylescan.evaluate.image_sets import depth_of
from stylescan.evaluate.material import Material, gather
from stylescan.evaluate.measures.manifold import neighbourhoods, overlap
from stylescan.evaluate.metrics import METRICS
from stylescan.evaluate.reached import score_reached
from stylescan.evaluate.reference import blurred
from stylescan.evaluate.scores import headline_metric, score_classes, score_metrics, score_rows
from stylescan.evaluate.targets import Generated

MoreShapes = Callable[[int], tuple[NDArray[np.uint8], NDArray[np.int64]]]


class Given:
    """Images in memory, and others as those of an untrained net."""

    log: Path | None = None
    notes: list[str] = []  # noqa: RUF012

    def __init__(
        self, images: NDArray[Any], labels: NDArray[np.int64] | None = None, untrained: NDArray[Any] | None = None
    ) -> None:
        self.available = len(images)
        self._images, self._untrained = images, untrained
        self._labels = np.full(len(images), -1) if labels is None else labels

    def describe(self) -> dict[str, Any]:
        return {"kind": "given"}

    def images(self, n: int, seed: int, progress: Any) -> Generated:
        return Generated(self._images[:n], self._labels[:n])

    def untrained(self, n: int, seed: int, progress: Any) -> NDArray[Any] | None:
        return None if self._untrained is None else self._untrained[:n]


def judged(target: Given, dataset: PreparedDataset, extractor: Any) -> Material:
    return gather(target, dataset, extractor, n=None, seed=0, full=False, progress=None)


def noise(n: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, 1, 16, 16), dtype=np.uint8)


def scored(images: NDArray[Any], shapes: PreparedDataset, pooled: Any) -> dict[str, dict[str, Any]]:
    return score_metrics(judged(Given(images), shapes, pooled))


def test_each_feature_belongs_to_its_image(shapes: PreparedDataset, pooled: Any, more_shapes: MoreShapes) -> None:
    images, labels = more_shapes(80)
    for _ in range(2):  # computed, then from the cache
        material = judged(Given(images, labels, noise(80)), shapes, pooled)
        np.testing.assert_array_equal(material.features, pooled(material.generated.images))
        np.testing.assert_array_equal(material.generated.labels, labels)
        assert material.untrained is not None
        np.testing.assert_array_equal(material.untrained[1], pooled(material.untrained[0]))
        for real in (material.holdout, material.train):
            np.testing.assert_array_equal(real.features, pooled(shapes.read(real.indices)))
            assert list(real.subjects) == list(shapes.subjects[real.indices])


def test_every_metric_stands_in_every_row_with_floor_and_interval(
    shapes: PreparedDataset, pooled: Any, more_shapes: MoreShapes
) -> None:
    images, labels = more_shapes(80)
    calls: list[tuple[int, int, str]] = []
    material = judged(Given(images, labels, noise(80)), shapes, pooled)
    metrics = score_metrics(material, lambda *call: calls.append(call))
    rows = score_rows(material, metrics)
    assert list(metrics) == list(METRICS)
    for name, result in metrics.items():
        assert result["interval"]["low"] <= result["value"] <= result["interval"]["high"], name
        assert result["floor"]["low"] <= result["floor"]["value"] <= result["floor"]["high"], name
        assert (result["n_generated"], result["n_real"], result["subjects"]) == (80, 80, 16)
        assert (result["ratio_to_floor"] is not None) <= METRICS[name].has_ratio
        assert result["indicative"] is False
    assert metrics["recall"]["interval"]["unit"] == metrics["coverage"]["interval"]["unit"] == "held-out subjects"
    assert metrics["recall"]["interval"]["groups"] == 16
    for name in ("precision", "density", "ms_ssim", "white_dots", "checkerboard"):
        assert metrics[name]["interval"]["unit"] == "generated images", name
    assert metrics["ms_ssim"]["matched_depth"] is None  # this data knows no depth
    assert [row["name"] for row in rows] == ["generated", "floor", "blurred_real", "untrained"]
    assert all(row[name] is not None for row in rows for name in METRICS)
    by_name = {row["name"]: row for row in rows}
    assert by_name["untrained"]["precision"] == by_name["untrained"]["coverage"] == 0.0
    assert by_name["blurred_real"]["spectrum"] > 5 * by_name["floor"]["spectrum"]
    assert calls
    assert all(0 <= done <= total for done, total, _ in calls)
    json.dumps([metrics, rows, score_classes(material)], allow_nan=False)


def test_more_of_the_population_is_found_at_fault_in_nothing(
    shapes: PreparedDataset, pooled: Any, more_shapes: MoreShapes
) -> None:
    images, labels = more_shapes(80)
    material = judged(Given(images, labels), shapes, pooled)
    metrics = score_metrics(material)
    rows = score_rows(material, metrics)
    cards = verdicts.cards(headline_metric(material), metrics, rows)
    assert [card["label"] for card in cards] == ["Distance to real images", "Variety", "Sharpness and artefacts"]
    assert [card["level"] for card in cards] == ["good", "good", "good"]
    assert verdicts.variety(metrics, rows)[0] == "No lack of variety was found by these measures."
    assert verdicts.artefacts(metrics, rows)[0] == "None of the artefacts looked for was found."
    assert metrics["fd"]["ratio_to_floor"] < 1.5
    for entry in score_classes(material):
        for name in ("kid", "precision", "recall", "coverage"):
            result = entry[name]
            assert result["interval"]["low"] <= result["value"] <= result["interval"]["high"]
            assert (result["n_generated"], result["n_real"], result["subjects"]) == (40, 40, 8)
        assert entry["recall"]["value"] > 0.8 * entry["recall"]["floor"]["value"]


def test_a_missing_kind_is_caught_by_recall_and_coverage(
    make_dataset: Callable[..., PreparedDataset], pooled: Any, more_shapes: MoreShapes, tmp_path: Path
) -> None:
    images = more_shapes(500)[0] // 3
    subjects = np.repeat(np.arange(100), 5)
    images[subjects % 2 == 1] += 150  # a bright kind far from the dark one
    splits = np.repeat(["train"] * 50 + ["holdout"] * 20, 5)
    data = make_dataset(tmp_path / "d", images[:350], [f"s{s}" for s in subjects[:350]], splits.tolist())
    spare, bright = images[350:], subjects[350:] % 2 == 1
    whole, half = (score_metrics(judged(Given(x), data, pooled)) for x in (spare[:100], spare[bright]))
    for name in ("recall", "coverage"):
        assert verdicts.departure(whole[name], "below") == "none", name
        assert verdicts.departure(half[name], "below") == "clear", name
        assert half[name]["value"] == pytest.approx(0.5, abs=0.1)
    assert verdicts.departure(half["precision"], "below") == "none"
    assert verdicts.variety(half, [])[0] in (
        "Part of the variety of real images is not reached.", "Less variety than in real images.",
    )  # fmt: skip


def test_balls_of_the_floor_leave_out_slices_of_the_same_subject(
    make_dataset: Callable[..., PreparedDataset], pooled: Any, more_shapes: MoreShapes, tmp_path: Path
) -> None:
    people = np.repeat(more_shapes(60)[0], 8, axis=0).astype(int)  # eight near-copies of each, more than k
    images = np.clip(people + np.random.default_rng(0).integers(-1, 2, people.shape), 0, 255).astype(np.uint8)
    subjects, splits = np.repeat([f"s{i:02d}" for i in range(60)], 8), np.repeat(["train"] * 40 + ["holdout"] * 20, 8)
    data = make_dataset(tmp_path / "d", images, subjects, splits.tolist())
    material = judged(Given(more_shapes(160)[0]), data, pooled)
    floor = score_metrics(material)["recall"]["floor"]["value"]
    held, train = material.holdout, material.train
    balls = neighbourhoods(held.features, held.subjects)

    def mean_recall(subject_of: Callable[[Any], Any]) -> float:
        sets = [overlap(neighbourhoods(train.features[d], subject_of(d)), balls) for d in material.draws]
        return float(np.mean([found.recall.mean() for found in sets]))

    assert floor == pytest.approx(mean_recall(lambda draw: train.subjects[draw]))
    assert floor > mean_recall(lambda _: None) + 0.1


def test_collapse_is_caught_by_ms_ssim_and_recall(
    shapes: PreparedDataset, pooled: Any, more_shapes: MoreShapes
) -> None:
    few = more_shapes(6)[0][np.arange(80) % 6].astype(int)
    jitter = np.random.default_rng(1).integers(-2, 3, few.shape)
    metrics = scored(np.clip(few + jitter, 0, 255).astype(np.uint8), shapes, pooled)
    assert verdicts.departure(metrics["ms_ssim"], "above") == "clear"
    assert verdicts.departure(metrics["recall"], "below") == "clear"
    assert metrics["ms_ssim"]["matched_depth"] is None
    assert verdicts.variety(metrics, [])[0] == "Most of the variety of real images is not reached."
    assert verdicts.cards("kid", metrics, [])[1]["level"] == "bad"
    metrics["ms_ssim"]["matched_depth"] = {"value": metrics["ms_ssim"]["floor"]["high"], "pairs": 1000}
    headline, details = verdicts.variety(metrics, [])
    assert headline == "Much less variety than in real images: a sign of collapse."
    assert any("more alike than these" in text for text in details)
    assert verdicts.cards("kid", metrics, [])[1]["level"] == "bad"


def test_blur_dots_and_patterns_are_called_by_name(
    shapes: PreparedDataset, pooled: Any, more_shapes: MoreShapes
) -> None:
    clean = more_shapes(80)[0]
    dotted, board = clean.copy(), np.minimum(clean, 230)
    dotted[np.arange(30), 0, 1, 1 + np.arange(30) % 13] = 255
    board += (20 * (np.indices((16, 16)).sum(axis=0) % 2)).astype(np.uint8)
    for images, word in (
        (blurred(clean, 0.8), "too little fine detail (blur)"),
        (dotted, "white dots"),
        (board, "a checkerboard pattern"),
    ):
        headline, details = verdicts.artefacts(scored(images, shapes, pooled), [])
        assert headline.startswith("Found: ")
        assert word in headline
        assert any("other faults were not" in text for text in details)
        assert ("checkerboard" in headline) == (images is board)


def test_values_do_not_depend_on_the_order_of_generated_images(
    shapes: PreparedDataset, pooled: Any, more_shapes: MoreShapes
) -> None:
    images, labels = more_shapes(80)
    order = np.random.default_rng(2).permutation(80)
    found = score_metrics(judged(Given(images, labels), shapes, pooled))
    again = score_metrics(judged(Given(images[order], labels[order]), shapes, pooled))
    for name, result in found.items():
        assert again[name]["value"] == pytest.approx(result["value"], rel=1e-6, abs=1e-9), name
        if METRICS[name].resampler is None:  # the jackknife cuts images by their position
            for end in ("low", "high"):
                assert again[name]["interval"][end] == pytest.approx(result["interval"][end], rel=1e-6), name


def test_few_subjects_give_a_reason_instead(
    make_dataset: Callable[..., PreparedDataset], pooled: Any, more_shapes: MoreShapes, tmp_path: Path
) -> None:
    images, labels = more_shapes(110)
    splits, subjects = np.repeat(["train"] * 6 + ["holdout"] * 4, 10), np.repeat([f"s{i}" for i in range(10)], 10)
    data = make_dataset(tmp_path / "d", images[:100], subjects.tolist(), splits.tolist(), labels[:100].tolist())
    material = judged(Given(images[70:110], labels[70:110]), data, pooled)
    metrics = score_metrics(material)
    rows = score_rows(material, metrics)
    for name in ("precision", "recall", "density", "coverage"):
        assert metrics[name]["value"] is None
        assert metrics[name]["floor"] is None
        assert metrics[name]["missing"] == "real: 4 subjects, at least 6 are needed for k = 5"
        assert all(row[name] is None for row in rows)
    assert metrics["ms_ssim"]["value"] is not None
    headline, details = verdicts.variety(metrics, rows)
    assert "could not be judged in full" in headline or "variety" in headline
    assert any("at least 6 are needed" in text for text in details)
    json.dumps([metrics, rows], allow_nan=False)


def test_without_draws_there_is_no_floor_and_no_verdict(
    make_dataset: Callable[..., PreparedDataset], pooled: Any, more_shapes: MoreShapes, tmp_path: Path
) -> None:
    images, _ = more_shapes(150)
    splits, subjects = np.repeat(["train"] * 3 + ["holdout"] * 12, 10), np.repeat([f"s{i}" for i in range(15)], 10)
    data = make_dataset(tmp_path / "d", images, subjects.tolist(), splits.tolist())
    material = judged(Given(more_shapes(120)[0]), data, pooled)
    metrics = score_metrics(material)
    rows = score_rows(material, metrics)
    assert all(result["floor"] is None for result in metrics.values())
    assert verdicts.variety(metrics, rows)[0] == "Variety could not be judged in full."
    assert verdicts.artefacts(metrics, rows)[0] == "Sharpness and artefacts could not be judged in full."
    assert [card["level"] for card in verdicts.cards("kid", metrics, rows)] == ["unknown"] * 3


def test_depth_is_the_fraction_else_the_number_of_the_slice(shapes: PreparedDataset) -> None:
    assert depth_of(shapes, [0, 1]) is None
    images = shapes.manifest.images
    images[0] = images[0].model_copy(update={"slice": 3, "depth": 0.25})
    images[1] = images[1].model_copy(update={"slice": 7})
    np.testing.assert_array_equal(depth_of(shapes, [0, 1]), [3.0, 7.0])
    np.testing.assert_array_equal(depth_of(shapes, [0]), [0.25])


def result_of(value: float, low: float, high: float, floor: tuple[float, float]) -> dict[str, Any]:
    return {"value": value, "interval": {"low": low, "high": high},
            "floor": {"low": floor[0], "high": floor[1], "value": sum(floor) / 2}}  # fmt: skip


def test_a_departure_is_clear_only_where_the_whole_interval_lies_beyond_every_draw() -> None:
    assert verdicts.departure(result_of(0.5, 0.4, 0.6, (0.7, 0.8)), "below") == "clear"
    assert verdicts.departure(result_of(0.65, 0.6, 0.72, (0.7, 0.8)), "below") == "unclear"
    assert verdicts.departure(result_of(0.65, 0.5, 0.78, (0.7, 0.8)), "below") == "none"
    assert verdicts.departure(result_of(0.75, 0.6, 0.9, (0.7, 0.8)), "below") == "none"
    assert verdicts.departure(result_of(0.9, 0.85, 0.95, (0.7, 0.8)), "below") == "none"
    assert verdicts.departure(result_of(0.9, 0.85, 0.95, (0.7, 0.8)), "above") == "clear"
    assert verdicts.departure(result_of(0.9, 0.77, 0.95, (0.7, 0.8)), "above") == "unclear"
    assert verdicts.departure(result_of(0.9, 0.72, 0.95, (0.7, 0.8)), "above") == "none"
    assert verdicts.departure(result_of(0.9, 0.85, 0.95, (0.7, 0.8)) | {"interval": None}, "above") == "unclear"
    assert verdicts.departure(result_of(0.9, 0.85, 0.95, (0.7, 0.8)) | {"floor": None}, "above") == "unknown"
    assert verdicts.departure(result_of(0.9, 0.85, 0.95, (0.7, 0.8)) | {"value": None}, "above") == "unknown"


def test_the_numbers_block_shows_every_metric_row_and_class(
    shapes: PreparedDataset, pooled: Any, more_shapes: MoreShapes
) -> None:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    images, labels = more_shapes(80)
    material = judged(Given(images, labels, noise(80)), shapes, pooled)
    metrics = score_metrics(material)
    metrics["recall"]["interval"], metrics["recall"]["interval_missing"] = None, "too <few> subjects"
    classes = score_classes(material)
    classes[1] = classes[1] | {"missing": "3 generated images"}
    environment = Environment(
        loader=PackageLoader("stylescan.evaluate", "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"number": words.number, "ratio": words.ratio}
    page = environment.get_template("parts/numbers.html.j2").render(
        report={
            "rows": score_rows(material, metrics),
            "data": {"holdout_used": {"slices": 80}},
            "interpretation": ["a", "b", "c", "said of FD"],
        },
        m=metrics | {"classes": classes, "reached": score_reached(material)},
    )
    for name, metric in METRICS.items():
        assert metric.title in page
        assert words.number(metrics[name]["value"]) in page
    for text in ("The same network, untrained", "too &lt;few&gt; subjects", "said of FD", "No numbers: 3 generated"):
        assert text in page
    assert page.count("<table>") == page.count("</table>") == 8
    assert words.number(classes[0]["coverage"]["value"]) in page


def test_blur_that_makes_pairs_alike_is_not_called_collapse() -> None:
    pairs = result_of(0.66, 0.65, 0.67, (0.59, 0.61)) | {"matched_depth": {"value": 0.64}, "title": "P", "meaning": "p"}
    equal = result_of(0.9, 0.85, 0.95, (0.8, 0.95)) | {"title": "R", "meaning": "r"}
    spectrum = result_of(16.0, 15.0, 17.0, (0.1, 0.4)) | {"fine_detail_db": -20.0}
    metrics = {"ms_ssim": pairs, "recall": equal, "coverage": equal, "precision": equal, "spectrum": spectrum}
    soft = [{"name": "blurred_real", "ms_ssim": 0.655}]
    assert (
        verdicts.variety(metrics, soft)[0] == "Pairs of images are more alike than real ones, which blur alone can do."
    )
    for sharp, rows in (
        (spectrum | {"fine_detail_db": 0.2}, soft),
        (spectrum, [{"name": "blurred_real", "ms_ssim": 0.64}]),
    ):
        headline = verdicts.variety(metrics | {"spectrum": sharp}, rows)[0]
        assert headline == "Much less variety than in real images: a sign of collapse."
