"""Geometry: squares of the right size, scale kept, padding undone exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.data.geometry import Geometry, apply, choose_resolution, plan_picture, plan_volume, undo

sides = st.integers(1, 600)
resolutions = st.sampled_from([16, 32, 64, 128, 256])


def test_knee_slices_are_cropped_and_padded_not_resampled() -> None:
    plan = plan_picture(228, 260, 256, exact=False)
    assert (plan.crop_left, plan.crop_right, plan.pad_top, plan.pad_bottom) == (2, 2, 14, 14)
    image = np.random.default_rng(0).random((1, 228, 260)).astype(np.float32)
    np.testing.assert_array_equal(undo(apply(image, plan), plan), image[:, :, 2:258])


def test_adni_slices_get_eight_rows_above_and_below() -> None:
    plan = plan_picture(240, 256, 256, exact=False)
    assert (plan.pad_top, plan.pad_bottom, plan.pad_left, plan.resampled_width) == (8, 8, 0, 256)


@pytest.mark.parametrize(
    ("longest", "expected"),
    [(256, (256, True)), (240, (256, True)), (192, (256, True)), (260, (256, True)), (191, (128, False)),
     (320, (256, False)), (384, (512, True)), (17, (16, False)), (5, (16, False)), (4000, (1024, False))],
)  # fmt: skip
def test_resolution_is_chosen_near_the_images(longest: float, expected: tuple[int, bool]) -> None:
    assert choose_resolution(longest) == expected


@given(height=sides, width=sides, resolution=resolutions, exact=st.booleans())
def test_every_picture_becomes_a_square_and_undo_returns_what_was_not_padding(
    height: int, width: int, resolution: int, exact: bool
) -> None:
    plan = plan_picture(height, width, resolution, exact=exact)
    assert (plan.output_height, plan.output_width) == (resolution, resolution)
    out = apply(np.ones((1, height, width), np.float32), plan)
    assert out.shape == (1, resolution, resolution)
    assert np.all(undo(out, plan) > 0.999)  # the picture itself, whole
    assert out.sum() == pytest.approx(plan.resampled_height * plan.resampled_width, rel=1e-4)  # and nothing else
    assert abs(plan.pad_left - plan.pad_right) <= 1
    # The aspect survives to within rounding to whole pixels.
    rows, columns = height - plan.crop_top - plan.crop_bottom, width - plan.crop_left - plan.crop_right
    scale = max(plan.resampled_height, plan.resampled_width) / max(rows, columns)
    assert abs(plan.resampled_height - max(1, rows * scale)) <= 0.5 + 1e-9
    assert abs(plan.resampled_width - max(1, columns * scale)) <= 0.5 + 1e-9


@given(
    height=st.integers(1, 300), width=st.integers(1, 300), resolution=resolutions,
    spacing=st.tuples(st.floats(0.2, 5.0), st.floats(0.2, 5.0)), view=st.floats(20.0, 400.0),
)  # fmt: skip
def test_volumes_keep_one_scale(
    height: int, width: int, resolution: int, spacing: tuple[float, float], view: float
) -> None:
    plan = plan_volume(height, width, spacing, resolution, view)
    assert (plan.output_height, plan.output_width) == (resolution, resolution)
    per_mm = resolution / view
    rows = (height - plan.crop_top - plan.crop_bottom) * spacing[0] * per_mm
    columns = (width - plan.crop_left - plan.crop_right) * spacing[1] * per_mm
    assert abs(plan.resampled_height - max(1, rows)) <= 0.51
    assert abs(plan.resampled_width - max(1, columns)) <= 0.51
    if height * spacing[0] <= view:
        assert plan.crop_top == plan.crop_bottom == 0


def test_anisotropic_pixels_come_out_isotropic() -> None:
    plan = plan_volume(50, 100, (2.0, 1.0), 64, 100.0)
    assert (plan.resampled_height, plan.resampled_width) == (64, 64)
    assert plan.output_spacing_mm == pytest.approx((100 / 64, 100 / 64))


def test_a_centred_square_stays_where_it_was() -> None:
    image = np.zeros((1, 40, 40), np.float32)
    image[:, 10:30, 10:30] = 1
    out = apply(image, plan_picture(40, 40, 16, exact=False))[0]
    rows, columns = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    assert (out * rows).sum() / out.sum() == pytest.approx(7.5, abs=1e-4)
    assert (out * columns).sum() / out.sum() == pytest.approx(7.5, abs=1e-4)
    assert out.sum() / 256 == pytest.approx(400 / 1600, abs=0.01)


def test_reduction_is_antialiased() -> None:
    stripes = np.tile(np.array([0.0, 1.0], np.float32), 64)[None, None].repeat(128, axis=1)
    out = apply(np.ascontiguousarray(stripes), plan_picture(128, 128, 16, exact=False))
    assert np.abs(out - 0.5).max() < 0.05  # picking every eighth pixel would give 0 or 1


def test_apply_and_undo_refuse_what_is_not_theirs() -> None:
    plan = plan_picture(20, 30, 32, exact=False)
    with pytest.raises(ValueError, match="20x30"):
        apply(np.zeros((1, 30, 20), np.float32), plan)
    with pytest.raises(ValueError, match="square"):
        undo(np.zeros((32, 16)), plan)
    with pytest.raises(ValueError, match="32x16"):
        undo(np.zeros((32, 32)), Geometry(source_height=1, source_width=1, resampled_height=32, resampled_width=16))


def test_undo_scales_with_the_image() -> None:
    plan = plan_picture(16, 32, 32, exact=True)
    assert undo(np.zeros((1, 64, 64)), plan).shape == (1, 32, 64)
    assert undo(np.zeros((8, 8)), plan).shape == (4, 8)
