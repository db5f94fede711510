"""Inception-v3 with the weights of the original FID, through the package torch-fidelity: for comparison with papers.

The package and the weights are the user's to install: nothing is downloaded here. torch-fidelity itself unpickles what
lies in its cache; here the file must have the published SHA-256, is read by PyTorch's weights-only reader, and only the
tensors go on. Of the package's other networks, VGG-16 and CLIP need torchvision or run a TorchScript program, and
DINOv2 runs Python code fetched from GitHub: give such a network as an ONNX file instead (`from_file`).
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stylescan.errors import ConfigError
from stylescan.evaluate.extractors.planes import mean_over_windows
from stylescan.files import file_sha256, require_file

WEIGHTS_NAME = "weights-inception-2015-12-05-6726825d.pth"
WEIGHTS_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
WEIGHTS_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS_NAME}"


class TorchFidelity:
    """Pooled features [N, 2048] of FID's Inception-v3 (Heusel 2017) as torch-fidelity computes them.

    Integers over their full range become uint8; planes as in `planes.windows`; the package resizes to 299 x 299 as
    TensorFlow 1 did, without antialiasing, which is part of what FID means. 16-bit images are rounded to 8 bits.
    """

    name = "inception-v3"
    dim = 2048
    preprocessing = "full range to uint8, torch-fidelity inception-v3-compat, layer 2048, planes v1"
    _batch = 8

    def __init__(self) -> None:
        package = _package()
        state = read_weights(weights_path())
        self.hash = hashlib.sha256(f"{self.name}\n{WEIGHTS_SHA256}\n{self.preprocessing}".encode()).hexdigest()
        self._net = _built(package, state)

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """uint8 or uint16 [N, C, H, W] -> float32 [N, 2048]."""
        return mean_over_windows(
            images, dim=self.dim, batch=self._batch, planes=3, feed=self._fed, network=self._features
        )

    def _fed(self, images: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(images.astype(np.float32) * (255.0 / float(np.iinfo(images.dtype).max)))

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self._net(x.round().clamp(0, 255).to(torch.uint8))[0]
        return features


def weights_path() -> Path:
    """Where torch-fidelity looks for the weights: PyTorch's hub cache (set by TORCH_HOME)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_NAME


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the file; ConfigError where it is missing, another file, or no plain list of tensors."""
    remedy = f"Download {WEIGHTS_URL} (95 MB) once, and put it at {path}."
    require_file(path, ConfigError, remedy=remedy)
    found = file_sha256(path)
    if found != WEIGHTS_SHA256:
        raise ConfigError(
            f"{path}: SHA-256 is {found}, expected {WEIGHTS_SHA256}: not the weights of FID", remedy=remedy
        )
    try:
        state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch refuses a file with many types, one of them pickle's own
        raise ConfigError(f"{path}: cannot be read ({_said(problem)})", remedy=remedy) from None
    return state


def _package() -> Any:
    """The package's class; ConfigError where it, or torchvision below it, is missing or broken."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except Exception as problem:  # a torchvision of another torch fails with whatever its first line runs into
        missing = isinstance(problem, ModuleNotFoundError) and problem.name == "torch_fidelity"
        found = "is not installed" if missing else f"cannot be imported ({_said(problem)})"
        raise ConfigError(
            f"extractor inception-v3: package torch-fidelity {found}",
            remedy="Run `pip install torch-fidelity`, with the torchvision that belongs to your torch.",
        ) from None
    return FeatureExtractorInceptionV3


def _built(package: Any, state: dict[str, torch.Tensor]) -> Any:
    """The package's network with these weights. It only takes a file, which it unpickles: it gets one written here."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    try:
        return package("inception-v3-compat", ["2048"], feature_extractor_weights_path=buffer)
    except Exception as problem:
        raise ConfigError(
            f"extractor inception-v3: torch-fidelity cannot build its network ({_said(problem)})",
            remedy="Run `pip install --upgrade torch-fidelity`; version 0.4 is known to work.",
        ) from None


def _said(problem: Exception) -> str:
    return ": ".join([type(problem).__name__, *str(problem).splitlines()[:1]])
