"""Walks and animations: as many frames as promised, read back equal; strips show the same images."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylescan.errors import ConfigError
from stylescan.generate.animation import write_animation
from stylescan.generate.drawing import as_tiles, enlarged
from stylescan.generate.edit import interpolate_styles, slerp
from stylescan.generate.sample import latents, sample_images
from stylescan.generate.snapshot import Snapshot
from stylescan.generate.walks import Walk, WalkOptions, plan_walks, walk_frames, walk_strip, write_walks

Make = Callable[..., Snapshot]
TEXT = {"Title": "SYNTHETIC image, not for diagnosis", "Software": "stylescan x", "seed": "1,2"}


def crop(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    return picture[top:bottom, left:right]


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding in other batches."""
    return a.shape == b.shape and int(np.abs(a.astype(int) - b.astype(int)).max()) <= 1


@pytest.fixture(scope="module")
def snapshot(make_snapshot: Make) -> Snapshot:
    return make_snapshot(resolution=16)


@pytest.fixture(scope="module")
def flat(make_snapshot: Make) -> Snapshot:
    """A family without w."""
    return make_snapshot("dcgan", resolution=16)


def frames(count: int, *, colour: bool = False, size: tuple[int, int] = (21, 33)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.repeat(rng.integers(0, 256, (*size, 3 if colour else 1), dtype=np.uint8), 1 if colour else 3, axis=2)
            for _ in range(count)]  # fmt: skip


def read_back(path: Path) -> tuple[list[np.ndarray], list[int]]:
    images, durations = [], []
    with Image.open(path) as picture:
        for number in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(number)
            picture.load()
            images.append(np.asarray(picture.convert("RGB")))
            durations.append(int(picture.info["duration"]))
    return images, durations


@pytest.mark.parametrize("ending", [".webp", ".gif"])
def test_frames_are_read_back_to_the_bit_with_their_durations(ending: str, tmp_path: Path) -> None:
    made = frames(5)
    path = write_animation(tmp_path / f"x{ending}", made, fps=25, hold_s=1.5, text=TEXT)
    images, durations = read_back(path)
    assert durations == [40, 40, 40, 40, 1540]
    assert all(np.array_equal(a, b) for a, b in zip(images, made, strict=True))
    with Image.open(path) as picture:
        assert picture.info["loop"] == 0
        said = picture.info["comment"].decode() if ending == ".gif" else picture.getexif()[0x010E]
    assert said.startswith("SYNTHETIC")
    assert "seed: 1,2" in said


def test_webp_keeps_colours(tmp_path: Path) -> None:
    made = frames(3, colour=True)
    images, _ = read_back(write_animation(tmp_path / "x.webp", made, text=TEXT))
    assert all(np.array_equal(a, b) for a, b in zip(images, made, strict=True))


def test_gif_takes_grey_and_coloured_frames_together(tmp_path: Path) -> None:
    made = [*frames(2, size=(8, 8)), *frames(2, colour=True, size=(8, 8))]
    images, _ = read_back(write_animation(tmp_path / "x.gif", made, text=TEXT))
    for a, b in zip(images, made, strict=True):
        assert np.abs(a.astype(int) - b).mean() < 2


@pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="the extra `video` (package av) is not installed")
@pytest.mark.parametrize("size", [(64, 48), (33, 21)])
def test_mp4_decodes_to_as_many_frames_of_nearly_the_same_greys(size: tuple[int, int], tmp_path: Path) -> None:
    import av

    ramp = np.linspace(0, 255, size[1]).astype(np.uint8)
    made = [np.repeat(np.roll(ramp, 4 * k)[None, :, None].repeat(size[0], 0), 3, axis=2) for k in range(7)]
    path = write_animation(tmp_path / "x.mp4", iter(made), fps=12, hold_s=0.5, text=TEXT)
    with av.open(str(path)) as container:
        assert container.metadata["comment"].startswith("SYNTHETIC")
        assert float(container.streams.video[0].average_rate) == 12
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == 7 + 6
    for a, b in zip(images, made):
        assert a.shape[0] % 2 == a.shape[1] % 2 == 0
        assert np.abs(a[: size[0], : size[1]].astype(int) - b).mean() < 6


