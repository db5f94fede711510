"""Augmentation: exact where it can be, one warp equal to its parts, differentiable, invisible at p = 0, lawful always."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from stylescan.train.augment import (
    PARAMETERS,
    AugmentDraw,
    augment,
    draw,
    factor,
    gamma_change,
    geometry,
    strengths,
)
from stylescan.train.lawful import OPERATIONS

ALL = tuple(OPERATIONS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers_for(n: int = 1, **signed: float) -> AugmentDraw:
    """Draws in which only the named parameters happen, at the given strength in [-1, 1), in every image."""
    chance, value = torch.ones(n, len(ALL), dtype=torch.float64), torch.full((n, len(PARAMETERS)), 0.5).double()
    for name, strength in signed.items():
        chance[:, ALL.index(PARAMETERS[name])] = 0.0
        value[:, list(PARAMETERS).index(name)] = (strength + 1) / 2
    return AugmentDraw(chance, value, ALL)


def random_images(n: int, channels: int = 1, side: int = 32, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(n, channels, side, side, generator=generator(5), dtype=dtype) * 2 - 1


def smooth_images(n: int, side: int) -> Tensor:
    """Gaussian spots on air, off the centre, without symmetry: float64 [n, 1, side, side]."""
    y, x = np.mgrid[:side, :side] / side
    spots = [(0.4, 0.42, 0.07, 1.3), (0.6, 0.55, 0.06, 0.7)]
    image = sum(a * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * s * s)) for cx, cy, s, a in spots) - 1
    return torch.from_numpy(image)[None, None].repeat(n, 1, 1, 1)


def test_p_of_zero_gives_the_tensor_itself() -> None:
    images = random_images(4)
    assert augment(images, draw(4, ALL, generator()), 0.0) is images


def test_a_flip_is_the_mirror_image_and_its_own_inverse_bit_for_bit() -> None:
    images, flip = random_images(3, channels=2), numbers_for(3, flip=-0.7)
    flipped = augment(images, flip, 0.5)
    assert torch.equal(flipped, images.flip(-1))
    assert not torch.equal(flipped, images)
    assert torch.equal(augment(flipped, flip, 0.5), images)
    assert augment(images, numbers_for(3, flip=0.7), 0.5) is images  # the other half of the flips


def test_whole_pixel_shifts_are_exact_and_undone_inside_the_border() -> None:
    images = random_images(2, channels=3, side=32)  # up to 2 pixels
    there = augment(images, numbers_for(2, shift_x=0.99, shift_y=-0.99), 0.5)
    assert torch.equal(there[:, :, :-2, 2:], images[:, :, 2:, :-2])  # right and up
    assert (there[:, :, -2:] == -1).all()
    assert (there[:, :, :, :2] == -1).all()
    back = augment(there, numbers_for(2, shift_x=-0.99, shift_y=0.99), 0.5)
    assert torch.equal(back[:, :, 2:, :-2], images[:, :, 2:, :-2])
    assert (back[:, :, :2] == -1).all()


def test_a_flip_and_a_shift_together_flip_first() -> None:
    images = random_images(1)
    both = augment(images, numbers_for(flip=-0.5, shift_x=0.5), 0.5)
    right = int(geometry(strengths(numbers_for(shift_x=0.5), 0.5), 32, 32).shift[0, 0])
    assert right == 1
    assert torch.equal(both[..., right:], images.flip(-1)[..., :-right])


def one_after_another(image: np.ndarray, signed: dict[str, float]) -> np.ndarray:
    """The reference: each operation for itself by scipy's splines, in the stated order."""
    side = image.shape[0]
    centre = np.full(2, (side - 1) / 2)

    def resampled(image: np.ndarray, forward: np.ndarray) -> np.ndarray:  # forward: on (x, y) about the centre
        back = np.linalg.inv(forward)[::-1, ::-1]  # scipy counts (y, x)
        return ndimage.affine_transform(image, back, centre - back @ centre, order=5, cval=-1.0)

    if signed.get("flip", 0.0) < 0:
        image = image[:, ::-1]
    stretch, scale = 1.05 ** signed.get("anisotropy", 0.0), 1.1 ** signed.get("scale", 0.0)
    image = resampled(image, np.diag([stretch, 1 / stretch]))
    image = resampled(image, np.diag([scale, scale]))
    angle = math.radians(10) * signed.get("rotate", 0.0)
    image = resampled(image, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))
    pixels = [math.floor(signed.get(f"shift_{axis}", 0.0) * (side // 16 + 0.5) + 0.5) for axis in "yx"]
    return ndimage.shift(image, pixels, order=0, cval=-1.0)


@pytest.mark.parametrize(
    "signed",
    [
        {"rotate": 0.9},
        {"scale": -0.8},
        {"anisotropy": 0.9},
        {"flip": -0.5, "rotate": -0.8, "shift_x": 0.9},
        {"flip": -0.5, "rotate": 0.7, "scale": 0.9, "anisotropy": -0.9, "shift_x": -0.9, "shift_y": 0.6},
    ],
)
def test_the_composed_warp_equals_its_parts_one_after_another(signed: dict[str, float]) -> None:
    images = smooth_images(1, 128)
    expected = one_after_another(images[0, 0].numpy(), signed)
    inverse = geometry(strengths(numbers_for(**signed), 0.5), 128, 128).inverse[0].numpy()
    y, x = np.mgrid[:128, :128] - 63.5
    at_x, at_y = (row[0] * x + row[1] * y + row[2] + 63.5 for row in inverse)
    at_once = ndimage.map_coordinates(images[0, 0].numpy(), [at_y, at_x], order=5, cval=-1.0)
    assert np.abs(at_once - expected).max() < 1e-4  # the matrix: quintic splines hardly err here
    composed = augment(images, numbers_for(**signed), 0.5)[0, 0].numpy()
    assert np.abs(composed - expected).max() < 0.01  # the resampling: bicubic against quintic, of a range of 2
    for name in signed:  # and no part is without effect
        other = augment(images, numbers_for(**{**signed, name: 0.0 if name != "flip" else 0.5}), 0.5)[0, 0].numpy()
        assert np.abs(other - expected).max() > 0.05, name


def test_what_comes_in_at_the_border_is_air() -> None:
    white = torch.ones(1, 1, 64, 64)
    small = augment(white, numbers_for(scale=-0.99, shift_x=0.9), 0.5)
    assert (small[..., :2] == -1).all()
    assert small[0, 0, 32, 32] == pytest.approx(1.0, abs=1e-5)
    black = torch.full((16, 1, 32, 32), -1.0)
    assert (augment(black, draw(16, ALL, generator()), 1.0) + 1).abs().max() < 1e-6


@pytest.mark.parametrize("p", [0.05, 0.3, 0.8])
def test_each_operation_touches_a_share_p_of_the_images_and_flips_mirror_half_of_them(p: float) -> None:
    n = 20_000
    strength = strengths(draw(n, ALL, generator(1)), p)
    for name, values in strength.items():
        share = float((values != 0).double().mean())
        assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / n), name
    mirrored = float((geometry(strength, 32, 32).mirror < 0).double().mean())
    assert abs(mirrored - p / 2) < 4 * math.sqrt(p / 2 * (1 - p / 2) / n)


def test_operations_happen_independently_of_each_other() -> None:
    happens = torch.stack(
        [v != 0 for k, v in strengths(draw(20_000, ALL, generator(2)), 0.5).items() if k != "shift_y"]
    )
    correlation = torch.corrcoef(happens.double()) - torch.eye(len(happens))
    assert correlation.abs().max() < 4 / math.sqrt(20_000)


def test_draws_depend_on_neither_p_nor_the_allowed_operations() -> None:
    few, every = generator(3), generator(3)
    a, b = draw(5, ("rotate",), few), draw(5, ALL, every)
    assert torch.equal(a.chance, b.chance)
    assert torch.equal(a.value, b.value)
    assert torch.equal(few.get_state(), every.get_state())
    images, numbers = random_images(5), draw(5, ALL, generator(4))
    strong = strengths(numbers, 0.9)
    for name, weak in strengths(numbers, 0.4).items():  # what happens at a small p happens alike at a large one
        assert torch.equal(weak[weak != 0], strong[name][weak != 0])
    only = AugmentDraw(numbers.chance, numbers.value, ("shift", "flip"))
    assert torch.equal(augment(images, only, 1.0).sort().values[images.sort().values == -2], images[images == -2])
    assert {name for name, v in strengths(only, 1.0).items() if (v != 0).any()} == {"flip", "shift_x", "shift_y"}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**40), p=st.floats(0, 1), side=st.sampled_from([16, 32, 64, 256]))
