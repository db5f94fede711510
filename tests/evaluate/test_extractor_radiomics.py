"""Weight-free features against closed forms: co-occurrence, runs, patterns, moments, edges, layout, scales."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from stylescan.errors import ConfigError
from stylescan.evaluate.extractors import intensity, texture
from stylescan.evaluate.extractors.radiomics import Radiomics, raw_features
from stylescan.evaluate.features import get_extractor


def pictures(n: int = 6, channels: int = 1, height: int = 32, width: int = 32) -> NDArray[np.uint8]:
    noise = np.random.default_rng(2).normal(size=(n, channels, height, width))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 2, 2)) * 400 + 100
    return np.clip(smooth, 0, 255).astype(np.uint8)


def checkerboard(size: int = 16) -> NDArray[np.float64]:
    return np.indices((size, size)).sum(axis=0) % 2 * 1.0


def test_co_occurrence_by_hand() -> None:
    """Haralick's own 4 x 4 example (1973, figure 3), four grey levels: 0, 45, 90 and 135 degrees."""
    image = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]])
    expected = {
        (0, 1): [[4, 2, 1, 0], [2, 4, 0, 0], [1, 0, 6, 1], [0, 0, 1, 2]],
        (1, 0): [[6, 0, 2, 0], [0, 4, 2, 0], [2, 2, 2, 2], [0, 0, 2, 0]],
        (1, 1): [[2, 1, 3, 0], [1, 2, 1, 0], [3, 1, 0, 2], [0, 0, 2, 0]],
        (1, -1): [[4, 1, 0, 0], [1, 2, 2, 0], [0, 2, 4, 1], [0, 0, 1, 0]],
    }
    for (dy, dx), counts in expected.items():
        p = texture.co_occurrence(image, 4, dy, dx)
        np.testing.assert_allclose(p * np.sum(counts), counts)


