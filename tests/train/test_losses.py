"""Adversarial losses against values worked out by hand, their phases, and the combinations that are warned of."""

from __future__ import annotations

import math

import pytest
import torch

from stylescan.config import ObjectiveConfig
from stylescan.train.losses import LOSSES, AdversarialLoss, group_mean, objective_remarks
from stylescan.train.objective import build_objective, lazy_correction

REAL, FAKE = torch.tensor([2.0, 0.5]), torch.tensor([-1.0, 1.5])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def made(name: str, **options: object) -> AdversarialLoss:
    return LOSSES[name](ObjectiveConfig(loss=name, **options))


@pytest.mark.parametrize(
    ("name", "options", "d", "g"),
    [
        (
            "logistic", {},
            [softplus(-2) + softplus(-1), softplus(-0.5) + softplus(1.5)],
            [softplus(1), softplus(-1.5)],
        ),
        (
            "cross-entropy", {},
            [softplus(-2) + softplus(-1), softplus(-0.5) + softplus(1.5)],
            [softplus(1), softplus(-1.5)],
        ),
        (  # a target of .9: .9 of -log sigmoid(x) and .1 of -log(1 - sigmoid(x))
            "cross-entropy", {"label_smoothing": 0.1},
            [0.9 * softplus(-2) + 0.1 * softplus(2) + softplus(-1),
             0.9 * softplus(-0.5) + 0.1 * softplus(0.5) + softplus(1.5)],
            [softplus(1), softplus(-1.5)],
        ),
        ("wasserstein", {}, [-3.0, 1.0], [1.0, -1.5]),
        ("hinge", {}, [0.0, 3.0], [1.0, -1.5]),
        (  # means: real 1.25, fake .25; D: [0, .75] + [0, 1.25]; G: [2.75, 1.25] + [3.25, .75]
            "relativistic-average-hinge", {},
            [0.0 + 0.0, 0.75 + 1.25],
            [2.75 + 3.25, 1.25 + 0.75],
        ),
        (  # groups of one: each pair for itself
            "relativistic-average-hinge", {"average_group": 1},
            [0.0, 2.0 + 2.0],
            [4.0 + 4.0, 0.0],
        ),
        ("relativistic-pairing", {}, [softplus(-3), softplus(1)], [softplus(3), softplus(-1)]),
    ],
)  # fmt: skip
def test_losses_at_known_scores(name: str, options: dict, d: list[float], g: list[float]) -> None:
    loss = made(name, **options)
    torch.testing.assert_close(loss.d(REAL, FAKE), torch.tensor(d))
    torch.testing.assert_close(loss.g(REAL, FAKE), torch.tensor(g))


def test_relativistic_losses_do_not_change_when_a_constant_is_added_to_every_score() -> None:
    for name in LOSSES:
        loss = made(name)
        same = torch.allclose(loss.d(REAL + 3, FAKE + 3), loss.d(REAL, FAKE), atol=1e-5)
        assert same == (loss.pairs or name == "wasserstein")


def test_group_means_are_over_images_a_stride_apart() -> None:
    scores = torch.arange(6.0)  # the largest divisor of 6 up to 4 is 3: groups 0, 2, 4 and 1, 3, 5
    torch.testing.assert_close(group_mean(scores, group=4), torch.tensor([2.0, 3, 2, 3, 2, 3]))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"loss": "relativistic-pairing", "r1_gamma": 1.0}, "R1 alone"),
        ({"loss": "relativistic-pairing", "r1_gamma": 0.0, "r2_gamma": 1.0}, "R2 alone"),
        ({"loss": "relativistic-pairing", "r1_gamma": 0.0}, "no gradient penalty"),
        ({"loss": "relativistic-pairing", "r1_gamma": 1.0, "r2_gamma": 1.0}, None),
        ({"loss": "relativistic-pairing", "r1_gamma": 0.0, "gp_weight": 10.0}, None),
        ({"loss": "wasserstein", "r1_gamma": 0.0}, "gp_weight=10"),
        ({"loss": "wasserstein", "r1_gamma": 0.0, "gp_weight": 10.0}, None),
        ({"loss": "relativistic-average-hinge", "r1_gamma": 0.0}, "r1_gamma=10"),
        ({"loss": "logistic", "r1_gamma": 0.0}, None),
    ],
)
def test_combinations_known_to_diverge_are_named_with_their_remedy(options: dict, word: str | None) -> None:
    remarks = objective_remarks(ObjectiveConfig(**options), spectral_norm_D=False)
    assert len(remarks) == (word is not None)
    if word:
        assert word in remarks[0]
        assert "set objective." in remarks[0]


def test_a_spectrally_normalised_d_bounds_the_wasserstein_loss() -> None:
    assert not objective_remarks(ObjectiveConfig(loss="wasserstein", r1_gamma=0.0), spectral_norm_D=True)


@pytest.mark.parametrize(
    ("options", "c_G", "c_D"),
    [
        ({"pl_weight": 2.0, "pl_interval": 4, "r1_interval": 16}, 4 / 5, 16 / 17),
        ({"pl_weight": 0.0, "r1_interval": 8}, 1.0, 8 / 9),
        ({"pl_weight": 0.0, "r1_interval": 1}, 1.0, 1.0),
        ({"pl_weight": 0.0, "r1_gamma": 0.0}, 1.0, 1.0),
    ],
)
def test_lazy_phases_correct_the_optimiser(options: dict, c_G: float, c_D: float) -> None:
    phases = build_objective(ObjectiveConfig(**options))
    assert lazy_correction(phases, "G") == pytest.approx(c_G)
    assert lazy_correction(phases, "D") == pytest.approx(c_D)


def test_a_penalty_of_interval_one_joins_the_main_phase_and_a_lazy_one_is_scaled_by_its_interval() -> None:
    every = {p.name: p for p in build_objective(ObjectiveConfig(r1_interval=1, pl_weight=0))}
    assert set(every) == {"G_main", "D_main"}
    assert [t.name for t in every["D_main"].terms] == ["D_loss", "r1_penalty"]
    assert every["D_main"].real_grad
    lazy = {p.name: p for p in build_objective(ObjectiveConfig(r1_interval=16, pl_interval=4))}
    assert (lazy["D_r1"].interval, lazy["D_r1"].gain) == (16, 16.0)
    assert (lazy["G_pl"].interval, lazy["G_pl"].gain, lazy["G_pl"].shrink) == (4, 4.0, 2)


def test_penalties_of_one_interval_share_a_phase_and_g_takes_reals_of_its_own_for_pairs() -> None:
    options = {
        "loss": "relativistic-pairing",
        "pl_weight": 0.0,
        "r2_gamma": 1.0,
        "drift_weight": 0.1,
        "drift_interval": 4,
    }
    phases = {p.name: p for p in build_objective(ObjectiveConfig(**options))}
    assert list(phases) == ["G_main", "D_main", "D_drift", "D_r1_r2"]
    assert phases["D_r1_r2"].real_grad
    assert phases["D_r1_r2"].fake_grad
    assert phases["G_main"].fresh_reals
    assert lazy_correction(tuple(phases.values()), "D") == pytest.approx(1 / (1 + 1 / 4 + 1 / 16))
    assert not build_objective(ObjectiveConfig())[0].fresh_reals