def test_mp4_without_av_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError) as caught:
        write_animation(tmp_path / "x.mp4", frames(2), text=TEXT)
    assert "pip install 'stylescan[video]'" in caught.value.remedy
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "fps", "word"), [("x.avi", 24, "'.avi'"), ("x", 24, "''"), ("x.gif", 0, "fps"),
                                                   ("x.gif", 51, "fps"), ("x.gif", float("nan"), "fps")])  # fmt: skip
def test_unknown_endings_and_rates_are_refused(name: str, fps: float, word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=word):
        write_animation(tmp_path / name, frames(2), fps=fps, text=TEXT)


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    path = write_animation(tmp_path / "x.gif", frames(2), text=TEXT)
    with pytest.raises(ConfigError, match="exists already"):
        write_animation(path, frames(3), text=TEXT)
    write_animation(path, frames(3), text=TEXT, overwrite=True)
    assert len(read_back(path)[0]) == 3


def test_a_loop_comes_back_and_repeats_nothing(snapshot: Snapshot) -> None:
    open_, closed = (
        interpolate_styles(snapshot, [1, 2, 3], steps=4, loop=loop, labels=0, noise="const") for loop in (False, True)
    )
    assert (len(open_), len(closed)) == (9, 12)
    assert near(closed[:9], open_)
    back = interpolate_styles(snapshot, [3, 1], steps=4, labels=0, noise="const")
    assert near(closed[8:], back[:4])
    assert not near(closed[-1], closed[0])


def test_an_arc_keeps_the_length_and_its_ends() -> None:
    a, b = latents([1, 2], 512)
    arc = slerp(a, b, torch.linspace(0, 1, 9))
    torch.testing.assert_close(arc[0], a)
    torch.testing.assert_close(arc[-1], b, rtol=1e-5, atol=1e-5)
    unit = slerp(a / a.norm(), b / b.norm(), torch.linspace(0, 1, 9))
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(9))
    angles = torch.arccos((unit[:-1] * unit[1:]).sum(dim=1))
    torch.testing.assert_close(angles, angles[:1].expand(8), rtol=1e-3, atol=1e-4)
    assert arc[4].norm() > 0.95 * min(a.norm(), b.norm())
    assert ((a + b) / 2).norm() < 0.8 * min(a.norm(), b.norm())  # what a straight walk would do
    torch.testing.assert_close(slerp(a, a, torch.tensor([0.3])), a[None])
    assert torch.isfinite(slerp(a, -a, torch.tensor([0.3]))).all()