def test_co_occurrence_features_of_a_checkerboard() -> None:
    """Neighbours differ by the whole range, diagonal neighbours and those two apart are equal."""
    q = texture.levels(checkerboard(), 32)
    features = texture.co_occurrence_features(
        np.stack([texture.co_occurrence(q, 32, *step) for step in ((0, 1), (1, 1))])
    )
    beside, diagonal = ({name: values[k] for name, values in features.items()} for k in (0, 1))
    assert beside["contrast"] == beside["dissimilarity"] == 1.0
    assert diagonal["contrast"] == diagonal["dissimilarity"] == diagonal["difference_entropy"] == 0.0
    assert beside["correlation"] == pytest.approx(-1.0)
    assert diagonal["correlation"] == pytest.approx(1.0)
    assert beside["joint_entropy"] == pytest.approx(0.1)  # one bit of ten
    assert beside["energy"] == pytest.approx(math.sqrt(0.5))
    assert beside["inverse_difference"] == pytest.approx(1 / 32)
    assert diagonal["inverse_difference"] == 1.0
    assert beside["information"] == pytest.approx(math.sqrt(1 - math.exp(-2)))  # 2 bits apart, 1 together
    assert beside["prominence"] == pytest.approx(0.0)  # a pair always sums to the mean
    assert diagonal["prominence"] == pytest.approx(1.0, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(arrays(np.int64, st.tuples(st.integers(5, 9), st.integers(5, 9)), elements=st.integers(0, 7)))
def test_co_occurrence_equals_counting_pairs(q: NDArray[np.int64]) -> None:
    h, w = q.shape
    for dy, dx in ((0, 2), (2, 0), (2, 2), (2, -2)):
        counts = np.zeros((8, 8))
        for y, x in itertools.product(range(h), range(w)):
            if y + dy < h and 0 <= x + dx < w:
                counts[q[y, x], q[y + dy, x + dx]] += 1
                counts[q[y + dy, x + dx], q[y, x]] += 1
        np.testing.assert_allclose(texture.co_occurrence(q, 8, dy, dx), counts / counts.sum())


@settings(max_examples=25, deadline=None)
@given(arrays(np.int64, st.tuples(st.integers(2, 7), st.integers(2, 7)), elements=st.integers(0, 2)))
def test_runs_equal_walking_each_line(q: NDArray[np.int64]) -> None:
    h, w = q.shape
    lines = {
        0: [list(row) for row in q],
        1: [list(column) for column in q.T],
        2: [list(np.diagonal(q, k)) for k in range(-h + 1, w)],
        3: [list(np.diagonal(q[:, ::-1], k)) for k in range(-h + 1, w)],
    }
    for direction, every in lines.items():
        expected = [(int(v), len(list(g))) for line in every for v, g in itertools.groupby(line)]
        level, length = texture.runs(q, direction)
        assert sorted(zip(level.tolist(), length.tolist(), strict=True)) == sorted(expected)


def test_run_lengths_of_stripes_and_of_a_constant() -> None:
    stripes = np.repeat(np.arange(16) % 2 * 1.0, 16).reshape(16, 16)  # every row of one grey
    out = texture.run_lengths(stripes)
    # Rows: 16 runs of 16 pixels. Columns and both diagonals: every pixel a run.
    assert out["glrlm_run_percentage"] == pytest.approx((1 / 16 + 3) / 4)
    assert out["glrlm_run_percentage_range"] == pytest.approx(15 / 16)
    assert out["glrlm_short_runs"] == pytest.approx((1 / 256 + 3) / 4)
    assert out["glrlm_long_runs"] == pytest.approx(1.0)  # log2 16 = 4 in one direction of four
    assert out["glrlm_grey_nonuniformity"] == pytest.approx(0.5)
    flat = texture.run_lengths(np.zeros((16, 16)))
    assert flat["glrlm_grey_nonuniformity"] == flat["glrlm_low_grey_runs"] == 1.0
    assert flat["glrlm_run_percentage"] == pytest.approx((2 * 1 / 16 + 2 * 31 / 256) / 4)


def test_local_patterns() -> None:
    assert texture.local_patterns(np.full((9, 9), 0.3)).tolist() == [0] * 8 + [1, 0]  # flat: all neighbours reach it
    dot = np.zeros((5, 5))
    dot[2, 2] = 1.0  # its centre has no neighbour as bright; the eight around it lack none: all are >= 0
    np.testing.assert_allclose(texture.local_patterns(dot), [1 / 9] + [0] * 7 + [8 / 9, 0])
    # Inside a checkerboard a dark pixel has eight neighbours as bright, a bright one the four diagonals: four arcs.
    np.testing.assert_allclose(texture.local_patterns(checkerboard(10)), [0] * 8 + [0.5, 0.5])
    edge = np.zeros((8, 8))
    edge[:, 4:] = 1.0  # bright pixels at the edge have five neighbours as bright, in one arc
    np.testing.assert_allclose(texture.local_patterns(edge), [0] * 5 + [1 / 6, 0, 0, 5 / 6, 0])


def test_local_patterns_do_not_change_by_a_quarter_turn() -> None:
    image = pictures(1)[0, 0] / 255
    np.testing.assert_allclose(texture.local_patterns(np.rot90(image)), texture.local_patterns(image))


def test_first_order_of_known_histograms() -> None:
    four = np.repeat([0.0, 0.25, 0.5, 0.75], 64).reshape(16, 16)
    out = intensity.first_order(four)
    assert out["grey_entropy"] == pytest.approx(2 / 6)  # two bits of six
    assert out["grey_uniformity"] == pytest.approx(0.5)
    assert out["grey_mean"] == pytest.approx(0.375)
    assert out["grey_std"] == pytest.approx(math.sqrt(0.078125))
    assert out["grey_skewness"] == pytest.approx(0.0)
    assert out["grey_kurtosis"] == pytest.approx(math.asinh(1.64 - 3))
    assert out["grey_interquartile"] == pytest.approx(out["grey_quantile0.75"] - out["grey_quantile0.25"])
    dot = np.zeros((16, 16))
    dot[3, 5] = 1.0
    p = 1 / 256
    assert intensity.standardised_moments(dot)[0] == pytest.approx((1 - 2 * p) / math.sqrt(p * (1 - p)))


def test_edges_of_a_ramp() -> None:
    ramp = np.tile(np.arange(32) / 64, (32, 1))
    out = intensity.edges(ramp)
    assert out["edge_mean"] == pytest.approx(math.log10(1 / 64 + 1e-3))
    assert out["edge_direction0"] == pytest.approx(1.0, abs=0.1)
    assert out["edge_coherence"] == pytest.approx(1.0, abs=0.01)
    assert out["edge_laplacian"] == pytest.approx(-3.0)
    assert intensity.edges(ramp.T)["edge_direction2"] == out["edge_direction0"]
    assert intensity.edges(ramp[:, ::-1])["edge_direction4"] == out["edge_direction0"]


@pytest.mark.parametrize(("holes", "objects", "number"), [(0, 1, 1), (1, 1, 0), (2, 1, -1), (0, 3, 3)])
def test_euler_number(holes: int, objects: int, number: int) -> None:
    mask = np.zeros((12, 40), bool)
    for k in range(objects):
        mask[2:9, 2 + 12 * k : 10 + 12 * k] = True
    for k in range(holes):
        mask[4, 4 + 3 * k] = False
    assert intensity.euler_number(mask) == number


@settings(max_examples=30, deadline=None)
@given(arrays(bool, (7, 8)))
def test_euler_number_equals_labelled_components(mask: NDArray[np.bool_]) -> None:
    padded = np.pad(mask, 1)
    objects = ndimage.label(padded, np.ones((3, 3)))[1]
    holes = ndimage.label(~padded)[1] - 1  # the background is 4-connected where objects are 8-connected
    assert intensity.euler_number(padded) == objects - holes


def test_layout_of_a_square() -> None:
    image = np.zeros((32, 32))
    image[8:16, 16:24] = 0.6
    out = intensity.layout(image)
    assert out["layout_area0.5"] == pytest.approx(1 / 16)
    assert out["layout_area0.75"] == 0.0
    assert out["layout_outline0.5"] == pytest.approx(math.log2(1 + 32 / 32))
    assert (out["layout_centre_y"], out["layout_centre_x"]) == pytest.approx((12 / 32, 20 / 32), abs=1e-3)
    assert out["layout_spread_x"] == pytest.approx(8 / 32 / math.sqrt(12), rel=1e-2)
    assert (out["layout_zone12"], out["layout_zone11"]) == pytest.approx((0.6, 0.0))


def test_haar_keeps_the_energy_and_finds_the_band() -> None:
    image = pictures(1)[0, 0] / 255
    bands = intensity.haar_bands(image, depth=5)
    assert sum(float((band**2).sum()) for _, band in bands) == pytest.approx(float(((image - image.mean()) ** 2).sum()))
    energy = {name: float((band**2).sum()) for name, band in intensity.haar_bands(checkerboard())}
    assert energy.pop("1d") == pytest.approx(64.0)
    assert set(energy.values()) == {0.0}


def test_spectrum_finds_a_wave() -> None:
    x = np.arange(64)
    for band, cycles in enumerate((2, 6, 10, 14, 20, 30)):  # cycles in 64 px
        wave = np.tile(0.5 + 0.4 * np.sin(2 * np.pi * cycles * x / 64), (64, 1))
        out = [intensity.scales(wave)[f"spectrum{k}"] for k in range(7)]
        assert int(np.argmax(out)) == band
        assert sorted(out)[-2] == pytest.approx(-3.0)  # nothing elsewhere


def test_every_feature_is_finite_and_scaled() -> None:
    extractor = Radiomics()
    assert len(raw_features(pictures(1)[0, 0] / 255)) == extractor.dim
    assert tuple(raw_features(np.zeros((16, 16)))) == extractor.names
    black = np.zeros((1, 1, 17, 40), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (1, 1, 17, 40), dtype=np.uint8)
    for image in (black, black + 255, black + 77, noise, (checkerboard(40)[None, None] * 255).astype(np.uint8)):
        found = extractor(image)
        assert found.shape == (1, extractor.dim)
        assert np.isfinite(found).all()
        assert np.abs(found).max() <= 16.0


def test_batch_order_and_depth_change_nothing() -> None:
    extractor = get_extractor("radiomics")
    images = pictures(7)
    together = extractor(images)
    np.testing.assert_array_equal(np.concatenate([extractor(images[i : i + 1]) for i in range(7)]), together)
    np.testing.assert_array_equal(extractor(images[::-1]), together[::-1])
    np.testing.assert_array_equal(extractor(images.astype(np.uint16) * 257), together)
    assert together.std(axis=0).min() >= 0.0
    assert (together.std(axis=0) > 0.01).mean() > 0.9  # nearly all of them tell these images apart


def test_channels_are_averaged_and_all_count() -> None:
    extractor = get_extractor("radiomics")
    images = pictures(4).reshape(1, 4, 32, 32)
    each = np.concatenate([extractor(images[:, c : c + 1]) for c in range(4)])
    mean = 3 * np.arcsinh(np.sinh(each.astype(np.float64) / 3).mean(axis=0))  # the mean before the logarithm
    np.testing.assert_allclose(extractor(images)[0], mean, rtol=1e-4, atol=1e-4)
    changed = images.copy()
    changed[:, 3] = 255 - changed[:, 3]
    assert np.abs(extractor(changed) - extractor(images)).max() > 0.1
    np.testing.assert_allclose(extractor(images[:, :1].repeat(3, axis=1)), each[:1], atol=1e-5)


def test_small_or_wrong_images_are_refused() -> None:
    extractor = get_extractor("radiomics")
    with pytest.raises(ConfigError, match="images are 40 x 15 px, expected at least 16"):
        extractor(np.zeros((1, 1, 15, 40), np.uint8))
    with pytest.raises(ValueError, match="expected uint8 or uint16"):
        extractor(np.zeros((1, 1, 32, 32), np.float32))


def test_the_hash_covers_the_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Radiomics()
    assert (first.hash, first.dim) == (Radiomics().hash, 175)
    monkeypatch.setattr(Radiomics, "version", "radiomics v0")
    assert Radiomics().hash != first.hash
