"""The demo's population: known truth, real variety, nothing folded, the same bytes for the same seed."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylescan.data import demo
from stylescan.data.demo import COLUMNS, DEMO_NOTICE, bayes_accuracy, write_population
from stylescan.data.demo_anatomy import (
    FACTOR_RANGE,
    FLOW_BOX_MM,
    FLOW_SPACING_MM,
    Template,
    VentricleFlow,
    jacobian_determinant,
    load_template,
    ventricle_flow,
)
from stylescan.data.demo_subject import (
    CENTRE_MM,
    FACTOR_MEDIANS,
    FACTOR_SIGMA,
    FIELD_OF_VIEW_MM,
    VirtualSubject,
    draw_subject,
    render_subject,
    slice_positions_mm,
    source_points,
)
from stylescan.errors import ConfigError


@pytest.fixture(scope="module")
def template() -> Template:
    pytest.importorskip("nilearn", reason="the demo's template comes with nilearn (the extra `demo`)")
    return load_template()


@pytest.fixture(scope="module")
def flow(template: Template) -> VentricleFlow:
    return ventricle_flow(template)


@pytest.fixture(scope="module")
def crowd() -> list[VirtualSubject]:
    return [draw_subject(5, index) for index in range(300)]


@pytest.fixture
def prepared_anatomy(monkeypatch: pytest.MonkeyPatch, template: Template, flow: VentricleFlow) -> None:
    """The template and its flow are worked out once for this file; they are the real ones."""
    monkeypatch.setattr(demo, "load_template", lambda: template)
    monkeypatch.setattr(demo, "ventricle_flow", lambda _: flow)


def with_factor(subject: VirtualSubject, factor: float) -> VirtualSubject:
    values = {name: getattr(subject, name) for name in VirtualSubject.__dataclass_fields__}
    return VirtualSubject(**{**values, "ventricle_factor": factor})


def head_axes(subject: VirtualSubject, step_mm: float, slices: int) -> tuple[np.ndarray, ...]:
    x = np.arange(-FIELD_OF_VIEW_MM / 2, FIELD_OF_VIEW_MM / 2, step_mm)
    z = CENTRE_MM[2] + (slice_positions_mm(slices) - CENTRE_MM[2]) * subject.scale[2]
    return x, x + CENTRE_MM[1], z


def test_bayes_accuracy_is_about_85_and_what_the_best_threshold_reaches_on_drawn_subjects(
    crowd: list[VirtualSubject],
) -> None:
    assert bayes_accuracy() == pytest.approx(0.85, abs=0.005)
    # Phi(1.0364) = .85, from a table: so the medians must lie 2 * 1.0364 sigma apart.
    gap = math.log(FACTOR_MEDIANS["atrophy"] / FACTOR_MEDIANS["control"])
    assert gap == pytest.approx(2 * 1.0364 * FACTOR_SIGMA, rel=0.01)
    threshold = math.sqrt(FACTOR_MEDIANS["atrophy"] * FACTOR_MEDIANS["control"])
    right = np.mean([(s.ventricle_factor > threshold) == (s.label == "atrophy") for s in crowd])
    # Three standard errors of 300 draws.
    assert right == pytest.approx(bayes_accuracy(), abs=3 * math.sqrt(0.85 * 0.15 / 300))


def test_classes_overlap_are_balanced_and_in_no_fixed_order(crowd: list[VirtualSubject]) -> None:
    control = [s.ventricle_factor for s in crowd if s.label == "control"]
    atrophy = [s.ventricle_factor for s in crowd if s.label == "atrophy"]
    assert len(control) == len(atrophy) == 150
    assert max(control) > np.quantile(atrophy, 0.25)
    assert min(atrophy) < np.quantile(control, 0.75)
    assert len({s.label for s in crowd[::2]}) == 2
    assert all(FACTOR_RANGE[0] <= f <= FACTOR_RANGE[1] for f in control + atrophy)


def test_only_the_ventricle_factor_tells_the_classes_apart(crowd: list[VirtualSubject]) -> None:
    atrophy = np.array([s.label == "atrophy" for s in crowd])
    for values in (
        np.array([s.scale for s in crowd]),
        np.array([s.tissue for s in crowd]),
        np.array([[s.noise] for s in crowd]),
    ):
        z = (values - values.mean(0)) / values.std(0)
        assert np.abs(z[atrophy].mean(0) - z[~atrophy].mean(0)).max() < 4 * math.sqrt(2 / 150)


def test_ventricle_mask_is_symmetric_paired_and_of_adult_size(template: Template) -> None:
    assert 10_000 < template.ventricle_volume_mm3 < 30_000
    middle = round(-template.origin_mm[0])
    half = middle - 1
    left = template.ventricles[middle - half : middle][::-1]
    right = template.ventricles[middle + 1 : middle + 1 + half]
    assert left.sum() == pytest.approx(right.sum(), rel=0.02)  # the template is the symmetric one
    dark = template.t1[template.ventricles > 0.99]
    assert dark.max() < 0.4


def test_flow_scales_the_volume_as_asked_and_never_folds(template: Template, flow: VentricleFlow) -> None:
    axes = [np.arange(low, high, 1.0, dtype=np.float32) for low, high in FLOW_BOX_MM]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    for factor in (0.4, 1.75, 3.3):
        volume = template.sample(template.ventricles, flow.apply(points, factor)).sum()
        assert volume == pytest.approx(factor * template.ventricle_volume_mm3, rel=0.06)
    assert np.all(np.diff(flow.factors) > 0)
    assert flow.factors[0] <= FACTOR_RANGE[0]
    assert flow.factors[-1] >= FACTOR_RANGE[1]
    grid = np.stack(
        np.meshgrid(*[np.arange(low, high + 1e-3, FLOW_SPACING_MM) for low, high in FLOW_BOX_MM], indexing="ij")
    )
    for field in (flow.fields[0], flow.fields[-1]):
        assert jacobian_determinant((grid + field).astype(np.float32), (FLOW_SPACING_MM,) * 3).min() > 0


def test_factor_one_leaves_the_template_alone(flow: VentricleFlow) -> None:
    assert np.abs(flow.field(1.0)).max() < 1e-6


def test_jacobian_of_a_known_map() -> None:
    axes = [np.arange(0.0, 8.0, 2.0)] * 3
    x, y, z = np.meshgrid(*axes, indexing="ij")
    scaled = np.stack([2 * x, 3 * y, z / 2 + x]).astype(np.float32)
    np.testing.assert_allclose(jacobian_determinant(scaled, (2.0, 2.0, 2.0)), 3.0, rtol=1e-5)
    assert jacobian_determinant(np.stack([-x, y, z]).astype(np.float32), (2.0, 2.0, 2.0)).max() < 0


@pytest.mark.parametrize("index", [0, 7, 24])
def test_whole_warp_never_folds(flow: VentricleFlow, index: int) -> None:
    subject = draw_subject(0, index)
    axes = head_axes(subject, 2.0, 24)
    points = source_points(subject, flow, axes)
    assert jacobian_determinant(points, (2.0, 2.0, float(axes[2][1] - axes[2][0]))).min() > 0


def test_a_wild_warp_is_calmed_until_it_does_not_fold(monkeypatch: pytest.MonkeyPatch, flow: VentricleFlow) -> None:
    from stylescan.data import demo_subject

    calm = demo_subject._lattice
    monkeypatch.setattr(demo_subject, "_lattice", lambda random, spacing, sigma: calm(random, spacing, 4 * sigma))
    subject = draw_subject(0, 3)
    axes = head_axes(subject, 4.0, 12)
    upright = with_factor(subject, 1.0)
    assert jacobian_determinant(source_points(upright, flow, axes), (4.0, 4.0, float(np.diff(axes[2])[0]))).min() > 0


def test_area_grows_with_the_factor_in_every_slice_and_shows_in_the_picture(
    template: Template, flow: VentricleFlow
) -> None:
    subject = draw_subject(3, 1)
    made = [
        render_subject(with_factor(subject, factor), template, flow, seed=3, resolution=64, slices=6)
        for factor in (0.5, 0.9, 1.5, 2.2, 3.5)
    ]
    areas = np.array([m.ventricle_area_mm2 for m in made])  # [factors, slices]
    assert np.all(np.diff(areas[:, 1:5], axis=0) > 0)
    # As much as the area grows, so much tissue turns dark: the truth in the list is the truth in the picture.
    pixel_mm2 = (FIELD_OF_VIEW_MM / 64) ** 2
    threshold = 255 * (subject.tissue[0] + subject.tissue[1]) / 2
    for index in range(1, 5):
        centre = [m.images[index, 16:48, 18:46] < threshold for m in made]
        dark = (centre[-1].sum() - centre[0].sum()) * pixel_mm2
        assert dark == pytest.approx(areas[-1, index] - areas[0, index], rel=0.35)


def test_area_is_in_square_millimetres_whatever_the_resolution(template: Template, flow: VentricleFlow) -> None:
    subject = draw_subject(3, 4)
    coarse, fine = (
        render_subject(subject, template, flow, seed=3, resolution=r, slices=4).ventricle_area_mm2 for r in (64, 160)
    )
    np.testing.assert_allclose(coarse, fine, rtol=0.01)


def test_picture_is_a_brain_on_black(template: Template, flow: VentricleFlow) -> None:
    subject = draw_subject(0, 2)
    image = render_subject(subject, template, flow, seed=0, resolution=128, slices=5).images[2]
    assert max(image[0].max(), image[-1].max(), image[:, 0].max(), image[:, -1].max()) == 0
    assert 0.25 < (image > 0).mean() < 0.7
    assert image.max() > 170
    assert np.abs(image.astype(int) - image[:, ::-1]).mean() > 3  # left and right differ


@pytest.mark.parametrize(("axis", "bright"), [(0, np.s_[:, 64:]), (1, np.s_[:64])])
def test_front_is_at_the_top_and_the_patients_right_on_the_right(
    template: Template, flow: VentricleFlow, axis: int, bright: tuple[slice, ...]
) -> None:
    coordinate = np.arange(template.t1.shape[axis]) + template.origin_mm[axis]
    dimmed = np.where(coordinate > CENTRE_MM[axis], 1.0, 0.4).astype(np.float32)
    marked = np.moveaxis(np.moveaxis(template.t1, axis, -1) * dimmed, -1, axis)
    half = Template(np.ascontiguousarray(marked), template.ventricles, template.origin_mm)
    image = render_subject(draw_subject(0, 2), half, flow, seed=0, resolution=128, slices=3).images[1].astype(float)
    assert image[bright].sum() > 2 * (image.sum() - image[bright].sum())


@pytest.mark.usefixtures("prepared_anatomy")
def test_same_seed_gives_the_same_bytes_for_any_workers_and_size(tmp_path: Path) -> None:
    small, large, other = tmp_path / "small", tmp_path / "large", tmp_path / "other"
    told: list[tuple[int, int, str]] = []
    table = write_population(
        small,
        subjects=2,
        seed=4,
        resolution=32,
        slices_per_subject=3,
        workers=1,
        progress=lambda *step: told.append(step),
    )
    write_population(large, subjects=4, seed=4, resolution=32, slices_per_subject=3, workers=3)
    write_population(other, subjects=2, seed=5, resolution=32, slices_per_subject=3, workers=2)
    assert [(done, total) for done, total, _ in told] == [(1, 2), (2, 2)]
    names = sorted(path.name for path in (small / "images").iterdir())
    assert len(names) == 6
    for name in names:
        assert (small / "images" / name).read_bytes() == (large / "images" / name).read_bytes()
        assert (small / "images" / name).read_bytes() != (other / "images" / name).read_bytes()
    rows = table.read_text().splitlines()
    assert (large / "population.csv").read_text().splitlines()[: len(rows)] == rows
    with table.open() as stream:
        listed = list(csv.DictReader(stream))
    assert tuple(listed[0]) == COLUMNS
    assert sorted(Path(row["path"]).name for row in listed) == names
    assert {row["label"] for row in listed} == {"control", "atrophy"}
    for row in listed:
        with Image.open(small / row["path"]) as image:
            assert (image.mode, image.size, image.info) == ("L", (32, 32), {})
        assert row["label"] not in row["path"]
    facts = json.loads((small / "population.json").read_text())
    assert facts["notice"] == DEMO_NOTICE
    assert "Copyright (C) 1993-2009 Louis Collins" in facts["notice"]
    assert facts["ventricle_factor"]["bayes_accuracy"] == pytest.approx(0.85, abs=0.005)
    # Neither dates nor identifiers of anybody, in a population of nobody.
    assert not re.search(r"\b(19|20)\d\d-\d\d-\d\d\b|birth|patient_id", table.read_text() + str(sorted(facts)))


@pytest.mark.usefixtures("prepared_anatomy")
def test_repeats_complete_a_population_and_spare_everything_else(tmp_path: Path) -> None:
    folder = tmp_path / "population"
    table = write_population(folder, subjects=2, resolution=32, slices_per_subject=1)
    kept = table.read_bytes()
    lost = next((folder / "images").iterdir())
    picture = lost.read_bytes()
    table.unlink()  # as if the first call had been stopped
    lost.unlink()
    assert write_population(folder, subjects=2, resolution=32, slices_per_subject=1).read_bytes() == kept
    assert lost.read_bytes() == picture
    with pytest.raises(ConfigError, match="other settings"):
        write_population(folder, subjects=4, resolution=32, slices_per_subject=1)
    assert table.read_bytes() == kept
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="found other content"):
        write_population(tmp_path / "mine", subjects=2)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subjects", 1),
        ("seed", -1),
        ("resolution", 8),
        ("slices_per_subject", 0),
        ("slices_per_subject", 65),
        ("workers", 0),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: found {value}") as caught:
        write_population(tmp_path / "new", **{name: value})
    assert caught.value.remedy
    assert not (tmp_path / "new").exists()


def test_without_nilearn_the_remedy_is_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    with pytest.raises(ConfigError) as caught:
        load_template()
    assert "pip install 'stylescan[demo]'" in caught.value.remedy
