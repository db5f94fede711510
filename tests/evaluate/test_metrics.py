"""FD and KID against closed forms and an independent library; what holds for every metric."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchmetrics.image.fid import FrechetInceptionDistance, _compute_fid
from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd

from stylescan.evaluate.metrics import DISTANCES, METRICS, Metric, frechet_distance, frechet_distance_of_moments, kid


def features(n: int, d: int, seed: int, shift: float = 0.0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) / np.sqrt(d)) + shift)


def test_fd_of_a_shift_is_its_squared_length() -> None:
    x = features(50, 8, 0)
    shift = np.arange(8.0)
    assert frechet_distance(x, x + shift) == pytest.approx(float(shift @ shift), abs=1e-9)


def test_fd_of_diagonal_gaussians_is_the_closed_form() -> None:
    s1, s2 = np.array([1.0, 2.0, 0.5, 0.0]), np.array([3.0, 0.1, 0.5, 0.2])
    mean = np.array([0.5, 0.0, -1.0, 2.0])
    expected = float(mean @ mean + ((s1 - s2) ** 2).sum())
    found = frechet_distance_of_moments(np.zeros(4), np.diag(s1**2), mean, np.diag(s2**2))
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 12), (300, 40, 60), (25, 30, 60)])
def test_fd_equals_that_of_moments_and_torchmetrics(n: int, m: int, d: int) -> None:
    x, y = features(n, d, 1), features(m, d, 2, shift=0.3)
    moments = x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance_of_moments(*moments), rel=1e-6)
    oracle = float(_compute_fid(*(torch.from_numpy(part) for part in moments)))
    # The reference takes roots of a nonsymmetric product's eigenvalues: rounding shows where n < d.
    assert frechet_distance(x, y) == pytest.approx(oracle, rel=1e-8 if n > d and m > d else 1e-4)


def test_fd_and_kid_of_float32_features_are_summed_in_float64() -> None:
    x, y = (features(100, 10, seed).astype(np.float32) + np.float32(100.0) for seed in (3, 4))
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(x.astype(float), y.astype(float)), rel=1e-12)
    assert kid(x, y) == pytest.approx(kid(x.astype(float), y.astype(float)), rel=1e-12)


def test_kid_of_two_points_by_hand() -> None:
    x, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0], [0.0, 0.0]])
    # k(x0,x1) = 1, k(y0,y1) = 1; across: (1+1)^3 = 8, 1, 1, 1
    assert kid(x, y) == pytest.approx(1.0 + 1.0 - 2.0 * (8 + 1 + 1 + 1) / 4)


def test_kid_equals_torchmetrics_on_the_full_set() -> None:
    x, y = features(80, 16, 5), features(80, 16, 6, shift=0.2)
    oracle = float(poly_mmd(torch.from_numpy(x), torch.from_numpy(y)))
    assert kid(x, y) == pytest.approx(oracle, rel=1e-10)
    alone = [str(i) for i in range(80)]
    assert kid(x, y, alone, alone) == pytest.approx(oracle, rel=1e-10)


def test_kid_leaves_out_pairs_of_one_subject_exactly() -> None:
    x, y = features(7, 3, 7), features(9, 3, 8)
    groups = [0, 0, 1, 1, 1, 2, 3, 3, 4]

    def k(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within_x = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(9) for j in range(9) if groups[i] != groups[j]])
    across = np.mean([k(a, b) for a in x for b in y])
    assert kid(x, y, None, groups) == pytest.approx(within_x + within_y - 2 * across, rel=1e-12)


def test_near_copies_of_one_subject_bias_the_plain_statistic_only() -> None:
    rng = np.random.default_rng(9)
    plain, grouped = [], []
    for _ in range(60):
        x = rng.normal(size=(60, 8))
        y = np.repeat(rng.normal(size=(10, 8)), 6, axis=0) + rng.normal(size=(60, 8)) * 0.01
        plain.append(kid(x, y))
        grouped.append(kid(x, y, None, np.repeat(np.arange(10), 6)))
    standard_error = np.std(grouped) / np.sqrt(60)
    assert abs(np.mean(grouped)) < 3 * standard_error
    assert np.mean(plain) > 5 * standard_error


def test_kid_without_two_subjects_is_nan() -> None:
    assert np.isnan(kid(features(5, 3, 0), features(5, 3, 1), None, ["a"] * 5))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(3, 12), m=st.integers(3, 12))
def test_distances_do_not_depend_on_order_and_are_symmetric(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 5)), rng.normal(size=(m, 5))
    groups = rng.integers(0, 4, m)
    groups[:2] = [0, 1]
    order = rng.permutation(m)
    for metric in DISTANCES.values():
        value = metric.compute(x, y, None, groups)
        assert metric.compute(x[::-1], y[order], None, groups[order]) == pytest.approx(value, rel=1e-9, abs=1e-9)
        assert metric.compute(y, x, groups, None) == pytest.approx(value, rel=1e-9, abs=1e-9)


def seen(metric: Metric, images: NDArray[np.uint8], space: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the metric's functions take: its own descriptors, the images themselves, or features."""
    if metric.describe is not None:
        return metric.describe(images)
    return images if metric is METRICS["ms_ssim"] else space


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_metric_depends_on_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, 40, 1, 16, 16), dtype=np.uint8)
    spaces = rng.normal(size=(2, 40, 5)) + np.array([[[0.0]], [[0.5]]])
    groups = np.repeat(np.arange(10), 4)
    p, q = rng.permutation(40), rng.permutation(40)
    for name, metric in METRICS.items():
        x, y = (seen(metric, images[side], spaces[side]) for side in (0, 1))
        value = metric.compute(x, y, None, groups)
        assert np.isfinite(value), name
        assert metric.compute(x[p], y[q], None, groups[q]) == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_resampling_equals_computing_on_the_subset() -> None:
    x, y = features(20, 6, 10), features(24, 6, 11)
    groups = np.repeat(np.arange(8), 3)
    keep_x, keep_y = np.arange(0, 20, 2), np.arange(5, 24)
    resampled = {name: metric for name, metric in METRICS.items() if metric.resampler is not None}
    assert set(resampled) == {"kid", "fd", "spectrum"}
    for metric in resampled.values():
        found = metric.resampler(x, y, None, groups)(keep_x, keep_y)
        assert found == pytest.approx(metric.compute(x[keep_x], y[keep_y], None, groups[keep_y]), rel=1e-10)


