"""The spectrum, white dots and checkerboards: closed forms, and each fault found where it was planted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from stylescan.evaluate.measures.artefacts import checkerboard_peaks, checkerboard_terms, dot_height, dot_terms
from stylescan.evaluate.measures.spectrum import fine_detail_db, radial_profile, spectrum_distance, windowed_power
from stylescan.evaluate.reference import blurred


def scans(n: int, resolution: int, seed: int) -> NDArray[np.uint8]:
    """Smooth textures with a little noise."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(n, 1, resolution, resolution)), (0, 0, 3, 3)) * 500 + 110
    return np.clip(smooth + rng.normal(size=smooth.shape) * 4, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("resolution", "dtype"), [(16, np.uint8), (64, np.uint8), (64, np.uint16)])
def test_white_noise_has_its_variance_at_every_frequency(resolution: int, dtype: type) -> None:
    levels = np.iinfo(dtype).max
    images = np.random.default_rng(0).normal(levels / 2, levels * 0.05, (400, 1, resolution, resolution)).astype(dtype)
    power = windowed_power(images).mean(axis=0)
    np.testing.assert_allclose(power[2:-2, 2:], 0.05**2, rtol=0.35)
    assert power.mean() == pytest.approx(0.05**2, rel=0.03)
    profile = radial_profile(images)
    assert profile.shape == (400, resolution // 2)
    # The mean of a logarithm lies below that of few coefficients, so the coarsest rings are left out.
    np.testing.assert_allclose(profile[:, 4:].mean(axis=0), 10 * np.log10(0.05**2), atol=0.5)


def test_the_whole_plane_is_counted_with_half_of_it_stored() -> None:
    images = scans(3, 16, 1)
    unit = images / 255.0
    unit = unit - unit.mean(axis=(2, 3), keepdims=True)
    window = np.outer(*[0.5 - 0.5 * np.cos(2 * np.pi * np.arange(16) / 16)] * 2)
    full = np.abs(np.fft.fft2(unit[:, 0] * window / np.sqrt((window**2).mean()))) ** 2 / 256 + (1 / 255) ** 2 / 12
    frequency = np.fft.fftfreq(16) * 16
    ring = np.rint(np.hypot(frequency[:, None], frequency[None, :]))
    expected = [[10 * np.log10(one[ring == r].mean()) for r in range(1, 9)] for one in full]
    np.testing.assert_allclose(radial_profile(images), expected, rtol=1e-9)


def test_a_gain_moves_every_frequency_alike_and_the_distance_is_its_decibels() -> None:
    images = (scans(50, 64, 2).astype(np.uint16) * 128).astype(np.uint16)
    profile = radial_profile(images)
    assert spectrum_distance(radial_profile(images * 2), profile, None, None) == pytest.approx(
        20 * np.log10(2), abs=1e-3
    )
    assert fine_detail_db(radial_profile(images * 2), profile) == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert spectrum_distance(profile, profile, None, None) == 0.0


def test_blur_is_less_fine_detail_and_noise_more() -> None:
    real, other = scans(100, 64, 3), scans(100, 64, 4)
    y = radial_profile(other)
    floor = spectrum_distance(radial_profile(real), y, None, None)
    soft = radial_profile(blurred(real, 1.0))
    rough = np.clip(real + np.random.default_rng(5).normal(size=real.shape) * 12, 0, 255).astype(np.uint8)
    assert spectrum_distance(soft, y, None, None) > 10 * floor
    assert fine_detail_db(soft, y) < -5
    assert fine_detail_db(radial_profile(rough), y) > 5


@pytest.mark.parametrize("resolution", [4, 8, 16, 64])
def test_flat_images_have_finite_descriptors(resolution: int) -> None:
    flat = np.full((2, 1, resolution, resolution), 90, np.uint8)
    rounding = 10 * np.log10((1 / 255) ** 2 / 12)
    np.testing.assert_allclose(radial_profile(flat), rounding, atol=1e-6)
    np.testing.assert_array_equal(dot_height(flat), 0.0)
    peaks = checkerboard_peaks(flat)
    if resolution < 16:
        assert np.isnan(peaks).all()
    else:
        np.testing.assert_allclose(peaks, 0.0, atol=1e-6)


def test_dots_stand_out_and_lines_edges_and_broad_spots_do_not() -> None:
    ground = np.full((6, 1, 16, 16), 50, np.uint8)
    ground[0, 0, 8, 8] = 200  # a dot
    ground[1, 0, 4:6, 4:6] = 150  # 2 x 2
    ground[2, 0, 3:6, 3:6] = 100  # 3 x 3
    ground[3, 0, 5:9, 5:9] = 255  # 4 x 4: a structure
    ground[4, 0, 8, :] = 255  # a line
    ground[5, 0, :, 8:] = 255  # an edge
    np.testing.assert_allclose(dot_height(ground)[:, 0] * 255, [150, 100, 50, 0, 0, 0])
    corner = np.zeros((1, 2, 16, 16), np.uint16)
    corner[0, 1, 0, 15] = 65535
    assert dot_height(corner)[0, 0] == 0.0  # nothing is known beyond the border, so it is taken for a broad spot
    corner[0, 1, 2, 13] = 65535
    assert dot_height(np.roll(corner, 4, axis=2))[0, 0] == 0.0
    corner[0, 1, 0, 15] = 0
    assert dot_height(corner)[0, 0] == 1.0


def test_white_dots_count_against_the_datas_own_bright_spots() -> None:
    real = dot_height(scans(500, 32, 6))
    clean = scans(400, 32, 7)
    spotted = clean.copy()
    for i in range(100):
        spotted[i, 0, 5 + i % 20, 16] = 255
    terms = dot_terms(dot_height(spotted), real, None, None)
    assert terms.over == "generated"
    assert terms.values[:100].mean() > 0.95
    assert terms.values[100:].mean() < 0.03
    assert dot_terms(real, real, None, None).mean <= 0.01


@pytest.mark.parametrize("period", [2, 4])
@pytest.mark.parametrize("resolution", [16, 64])
def test_checkerboards_of_both_periods_are_found(period: int, resolution: int) -> None:
    clean = np.minimum(scans(200, resolution, 8), 240)
    rows, columns = np.indices((resolution, resolution)) // (period // 2)
    board = clean + (6 * ((rows + columns) % 2)).astype(np.uint8)
    plain = checkerboard_peaks(clean)
    found = checkerboard_peaks(board)
    assert abs(plain.mean()) < (1.0 if resolution == 64 else 3.0)  # 16 px leave little room around a frequency
    assert found.mean() > plain.mean() + 1.0
    assert checkerboard_terms(found, plain, None, None).mean == pytest.approx(found.mean())


def test_neither_blur_nor_contrast_is_a_checkerboard() -> None:
    clean = scans(200, 64, 9)
    plain = checkerboard_peaks(clean).mean()
    assert abs(checkerboard_peaks(blurred(clean, 0.6)).mean() - plain) < 0.6
    assert abs(checkerboard_peaks((clean // 2).astype(np.uint8)).mean() - plain) < 0.6
