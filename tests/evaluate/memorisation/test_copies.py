"""The test of copies against its closed-form null, and the power that is claimed for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.evaluate.memorisation.copies import DEEPEST, calibrated, copy_test, evidence_below
from stylescan.evaluate.memorisation.distance import Nearest
from stylescan.evaluate.memorisation.null import DRAWS, draw_reference
from stylescan.evaluate.memorisation.power import number_planted, power_of_test


def near(ratios: Any, who: Any = None) -> Nearest:
    ratios = np.asarray(ratios, float)
    nothing = np.zeros(len(ratios), int)
    return Nearest(ratios, np.arange(len(ratios)) if who is None else np.asarray(who), nothing, nothing)


def test_evidence_in_closed_form() -> None:
    images = near([0.8, 0.4, 0.2, 0.2], [0, 1, 2, 2])
    by_person, by_image = evidence_below(images, 0.8)
    assert by_image == pytest.approx(np.log(2) ** 2 + 2 * np.log(4) ** 2)
    assert by_person == pytest.approx(np.log(2) + np.log(4))  # who 2 counts once
    assert evidence_below(images, 0.2) == (0.0, 0.0)
    assert evidence_below(near([0.0]), 1.0)[0] == pytest.approx(-np.log(DEEPEST))
    assert evidence_below(near([]), 1.0) == (0.0, 0.0)


def test_scale_by_hand() -> None:
    """Five subjects: the k = 2 lowest against the third."""
    held = near([0.5, 0.6, 0.7, 0.75, 0.9, 0.95, 0.99], [0, 0, 0, 1, 2, 3, 4])
    found = calibrated(held, list("xxyyzvw"), judged=7)
    assert found.reference.k == 2
    assert found.least == 0.5
    # x (.5) and y (.7) against z (.9): each person once, whomever they resemble; by image every slice below .9.
    assert found.scale[0] == pytest.approx(np.log(0.9 / 0.5) + np.log(0.9 / 0.7))
    assert found.scale[1] == pytest.approx(sum(np.log(0.9 / r) ** 2 for r in (0.5, 0.6, 0.7, 0.75)))
    result = found.test(near([0.25, 0.25, 0.9, 0.9, 0.9, 0.9, 0.9], [3, 3, 1, 1, 1, 1, 1]))
    assert (result.copies, result.n, result.least) == (2, 7, 0.5)
    assert result.by_person == pytest.approx(np.log(2) / found.scale[0])
    assert result.by_image == pytest.approx(2 * np.log(2) ** 2 / found.scale[1])
    assert result.p == found.reference.p(result.by_person, result.by_image)
    assert found.test(near([0.5] * 7)).p == 1.0  # as low as the least is no copy


def test_p_is_that_of_the_weaker_way() -> None:
    reference = draw_reference(20, 400, 400)
    assert reference.p(0.0, 0.0) == 1.0
    assert reference.p(1e9, 1e9) == pytest.approx(1 / (DRAWS + 1))
    assert reference.p(1e9, 0.0) == 1.0
    assert reference.p(0.0, 1e9) == 1.0
    # Half of all equal sets hold the lowest person of both.
    assert (reference.person > 0).mean() == pytest.approx(0.5, abs=0.02)
    assert (draw_reference(20, 400, 400).image == reference.image).all()


def test_person_null_against_drawn_people() -> None:
    """The closed form of spacings against people drawn one by one from an exponential."""
    rng, m = np.random.default_rng(3), 10
    held = np.sort(rng.exponential(size=(20_000, m)), axis=1)[:, ::-1]
    judged = rng.exponential(size=(20_000, m))
    k = draw_reference(m, m, m).k
    beyond = np.maximum(judged - held[:, :1], 0).sum(axis=1)
    quotient = beyond / (held[:, :k] - held[:, k : k + 1]).sum(axis=1)
    for level in (0.6, 0.8, 0.95, 0.99):
        limit = np.quantile(draw_reference(m, m, m).person, level)
        assert (quotient <= limit).mean() == pytest.approx(level, abs=0.012)


def test_held_out_copies_of_training_leave_nothing_to_say() -> None:
    held = near([0.0, 0.0, 0.0, 0.9, 0.9])
    assert copy_test(near([0.0] * 5), held, list("vwxyz")).p == 1.0
    same = near([0.8] * 5)
    assert copy_test(near([0.1] * 5), same, list("vwxyz")).p == 1.0  # no scale


@given(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=30), st.integers(0, 2**32 - 1))
def test_order_is_nothing(ratios: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    subjects = np.arange(len(ratios)) % 6
    images = near(ratios, rng.integers(0, 4, len(ratios)))
    order = rng.permutation(len(ratios))
    reference = draw_reference(6, 12, 12)
    one = calibrated(images, subjects, 12, reference)
    other = calibrated(images[order], subjects[order], 12, reference)
    assert other.least == one.least
    assert other.scale == pytest.approx(one.scale, abs=1e-9)


def draw(rng: np.random.Generator, subjects: int, slices: int) -> tuple[Nearest, np.ndarray]:
    """Ratios with exponential tails, slices of one subject alike and near the same training subject."""
    depth = np.repeat(rng.exponential(0.08, subjects), slices) * rng.uniform(0.6, 1.0, subjects * slices)
    who = np.repeat(rng.integers(0, 100, subjects), slices)
    return near(np.exp(-depth), who), np.repeat(np.arange(subjects), slices)


@pytest.mark.parametrize("subjects", [10, 20])
@pytest.mark.parametrize("clumped", [True, False], ids=["like people", "independent"])
def test_null_holds_for_clumps_and_for_independent_images(clumped: bool, subjects: int) -> None:
    rng = np.random.default_rng(5)
    reference = draw_reference(subjects, subjects * 20, subjects * 20)
    p = []
    for _ in range(600):
        held, whose = draw(rng, subjects, 20)
        judged = draw(rng, subjects, 20)[0] if clumped else draw(rng, subjects * 20, 1)[0]
        p.append(calibrated(held, whose, subjects * 20, reference).test(judged).p)
    values = np.array(p)
    for level in (0.5, 0.2, 0.05, 0.01):
        # Three standard errors of room, and a half: slices of one person are not quite alike.
        assert (values <= level).mean() <= 1.5 * level + 3 * np.sqrt(level / 600)
    assert (values < 0.5).mean() > 0.15  # a test that never speaks would hold as well


def test_planted_copies_are_found_and_few_subjects_find_none() -> None:
    rng = np.random.default_rng(6)
    planted = near(rng.uniform(0.2, 0.6, 100), rng.integers(0, 100, 100))
    held, subjects = draw(rng, 40, 20)
    many = power_of_test(held, subjects, planted, n=800, seed=0)
    assert (many.subjects, many.n, many.planted) == (40, 800, 8)
    assert many.power > 0.95
    few = power_of_test(held, subjects, planted, n=800, seed=0, subjects=4)
    assert (few.n, few.planted) == (80, 1)
    assert few.power < 0.5
    assert few == power_of_test(held, subjects, planted, n=800, seed=0, subjects=4)


def test_power_of_copies_that_are_none_is_small() -> None:
    rng = np.random.default_rng(7)
    held, subjects = draw(rng, 40, 20)
    real, _ = draw(rng, 100, 1)
    assert power_of_test(held, subjects, real, n=800, seed=0).power < 0.05


def test_number_planted() -> None:
    assert [number_planted(n) for n in (10, 100, 250, 2000)] == [1, 1, 2, 20]
