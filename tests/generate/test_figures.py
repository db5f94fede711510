"""Figures: the images in them are those of plain sampling, and a band's swap reaches just that band of the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stylescan.errors import ConfigError
from stylescan.generate.drawing import (
    Block,
    Table,
    as_tiles,
    captioned,
    draw_table,
    enlarged,
    require_room,
    wrap,
    write_figure,
    zoom_to,
)
from stylescan.generate.edit import bands_of, map_styles, mix_styles, style_layers, style_resolutions
from stylescan.generate.figures import mixing_figure, parse_psis, truncation_figure
from stylescan.generate.images import read_provenance, write_images, write_sample_grid
from stylescan.generate.sample import sample_images
from stylescan.generate.snapshot import Snapshot
from stylescan.nets.growing import reached_by
from stylescan.nets.protocols import Stage

Make = Callable[..., Snapshot]


def crop(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    return picture[top:bottom, left:right]


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding in other batches."""
    return a.shape == b.shape and int(np.abs(a.astype(int) - b.astype(int)).max()) <= 1


def as_drawn(images: np.ndarray) -> list[np.ndarray]:
    return [enlarged(tile, zoom_to(tile.shape[0], 112)) for tile in as_tiles(images)]


@pytest.mark.parametrize(("resolution", "bands"), [(64, ["coarse", "middle", "fine"]), (32, ["coarse", "middle"])])
def test_a_model_has_the_bands_that_its_size_allows(make_snapshot: Make, resolution: int, bands: list[str]) -> None:
    assert bands_of(make_snapshot(resolution=resolution).generator) == bands


def test_the_mixing_figure_holds_sources_targets_and_every_mix(make_snapshot: Make) -> None:
    snapshot = make_snapshot()
    told: list[tuple[int, int]] = []
    figure = mixing_figure(
        snapshot, [0, 1, 2], [5, 6], labels="ill", noise="none", progress=lambda done, total, what: told.append((done, total))
    )  # fmt: skip
    assert len(figure.boxes) == 3 + 3 * 2 * (1 + 3)
    tiles = [crop(figure.picture, box) for box in figure.boxes]
    sources = as_drawn(sample_images(snapshot, [0, 1, 2], labels="ill", noise="none"))
    targets = as_drawn(sample_images(snapshot, [5, 6], labels="ill", noise="none"))
    assert all(near(a, b) for a, b in zip(tiles, sources))
    expected = []
    for band in ("coarse", "middle", "fine"):
        mixed = mix_styles(
            snapshot, [5, 6], [0, 1, 2], layers=band, row_labels="ill", column_labels="ill", noise="none"
        )
        for own, row in zip(targets, mixed):
            expected += [own, *as_drawn(row)]
    assert all(near(a, b) for a, b in zip(tiles[3:], expected, strict=True))
    assert told[-1] == (3 + 2 + 18, 23)
    assert figure.text["Title"].startswith("SYNTHETIC")
    assert figure.text["seed"] == "0,1,2,5,6"
    assert figure.text["layers"] == "coarse,middle,fine"


def test_bands_are_chosen_by_name_and_by_resolution(make_snapshot: Make) -> None:
    snapshot = make_snapshot()
    figure = mixing_figure(snapshot, [0], [5], layers="middle, 4-8,64", noise="none")
    assert len(figure.boxes) == 1 + 3 * 2
    assert figure.text["layers"] == "middle,4-8,64"


