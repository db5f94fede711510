"""Pictures of a run from its folder: which grid stands where, what shares sum to, which moments two runs have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stylescan.config import RunConfig, validate_config, write_config
from stylescan.errors import ConfigError, DataError
from stylescan.generate.images import read_provenance
from stylescan.train.pictures import save_grid
from stylescan.train.run_charts import loss_shares, series, terms_of
from stylescan.train.run_pictures import PictureOptions, panels, pick, progress_frames, side_by_side, write_run_pictures
from stylescan.train.run_story import RunStory, common_positions, read_story, spread

RESOLUTION = 16
DATA = {
    "content_hash": "0" * 64, "preparation_hash": "1" * 64, "resolution": RESOLUTION, "channels": 1, "bits": 8,
    "class_names": ["a", "b"], "class_images": [40, 40], "train_images": 80, "select_images": 10, "holdout_images": 10,
}  # fmt: skip
TRAIN = {"total_kimg": 4.0, "checkpoint_kimg": 1.0, "log_kimg": 0.1, "grid_kimg": 1.0}


def config(**data: Any) -> RunConfig:
    model = {"family": "stylegan2", "z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8}
    values = {"preset": "small", "seed": 0, "data": {**DATA, **data}, "model": model, "objective": {}, "train": TRAIN}
    return validate_config(values, source="test")


def grid_images(value: int, channels: int = 1) -> np.ndarray:
    """32 images in four rows; image k has the grey value + k."""
    tiles = np.arange(32, dtype=np.uint8)[:, None, None, None] + np.uint8(value)
    return np.broadcast_to(tiles, (32, channels, RESOLUTION, RESOLUTION)).copy()


def make_run(folder: Path, positions: list[int], log: list[dict[str, Any]] | None = None, *, reals: bool = True,
             **data: Any) -> Path:  # fmt: skip
    """A run folder as training leaves it; the grid at position number k has greys from 10 k up."""
    made = config(**data)
    (folder / "pictures").mkdir(parents=True)
    write_config(folder / "config.yaml", made)
    for number, nimg in enumerate(positions):
        save_grid(folder / "pictures" / f"fakes_{nimg:09d}.png", grid_images(10 * number, made.data.channels))
    if reals:
        save_grid(folder / "pictures" / "reals.png", grid_images(200, made.data.channels))
    if log is not None:
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log) + '{"torn')
    return folder


def losses(count: int, **more: float) -> list[dict[str, Any]]:
    return [{"step": k, "nimg": 100 * k, "G_loss": 1.0 + k, "D_loss": -2.0, **more} for k in range(1, count + 1)]


def levels(*pairs: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"step": 1, "nimg": nimg, "event": "level", "resolution": side} for nimg, side in pairs]


def test_every_picture_is_written_and_named(tmp_path: Path) -> None:
    first = make_run(tmp_path / "one", [0, 1000, 2000], [*levels((0, 4), (1000, 8)), *losses(40, r1_penalty=0.5)])
    second = make_run(tmp_path / "two", [0, 1000, 3000], losses(5))
    told: list[tuple[int, int]] = []
    files = write_run_pictures(first, tmp_path / "out", other=second, progress=lambda a, b, what: told.append((a, b)))
    assert [file.name for file in files] == [
        "progress.webp", "progress.gif", "panels.png", "resolutions.png", "resolution_4.png", "resolution_8.png",
        "losses.png", "loss_shares.png", "side_by_side.png", "both_losses.png",
    ]  # fmt: skip
    assert told[-1] == (10, 10)
    for name in ("panels", "resolutions", "resolution_8", "side_by_side"):
        assert read_provenance(tmp_path / "out" / f"{name}.png")["run"] == "one (stylegan2, logistic)"
    for file in files:
        with Image.open(file) as picture:
            picture.load()
    with pytest.raises(ConfigError, match=r"progress.webp: exists already"):
        write_run_pictures(first, tmp_path / "out")
    assert len(write_run_pictures(first, tmp_path / "out", overwrite=True)) == 8


def test_a_run_without_reals_losses_or_levels_leaves_these_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [0, 500], reals=False)
    files = write_run_pictures(run, tmp_path / "out")
    assert [file.name for file in files] == ["progress.webp", "progress.gif"]


def test_the_animation_shows_every_grid_in_order_and_rests_at_the_end(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [0, 500, 12000])
    story = read_story(run)
    shown = list(progress_frames(story))
    for frame, (nimg, file) in zip(shown, story.grids.items(), strict=True):
        grid = np.asarray(Image.open(file).convert("RGB"))
        assert np.array_equal(frame[: grid.shape[0]], grid), nimg
        assert frame.shape[0] > grid.shape[0]
    assert len({frame.tobytes() for frame in shown}) == 3
    write_run_pictures(run, tmp_path / "out", options=PictureOptions(fps=5))
    for name in ("progress.webp", "progress.gif"):
        with Image.open(tmp_path / "out" / name) as picture:
            durations = []
            for number in range(picture.n_frames):  # type: ignore[attr-defined]
                picture.seek(number)
                picture.load()
                durations.append(picture.info["duration"])
                assert np.array_equal(np.asarray(picture.convert("RGB")), shown[number])
        assert durations == [200, 200, 2200]


def test_panels_pair_classes_and_show_other_reals_in_every_row(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [0, 100, 200])
    story = read_story(run)
    assert story.reals is not None
    reals = story.tiles(story.reals)
    assert [tile[0, 0, 0] for tile in pick(reals, 5)] == [200, 208, 216, 224, 201]  # a class a row of the grid
    assert [tile[0, 0, 0] for tile in pick(reals, 4, shift=2)] == [202, 210, 218, 226]
    assert len(pick(reals, 99)) == 32
    picture = panels(story, PictureOptions(rows=2, columns=4))
    greys = {int(value) for value in np.unique(picture[..., 0])}
    assert {0, 8, 16, 24, 20, 28, 36, 44, 200, 208, 216, 224, 201, 209, 217, 225} <= greys
    assert not {10, 18, 202, 210} & {value for value in greys if (picture[..., 0] == value).sum() > 112 * 100}


def test_levels_own_the_grids_after_their_beginning(tmp_path: Path) -> None:
    log = levels((0, 4), (1000, 8), (3000, 16))
    story = read_story(make_run(tmp_path / "run", [0, 500, 1000, 1500, 3000, 4000], log))
    assert [(level.resolution, level.first_nimg, level.grids) for level in story.levels] == [
        (4, 0, (0, 500, 1000)), (8, 1000, (1500, 3000)), (16, 3000, (4000,)),
    ]  # fmt: skip
    assert [story.resolution_at(nimg) for nimg in (0, 1000, 1500, 4000, 77)] == [4, 4, 8, 16, None]


def test_a_repeated_level_counts_once_and_a_log_may_begin_with_the_first_change(tmp_path: Path) -> None:
    story = read_story(make_run(tmp_path / "run", [0, 500, 1500], levels((1000, 16), (900, 16))))
    assert [(level.resolution, level.grids) for level in story.levels] == [(8, (0, 500)), (16, (1500,))]
    assert read_story(make_run(tmp_path / "none", [0], losses(2))).levels == []


def test_terms_of_the_objective_are_found_by_name() -> None:
    log = [{"nimg": 1, "D_loss": 1.0, "r1_penalty": 2.0, "new_penalty": 1.0, "kid": 0.1}, {"nimg": 2, "G_loss": 3.0}]
    assert terms_of(log) == ["G_loss", "D_loss", "r1_penalty", "new_penalty"]


def test_loss_shares_by_hand() -> None:
    log = [
        {"nimg": 2000, "G_loss": 1.0, "D_loss": -2.0},
        {"nimg": 1000, "G_loss": -1.0, "D_loss": 1.0, "r1_penalty": 2.0},
        {"nimg": 3000, "G_loss": 0.0, "D_loss": 0.0, "r1_penalty": 0.0},
        {"nimg": 4000, "kid": 0.1},
        {"nimg": 5000, "G_loss": float("nan"), "D_loss": 1.0},
    ]
    kimg, shares = loss_shares(log)
    assert kimg.tolist() == [1.0, 2.0]
    assert shares["G_loss"].tolist() == [0.25, 0.2]
    assert shares["D_loss"].tolist() == [0.25, 0.4]
    assert shares["r1_penalty"].tolist() == [0.5, 0.4]  # its last value, where a line lacks it


NUMBERS = st.floats(-1e6, 1e6) | st.none() | st.just(float("nan")) | st.just("x") | st.booleans()
LINES = st.fixed_dictionaries(
    {"nimg": st.integers(0, 10**6)},
    optional=dict.fromkeys(("G_loss", "D_loss", "r1_penalty", "drift_penalty", "kid"), NUMBERS),
)


@given(st.lists(LINES, max_size=12))
def test_loss_shares_sum_to_one(log: list[dict[str, Any]]) -> None:
    kimg, shares = loss_shares(log)
    if len(kimg):
        table = np.stack(list(shares.values()))
        assert np.allclose(table.sum(axis=0), 1, atol=1e-9)
        assert (table >= 0).all()
    for name in ("G_loss", "kid"):
        x, y = series(log, name)
        assert len(x) == len(y)
        assert np.isfinite(y).all()


def test_the_same_kimg_is_chosen_in_both_runs() -> None:
    assert common_positions([0, 2400, 4800, 7200, 9600], [0, 1600, 3200, 4800, 6400, 8000, 9600]) == [
        (0, 0), (4800, 4800), (9600, 9600),
    ]  # fmt: skip
    assert common_positions([0, 1000, 2000], [0, 1010, 1980]) == [(0, 0), (1000, 1010), (2000, 1980)]
    assert common_positions([100], [200]) == []


@given(st.sets(st.integers(0, 300), min_size=1), st.sets(st.integers(0, 300), min_size=1))
def test_common_moments_are_near_and_used_once(a: set[int], b: set[int]) -> None:
    pairs = common_positions(list(a), list(b))
    assert len({x for x, _ in pairs}) == len({y for _, y in pairs}) == len(pairs)
    assert all(x in a and y in b and abs(x - y) <= 0.05 * max(x, y) for x, y in pairs)
    assert {(x, x) for x in a & b} <= set(pairs)


def test_side_by_side_takes_the_grids_of_that_kimg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = read_story(make_run(tmp_path / "one", [0, 2400, 4800]))
    two = read_story(make_run(tmp_path / "two", [0, 1600, 3200, 4800]))
    asked: list[str] = []
    read = RunStory.tiles

    def spy(story: RunStory, file: Path) -> Any:
        asked.append(f"{story.name} {file.stem}")
        return read(story, file)

    monkeypatch.setattr(RunStory, "tiles", spy)
    side_by_side(one, two, common_positions(list(one.grids), list(two.grids)), PictureOptions())
    assert asked == ["one fakes_000000000", "two fakes_000000000", "one fakes_000004800", "two fakes_000004800"]


def test_runs_without_a_common_moment_are_refused(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one", [1000]), make_run(tmp_path / "two", [5000])
    with pytest.raises(ConfigError, match="one and two: no sample grids after equally many"):
        write_run_pictures(one, tmp_path / "out", other=two)
    assert not (tmp_path / "out").exists()


def test_several_channels_stand_side_by_side(tmp_path: Path) -> None:
    story = read_story(make_run(tmp_path / "run", [0], channels=2))
    tiles = story.tiles(story.grids[0])
    assert (len(tiles), len(tiles[0]), tiles[0][0].shape) == (4, 8, (RESOLUTION, 2 * RESOLUTION, 3))


@pytest.mark.parametrize("size", [(100, 70), (8 * 18 - 2, 70 + 18), (9 * 18 - 2, 70)])
def test_a_picture_of_another_size_is_no_grid(size: tuple[int, int], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [0, 10])
    Image.new("L", size).save(run / "pictures" / "fakes_000000010.png")
    with pytest.raises(DataError, match="fakes_000000010.png"):
        write_run_pictures(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_moments_are_spread_with_both_ends() -> None:
    assert spread(list(range(11)), 3) == [0, 5, 10]
    assert spread([4, 5], 5) == [4, 5]
    assert spread([4, 5, 6], 1) == [6]
