"""Mixing and interpolation of styles: equal to plain sampling where they must be, and to ws put together by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stylescan.data.tensors import to_integers
from stylescan.errors import ConfigError
from stylescan.generate.edit import interpolate_styles, map_styles, mix_styles, style_layers, style_resolutions
from stylescan.generate.sample import sample_images
from stylescan.generate.snapshot import Snapshot, SnapshotMeta
from stylescan.nets.stylegan2 import StyleGAN2Generator, StyleGAN2Spec


def make_snapshot(*, classes: int = 2, bits: int = 16, resolution: int = 16) -> Snapshot:
    """A real, small, untrained generator in which every layer's style, the noise and truncation have an effect."""
    spec = StyleGAN2Spec(
        z_dim=8, w_dim=8, channel_base=128, channel_max=8, resolution=resolution, img_channels=1, num_classes=classes
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        generator = StyleGAN2Generator(spec)
        with torch.no_grad():
            for name, parameter in generator.named_parameters():
                if name.endswith("noise_strength"):
                    parameter.fill_(0.2)
            for part in generator.synthesis.to_images:
                part.get_parameter("weight").mul_(0.2)  # within [-1, 1], so that nothing is clipped
            generator.mapping.w_avg.normal_()
    meta = SnapshotMeta(
        family="stylegan2", spec=spec.model_dump(), class_names=["a", "b"][:classes],
        class_frequencies=[0.5, 0.5][:classes], bits=bits, data_content_hash="0" * 64, preparation_hash="1" * 64,
        preset="small", seed=0, nimg=0,
    )  # fmt: skip
    return Snapshot(generator.eval().requires_grad_(False), meta, "ab" * 32, Path("unused"))


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return make_snapshot()


def differs(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference in steps of 1 / 65535: rounding in other batches gives a few, another image thousands."""
    return float(np.abs(a.astype(float) - b.astype(float)).max())


def test_each_style_steers_a_resolution(snapshot: Snapshot) -> None:
    assert style_resolutions(snapshot.generator) == [4, 8, 8, 16, 16, 16]


@pytest.mark.parametrize(
    ("layers", "positions"),
    [("coarse", [0, 1, 2]), ("middle", [3, 4, 5]), ("4", [0]), ("8-16", [1, 2, 3, 4, 5]), (" 4 , 16 ", [0, 3, 4, 5]),
     ("4-1024", [0, 1, 2, 3, 4, 5]), ([4, 1, 1], [1, 4]), (range(2), [0, 1])],
)  # fmt: skip
def test_layers_by_word_by_resolution_and_by_position(snapshot: Snapshot, layers: object, positions: list[int]) -> None:
    assert style_layers(snapshot.generator, layers) == positions  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layers", "word"),
    [("fine", "'fine' names no layer of a model of 16 px"), ("5-7", "no layer"), ("16-8", "no layer"), ("", "found ''"),
     ("coarse,", "found ''"), ("4--8", "found"), ("rough", "rough"), ("-4", "found"), ("٤", "found"), ([], "found []"),
     ("9" * 5000, "found"), ([6], "0 to 5"), ([-1], "0 to 5")],
)  # fmt: skip
def test_layers_that_do_not_exist_are_refused(snapshot: Snapshot, layers: object, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        style_layers(snapshot.generator, layers)  # type: ignore[arg-type]
    assert word in caught.value.message
    assert caught.value.remedy


@given(st.text(alphabet="0123456789-, coarsefin", max_size=12))
def test_any_text_names_layers_or_is_refused(text: str) -> None:
    generator = make_snapshot().generator
    try:
        chosen, refusal = style_layers(generator, text), None
    except ConfigError as problem:
        chosen, refusal = [], problem
    assert bool(chosen) == (refusal is None)
    assert set(chosen) <= set(range(generator.num_ws))


def test_a_model_without_styles_by_layer_is_refused(snapshot: Snapshot) -> None:
    class Flat(StyleGAN2Generator):
        def __init__(self, spec: StyleGAN2Spec) -> None:
            super().__init__(spec)
            self.num_ws = 1

    spec = snapshot.generator.spec
    assert isinstance(spec, StyleGAN2Spec)
    with pytest.raises(ConfigError, match="no styles by layer"):
        style_layers(Flat(spec), "coarse")


@pytest.mark.parametrize("noise", ["random", "const", "none"])
def test_a_seed_mixed_with_itself_is_its_sample(snapshot: Snapshot, noise: str) -> None:
    seeds = [3, 8, 21]
    plain = sample_images(snapshot, seeds, labels="b", psi=0.8, noise=noise)  # type: ignore[arg-type]
    mixed = mix_styles(
        snapshot, seeds, seeds, layers="8", row_labels="b", column_labels="b", psi=0.8, noise=noise, batch_size=4
    )  # type: ignore[call-overload]
    assert mixed.shape == (3, 3, 1, 16, 16)
    assert mixed.dtype == np.uint16
    assert differs(mixed[range(3), range(3)], plain) <= 4
    assert differs(mixed[0, 1], plain[0]) > 200


def test_all_layers_from_the_columns_give_the_columns(snapshot: Snapshot) -> None:
    columns = sample_images(snapshot, [5, 6], labels=["a", "b"], noise="none")
    mixed = mix_styles(
        snapshot, [1, 2, 3], [5, 6], layers="4-16", row_labels="a", column_labels=["a", "b"], noise="none"
    )
    for row in mixed:
        assert differs(row, columns) <= 4


def test_the_named_layers_come_from_the_column_and_the_others_from_the_row(snapshot: Snapshot) -> None:
    mixed = mix_styles(snapshot, [1], [2], layers=[1, 3], row_labels=0, column_labels=1, noise="none")
    ws = map_styles(snapshot, [1], [0])
    ws[:, [1, 3]] = map_styles(snapshot, [2], [1])[:, [1, 3]]
    by_hand = to_integers(snapshot.generator.synthesis(ws, noise="none"), 16)
    assert differs(mixed[0], by_hand) <= 4
    other = mix_styles(snapshot, [2], [1], layers=[1, 3], row_labels=1, column_labels=0, noise="none")
    assert differs(mixed, other) > 200


def test_an_image_keeps_the_noise_of_its_row(snapshot: Snapshot) -> None:
    styles = {"layers": "4-16", "row_labels": "a", "column_labels": "a"}
    first = mix_styles(snapshot, [1, 2], [7], **styles)  # type: ignore[arg-type]
    assert differs(first[0], first[1]) > 200  # equal styles, other noise
    again = mix_styles(snapshot, [2], [7], **styles)  # type: ignore[arg-type]
    assert differs(first[1], again[0]) <= 4


def test_the_batch_size_does_not_matter(snapshot: Snapshot) -> None:
    told: list[tuple[int, int, str]] = []
    one = mix_styles(snapshot, [1, 2], [3, 4, 5], batch_size=1)
    four = mix_styles(snapshot, [1, 2], [3, 4, 5], batch_size=4, progress=lambda *args: told.append(args))
    assert differs(one, four) <= 4
    assert told == [(4, 6, "images"), (6, 6, "images")]


def test_a_walk_passes_its_stations_and_runs_straight_between(snapshot: Snapshot) -> None:
    walk = interpolate_styles(snapshot, [1, 2, 1], steps=4, labels=["a", "b", "a"], psi=0.9, noise="const")
    assert walk.shape == (9, 1, 16, 16)
    stations = sample_images(snapshot, [1, 2], labels=["a", "b"], psi=0.9, noise="const")
    assert differs(walk[[0, 4]], stations) <= 4
    assert differs(walk, walk[::-1]) <= 4  # there and back again
    ends = map_styles(snapshot, [1, 2], [0, 1], psi=0.9)
    quarter = snapshot.generator.synthesis((0.75 * ends[:1] + 0.25 * ends[1:]), noise="const")
    assert differs(walk[1:2], to_integers(quarter, 16)) <= 4


def test_a_walk_keeps_the_first_seeds_noise(snapshot: Snapshot) -> None:
    walk = interpolate_styles(snapshot, [4, 4], steps=3, labels="a")
    plain = sample_images(snapshot, [4], labels="a")
    assert differs(walk, np.repeat(plain, 4, axis=0)) <= 4


def test_wrong_arguments_are_refused(snapshot: Snapshot) -> None:
    for seeds, steps in (([1], 4), ([], 4), ([1, 2], 0)):
        with pytest.raises(ConfigError, match="interpolation: found"):
            interpolate_styles(snapshot, seeds, steps=steps)
    with pytest.raises(ConfigError, match="0 rows"):
        mix_styles(snapshot, [], [1])
    with pytest.raises(ConfigError, match="psi"):
        mix_styles(snapshot, [1], [1], psi=float("nan"))
    with pytest.raises(ConfigError, match="'c' is not among"):
        mix_styles(snapshot, [1], [1], row_labels="c")
    with pytest.raises(ConfigError, match="knows none|knows no classes"):
        interpolate_styles(make_snapshot(classes=0), [1, 2], labels=0)


def test_sample_images_is_sample_in_one_piece(snapshot: Snapshot) -> None:
    images = sample_images(snapshot, [0, 1, 2, 3, 4], labels="a", batch_size=2)
    assert (images.shape, images.dtype) == ((5, 1, 16, 16), np.uint16)
    assert differs(images[3:4], sample_images(snapshot, [3], labels=0)) <= 4
    assert differs(images[3:4], sample_images(snapshot, [3], labels=1)) > 200
    assert sample_images(snapshot, []).shape == (0, 1, 16, 16)