@pytest.mark.parametrize("family", ["stylegan2", "stylegan"])
@pytest.mark.parametrize("band", ["coarse", "middle", "fine"])
def test_a_swap_hands_synthesis_the_sources_styles_in_the_band_alone(
    make_snapshot: Make, family: str, band: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = make_snapshot(family)
    handed: list[torch.Tensor] = []
    forward = type(snapshot.generator.synthesis).forward  # type: ignore[attr-defined]

    def spy(self: Any, ws: torch.Tensor, **rest: Any) -> torch.Tensor:
        handed.append(ws.clone())
        return forward(self, ws, **rest)  # type: ignore[no-any-return]

    monkeypatch.setattr(type(snapshot.generator.synthesis), "forward", spy)
    mix_styles(snapshot, [5], [1], layers=band, row_labels=0, column_labels=1, noise="none")
    [ws] = handed
    target, source = map_styles(snapshot, [5], [0]), map_styles(snapshot, [1], [1])
    low, high = {"coarse": (4, 8), "middle": (16, 32), "fine": (64, 64)}[band]
    sides = style_resolutions(snapshot.generator)
    assert len(sides) == snapshot.generator.num_ws
    for position, side in enumerate(sides):
        assert torch.equal(ws[0, position], (source if low <= side <= high else target)[0, position]), position
    assert {low <= side <= high for side in sides} == {True, False}


@pytest.mark.parametrize(("band", "first"), [("middle", 16), ("fine", 64)])
def test_what_is_computed_below_the_band_stays(make_snapshot: Make, band: str, first: int) -> None:
    """Activations of every layer of the resolutions below are equal to the bit; at the band's first they are not."""
    snapshot = make_snapshot("stylegan")
    seen: dict[int, list[torch.Tensor]] = {}

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
        seen.setdefault(output.shape[2], []).append(output.clone())

    blocks: Any = snapshot.generator.synthesis.blocks  # type: ignore[attr-defined]
    hooks = [block.register_forward_hook(keep) for block in blocks.values()]
    mix_styles(snapshot, [5], [5], layers=band, row_labels=0, column_labels=0, noise="none")
    mix_styles(snapshot, [5], [1], layers=band, row_labels=0, column_labels=1, noise="none")
    for hook in hooks:
        hook.remove()
    assert sorted(seen) == [4, 8, 16, 32, 64]
    for side, (plain, mixed) in seen.items():
        assert torch.equal(plain, mixed) == (side < first), side


def test_the_truncation_figure_is_a_row_a_seed_and_a_column_a_psi(make_snapshot: Make) -> None:
    snapshot = make_snapshot(resolution=16)
    psis = [0.0, 0.5, 1.0]
    figure = truncation_figure(snapshot, [4, 9], psis, labels="well", noise="none")
    assert len(figure.boxes) == 6
    tiles = [crop(figure.picture, box) for box in figure.boxes]
    for column, psi in enumerate(psis):
        images = as_drawn(sample_images(snapshot, [4, 9], labels="well", psi=psi, noise="none"))
        assert near(tiles[column], images[0])
        assert near(tiles[3 + column], images[1])
    assert near(tiles[0], tiles[3])  # at 0 all are the mean
    assert not near(tiles[2], tiles[5])
    assert figure.text["psi"] == "0.0,0.5,1.0"


def test_truncation_of_the_first_styles_alone(make_snapshot: Make) -> None:
    snapshot = make_snapshot(resolution=16)
    figure = truncation_figure(snapshot, [4], [0.0], labels=0, cutoff=2, noise="none")
    image = as_drawn(sample_images(snapshot, [4], labels=0, psi=0.0, cutoff=2, noise="none"))[0]
    whole = as_drawn(sample_images(snapshot, [4], labels=0, psi=0.0, noise="none"))[0]
    assert near(crop(figure.picture, figure.boxes[0]), image)
    assert not near(image, whole)


def test_families_without_w_are_refused_with_the_reason(make_snapshot: Make) -> None:
    snapshot = make_snapshot("dcgan", resolution=16)
    for call in (
        lambda: mixing_figure(snapshot, [0], [1]),
        lambda: truncation_figure(snapshot, [0], [0.5]),
    ):
        with pytest.raises(ConfigError, match="family dcgan has no styles by layer") as caught:
            call()
        assert "stylegan2" in caught.value.remedy


@pytest.mark.parametrize("text", ["", "0,,1", "nan", "0,inf", "half", "1e400"])
def test_psis_that_are_no_numbers_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="psis: found"):
        parse_psis(text)
    assert parse_psis(" -1, 0.5,1e-1") == [-1.0, 0.5, 0.1]


