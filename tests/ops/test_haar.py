"""The Haar transform: undone exactly, with each band where it says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylescan.ops.haar import haar, inverse_haar


@settings(deadline=None, max_examples=30)
@given(levels=st.integers(0, 3), channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_it_is_undone_exactly(levels: int, channels: int, seed: int) -> None:
    x = torch.randn(2, channels, 16, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a = haar(x, levels)
    assert a.shape == (2, channels * 4**levels, 16 >> levels, 32 >> levels)
    torch.testing.assert_close(inverse_haar(a, levels), x)
    torch.testing.assert_close(haar(inverse_haar(a, levels), levels), a)


def test_bands_are_the_mean_and_the_differences_along_columns_rows_and_diagonals() -> None:
    square = torch.tensor([[1.0, 2.0], [10.0, 20.0]])[None, None]
    assert haar(square).flatten().tolist() == [33 / 4, 1 - 2 + 10 - 20, 1 + 2 - 10 - 20, 1 - 2 - 10 + 20]


@pytest.mark.parametrize("levels", [1, 2])
def test_a_constant_image_is_in_its_channels_mean_band_alone(levels: int) -> None:
    x = torch.tensor([3.0, 5.0])[None, :, None, None].expand(1, 2, 8, 8)
    found = haar(x, levels)
    for channel, value in enumerate((3.0, 5.0)):
        bands = found[0, channel * 4**levels : (channel + 1) * 4**levels]
        assert torch.equal(bands[0], torch.full_like(bands[0], value))
        assert not bands[1:].any()


def test_mixed_precision_leaves_images_their_digits() -> None:
    x = 0.7 + 0.02 * torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        a = haar(x, 2)
        back = inverse_haar(a, 2)
        of_features = inverse_haar(a.bfloat16(), 2)
    assert torch.equal(a, haar(x, 2))
    torch.testing.assert_close(back, x)
    assert of_features.dtype == torch.float32


def test_it_is_differentiable_twice_and_answers_channels_last() -> None:
    x = torch.randn(2, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    assert haar(x).is_contiguous(memory_format=torch.channels_last)
    assert torch.autograd.gradgradcheck(lambda x: inverse_haar(haar(x).tanh()), x)
