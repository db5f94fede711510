"""Intensity: percentiles against NumPy, exact ends, Otsu against a brute-force search, label maps recognised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.data.intensity import (
    foreground_shares,
    from_fraction,
    looks_like_labels,
    otsu_threshold,
    percentile_range,
    pooled_range,
    sample_values,
    to_fraction,
)


def test_percentiles_and_their_fallback() -> None:
    values = np.arange(1001, dtype=np.float32)
    assert percentile_range(values, (0.5, 99.5)) == (5.0, 995.0)
    sparse = np.zeros(1000, np.float32)
    sparse[0] = 7  # percentiles coincide: take the extremes rather than erase the image
    assert percentile_range(sparse, (0.5, 99.5)) == (0.0, 7.0)
    assert percentile_range(np.full(9, 3.0), (0.5, 99.5)) == (3.0, 3.0)


def test_a_group_shares_one_map() -> None:
    dark, bright = np.arange(100, dtype=np.uint16), np.arange(1000, 1100, dtype=np.uint16)
    low, high = pooled_range([sample_values(dark), sample_values(bright)], (0.0, 100.0))
    assert (low, high) == (0.0, 1099.0)


def test_samples_are_bounded_and_spread() -> None:
    sample = sample_values(np.arange(2**20 + 3))
    assert 2**17 < len(sample) <= 2**18
    assert sample[-1] > 2**20 - 16


@given(st.floats(-1e4, 1e4), st.floats(1e-2, 1e4), st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=20))
def test_fractions_are_linear_and_clipped(low: float, span: float, values: list[float]) -> None:
    found = to_fraction(np.array(values), low, low + span)
    expected = np.clip((np.array(values) - low) / span, 0, 1)
    # float32 carries 24 bits: the error grows with the size of the values over the span
    np.testing.assert_allclose(found, expected, atol=3e-7 * (1 + (max(map(abs, values)) + abs(low)) / span))
    assert found.dtype == np.float32


@pytest.mark.parametrize(("bits", "largest"), [(8, 255), (16, 65535)])
def test_eight_bit_values_pass_unchanged(bits: int, largest: int) -> None:
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(
        from_fraction(to_fraction(values, 0, 255), bits), values.astype(int) * (largest // 255)
    )


def test_constant_input_is_black() -> None:
    assert not to_fraction(np.full(4, 9.0), 9.0, 9.0).any()


def test_otsu_agrees_with_brute_force() -> None:
    generator = np.random.default_rng(3)
    values = np.concatenate([generator.normal(0.2, 0.05, 4000), generator.normal(0.7, 0.1, 2000)]).clip(0, 1)

    def within(threshold: float) -> float:
        parts = [values[values <= threshold], values[values > threshold]]
        return sum(len(part) * part.var() for part in parts if len(part))

    grid = np.linspace(0.1, 0.9, 801)
    best = grid[np.argmin([within(t) for t in grid])]
    assert otsu_threshold(values.astype(np.float32)) == pytest.approx(best, abs=0.01)


def test_foreground_shares_of_half_filled_slices() -> None:
    slices = np.zeros((3, 10, 10), np.float32)
    slices[1, :5] = 0.9
    slices[2] = 0.9
    assert foreground_shares(slices) == pytest.approx([0.0, 0.5, 1.0])


def test_label_maps_and_scans_are_told_apart() -> None:
    generator = np.random.default_rng(0)
    assert looks_like_labels(generator.integers(0, 3, (9, 9, 9)).astype(np.float32))
    assert not looks_like_labels(generator.integers(0, 300, (9, 9, 9)).astype(np.float32))
    assert not looks_like_labels(generator.integers(0, 3, (9, 9, 9)) * np.float32(0.25))