def test_a_growing_model_is_sampled_at_every_reached_resolution(make_snapshot: Make, tmp_path: Path) -> None:
    snapshot = make_snapshot("stylegan", classes=0)
    reached = reached_by(snapshot.generator)
    assert reached is not None
    reached.note(Stage(3, 0.5))  # 32 px, half faded in
    for side, stage in ((4, Stage(0)), (16, Stage(2)), (32, Stage(3, 0.5))):
        images = sample_images(snapshot, [7], resolution=side, noise="none")
        assert images.shape == (1, 1, side, side)
        by_hand = snapshot.generator.synthesis(map_styles(snapshot, [7], [-1]), noise="none", stage=stage)
        assert near(images, ((by_hand.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy())
    assert bands_of(snapshot.generator) == ["coarse", "middle"]
    with pytest.raises(ConfigError, match="of 32 px"):
        style_layers(snapshot.generator, "fine")
    [file] = write_images(snapshot, tmp_path, [7], resolution=16)
    with Image.open(file) as picture:
        assert picture.size == (16, 16)
    assert read_provenance(file)["resolution"] == "16"
    [file] = write_sample_grid(snapshot, tmp_path / "grid.png", list(range(9)), columns=3, resolution=8)
    with Image.open(file) as picture:
        assert picture.size == (3 * 8 + 4, 3 * 8 + 4)


@pytest.mark.parametrize("resolution", [64, 12, 0, -4])
def test_a_resolution_that_is_not_reached_is_refused(make_snapshot: Make, resolution: int) -> None:
    snapshot = make_snapshot("stylegan")
    reached = reached_by(snapshot.generator)
    assert reached is not None
    reached.note(Stage(3))
    with pytest.raises(ConfigError, match="has reached 32 px") as caught:
        sample_images(snapshot, [1], resolution=resolution)
    assert "4, 8, 16, 32" in caught.value.remedy


def test_a_family_that_does_not_grow_has_one_resolution(make_snapshot: Make) -> None:
    with pytest.raises(ConfigError, match="family stylegan2 does not grow"):
        sample_images(make_snapshot(), [1], resolution=32)


def test_styles_know_their_resolution_where_noise_is_switched_off(make_snapshot: Make) -> None:
    plain, silent = make_snapshot("stylegan"), make_snapshot("stylegan", noise=False)
    assert (
        style_resolutions(silent.generator)
        == style_resolutions(plain.generator)
        == [4, 4, 8, 8, 16, 16, 32, 32, 64, 64]
    )


def test_a_table_enlarges_whole_pixels_and_clips_no_text() -> None:
    small, large = np.full((8, 8, 3), 90, np.uint8), np.full((32, 32, 3), 30, np.uint8)
    words = "A caption that is much longer than the figure is wide, so that it has to be broken into lines. " * 3
    table = Table([("left", 1), ("right", 2)], [Block([("row", [small, None, large])], "heading")], (), "title", words)
    drawn = draw_table(table)
    assert [(right - left, bottom - top) for left, top, right, bottom in drawn.boxes] == [(128, 128), (128, 128)]
    assert (crop(drawn.picture, drawn.boxes[0]) == 90).all()
    assert (crop(drawn.picture, drawn.boxes[1]) == 30).all()
    edge = np.concatenate([drawn.picture[:4].reshape(-1, 3), drawn.picture[-4:].reshape(-1, 3),
                           drawn.picture[:, :4].reshape(-1, 3), drawn.picture[:, -4:].reshape(-1, 3)])  # fmt: skip
    assert (edge == 255).all()
    longer = draw_table(Table(table.groups, table.blocks, (), "title", words * 2))
    assert longer.picture.shape[0] > drawn.picture.shape[0]


def test_words_wrap_within_the_width() -> None:
    from stylescan.generate.drawing import _font

    font = _font(14)
    text = "Straight walks in w, model 0123456789ab with ümlauts and ψ, " + "W" * 200
    lines = wrap(text, font, 200)
    assert all(font.getlength(line) <= 200 for line in lines)
    assert " ".join(lines[:-1]) == text.rsplit(" ", 1)[0]
    assert lines[-1].endswith("…")


def test_several_contrasts_stand_side_by_side_and_sixteen_bits_become_eight() -> None:
    images = np.zeros((1, 2, 4, 4), np.uint16)
    images[:, 1] = 65535
    [tile] = as_tiles(images)
    assert tile.shape == (4, 8, 3)
    assert (tile[:, :4] == 0).all()
    assert (tile[:, 4:] == 255).all()


def test_a_figure_is_a_png_that_says_that_it_is_synthetic(make_snapshot: Make, tmp_path: Path) -> None:
    figure = truncation_figure(make_snapshot(resolution=16), [1], [1.0], labels=0)
    file = write_figure(tmp_path / "x.png", figure.picture, figure.text)
    assert read_provenance(file)["model_hash"] == "ab" * 32
    with Image.open(file) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), figure.picture)
    with pytest.raises(ConfigError, match="exists already"):
        write_figure(file, figure.picture, figure.text)


def test_a_picture_that_no_viewer_shows_is_refused_before_it_is_made(make_snapshot: Make) -> None:
    with pytest.raises(ConfigError, match="expected at most 64"):
        require_room(65, 1024, 1024)
    require_room(64, 1024, 1024)
    with pytest.raises(ConfigError, match="in one picture"):
        mixing_figure(make_snapshot(), range(100), range(100))


def test_frames_of_one_size_stay_of_one_size() -> None:
    image = np.zeros((40, 300, 3), np.uint8)
    frames = [captioned(image, [words, "SYNTHETIC"]) for words in ("a", "seed 1 → 2, gjpqy", "W" * 300)]
    assert len({frame.shape for frame in frames}) == 1
    assert all((frame[:40] == 0).all() for frame in frames)
    assert all((frame[-2:] == 255).all() and (frame[40:, -2:] == 255).all() for frame in frames)