def test_drawn_strengths_keep_to_the_lawful_limits(seed: int, p: float, side: int) -> None:
    strength = strengths(draw(64, ALL, generator(seed)), p)
    where = geometry(strength, side, side)
    assert set(where.mirror.tolist()) <= {-1.0, 1.0}
    assert where.shift.abs().max() <= side / 16
    assert torch.equal(where.shift, where.shift.round())
    turned = torch.linalg.svd(where.linear)
    assert (torch.linalg.det(where.linear) > 0).all()  # never a mirror besides 'flip'
    assert turned.S.max() <= 1.1 * 1.05 + 1e-9
    assert turned.S.min() >= 1 / (1.1 * 1.05) - 1e-9
    angle = torch.atan2(where.linear[:, 1, 0], where.linear[:, 0, 0])
    assert angle.abs().max() <= math.radians(10) + 1e-9
    for name, limit in [("contrast", 1.2), ("gamma", 1.25)]:
        assert (factor(strength, name).log().abs() <= math.log(limit) + 1e-12).all()
    assert strength["brightness"].abs().max() <= 1


def test_shifts_reach_both_limits_equally_often() -> None:
    shift = geometry(strengths(draw(30_000, ALL, generator(6)), 1.0), 32, 32).shift
    for axis in (0, 1):
        values, counts = shift[:, axis].unique(return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert ((counts / 30_000 - 0.2).abs() < 4 * math.sqrt(0.16 / 30_000)).all()


def test_tones_keep_air_and_order_and_do_what_their_names_say() -> None:
    ramp = torch.linspace(-1, 1, 256, dtype=torch.float64).reshape(1, 1, 16, 16)

    def toned(**signed: float) -> Tensor:
        return augment(ramp, numbers_for(**signed), 0.5).flatten()

    torch.testing.assert_close(toned(contrast=0.99), (ramp.flatten() + 1) * 1.2**0.99 - 1)
    brighter = toned(brightness=0.99) - ramp.flatten()
    assert brighter[0] == 0
    assert 0.08 < brighter[-1] < 0.1
    assert (toned(gamma=0.99)[1:-1] < ramp.flatten()[1:-1]).all()
    assert toned(gamma=0.99)[-1] == pytest.approx(1.0)
    power = ((ramp.flatten() + 1) / 2) ** (1.25**0.99) * 2 - 1
    torch.testing.assert_close(toned(gamma=0.99), power, atol=0.01, rtol=0)
    for sign in (-0.999, 0.999):  # all together, at their strongest
        values = toned(brightness=sign, contrast=sign, gamma=sign)
        assert values[0] == pytest.approx(-1, abs=1e-12)
        assert (values.diff() > 0).all()


def test_gamma_has_a_finite_slope_at_air_and_below() -> None:
    value = torch.tensor([-0.5, -1e-9, 0.0, 1e-9, 0.5], dtype=torch.float64, requires_grad=True)
    for gamma in (0.8, 1.25):
        (slope,) = torch.autograd.grad(gamma_change(value, torch.tensor(gamma).double()).sum(), value)
        assert slope.isfinite().all()
        assert slope.abs().max() < 2


def test_rows_that_undergo_nothing_keep_their_bits() -> None:
    images, numbers = random_images(64), draw(64, ALL, generator(7))
    strength = strengths(numbers, 0.1)
    still = torch.stack([v == 0 for v in strength.values()]).all(dim=0)
    assert 5 < still.sum() < 60
    out = augment(images, numbers, 0.1)
    assert torch.equal(out[still], images[still])
    assert not torch.equal(out[~still], images[~still])
    flat = torch.stack([strength[name] == 0 for name in ("rotate", "scale", "anisotropy")]).all(dim=0)
    geometric = AugmentDraw(numbers.chance, numbers.value, ("rotate", "scale", "anisotropy"))
    assert torch.equal(augment(images, geometric, 0.1)[flat], images[flat])


@pytest.mark.parametrize("rows", [slice(2, 5), torch.tensor([6, 0, 3])])
def test_a_slice_of_the_draw_augments_a_slice_of_the_batch(rows: slice | Tensor) -> None:
    images, numbers = random_images(8, channels=2), draw(8, ALL, generator(8))
    whole, part = augment(images, numbers, 0.7)[rows], augment(images[rows], numbers.slice(rows), 0.7)
    torch.testing.assert_close(part, whole, rtol=0, atol=1e-6)


def test_channels_of_an_image_undergo_the_same() -> None:
    one = random_images(6)
    out = augment(one.repeat(1, 3, 1, 1), draw(6, ALL, generator(9)), 0.8)
    torch.testing.assert_close(out, out[:, :1].expand_as(out), rtol=0, atol=1e-6)


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_type_and_memory_layout_are_kept(p: float) -> None:
    for dtype in (torch.float32, torch.float64):
        images = random_images(6, channels=3, dtype=dtype).to(memory_format=torch.channels_last)
        out = augment(images, draw(6, ALL, generator(10)), p)
        assert out.dtype == dtype
        assert out.is_contiguous(memory_format=torch.channels_last)
        plain = augment(images.contiguous(), draw(6, ALL, generator(10)), p)
        assert plain.is_contiguous()
        torch.testing.assert_close(plain, out, rtol=0, atol=1e-6)


def test_first_and_second_derivatives_also_through_the_border() -> None:
    strong = numbers_for(
        1, flip=-0.5, rotate=0.9, scale=-0.9, anisotropy=0.5, shift_x=0.9, contrast=0.5, gamma=0.7, brightness=-0.6
    )
    moves = numbers_for(1, flip=-0.5, shift_x=0.9, gamma=-0.7)
    images = random_images(1, side=16, dtype=torch.float64)[:, :, 5:8].clone().requires_grad_()  # not square, too
    assert geometry(strengths(moves, 0.5), 3, 16).shift.tolist() == [[1, 0]]
    for numbers in (strong, moves):
        assert torch.autograd.gradcheck(lambda x, d=numbers: augment(x, d, 0.5), (images,))
        assert torch.autograd.gradgradcheck(lambda x, d=numbers: augment(x, d, 0.5), (images,))


def test_a_penalty_on_the_image_before_augmentation_sees_the_warp() -> None:
    """|d/dx of w . A x|^2 = |A^T w|^2 for the linear part A: R1's gradient passes through twice."""
    numbers = numbers_for(rotate=0.8, scale=0.7, shift_y=0.9)
    basis = torch.eye(256, dtype=torch.float64).reshape(256, 1, 16, 16) - 1  # A is affine: air maps to air
    many = AugmentDraw(numbers.chance.repeat(256, 1), numbers.value.repeat(256, 1), ALL)
    a = (augment(basis, many, 0.5) + 1).reshape(256, 256).T
    w = torch.randn(256, generator=generator(11), dtype=torch.float64, requires_grad=True)
    image = random_images(1, side=16, dtype=torch.float64).requires_grad_()
    (grad,) = torch.autograd.grad(augment(image, numbers, 0.5).flatten() @ w, image, create_graph=True)
    (by_w,) = torch.autograd.grad(grad.square().sum() / 2, w)
    torch.testing.assert_close(by_w, (a @ a.T @ w).detach())
