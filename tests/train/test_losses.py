"""Losses and penalties against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from stylescan.config import ObjectiveConfig
from stylescan.train.losses import LOSSES, gradient_energy, path_lengths, r1_penalty
from stylescan.train.objective import PhaseBatch, build_objective, lazy_correction


def test_r1_of_a_linear_critic_is_half_gamma_times_the_energy_of_its_weights() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(2, 4, 4, dtype=torch.float64))

        def forward(self, x, c=None):
            return (x * self.w).sum(dim=(1, 2, 3))

    D, reals = Linear(), torch.randn(3, 2, 4, 4, dtype=torch.float64)
    batch = PhaseBatch(
        G=None, D=D, net="D", reals=reals, c_real=None, z=None, c_fake=None, z_mix=None, crossover=None,
        rng=None, buffers={}, real_grad=True,
    )  # fmt: skip
    penalty = r1_penalty(batch, gamma=3.0)
    torch.testing.assert_close(penalty, (1.5 * D.w.square().sum()).expand(3))
    penalty.mean().backward()  # d/dw of gamma/2 |w|^2 = gamma w
    torch.testing.assert_close(D.w.grad, 3.0 * D.w.detach())


def test_gradient_energy_is_per_image() -> None:
    x = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 0.0]]]], requires_grad=True)
    torch.testing.assert_close(gradient_energy((x**2).sum(dim=(1, 2, 3)), x), torch.tensor([20.0, 36.0]))


def test_path_length_of_a_linear_generator_is_the_norm_of_its_transposed_jacobian() -> None:
    # images = sum over layers of w_l A_l: J_l^T y = A_l y, so the length is sqrt(mean_l |A_l y|^2)
    g = torch.Generator().manual_seed(1)
    n, num_ws, w_dim, side = 4, 3, 5, 4
    A = torch.randn(num_ws, w_dim, side * side, generator=g, dtype=torch.float64)
    ws = torch.randn(n, num_ws, w_dim, generator=g, dtype=torch.float64, requires_grad=True)
    images = torch.einsum("nlw,lwp->np", ws, A).reshape(n, 1, side, side)
    direction = torch.randn(images.shape, generator=g, dtype=torch.float64)
    expected = (torch.einsum("lwp,np->nlw", A, direction.flatten(1) / side).square().sum(2).mean(1)).sqrt()
    torch.testing.assert_close(path_lengths(images, ws, direction), expected)


def test_logistic_loss_at_known_scores() -> None:
    loss, real, fake = LOSSES["logistic"], torch.tensor([2.0]), torch.tensor([-1.0])
    assert loss.d(real, fake).item() == pytest.approx(math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)))
    assert loss.g(None, fake).item() == pytest.approx(math.log1p(math.exp(1)))


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
