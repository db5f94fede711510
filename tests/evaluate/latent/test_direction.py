"""The class direction on a linear generator in which it is known, and its test on held-out subjects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cyclopts import App
from numpy.typing import NDArray
from safetensors.numpy import load_file
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from stylescan.cli.direction import direction as direction_command
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError, DataError
from stylescan.evaluate.features import Extractor
from stylescan.evaluate.latent.class_strip import find_direction
from stylescan.evaluate.latent.direction import learn_direction, validate_direction
from stylescan.evaluate.latent.readout import RealFeatures, choose_penalties, predict, r_squared, read_strip
from stylescan.evaluate.latent.strip_readings import DirectionOptions, images_along, strip_steps
from stylescan.generate.sample import sample_images
from stylescan.generate.snapshot import Snapshot, SnapshotMeta
from stylescan.nets.protocols import Generator
from stylescan.nets.stylegan2 import StyleGAN2Spec

W_DIM, SIZE = 6, 16


class LinearSynthesis(nn.Module):
    """Image = w @ patterns, blocks of 4 x 4 pixels; w[0] is the brightness of the centre."""

    noise_shapes: tuple[tuple[int, int], ...] = ()

    def __init__(self) -> None:
        super().__init__()
        blocks = torch.zeros(W_DIM, 4, 4)
        blocks[0, 1:3, 1:3] = 0.12
        for k, (row, column) in enumerate([(0, 0), (0, 3), (3, 0), (3, 3), (0, 1)]):
            blocks[k + 1, row, column] = 0.12
        self.register_buffer("patterns", blocks.repeat_interleave(4, 1).repeat_interleave(4, 2))

    def forward(self, ws: Tensor, *, noise: object = "random", rng: torch.Generator | None = None) -> Tensor:
        return torch.einsum("nd,dhw->nhw", ws.mean(dim=1), self.get_buffer("patterns"))[:, None]


class IdentityMapping(nn.Module):
    """w = z."""

    w_avg = torch.zeros(1, W_DIM)

    def forward(self, z: Tensor, c: Tensor | None = None, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        return z[:, None]


class LinearGenerator(Generator):
    def __init__(self) -> None:
        super().__init__()
        self.spec = StyleGAN2Spec(
            z_dim=W_DIM, w_dim=W_DIM, channel_base=64, channel_max=4, resolution=SIZE, img_channels=1, num_classes=0
        )
        self.num_ws = 1
        self.mapping = IdentityMapping()
        self.synthesis = LinearSynthesis()
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)  # tells samplers the device


@dataclass
class Found:
    ws: NDArray[np.float32]
    perceptual: NDArray[np.float32]
    rmse: NDArray[np.float32]


class Inverse:
    """The exact projection of the linear generator."""

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"method": "least squares"}

    def __call__(self, snapshot: Snapshot, images: NDArray[Any], progress: object) -> Found:
        patterns = snapshot.generator.synthesis.get_buffer("patterns").reshape(W_DIM, -1).numpy()
        unit = images.reshape(len(images), -1) / 127.5 - 1
        w = np.linalg.lstsq(patterns.T, unit.T, rcond=None)[0].T.astype(np.float32)
        return Found(w[:, None], np.zeros(len(w), np.float32), np.zeros(len(w), np.float32))


def population(
    make_dataset: Callable[..., PreparedDataset], folder: Path, *, shift: float, subjects: int = 60
) -> tuple[Snapshot, PreparedDataset]:
    """Subjects of 4 slices whose w differ by class by `shift` along w[0] alone; a third of them held out."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(subjects), 4)
    labels = owner % 2
    w = 0.5 * rng.normal(size=(subjects, W_DIM))[owner] + 0.2 * rng.normal(size=(len(owner), W_DIM))
    w[:, 0] += np.where(labels == 0, shift, -shift)
    generator = LinearGenerator().eval()
    with torch.no_grad():
        images = generator.synthesis(torch.from_numpy(w[:, None]).float())
    pixels = ((images.numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    splits = np.where(owner % 3 == 2, "holdout", "train")
    dataset = make_dataset(folder, pixels, [f"s{k:03d}" for k in owner], splits.tolist(), labels.tolist())
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    for image, brightness in zip(manifest["images"], w[:, 0]):
        image["extra"] = {"brightness": float(brightness)}
    file.write_text(json.dumps(manifest))
    meta = SnapshotMeta(
        family="stylegan2", spec=generator.spec.model_dump(), data_content_hash=dataset.content_hash,
        preparation_hash=dataset.preparation_hash, preset="small", seed=0, nimg=0,
    )  # fmt: skip
    return Snapshot(generator, meta, "ab" * 32, folder), PreparedDataset.open(folder)


OPTIONS = DirectionOptions(project=80, seeds=(0, 1), read_seeds=20)


def test_a_planted_direction_is_recovered_tested_and_shown(
    make_dataset: Callable[..., PreparedDataset], pooled: Extractor, tmp_path: Path
) -> None:
    snapshot, dataset = population(make_dataset, tmp_path / "data", shift=1.0)
    made = find_direction(snapshot, dataset, tmp_path / "out", OPTIONS, Inverse(), pooled)
    stored = load_file(tmp_path / "out" / "direction.safetensors")
    assert stored["direction"][0] > 0.95 * np.linalg.norm(stored["direction"])  # from 'square' up to 'disc'
    values = json.loads((tmp_path / "out" / "direction.json").read_text())
    assert (values["positive"], values["negative"], values["validated"]) == ("disc", "square", True)
    assert values["direction"]["held_out"]["auc"] > 0.95
    assert values["direction"]["held_out"]["positive_subjects"] == 10
    score, brightness = values["readings"]
    assert brightness["r2"] > 0.95
    assert brightness["rank_correlation"] == 1
    assert brightness["seeds_rising"] == 1
    # w[0] has unit variance here, so that 3 sd up and down are 6 units of brightness
    assert brightness["change"] == pytest.approx(6, abs=0.5)
    assert brightness["random_change"] < 6
    assert score["auc"] > 0.9
    assert score["change"] > 0
    assert all((tmp_path / "out" / name).read_bytes()[:4] == b"\x89PNG" for name in ("strip.png", "curves.png"))
    assert made.sentences[0].startswith("The direction tells disc from square")


def test_classes_that_do_not_differ_give_a_loud_warning(
    make_dataset: Callable[..., PreparedDataset], pooled: Extractor, tmp_path: Path
) -> None:
    snapshot, dataset = population(make_dataset, tmp_path / "data", shift=0.0)
    made = find_direction(snapshot, dataset, tmp_path / "out", OPTIONS, Inverse(), pooled)
    assert made.values["validated"] is False
    assert made.sentences[0].startswith("NOT VALIDATED")
    assert made.values["sentences"] == made.sentences


def test_the_other_way_round_is_the_opposite(
    make_dataset: Callable[..., PreparedDataset], pooled: Extractor, tmp_path: Path
) -> None:
    snapshot, dataset = population(make_dataset, tmp_path / "data", shift=1.0)
    options = DirectionOptions(positive="square", project=80, seeds=(0,), read_seeds=5)
    find_direction(snapshot, dataset, tmp_path / "out", options, Inverse(), pooled)
    assert load_file(tmp_path / "out" / "direction.safetensors")["direction"][0] < -0.9


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (DirectionOptions(positive="disc", negative="disc"), "both are disc"),
        (DirectionOptions(positive="heart"), "heart"),
        (DirectionOptions(columns=("weight",)), "weight"),
        (DirectionOptions(reach=0.0), "reach"),
        (DirectionOptions(seeds=()), "0 seeds"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    make_dataset: Callable[..., PreparedDataset],
    pooled: Extractor,
    tmp_path: Path,
    options: DirectionOptions,
    word: str,
) -> None:
    snapshot, dataset = population(make_dataset, tmp_path / "data", shift=1.0, subjects=12)
    with pytest.raises(ConfigError, match=word):
        find_direction(snapshot, dataset, tmp_path / "out", options, Inverse(), pooled)


def test_too_few_subjects_are_refused(
    make_dataset: Callable[..., PreparedDataset], pooled: Extractor, tmp_path: Path
) -> None:
    snapshot, dataset = population(make_dataset, tmp_path / "data", shift=1.0, subjects=6)
    with pytest.raises(DataError, match="at least 3"):
        find_direction(snapshot, dataset, tmp_path / "out", OPTIONS, Inverse(), pooled)


def test_the_direction_is_discriminant_analysis_on_subject_means() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(80) % 2 == 0
    w = rng.normal(size=(80, 5)) @ rng.normal(size=(5, 5)) + 0.8 * positive[:, None]
    ours = learn_direction(w, positive, np.arange(80), shrinkage=0.0)
    reference = LinearDiscriminantAnalysis(solver="eigen").fit(w, positive).coef_[0]
    np.testing.assert_allclose(ours, reference / np.linalg.norm(reference), atol=1e-8)
    # ten copies of one subject's slice are one subject
    copies = np.concatenate([np.arange(80), np.zeros(10, int)])
    np.testing.assert_allclose(learn_direction(w[copies], positive[copies], copies, shrinkage=0.3),
                               learn_direction(w, positive, np.arange(80), shrinkage=0.3), atol=1e-12)  # fmt: skip


def test_the_held_out_auc_is_of_subjects_and_its_interval_covers_it() -> None:
    rng = np.random.default_rng(1)
    subjects = np.repeat(np.arange(40), 3)
    positive = subjects % 2 == 0
    w = rng.normal(size=(40, 2))[subjects] + 0.3 * rng.normal(size=(120, 2)) + 0.9 * positive[:, None] * [1, 0]
    found = validate_direction(np.array([1.0, 0.0]), w, positive, subjects)
    means = np.array([w[subjects == k, 0].mean() for k in range(40)])
    assert found.auc == pytest.approx(roc_auc_score(np.arange(40) % 2 == 0, means))
    assert found.low < found.auc < found.high
    assert found.positive_subjects == found.negative_subjects == 20
    nothing = validate_direction(np.array([0.0, 1.0]), w, positive, subjects)
    assert not nothing.holds
    assert nothing.p > 0.05
    with pytest.raises(DataError, match="at least 3"):
        validate_direction(np.array([1.0, 0.0]), w[:9], positive[:9], subjects[:9])


def test_the_interval_has_its_level() -> None:
    """Share of 60 samples of 40 subjects whose interval covers the true AUC, .76 at one standard deviation apart."""
    truth, covered = 0.760, 0
    for draw in range(60):
        rng = np.random.default_rng([2, draw])
        positive = np.arange(40) % 2 == 0
        w = rng.normal(size=(40, 1)) + positive[:, None]
        found = validate_direction(np.array([1.0]), w, positive, np.arange(40), seed=draw)
        covered += found.low <= truth <= found.high
    assert covered >= 51  # 57 are expected


def test_the_middle_of_the_strip_is_the_seeds_own_image(
    make_dataset: Callable[..., PreparedDataset], tmp_path: Path
) -> None:
    snapshot, _ = population(make_dataset, tmp_path / "data", shift=1.0, subjects=12)
    steps = strip_steps(3.0)
    assert steps[3] == 0
    assert steps[0] == -3
    assert np.allclose(np.diff(steps), 1)
    strip = images_along(snapshot, [5, 9], np.eye(W_DIM)[0], steps)
    np.testing.assert_array_equal(strip[:, 3], sample_images(snapshot, [5, 9]))
    centre = strip[:, :, 0, 8, 8].astype(int)
    np.testing.assert_allclose(np.diff(centre, axis=1), 0.12 * 127.5, atol=1)


def test_a_feature_that_was_near_constant_in_training_does_not_run_away() -> None:
    """Generated images may switch on a feature that real ones hardly ever have."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(200, 5)).astype(np.float32)
    features[:, 4] = 1e-4 * rng.normal(size=200)
    targets = features[:, :1] + 0.3 * rng.normal(size=(200, 1))
    train = RealFeatures(features, targets.astype(np.float64), np.arange(200))
    penalties = choose_penalties(train, 0)
    new = np.zeros((1, 5), np.float32)
    new[0, 4] = 1.0
    assert abs(predict(train, penalties, new)[0, 0] - targets.mean()) < 0.5
    near = rng.normal(size=(300, 5)).astype(np.float32) * [1, 1, 1, 1, 0]
    assert r_squared(predict(train, penalties, near)[:, 0], near[:, 0], 0.0) > 0.9


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    app = App()
    app.command(direction_command, name="direction")
    with pytest.raises(ConfigError, match="--data: missing"):
        app(
            ["direction", str(tmp_path), "--out", str(tmp_path / "out")],
            result_action="return_value",
            exit_on_error=False,
        )


def test_a_reading_tells_rise_from_fall() -> None:
    steps = strip_steps(3.0)
    rising = np.array([[0, 1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 2, 2, 9]], float)
    found = read_strip("x", rising, steps, r2=0.5, auc=None, penalty=1.0)
    assert (found.rank_correlation, found.seeds_rising, found.change) == (1.0, 1.0, 7.5)
    assert read_strip("x", -rising, steps, r2=0.5, auc=None, penalty=1.0).rank_correlation == -1.0
    assert read_strip("x", np.ones((3, 7)), steps, r2=0.5, auc=None, penalty=1.0).rank_correlation == 0.0
