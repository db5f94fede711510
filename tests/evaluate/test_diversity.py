"""MS-SSIM against torchmetrics; which pairs are drawn; collapse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as reference

from stylescan.evaluate.measures import diversity
from stylescan.evaluate.measures.diversity import ms_ssim, pair_similarity, scale_weights


def textures(n: int, resolution: int, seed: int, channels: int = 1, dtype: type = np.uint8) -> NDArray[np.integer]:
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(n, channels, resolution, resolution)), (0, 0, 2, 2)) * 4 + 0.5
    return (np.clip(smooth, 0, 1) * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize(("resolution", "channels", "dtype"), [
    (16, 1, np.uint8), (32, 2, np.uint8), (64, 1, np.uint8), (64, 3, np.uint16), (128, 1, np.uint8), (256, 1, np.uint8),
])  # fmt: skip
def test_equal_to_torchmetrics_with_the_same_scales(resolution: int, channels: int, dtype: type) -> None:
    first = textures(4, resolution, 0, channels, dtype)
    mixed = 0.7 * first + 0.3 * textures(4, resolution, 1, channels, dtype)
    second = np.concatenate([mixed[:3].astype(dtype), first[:1] * 0])
    levels = float(np.iinfo(dtype).max)
    expected = [
        float(reference(torch.from_numpy(a[None] / levels), torch.from_numpy(b[None] / levels), data_range=1.0,
                        betas=scale_weights(resolution)))
        for a, b in zip(first, second, strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(ms_ssim(first, second), expected, atol=1e-4 / 10)
    assert 0.2 < expected[0] < 0.99


def test_scales_keep_16_pixels_and_weights_sum_to_one() -> None:
    counts = {resolution: len(scale_weights(resolution)) for resolution in (4, 8, 16, 32, 64, 128, 256, 512)}
    assert counts == {4: 1, 8: 1, 16: 1, 32: 2, 64: 3, 128: 4, 256: 5, 512: 5}
    for resolution in counts:
        assert sum(scale_weights(resolution)) == pytest.approx(1.0)
    assert scale_weights(64)[0] / scale_weights(64)[1] == pytest.approx(0.0448 / 0.2856)


@pytest.mark.parametrize("resolution", [4, 8, 16, 64])
def test_closed_forms(resolution: int) -> None:
    images = textures(3, resolution, 2)
    np.testing.assert_allclose(ms_ssim(images, images), 1.0, atol=1e-6)
    # Two flat images differ in luminance alone, which the coarsest scale holds.
    dark, light = (
        np.zeros((1, 1, resolution, resolution), np.uint8),
        np.full((1, 1, resolution, resolution), 255, np.uint8),
    )
    luminance = 0.01**2 / (1 + 0.01**2)
    assert ms_ssim(dark, light)[0] == pytest.approx(luminance ** scale_weights(resolution)[-1], rel=1e-4)


def test_images_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        ms_ssim(textures(2, 16, 0), textures(2, 32, 0))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(6, 30))
def test_no_order_and_no_block_size_changes_the_mean(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 1, 16, 16), dtype=np.uint8)
    groups = rng.integers(0, 4, n)
    groups[:2] = [0, 1]
    order = rng.permutation(n)
    found = pair_similarity(lambda p: images[p], n, groups, pairs=40).mean
    again = pair_similarity(lambda p: images[order][p], n, groups[order], pairs=40).mean
    assert again == pytest.approx(found, abs=1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "_BLOCK", 700)
        assert pair_similarity(lambda p: images[p], n, groups, pairs=40).mean == pytest.approx(found, abs=1e-6)
    if n > 20:
        assert pair_similarity(lambda p: images[p], n, groups, pairs=40, seed=1).mean != found


@pytest.mark.parametrize("pairs", [5, 60, 100_000])
def test_pairs_join_different_subjects_and_none_comes_twice(pairs: int) -> None:
    images = textures(60, 8, 3)
    subjects = np.repeat(np.arange(20), 3)
    read_order: list[NDArray[np.int64]] = []

    def read(positions: NDArray[np.int64]) -> NDArray[np.integer]:
        read_order.append(positions)
        return images[positions]

    found = pair_similarity(read, 60, subjects, pairs=pairs)
    allowed = 60 * 57 // 2
    assert len(found.values) == min(pairs, allowed)
    assert (found.subjects[:, 0] != found.subjects[:, 1]).all()
    sides = read_order[1:]  # the first call orders the images
    first, second = np.concatenate(sides[0::2]), np.concatenate(sides[1::2])
    assert len({frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)}) == len(first)
    np.testing.assert_array_equal(subjects[first], found.subjects[:, 0])
    np.testing.assert_allclose(found.values, ms_ssim(images[first], images[second]), atol=1e-6)


def test_every_pair_is_as_likely_as_another() -> None:
    codes = np.repeat(np.arange(50), 2)
    counts = np.zeros((100, 100))
    for seed in range(40):
        for i, j in diversity._random_pairs(codes, 1000, np.random.default_rng(seed)):
            counts[i, j] += 1
    assert counts[codes[:, None] == codes[None, :]].sum() == 0
    allowed = counts[np.triu(codes[:, None] != codes[None, :])]
    assert len(allowed) == 4900
    # 40 draws of 1,000 among 4,900: mean 8.16, variance 40 * p (1 - p).
    assert allowed.mean() == pytest.approx(40 * 1000 / 4900)
    assert allowed.var() == pytest.approx(40 * (1000 / 4900) * (1 - 1000 / 4900), rel=0.1)


def test_matched_depth_pairs_lie_at_one_depth_and_are_more_alike() -> None:
    depth = np.tile(np.arange(24.0), 20)
    subjects = np.repeat(np.arange(20), 24)
    level = textures(24, 16, 4).astype(np.int64)
    noise = np.random.default_rng(5).integers(-10, 11, (480, 1, 16, 16))
    images = np.clip(level[depth.astype(int)] + noise, 0, 255).astype(np.uint8)
    matched = pair_similarity(lambda p: images[p], 480, subjects, depth=depth, pairs=300)
    free = pair_similarity(lambda p: images[p], 480, subjects, pairs=300)
    assert (matched.subjects[:, 0] != matched.subjects[:, 1]).all()
    assert matched.mean > 0.8 > free.mean + 0.3


def test_collapse_raises_it_and_one_subject_has_none() -> None:
    varied = textures(200, 16, 6)
    rng = np.random.default_rng(7)
    collapsed = np.clip(varied[np.arange(200) % 5].astype(int) + rng.integers(-2, 3, varied.shape), 0, 255).astype(
        np.uint8
    )
    free = pair_similarity(lambda p: varied[p], 200)
    few = pair_similarity(lambda p: collapsed[p], 200)
    assert few.mean > free.mean + 0.1
    none = pair_similarity(lambda p: varied[p], 200, np.zeros(200, int))
    assert np.isnan(none.mean)
    assert "at least 2 subjects" in none.missing
