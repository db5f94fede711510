"""Seeds to images: each seed its own image, whatever the batch; and clear words for what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stylescan.errors import ConfigError
from stylescan.generate.sample import (
    NO_CLASS,
    batch_for,
    draw_labels,
    latents,
    noise_maps,
    parse_class,
    parse_seeds,
    sample,
    sample_batches,
)
from stylescan.generate.snapshot import Snapshot, SnapshotMeta
from stylescan.nets.stylegan2 import StyleGAN2Generator, StyleGAN2Spec


def make_snapshot(*, classes: int = 2, channels: int = 1, bits: int = 8) -> Snapshot:
    """A real, small, untrained generator whose noise and truncation have an effect."""
    spec = StyleGAN2Spec(
        z_dim=8, w_dim=8, channel_base=128, channel_max=8, resolution=16, img_channels=channels, num_classes=classes
    )
    with torch.random.fork_rng():
        torch.manual_seed(11)
        generator = StyleGAN2Generator(spec)
        with torch.no_grad():
            for name, parameter in generator.named_parameters():
                if name.endswith("noise_strength"):
                    parameter.fill_(0.3)
            generator.mapping.w_avg.normal_()
    meta = SnapshotMeta(
        family="stylegan2",
        spec=spec.model_dump(),
        class_names=["control", "atrophy", "other"][:classes],
        class_frequencies=[0.75, 0.25, 0.0][:classes],
        bits=bits,
        data_content_hash="0" * 64,
        preparation_hash="1" * 64,
        preset="small",
        seed=0,
        nimg=0,
    )
    return Snapshot(generator.eval().requires_grad_(False), meta, "ab" * 32, Path("unused"))


def together(snapshot: Snapshot, seeds: list[int], **options: object) -> np.ndarray:
    return np.concatenate([images for _, _, images in sample(snapshot, seeds, **options)])  # type: ignore[arg-type]


def test_parse_seeds_keeps_the_order_given() -> None:
    assert parse_seeds("0-3,20") == [0, 1, 2, 3, 20]
    assert parse_seeds(" 7 , 2 - 3 ") == [7, 2, 3]
    assert parse_seeds("5-5") == [5]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20, unique=True))
def test_parse_seeds_reads_back_any_list(seeds: list[int]) -> None:
    assert parse_seeds(",".join(str(seed) for seed in seeds)) == seeds


@given(st.text(alphabet="0123456789-, ax_+²٣", max_size=12))
def test_parse_seeds_gives_seeds_or_a_clear_refusal(text: str) -> None:
    try:
        seeds, refusal = parse_seeds(text), None
    except ConfigError as problem:
        seeds, refusal = [], problem
    assert bool(seeds) == (refusal is None)
    assert refusal is None or ("seeds" in refusal.message and refusal.remedy)
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "expected a whole number"),
        ("1,,2", "expected a whole number"),
        ("-3", "expected a whole number"),
        ("1-2-3", "expected a whole number"),
        ("٣", "expected a whole number"),
        ("1_0", "expected a whole number"),
        ("9-3", "backwards"),
        ("0-3,2", "2 is named twice"),
        ("0-99999999", "more than 1,000,000"),
        ("9223372036854775808", "too large"),
        ("9" * 5000, "too large"),
    ],
)
def test_parse_seeds_refuses(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        parse_seeds(text)


def test_parse_class() -> None:
    assert parse_class("atrophy", ["control", "atrophy"]) == 1
    with pytest.raises(ConfigError) as caught:
        parse_class("Atrophy", ["control", "atrophy"])
    assert "control, atrophy" in caught.value.remedy
    with pytest.raises(ConfigError, match="knows no classes"):
        parse_class("control", [])


def test_latents_and_noise_depend_on_the_seed_alone() -> None:
    z = latents([3, 9, 4], 8)
    assert z.shape == (3, 8)
    torch.testing.assert_close(latents([9], 8)[0], z[1], rtol=0, atol=0)
    torch.testing.assert_close(latents([4, 3], 8), z[[2, 0]], rtol=0, atol=0)
    shapes = [(4, 4), (8, 8)]
    maps = noise_maps([3, 9], shapes)
    assert [tuple(m.shape) for m in maps] == [(2, 1, 4, 4), (2, 1, 8, 8)]
    for alone, both in zip(noise_maps([9], shapes), maps):
        torch.testing.assert_close(alone[0], both[1], rtol=0, atol=0)


def test_latents_are_standard_normal() -> None:
    z = latents(range(500), 64)
    # Four standard errors of 32,000 draws.
    assert abs(z.mean().item()) < 4 / 32000**0.5
    assert abs(z.var().item() - 1) < 4 * (2 / 32000) ** 0.5


@pytest.mark.parametrize("noise", ["random", "const", "none"])
def test_an_image_is_the_same_in_any_batch(noise: str) -> None:
    snapshot, seeds = make_snapshot(bits=16), [5, 1, 8, 0, 3, 13, 2]
    one = together(snapshot, seeds, noise=noise, batch_size=1).astype(int)
    three = together(snapshot, seeds, noise=noise, batch_size=3).astype(int)
    backwards = together(snapshot, seeds[::-1], noise=noise, batch_size=16)[::-1].astype(int)
    assert one.shape == (7, 1, 16, 16)
    for other in (three, backwards):
        # 16-bit levels are 3e-5 apart: float rounding moves few values, and those by one level.
        assert np.abs(one - other).max() <= 1
        assert (one != other).mean() < 0.02
    assert len({image.tobytes() for image in one}) == len(seeds)


def test_eight_bits_are_equal_in_any_batch_nearly_always() -> None:
    snapshot, seeds = make_snapshot(), list(range(24))
    assert (together(snapshot, seeds, batch_size=24) != together(snapshot, seeds, batch_size=5)).mean() < 1e-3


@pytest.mark.parametrize("noise", ["random", "const"])
def test_a_batch_filled_up_gives_the_same_images(noise: Literal["random", "const"]) -> None:
    snapshot, seeds, labels = make_snapshot(bits=16), [5, 1, 8, 0, 3], [0, 1, 1, 0, 1]
    sizes: list[int] = []
    snapshot.generator.synthesis.register_forward_hook(lambda net, given, made: sizes.append(len(made)))
    drawn = [
        list(sample_batches(snapshot.generator, seeds, labels, bits=16, noise=noise, batch_size=3, one_shape=one_shape))
        for one_shape in (False, True)
    ]
    assert sizes == [3, 2, 3, 3]
    for (some, kinds, plain), (others, other_kinds, filled) in zip(*drawn, strict=True):
        assert (some, kinds) == (others, other_kinds)
        assert plain.shape == filled.shape
        assert np.abs(plain.astype(int) - filled.astype(int)).max() <= 1


def test_the_images_are_those_of_the_net_at_the_call_however_it_changes_afterwards() -> None:
    snapshot = make_snapshot()
    before = together(snapshot, [1, 2])
    batches = sample(snapshot, [1, 2])
    with torch.no_grad():
        snapshot.generator.synthesis.const.add_(1)
    np.testing.assert_array_equal(np.concatenate([images for _, _, images in batches]), before)
    assert (together(snapshot, [1, 2]) != before).any()


def test_the_batch_fits_the_size_of_the_images() -> None:
    assert [batch_for(side) for side in (4, 64, 128, 256, 512, 1024)] == [32, 32, 32, 16, 4, 4]
    sizes: list[int] = [len(seeds) for seeds, _, _ in sample(make_snapshot(), range(40))]
    assert sizes == [32, 8]


def test_images_come_from_the_generator_called_by_hand() -> None:
    snapshot = make_snapshot()
    ((seeds, labels, images),) = sample(snapshot, [4, 6], labels=[1, 0], psi=0.5, cutoff=2, noise="const")
    assert (seeds, labels, images.dtype) == ([4, 6], [1, 0], np.uint8)
    c = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    ws = snapshot.generator.mapping(latents([4, 6], 8), c, psi=0.5, cutoff=2)
    expected = ((snapshot.generator.synthesis(ws, noise="const") + 1) * 127.5).round().clamp(0, 255)
    np.testing.assert_allclose(images, expected.numpy(), atol=1)
    assert expected.std() > 1


def test_every_option_changes_the_image() -> None:
    snapshot = make_snapshot()
    base = together(snapshot, [1, 2], labels=[0, 0])
    for changed in (
        together(snapshot, [1, 2], labels=[1, 1]),
        together(snapshot, [1, 2], labels=[0, 0], psi=0.5),
        together(snapshot, [1, 2], labels=[0, 0], noise="const"),
        together(snapshot, [1, 2], labels=[0, 0], noise="none"),
        together(snapshot, [3, 4], labels=[0, 0]),
    ):
        assert (changed != base).any(axis=(1, 2, 3)).all()
    partly = together(snapshot, [1, 2], labels=[0, 0], psi=0.5, cutoff=1)
    assert (partly != together(snapshot, [1, 2], labels=[0, 0], psi=0.5)).any()


def test_bits_choose_the_type() -> None:
    assert together(make_snapshot(bits=8), [0]).dtype == np.uint8
    wide = together(make_snapshot(bits=16), [0])
    assert wide.dtype == np.uint16
    assert wide.max() > 255


def test_classes_are_drawn_from_the_training_frequencies_each_by_its_seed() -> None:
    snapshot = make_snapshot(classes=3)
    labels = draw_labels(range(2000), snapshot.meta)
    assert np.mean(labels) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 2000) ** 0.5)
    assert 2 not in labels  # its frequency is 0
    assert draw_labels([17], snapshot.meta) == [labels[17]]
    drawn = [label for _, some, _ in sample(snapshot, range(10), batch_size=4) for label in some]
    assert drawn == labels[:10]
    assert draw_labels([1, 2], make_snapshot(classes=0).meta) == [NO_CLASS, NO_CLASS]


def test_a_model_without_classes_needs_none_and_takes_none() -> None:
    snapshot = make_snapshot(classes=0)
    ((_, labels, images),) = sample(snapshot, [0, 1])
    assert labels == [NO_CLASS, NO_CLASS]
    assert len(images) == 2
    with pytest.raises(ConfigError, match="knows none"):
        sample(snapshot, [0], labels=[0])


def test_progress_counts_images_and_inference_mode_does_not_leak() -> None:
    told: list[tuple[int, int, str]] = []
    for _ in sample(make_snapshot(), range(5), batch_size=2, progress=lambda *step: told.append(step)):
        assert not torch.is_inference_mode_enabled()
    assert told == [(2, 5, "images"), (4, 5, "images"), (5, 5, "images")]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"labels": [0]}, "1 for 2 seeds"),
        ({"labels": [0, 2]}, "class index 2"),
        ({"labels": [-1, 0]}, "class index -1"),
        ({"psi": float("nan")}, "psi"),
        ({"cutoff": 99}, "cutoff"),
        ({"noise": "loud"}, "noise"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_refusals_come_before_the_first_image(options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        sample(make_snapshot(), [0, 1], **options)  # type: ignore[arg-type]
    assert caught.value.remedy
