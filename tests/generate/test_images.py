"""PNG files of generated images: exact pixels, provenance that identifies nobody, nothing overwritten."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stylescan import __version__
from stylescan.errors import ConfigError, DataError
from stylescan.generate import images as images_module
from stylescan.generate.images import (
    TITLE,
    encode_png,
    file_names,
    grid,
    provenance,
    read_provenance,
    write_grid,
    write_images,
)
from stylescan.generate.sample import sample
from stylescan.generate.snapshot import Snapshot, SnapshotMeta
from stylescan.generate.write_together import write_together
from stylescan.nets.stylegan2 import StyleGAN2Generator, StyleGAN2Spec

PADDED = {
    "source_height": 24, "source_width": 32, "resampled_height": 12, "resampled_width": 16,
    "pad_top": 1, "pad_bottom": 3, "spacing_mm": (1.5, 1.0),
}  # fmt: skip


def make_snapshot(
    *, names: tuple[str, ...] = ("control", "atrophy"), channels: int = 1, bits: int = 8, padded: bool = False
) -> Snapshot:
    """A real, small, untrained generator."""
    spec = StyleGAN2Spec(
        z_dim=8, w_dim=8, channel_base=64, channel_max=4, resolution=16, img_channels=channels, num_classes=len(names)
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        generator = StyleGAN2Generator(spec).eval().requires_grad_(False)
    meta = SnapshotMeta(
        family="stylegan2",
        spec=spec.model_dump(),
        class_names=list(names),
        class_frequencies=[1 / len(names)] * len(names) if names else [],
        bits=bits,
        geometry=PADDED if padded else None,
        data_content_hash="0" * 64,
        preparation_hash="1" * 64,
        preset="small",
        seed=0,
        nimg=0,
    )
    return Snapshot(generator, meta, "cd" * 32, Path("unused"))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_written_pixels_are_the_sampled_ones_for_8_and_16_bits_and_rgb(tmp_path: Path) -> None:
    for name, snapshot in {
        "grey8": make_snapshot(),
        "grey16": make_snapshot(bits=16),
        "rgb": make_snapshot(channels=3),
    }.items():
        ((_, _, images),) = sample(snapshot, [0, 7], labels=[1, 0])
        paths = write_images(snapshot, tmp_path / name, [0, 7], labels=[1, 0])
        assert [p.name for p in paths] == ["seed-000000_class-1-atrophy.png", "seed-000007_class-0-control.png"]
        for path, image in zip(paths, images):
            stored = pixels(path)
            assert stored.dtype == images.dtype
            np.testing.assert_array_equal(stored, image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    assert pixels(paths[0]).shape == (16, 16, 3)


@pytest.mark.parametrize(("channels", "bits"), [(2, 8), (4, 8), (3, 16)])
def test_other_channels_are_a_named_file_each(tmp_path: Path, channels: int, bits: int) -> None:
    snapshot = make_snapshot(names=(), channels=channels, bits=bits)
    ((_, _, images),) = sample(snapshot, [5])
    paths = write_images(snapshot, tmp_path, [5])
    assert [p.name for p in paths] == [f"seed-000005_channel-{k}.png" for k in range(channels)]
    for k, path in enumerate(paths):
        np.testing.assert_array_equal(pixels(path), images[0, k])
        assert read_provenance(path)["channel"] == str(k)


def test_padding_is_undone_unless_kept(tmp_path: Path) -> None:
    snapshot = make_snapshot(padded=True)
    (cut,) = write_images(snapshot, tmp_path / "cut", [2], labels=[0])
    (whole,) = write_images(snapshot, tmp_path / "whole", [2], labels=[0], unpad=False)
    assert pixels(cut).shape == (12, 16)
    np.testing.assert_array_equal(pixels(cut), pixels(whole)[1:13])
    # 24 rows of 1.5 mm became 12; 32 columns of 1 mm became 16.
    assert read_provenance(cut)["spacing_mm"] == "3 x 2 (rows x columns)"


def test_provenance_tells_how_to_make_the_image_again_and_nothing_else(tmp_path: Path) -> None:
    snapshot = make_snapshot()
    (path,) = write_images(snapshot, tmp_path, [42], labels=[1], psi=0.7, cutoff=3, noise="const")
    assert read_provenance(path) == {
        "Title": "SYNTHETIC image, not for diagnosis",
        "Software": f"stylescan {__version__}",
        "model_hash": "cd" * 32,
        "seed": "42",
        "class": "atrophy",
        "psi": "0.7",
        "noise": "const",
        "cutoff": "3",
    }
    content = path.read_bytes()
    assert b"tIME" not in content
    assert b"eXIf" not in content
    for private in (str(tmp_path), socket.gethostname(), os.path.expanduser("~")):
        assert len(private) < 4 or private.encode() not in content
    (again,) = write_images(snapshot, tmp_path / "again", [42], labels=[1], psi=0.7, cutoff=3, noise="const")
    assert again.read_bytes() == content


def test_class_names_of_any_script_survive_in_metadata_and_stay_safe_in_names(tmp_path: Path) -> None:
    snapshot = make_snapshot(names=("../../étude", "腫瘍", "a/b\\c:d"))
    paths = write_images(snapshot, tmp_path / "out", [0, 1, 2], labels=[0, 1, 2])
    assert [read_provenance(path)["class"] for path in paths] == ["../../étude", "腫瘍", "a/b\\c:d"]
    assert {path.parent for path in paths} == {tmp_path / "out"}
    assert sorted(p.name for p in tmp_path.rglob("*.png")) == [
        "seed-000000_class-0-tude.png",
        "seed-000001_class-1.png",
        "seed-000002_class-2-a-b-c-d.png",
    ]


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    snapshot = make_snapshot()
    taken = tmp_path / file_names(snapshot, 1, 0)[0]
    taken.write_bytes(b"precious")
    with pytest.raises(ConfigError) as caught:
        write_images(snapshot, tmp_path, [0, 1, 2], labels=[0, 0, 0])
    assert taken.name in caught.value.message
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"precious"]
    write_images(snapshot, tmp_path, [0, 1, 2], labels=[0, 0, 0], overwrite=True)
    assert read_provenance(taken)["seed"] == "1"
    assert len(list(tmp_path.iterdir())) == 3  # and no temporary files beside them
    with pytest.raises(ConfigError, match="expected a folder"):
        write_images(snapshot, taken, [9], labels=[0])


def test_many_small_batches_and_writers_give_one_file_a_seed(tmp_path: Path) -> None:
    snapshot, told = make_snapshot(), list[tuple[int, int, str]]()
    paths = write_images(
        snapshot, tmp_path, range(21), batch_size=4, workers=3, progress=lambda *step: told.append(step)
    )
    assert len(set(paths)) == 21
    assert [read_provenance(path)["seed"] for path in paths] == [str(seed) for seed in range(21)]
    assert told[-1] == (21, 21, "images")


@given(
    n=st.integers(1, 11), columns=st.integers(1, 13), gap=st.integers(0, 3), channels=st.sampled_from([1, 3]),
    height=st.integers(1, 5), width=st.integers(1, 5),
)  # fmt: skip
def test_grid_holds_every_image_in_its_place(
    n: int, columns: int, gap: int, channels: int, height: int, width: int
) -> None:
    images = np.random.default_rng(n).integers(1, 255, (n, channels, height, width), dtype=np.uint8)
    sheet = grid(images, columns, gap)
    across = min(columns, n)
    rows = -(-n // across)
    assert sheet.shape == (channels, rows * height + (rows - 1) * gap, across * width + (across - 1) * gap)
    for index, image in enumerate(images):
        top, left = index // across * (height + gap), index % across * (width + gap)
        np.testing.assert_array_equal(sheet[:, top : top + height, left : left + width], image)
    assert np.count_nonzero(sheet) == images.size  # all else is black


def test_grid_refuses_what_it_cannot_lay_out() -> None:
    for images, columns, gap in (
        (np.zeros((0, 1, 2, 2)), 1, 0),
        (np.zeros((2, 2)), 1, 0),
        (np.zeros((1, 1, 2, 2)), 0, 0),
    ):
        with pytest.raises(ValueError, match="grid"):
            grid(images, columns, gap)


def test_write_grid_says_which_seeds_and_lays_odd_channels_side_by_side(tmp_path: Path) -> None:
    snapshot = make_snapshot()
    ((seeds, labels, images),) = sample(snapshot, [3, 4, 5], labels=[0, 1, 0])
    text = provenance(snapshot, seeds=seeds, labels=labels)
    path = write_grid(tmp_path / "grid.png", images, text, columns=2)
    assert read_provenance(path)["seed"] == "3,4,5"
    assert read_provenance(path)["class"] == "control,atrophy,control"
    np.testing.assert_array_equal(pixels(path), grid(images, 2)[0])
    with pytest.raises(ConfigError, match=r"grid\.png"):
        write_grid(path, images, text)
    two = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    sheet = pixels(write_grid(tmp_path / "two.png", two, {"Title": TITLE}, columns=1))
    np.testing.assert_array_equal(sheet[:3], np.concatenate([two[0, 0], two[0, 1]], axis=1))


def test_interrupted_there_are_whole_files_alone_and_no_more_are_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, go_on = make_snapshot(), threading.Event()

    def slowly(contents: Mapping[Path, bytes]) -> None:
        go_on.wait(30)
        write_together(contents)

    def interrupt(done: int, total: int, what: str) -> None:
        if done == 8:  # one group of four is being written, another waits
            threading.Timer(0.2, go_on.set).start()
            raise KeyboardInterrupt

    monkeypatch.setattr(images_module, "write_together", slowly)
    with pytest.raises(KeyboardInterrupt):
        write_images(snapshot, tmp_path, range(40), batch_size=4, workers=1, progress=interrupt)
    made = sorted(tmp_path.iterdir())
    assert len(made) <= 4
    ((_, _, images),) = sample(snapshot, range(4))
    for path in made:
        seed = int(read_provenance(path)["seed"])
        np.testing.assert_allclose(pixels(path), images[seed, 0], atol=1)


def test_a_write_that_fails_ends_the_call_and_leaves_whole_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def failing(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="No space left") as caught:
        write_images(make_snapshot(), tmp_path, range(100), batch_size=20, workers=1)
    assert str(caught.value.filename).startswith(str(tmp_path))
    made = list(tmp_path.iterdir())
    assert len(made) == 20  # 16 and 4 images and their folder twice: the next group fails
    assert {pixels(path).shape for path in made} == {(16, 16)}


def test_many_files_each_say_their_own_seed_and_class(tmp_path: Path) -> None:
    """What the files of a call have in common is computed once; nothing of the first may stay on the others."""
    snapshot, labels = make_snapshot(padded=True), [k % 2 for k in range(20)]
    paths = write_images(snapshot, tmp_path, range(20), labels=labels, psi=0.5, cutoff=2, noise="const")
    for seed, (path, label) in enumerate(zip(paths, labels)):
        expected = provenance(snapshot, seeds=[seed], labels=[label], psi=0.5, cutoff=2, noise="const")
        assert list(read_provenance(path).items()) == list(expected.items())


def test_read_provenance_refuses_other_files(tmp_path: Path) -> None:
    plain, text, jpeg = tmp_path / "plain.png", tmp_path / "text.png", tmp_path / "photo.png"
    Image.new("L", (4, 4)).save(plain)
    text.write_bytes(b"\x89PNG\r\n\x1a\n" + b"nonsense" * 9)
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "JPEG")
    jpeg.write_bytes(stream.getvalue())
    for path, word in (
        (plain, "synthetic"),
        (text, "not a readable PNG"),
        (jpeg, "not a readable PNG"),
        (tmp_path / "no.png", "no such"),
    ):
        with pytest.raises(DataError, match=word) as caught:
            read_provenance(path)
        assert caught.value.remedy


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((3, 4, 4), np.uint16), np.zeros((2, 4, 4), np.uint8), np.zeros((1, 4, 4))],
)
def test_encode_png_refuses_what_png_cannot_hold(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no PNG"):
        encode_png(image, {})


def test_geometry_of_another_resolution_scales_the_spacing() -> None:
    snapshot = make_snapshot(padded=True)
    doubled = {**PADDED, "resampled_height": 24, "resampled_width": 32, "pad_top": 2, "pad_bottom": 6}
    other = dataclasses.replace(snapshot, meta=snapshot.meta.model_copy(update={"geometry": doubled}))
    first, second = (provenance(s, seeds=[0], labels=[0])["spacing_mm"] for s in (snapshot, other))
    assert first == second
