"""Projection: a generator's own images are found again, nothing depends on the batch or the class, W+ is refused aptly."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylescan.data.tensors import to_integers, to_unit_range
from stylescan.errors import ConfigError
from stylescan.evaluate.latent import projection_search
from stylescan.evaluate.latent.perceptual import (
    lite0_feature_maps,
    map_distance,
    perceptual_distance,
    pyramid,
    pyramid_distance,
    unit_maps,
)
from stylescan.evaluate.latent.project import project, project_spaces, refuse_w_plus
from stylescan.evaluate.latent.w_space import WSpace, sample_w
from stylescan.generate.sample import sample_images
from stylescan.generate.snapshot import Snapshot, SnapshotMeta
from stylescan.nets.protocols import one_hot
from stylescan.nets.stylegan2 import StyleGAN2Generator, StyleGAN2Spec


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer starts to choose from: time, not the subject here."""
    monkeypatch.setattr(projection_search, "_POOL", 96)


def small_snapshot(frequencies: tuple[float, ...] = (0.5, 0.5)) -> Snapshot:
    """A real, small, untrained generator of 16 px with classes that matter; nothing of its images is clipped."""
    names = [f"kind {k}" for k in range(len(frequencies))]
    spec = StyleGAN2Spec(
        z_dim=6, w_dim=6, channel_base=128, channel_max=8, resolution=16, img_channels=1, num_classes=len(names)
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        generator = StyleGAN2Generator(spec)
    with torch.no_grad():
        for part in generator.synthesis.to_images:
            part.get_parameter("weight").mul_(0.15)
    meta = SnapshotMeta(
        family="stylegan2", spec=spec.model_dump(), class_names=names, class_frequencies=list(frequencies), bits=8,
        data_content_hash="0" * 64, preparation_hash="1" * 64, preset="small", seed=0, nimg=0,
    )  # fmt: skip
    return Snapshot(generator.eval().requires_grad_(False), meta, "ab" * 32, Path("unused"))


def edges(images: Tensor) -> list[Tensor]:
    """Feature maps without weights: eight fixed random filters, at two sizes."""
    filters = torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    return [torch.nn.functional.conv2d(level, filters).relu() for level in pyramid(images)[:2]]


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return small_snapshot()


@pytest.fixture(scope="module")
def own(snapshot: Snapshot) -> NDArray[Any]:
    return sample_images(snapshot, range(100, 104), noise="const")


@pytest.fixture(scope="module")
def strange() -> NDArray[np.uint8]:
    """Images that no generator made: stripes and noise."""
    rng = np.random.default_rng(5)
    stripes = np.tile(np.repeat([30, 200], 4), (16, 2)).astype(np.uint8)
    return np.stack([stripes[None], rng.integers(0, 256, (1, 16, 16)).astype(np.uint8)])


def test_own_images_are_found_again(snapshot: Snapshot, own: NDArray[Any]) -> None:
    found = project(snapshot, own, steps=80, perceptual=edges)
    mean_image = sample_images(snapshot, range(200), noise="const").mean(axis=0)
    from_mean = np.sqrt(np.square((own - mean_image) / 255).mean(axis=(1, 2, 3)))
    assert (found.rmse < 0.1 * from_mean).all()
    assert (found.share_farther > 0.01).all()


def test_w_gives_all_layers_one_style_and_the_images_are_those_of_ws(snapshot: Snapshot, own: NDArray[Any]) -> None:
    found = project_spaces(snapshot, own, ["w", "w+"], steps=6, perceptual=edges)
    w, plus = found["w"], found["w+"]
    assert w.ws.shape == plus.ws.shape == (4, snapshot.generator.num_ws, 6)
    assert (w.ws == w.ws[:, :1]).all()
    assert not np.allclose(plus.ws, plus.ws[:, :1])
    for result in (w, plus):
        with torch.no_grad():
            again = to_integers(snapshot.generator.synthesis(torch.from_numpy(result.ws), noise="const"), 8)
        assert np.abs(again.astype(int) - result.images).max() <= 1
        rmse = [np.sqrt(((a / 255.0 - b / 255.0) ** 2).mean()) for a, b in zip(result.images, own)]
        np.testing.assert_allclose(result.rmse, rmse, rtol=1e-5)
        np.testing.assert_allclose(result.perceptual, perceptual_distance(edges, own, result.images), atol=1e-6)


def test_an_image_alone_gives_what_it_gives_in_a_batch(snapshot: Snapshot, own: NDArray[Any]) -> None:
    together = project(snapshot, own, steps=20, batch_size=4, perceptual=edges)
    turned = project(snapshot, own[::-1].copy(), steps=20, batch_size=3, perceptual=edges)
    alone = project(snapshot, own[2:3], steps=20, batch_size=1, perceptual=edges)
    np.testing.assert_allclose(turned.ws[::-1], together.ws, atol=2e-3)
    np.testing.assert_allclose(alone.ws[0], together.ws[2], atol=2e-3)
    assert np.abs(together.ws[0] - together.ws[2]).max() > 0.1


def test_equal_calls_give_equal_bytes_and_the_seed_matters(snapshot: Snapshot, own: NDArray[Any]) -> None:
    first, second, other = (project(snapshot, own[:2], steps=8, seed=s, perceptual=edges) for s in (0, 0, 1))
    assert first.ws.tobytes() == second.ws.tobytes()
    assert first.images.tobytes() == second.images.tobytes()
    assert first.ws.tobytes() != other.ws.tobytes()


def test_longer_and_wider_searches_come_nearer(snapshot: Snapshot, strange: NDArray[np.uint8]) -> None:
    short = project(snapshot, strange, steps=1, perceptual=edges)
    long = project_spaces(snapshot, strange, ["w", "w+"], steps=40, perceptual=edges)
    assert (long["w"].rmse < short.rmse).all()
    assert (long["w+"].rmse < long["w"].rmse).all()


def test_the_wall_keeps_w_where_the_generator_lives(
    snapshot: Snapshot, strange: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = WSpace.of(sample_w(snapshot, 10_000, 0))
    free = []
    for wall in (projection_search._WALL, 0.0):
        monkeypatch.setattr(projection_search, "_WALL", wall)
        found = project(snapshot, strange, steps=40, perceptual=edges)
        free.append(space.remoteness(space.encode(torch.from_numpy(found.ws[:, 0]))) / space.edge)
        np.testing.assert_allclose(
            found.share_farther, space.share_farther(space.encode(torch.from_numpy(found.ws[:, 0])))
        )
    assert (free[0] < 1.5).all()
    assert free[1].max() > 2


def test_w_are_drawn_from_all_classes_in_the_training_shares() -> None:
    snapshot = small_snapshot((0.2, 0.8))
    z = torch.randn(4000, 6, generator=torch.Generator().manual_seed(1))
    means = []
    for label in (0, 1):
        c = one_hot([label] * len(z), 2)
        means.append(snapshot.generator.mapping(z, c)[:, 0].mean(dim=0))
    assert (means[0] - means[1]).norm() > 0.5
    expected = 0.2 * means[0] + 0.8 * means[1]
    assert (WSpace.of(sample_w(snapshot, 10_000, 0)).mean - expected).norm() < 0.1


def test_progress_counts_every_step_of_every_image(snapshot: Snapshot, own: NDArray[Any]) -> None:
    seen: list[tuple[int, int, str]] = []
    project_spaces(
        snapshot, own[:3], ["w", "w+"], steps=3, batch_size=2, perceptual=edges, progress=lambda *x: seen.append(x)
    )
    assert [done for done, _, _ in seen] == [2, 4, 6, 8, 10, 12, 13, 14, 15, 16, 17, 18]
    assert {total for _, total, _ in seen} == {18}


def test_a_model_without_styles_by_layer_has_no_w_plus(snapshot: Snapshot, own: NDArray[Any]) -> None:
    single = dataclasses.replace(snapshot, generator=copy.deepcopy(snapshot.generator))
    single.generator.num_ws = 1
    assert refuse_w_plus(snapshot) is None
    with pytest.raises(ConfigError, match="one style for the whole image") as problem:
        project(single, own, space="w+", perceptual=edges)
    assert problem.value.remedy == "Project into w."


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda x: x.astype(np.uint16), {}, "found uint16"),
        (lambda x: x[:, :, :8], {}, r"expected uint8 of shape \(n, 1, 16, 16\)"),
        (lambda x: x[:0], {}, "none"),
        (lambda x: x, {"steps": 0}, "steps: found 0"),
        (lambda x: x, {"batch_size": 0}, "batch_size: found 0"),
        (lambda x: x, {"space": "z"}, "space: found 'z'"),
    ],
)
def test_what_does_not_fit_is_refused(
    snapshot: Snapshot, own: NDArray[Any], change: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        project(snapshot, change(own), perceptual=edges, **options)


def test_w_space_is_white_and_goes_there_and_back() -> None:
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(5, 5, generator=rng)
    w = torch.randn(5000, 5, generator=rng) @ mixing + 3
    space = WSpace.of(w)
    u = space.encode(w)
    np.testing.assert_allclose(torch.cov(u.T), np.eye(5), atol=1e-3)
    np.testing.assert_allclose(space.decode(u), w, atol=1e-3)
    inverse = torch.linalg.inv(torch.cov(w.T).double())
    centred = (w - w.mean(dim=0)).double()
    mahalanobis = torch.einsum("ni,ij,nj->n", centred, inverse, centred) / 5
    np.testing.assert_allclose(space.remoteness(u), mahalanobis, rtol=1e-3)
    assert space.edge == pytest.approx(11.07 / 5, rel=0.03)  # the 95 % point of chi-squared with 5 degrees of freedom
    assert float(space.share_farther(torch.zeros(5))) == 1
    assert float(space.share_farther(torch.full((5,), 9.0))) == 0


def test_w_space_leaves_out_what_the_generator_never_uses() -> None:
    w = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 0.0, 0.0])
    assert WSpace.of(w).basis.shape == (4, 2)
    still = WSpace.of(torch.ones(50, 4))
    assert still.decode(still.encode(torch.zeros(1, 4))).tolist() == [[1, 1, 1, 1]]
    assert still.edge > 0


