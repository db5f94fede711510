"""Penalties against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stylescan.randomness import torch_generator
from stylescan.train.objective import PhaseBatch
from stylescan.train.penalties import (
    drift_penalty,
    gradient_energy,
    gradient_penalty,
    path_lengths,
    r1_penalty,
    r2_penalty,
)


class LinearCritic(nn.Module):
    """<w, x> + b: its gradient is w everywhere."""

    whole_batch, mbstd_group = False, 1

    def __init__(self, b: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(2, 4, 4, dtype=torch.float64))
        self.b = b

    def forward(self, x: Tensor, c: Tensor | None = None, **_: object) -> Tensor:
        return (x * self.w).sum(dim=(1, 2, 3)) + self.b


class CubicCritic(LinearCritic):
    """sum of x^3 / 3: its gradient is x^2, so that it matters where it is taken."""

    def forward(self, x: Tensor, c: Tensor | None = None, **_: object) -> Tensor:
        return (x**3).sum(dim=(1, 2, 3)) / 3


def batch_of(D: nn.Module, *, n: int = 3, **options: object) -> PhaseBatch:
    """A D phase whose fakes are given, without any generator."""
    reals, fakes = torch.randn(2, n, 2, 4, 4, dtype=torch.float64).unbind()
    batch = PhaseBatch(
        G=None, D=D, net="D", reals=reals, c_real=None, z=None, c_fake=None, z_mix=None, crossover=None,
        rng=torch_generator(0, "test", 0), buffers={}, **options,
    )  # fmt: skip
    batch.__dict__["fake_images"] = fakes.requires_grad_(batch.fake_grad)
    return batch


def test_r1_of_a_linear_critic_is_half_gamma_times_the_energy_of_its_weights() -> None:
    D = LinearCritic()
    penalty = r1_penalty(batch_of(D, real_grad=True), gamma=3.0)
    torch.testing.assert_close(penalty, (1.5 * D.w.square().sum()).expand(3))
    penalty.mean().backward()  # d/dw of gamma/2 |w|^2 = gamma w
    torch.testing.assert_close(D.w.grad, 3.0 * D.w.detach())


def test_r1_looks_at_reals_and_r2_at_fakes() -> None:
    batch = batch_of(CubicCritic(), real_grad=True, fake_grad=True)
    for penalty, images in ((r1_penalty, batch.reals), (r2_penalty, batch.fake_images)):
        torch.testing.assert_close(penalty(batch, gamma=2.0), images.detach().pow(4).sum(dim=(1, 2, 3)))


def test_the_burn_in_multiplies_r1_and_r2() -> None:
    D = LinearCritic()
    for penalty in (r1_penalty, r2_penalty):
        batch = batch_of(D, real_grad=True, fake_grad=True, gamma_factor=10.0)
        torch.testing.assert_close(penalty(batch, gamma=0.2), D.w.square().sum().expand(3))


def test_gradient_penalty_of_a_linear_critic_is_the_squared_distance_of_its_slope_from_one() -> None:
    D = LinearCritic()
    penalty = gradient_penalty(batch_of(D), weight=10.0)
    norm = D.w.detach().norm()
    torch.testing.assert_close(penalty, (10 * (norm - 1) ** 2).expand(3))
    penalty.mean().backward()  # 2 weight (|w| - 1) w / |w|
    torch.testing.assert_close(D.w.grad, 20 * (norm - 1) * D.w.detach() / norm)


def test_the_gradient_penalty_is_taken_between_a_real_and_a_fake() -> None:
    batch = batch_of(CubicCritic(), n=400)
    found = gradient_penalty(batch, weight=1.0)
    share = torch.rand(400, generator=torch_generator(0, "test", 0))[:, None, None, None]
    assert share.min() < 0.05
    assert share.max() > 0.95
    slope = torch.lerp(batch.fake_images, batch.reals, share.double()).square().flatten(1).norm(dim=1)
    torch.testing.assert_close(found, (slope - 1) ** 2)


def test_drift_is_the_squared_score_of_reals() -> None:
    D = LinearCritic(b=2.0)
    batch = batch_of(D)
    expected = 0.5 * ((batch.reals * D.w).sum(dim=(1, 2, 3)) + 2).square()
    torch.testing.assert_close(drift_penalty(batch, weight=0.5), expected)


@pytest.mark.parametrize("penalty", [r1_penalty, r2_penalty, gradient_penalty])
def test_a_flat_critic_gives_finite_gradients(penalty) -> None:
    D = LinearCritic()
    nn.init.zeros_(D.w)
    penalty(batch_of(D, real_grad=True, fake_grad=True), 1.0).mean().backward()
    assert torch.isfinite(D.w.grad).all()


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