def test_every_metric_says_what_it_is_and_has_one_way_to_an_interval() -> None:
    for name, metric in METRICS.items():
        assert metric.title, name
        assert metric.meaning, name
        assert metric.better in ("lower", "higher", "near real")
        # Pairs of images have an interval of their own.
        assert (metric.resampler is not None) + (metric.terms is not None) == (name != "ms_ssim")


def fid_with(module: torch.nn.Module, x: NDArray[np.uint8], y: NDArray[np.uint8]) -> float:
    oracle = FrechetInceptionDistance(feature=module, input_img_size=(1, 4, 4)).set_dtype(torch.float64)
    oracle.update(torch.from_numpy(y), real=True)
    oracle.update(torch.from_numpy(x), real=False)
    return float(oracle.compute())


def test_fd_and_kid_of_features_equal_torchmetrics_with_the_same_extractor() -> None:
    class Flat(torch.nn.Module):
        num_features = 16

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.double().flatten(1) / 255

    rng = np.random.default_rng(12)
    x, y = (rng.integers(0, high, (120, 1, 4, 4), dtype=np.uint8) for high in (200, 256))
    fx, fy = (Flat()(torch.from_numpy(images)).numpy() for images in (x, y))
    assert frechet_distance(fx, fy) == pytest.approx(fid_with(Flat(), x, y), rel=1e-4)
    oracle = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=120).set_dtype(torch.float64)
    oracle.update(torch.from_numpy(y), real=True)
    oracle.update(torch.from_numpy(x), real=False)
    assert kid(fx, fy) == pytest.approx(float(oracle.compute()[0]), abs=1e-4 * abs(kid(fx, fy)))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="5 and 6 dimensions"):
        frechet_distance(features(9, 5, 0), features(9, 6, 0))
    with pytest.raises(ValueError, match="n >= 2"):
        frechet_distance(features(1, 5, 0), features(9, 5, 0))
    with pytest.raises(ValueError, match="3 groups for 9 images"):
        kid(features(9, 5, 0), features(9, 5, 0), None, ["a", "b", "c"])