def test_a_family_without_w_walks_along_arcs(flat: Snapshot) -> None:
    walk = interpolate_styles(flat, [1, 2], steps=4, labels=["ill", "well"])
    stations = sample_images(flat, [1, 2], labels=["ill", "well"])
    assert near(walk[[0, 4]], stations)
    z = latents([1, 2], flat.generator.spec.z_dim)
    middle = slerp(z[0], z[1], torch.tensor([0.5]))
    image = flat.generator.synthesis(flat.generator.mapping(middle, torch.tensor([[0.5, 0.5]])))
    straight = flat.generator.synthesis(flat.generator.mapping(z.mean(dim=0)[None], torch.tensor([[0.5, 0.5]])))
    as_bytes = [((part.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy() for part in (image, straight)]
    assert near(walk[2:3], as_bytes[0])
    assert not near(walk[2:3], as_bytes[1])
    with pytest.raises(ConfigError, match="psi"):
        interpolate_styles(flat, [1, 2], psi=0.5, labels=0)


def test_seeds_are_dealt_out_to_walks(snapshot: Snapshot) -> None:
    plans = plan_walks(snapshot, [0, 1, 2, 3, 4, 5], rows=2, label="well")
    assert [(plan.seeds, plan.kinds) for plan in plans] == [([0, 1, 2], [1, 1, 1]), ([3, 4, 5], [1, 1, 1])]
    plans = plan_walks(snapshot, [7, 9], label="ill", to_label="1")
    assert [(plan.seeds, plan.kinds) for plan in plans] == [([7, 7], [0, 1]), ([9, 9], [0, 1])]


@pytest.mark.parametrize(
    ("seeds", "rows", "label", "to", "word"),
    [([1], 1, None, None, "1 seeds for 1 walks"), ([1, 2, 3, 4, 5], 2, None, None, "5 seeds for 2"),
     ([1, 2, 3], 2, None, None, "3 seeds for 2"),
     ([1, 2], 2, None, None, "2 seeds"),
     ([1, 2], 0, None, None, "0 walks"), ([1], 1, None, "ill", "no class"), ([1], 1, "ill", "0", "the same class"),
     ([1], 1, "ill", "dead", "'dead'"), ([1, 2, 3], 2, "ill", "well", "rows")],
)  # fmt: skip
def test_walks_that_cannot_be_planned(
    snapshot: Snapshot, seeds: list[int], rows: int, label: str | None, to: str | None, word: str
) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        plan_walks(snapshot, seeds, rows=rows, label=label, to_label=to)
    assert caught.value.remedy


@pytest.mark.parametrize("loop", [False, True])
def test_a_strip_shows_the_frames(loop: bool, snapshot: Snapshot) -> None:
    images = interpolate_styles(snapshot, [1, 2, 3], steps=4, loop=loop, labels=0)
    walk = Walk(images, [(1, ""), (2, ""), (3, "")], 4, loop)
    picture, boxes = walk_strip([walk], "title", "caption")
    legs = 3 if loop else 2
    assert len(boxes) == legs * 5
    tiles = as_tiles(images)
    for number, box in enumerate(boxes):
        leg, step = divmod(number, 5)
        shown = enlarged(tiles[(leg * 4 + step) % len(tiles)], 7)
        assert np.array_equal(crop(picture, box), shown)
    made = list(walk_frames([walk]))
    assert len(made) == len(images)
    factor = made[0].shape[1] // 16
    for frame, tile in zip(made, tiles):
        large = enlarged(tile, factor)
        assert np.array_equal(frame[: large.shape[0]], large)


def test_words_below_a_frame_say_where_the_walk_is() -> None:
    walk = Walk(np.zeros((9, 1, 4, 4), np.uint8), [(3, "ill"), (7, "ill"), (7, "well")], 4)
    assert walk.words(1) == ("seed 3 → 7", "ill", "25 %")
    assert walk.words(6) == ("seed 7", "ill → well", "50 %")
    assert walk.words(8) == ("seed 7", "well", "0 %")


def test_several_walks_stand_in_a_grid(snapshot: Snapshot, tmp_path: Path) -> None:
    plans = plan_walks(snapshot, list(range(8)), rows=4, label="ill")
    told: list[tuple[int, int]] = []
    write_walks(
        snapshot, tmp_path / "x.webp", plans, WalkOptions(steps=3, noise="none"),
        progress=lambda done, total, what: told.append((done, total)),
    )  # fmt: skip
    images, durations = read_back(tmp_path / "x.webp")
    assert sum(durations) == 4 * round(1000 / 24)
    assert told[-1] == (16, 16)
    alone = interpolate_styles(snapshot, [6, 7], steps=3, labels="ill", noise="none")
    factor = (images[0].shape[1] - 2) // 32
    corner = images[0][factor * 16 + 2 : factor * 32 + 2, factor * 16 + 2 : factor * 32 + 2]
    assert near(corner, enlarged(as_tiles(alone)[0], factor))


def test_a_walk_that_is_too_long_is_refused_before_it_is_made(snapshot: Snapshot, tmp_path: Path) -> None:
    plans = plan_walks(snapshot, [1, 2])
    with pytest.raises(ConfigError, match="7,201 frames"):
        write_walks(snapshot, tmp_path / "x.gif", plans, WalkOptions(steps=7200))
    with pytest.raises(ConfigError, match="in one picture"):
        write_walks(snapshot, tmp_path / "x.png", plans, WalkOptions(steps=7200))
