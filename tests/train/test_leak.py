"""Augmentation does not leak: trained on left-handed images, the generator makes no right-handed one.

Handedness is what a scan may least lose. The control shows that the measurement can find a leak: where flips are
declared lawful and p is 1, D sees either hand as often, and nothing tells G which one is real.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from stylescan.data.geometry import Geometry
from stylescan.data.prepared import ImageRecord, IntensityRecord, Manifest, PreparedDataset, ShardRecord
from stylescan.files import file_sha256, write_json_atomic
from stylescan.presets import build_config
from stylescan.train.loop import Trainer
from stylescan.train.run_folder import RunFolder
from stylescan.train.start import fingerprint

SIDE, FAKES = 16, 128


def letter(rng: np.random.Generator | None = None) -> np.ndarray:
    """An L, [SIDE, SIDE] in 0..255: a bright bar on the left with a foot; jittered by `rng`."""
    top, left, height, foot, white = 2, 4, 11, 7, 200.0
    image = np.zeros((SIDE, SIDE))
    if rng is not None:
        top, left = top + rng.integers(-1, 2), left + rng.integers(-1, 2)
        height, foot, white = height + rng.integers(-1, 2), foot + rng.integers(-1, 2), white + rng.uniform(-30, 30)
    image[top : top + height, left : left + 2] = white
    image[top + height - 2 : top + height, left : left + foot] = white
    return image


def handedness(images: np.ndarray) -> np.ndarray:
    """How much better the L fits than its mirror image, [N] in -2..2: above 0 left-handed. images: [N, 1, H, W].

    Each template is tried at every place up to 3 pixels away; a fit is a correlation.
    """
    flat = images.reshape(len(images), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9

    def fit(template: np.ndarray) -> np.ndarray:
        places = [np.roll(template, (dy, dx), (0, 1)).ravel() for dy in range(-3, 4) for dx in range(-3, 4)]
        return (flat @ np.array(places).T).max(axis=1) / np.linalg.norm(template)

    template = letter() - letter().mean()
    return fit(template) - fit(template[:, ::-1])


def make_letters(folder: Path, symmetry: str) -> PreparedDataset:
    """96 left-handed letters of 12 subjects, declared axial and of the given symmetry."""
    rng = np.random.default_rng(3)
    images = np.stack([letter(rng) for _ in range(96)]).astype(np.uint8)[:, None]
    assert (handedness(images) > 0.3).all()
    geometry = Geometry(source_height=SIDE, source_width=SIDE, resampled_height=SIDE, resampled_width=SIDE)
    records = [
        ImageRecord(subject=f"sub-{k // 8:02d}", label=None, slice=k % 8, split="train", source=str(k),
                    source_sha256="0" * 64, geometry=geometry)
        for k in range(len(images))
    ]  # fmt: skip
    (folder / "shards").mkdir(parents=True)
    shard = folder / "shards" / "images-00000.npy"
    np.save(shard, images)
    manifest = Manifest(
        content_hash=hashlib.sha256(images.tobytes()).hexdigest(), preparation={}, preparation_hash="p" * 64,
        resolution=SIDE, channels=1, bits=8, class_names=[], claim="subject-wise", intensity=IntensityRecord(),
        shards=[ShardRecord(file="shards/images-00000.npy", count=len(images), sha256=file_sha256(shard))],
        images=records, plane="axial", symmetry=symmetry,
    )  # fmt: skip
    write_json_atomic(folder / "manifest.json", manifest.model_dump(mode="json"))
    return PreparedDataset.open(folder)


def trained_handedness(folder: Path, symmetry: str, *, p: float, steps: int = 240, seed: int = 0) -> np.ndarray:
    """Train on left-handed letters under fixed augmentation; the handedness of FAKES fakes of the averaged generator."""
    dataset = make_letters(folder / "data", symmetry)
    kimg = steps * 8 / 1000
    overrides = {
        "model": {"z_dim": 16, "w_dim": 16, "channel_base": 128, "channel_max": 8},
        "objective": {"r1_gamma": 0.2, "r1_interval": 8},
        "augment": {"mode": "fixed", "p": p},
        "train": {"batch": 8, "lr": 0.01, "ema_half_life_kimg": 0.3, "ema_rampup": None, "checkpoint_kimg": kimg,
                  "log_kimg": kimg, "grid_kimg": kimg, "score_kimg": None},
    }  # fmt: skip
    config = build_config("small", fingerprint(dataset), kimg=kimg, seed=seed, overrides=overrides)
    trainer = Trainer(RunFolder(folder / "run"), dataset, config, torch.device("cpu"))
    trainer.train()
    z = torch.randn(FAKES, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return handedness(trainer.state.G_ema(z, noise="const").numpy())


def assert_left_handed(hands: np.ndarray) -> None:
    assert (hands > 0.3).mean() > 0.9  # the letter was learnt, and the right way round
    assert hands.min() > 0


def test_left_handed_images_give_no_right_handed_fake(tmp_path: Path) -> None:
    assert_left_handed(trained_handedness(tmp_path, "none", p=0.8))


def test_the_control_leaks(tmp_path: Path) -> None:
    """Which hand comes out is chance, so that some runs may be needed to meet the wrong one; the first has it, as a rule."""
    for seed in range(6):
        hands = trained_handedness(tmp_path / str(seed), "left-right", p=1.0, seed=seed)
        letters = (np.abs(hands) > 0.3).mean() > 0.6  # of whichever hand
        if letters and (hands < -0.3).any():
            return
    pytest.fail("at p = 1 with flips six runs gave left-handed images only: the test of leaks proves nothing")


@pytest.mark.slow
def test_lawful_flips_do_not_leak_at_adas_ceiling(tmp_path: Path) -> None:
    """Two in five images are mirrored before D; G still learns the unmirrored ones."""
    assert_left_handed(trained_handedness(tmp_path, "left-right", p=0.8, steps=480))