def test_distances_against_closed_forms() -> None:
    a, b = torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    a[:, 0], b[:, 1] = 5.0, 0.1  # at right angles everywhere, whatever their lengths
    maps = [unit_maps(lambda x: [x], x) for x in (a, b)]
    assert float(map_distance(*maps)) == pytest.approx(2, abs=1e-4)
    assert float(map_distance(maps[0], maps[0])) == 0
    assert [tuple(x.shape[-2:]) for x in pyramid(torch.zeros(1, 1, 40, 40))] == [(40, 40), (20, 20), (10, 10)]
    low, high = pyramid(torch.zeros(1, 1, 16, 16)), pyramid(torch.full((1, 1, 16, 16), 0.5))
    assert float(pyramid_distance(low, high)) == pytest.approx(0.25)


def test_the_default_distance_sees_structure_and_has_gradients(own: NDArray[Any]) -> None:
    maps = lite0_feature_maps()
    blurred = torch.nn.functional.avg_pool2d(to_unit_range(own), 3, stride=1, padding=1, count_include_pad=False)
    assert (perceptual_distance(maps, own, own) == 0).all()
    assert (perceptual_distance(maps, own, to_integers(blurred, 8)) > 0.01).all()
    images = to_unit_range(own[:1]).requires_grad_(True)
    map_distance(unit_maps(maps, images), [m[1:] for m in unit_maps(maps, to_unit_range(own[:2]))]).sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().max() > 0


def test_the_generator_is_left_as_it_was(snapshot: Snapshot, own: NDArray[Any]) -> None:
    before = {name: tensor.clone() for name, tensor in snapshot.generator.state_dict().items()}
    project_spaces(snapshot, own[:1], ["w", "w+"], steps=2, perceptual=edges)
    assert all(torch.equal(tensor, before[name]) for name, tensor in snapshot.generator.state_dict().items())
    assert all(parameter.grad is None for parameter in snapshot.generator.parameters())
