"""FID's Inception-v3 through torch-fidelity: every way in which package or weights are missing, wrong or hostile.

The features themselves need the package and its 95 MB of weights; `test_features` runs where both are.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylescan.errors import ConfigError
from stylescan.evaluate.extractors import fidelity
from stylescan.evaluate.extractors.fidelity import WEIGHTS_NAME, TorchFidelity, read_weights, weights_path
from stylescan.evaluate.features import get_extractor
from stylescan.files import file_sha256


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Python as it is without torch-fidelity, whatever this machine has."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torch_fidelity"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not (Path(p) / "torch_fidelity").exists()])
    return monkeypatch


def test_without_the_package_one_line_says_what_to_install(no_package: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="package torch-fidelity is not installed") as caught:
        get_extractor("inception-v3")
    assert "pip install torch-fidelity" in caught.value.remedy


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import torchvision_that_is_not_there", "ModuleNotFoundError: No module named 'torchvision_that"),
        ("raise RuntimeError('operator nms does not exist')", "RuntimeError: operator nms does not exist"),
    ],
)
def test_a_broken_package_is_named(no_package: pytest.MonkeyPatch, tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "torch_fidelity").mkdir()
    (tmp_path / "torch_fidelity" / "__init__.py").write_text(line + "\n")
    no_package.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=f"cannot be imported .{words}"):
        get_extractor("inception-v3")
    sys.modules.pop("torch_fidelity", None)


def test_weights_are_looked_for_in_the_hub_cache_and_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    assert weights_path() == tmp_path / "hub" / "checkpoints" / WEIGHTS_NAME
    with pytest.raises(ConfigError, match=f"{WEIGHTS_NAME}: no such file") as caught:
        read_weights(weights_path())
    assert "Download https://" in caught.value.remedy
    assert str(weights_path()) in caught.value.remedy
    assert not list(tmp_path.iterdir())


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_other_weights_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_NAME
    torch.save({"bomb": Bomb(tmp_path / "sprung")}, path)
    with pytest.raises(ConfigError, match="not the weights of FID"):
        read_weights(path)
    assert not (tmp_path / "sprung").exists()


def test_even_with_the_right_hash_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / WEIGHTS_NAME
    for content in (pickle.dumps(Bomb(tmp_path / "sprung"), 2), None, b""):
        if content is None:
            torch.save({"bomb": Bomb(tmp_path / "sprung")}, path)
        else:
            path.write_bytes(content)
        monkeypatch.setattr(fidelity, "WEIGHTS_SHA256", file_sha256(path))
        with pytest.raises(ConfigError, match="cannot be read"):
            read_weights(path)
        assert not (tmp_path / "sprung").exists()
    torch.save({"layer": torch.ones(2)}, path)
    monkeypatch.setattr(fidelity, "WEIGHTS_SHA256", file_sha256(path))
    assert read_weights(path)["layer"].tolist() == [1.0, 1.0]


@pytest.mark.slow
def test_features() -> None:
    """With the real package and weights only: independent of batch, depth and order."""
    try:
        extractor = TorchFidelity()
    except ConfigError as problem:
        pytest.skip(problem.message)
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)
    together = extractor(images)
    assert together.shape == (3, 2048)
    np.testing.assert_allclose(extractor(images[::-1])[::-1], together, atol=1e-3)
    np.testing.assert_allclose(extractor(images.astype(np.uint16) * 257), together, atol=1e-3)
