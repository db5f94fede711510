"""An extractor of the user's own: a TorchScript or ONNX file, fed as its sidecar says (`sidecar`)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from stylescan.errors import ConfigError
from stylescan.evaluate.extractors.planes import mean_over_windows, resized
from stylescan.evaluate.extractors.sidecar import Feeding, read_sidecar, settle, sidecar_path
from stylescan.files import require_file
from stylescan.randomness import numpy_generator

TORCHSCRIPT = (".pt", ".ts", ".torchscript")
ONNX = (".onnx",)
SUFFIXES = TORCHSCRIPT + ONNX
LARGEST_DIM = 8192  # the covariance of more features would take gigabytes
_BATCH = 16
_PROBES = 3


class NetworkFaultError(Exception):
    """A network could not run on what it was given: one line of what its runtime said."""


class Network(Protocol):
    """A loaded file: float32 [b, C, H, W] -> its output, any shape; NetworkFaultError where it cannot run."""

    @property
    def sha256(self) -> str:
        """Over every file that it consists of."""
        ...

    @property
    def input_shape(self) -> tuple[int | None, int | None, int | None, int | None]:
        """Batch, channels, height, width; None = any, or not said by the file."""
        ...

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...


def open_file(path: Path) -> FileExtractor:
    """The extractor in the file `path`. ConfigError: no such file, not such a file, a network that cannot serve."""
    endings = ", ".join(SUFFIXES)
    require_file(path, ConfigError, remedy=f"Give the path of a TorchScript or ONNX file ({endings}).")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        why = {
            ".pt2": ": torch.export files are not read, since opening one evaluates text from inside it as code",
            ".pth": ": weights alone are no network, and such a file is a pickle",
            ".safetensors": ": weights alone are no network",
        }.get(suffix, "")
        raise ConfigError(
            f"{path}: found a file ending in {suffix or 'nothing'}, expected one of {endings}{why}",
            remedy="Export the network to ONNX (torch.onnx.export), and give that file.",
        )
    sidecar = read_sidecar(path)
    network: Network
    if suffix in ONNX:
        from stylescan.evaluate.extractors.onnx_file import OnnxNetwork

        network = OnnxNetwork(path, sidecar.output)
    else:
        from stylescan.evaluate.extractors.torchscript import TorchScriptNetwork

        if sidecar.output is not None:
            raise ConfigError(
                f"{sidecar_path(path)}: output is for ONNX files; a TorchScript file returns one tensor",
                remedy="Remove the key `output`.",
            )
        network = TorchScriptNetwork(path)
    _, channels, *size = network.input_shape
    feeding = settle(path, sidecar, fixed_size=(size[0], size[1]), fixed_channels=channels)
    return FileExtractor(path, network, feeding)


class FileExtractor:
    """Features of a network from a file. `name` is the file's name; the hash covers its bytes and the feeding.

    Opening runs the network on three probe images, alone and together: its features must be finite, depend on the
    image, and not depend on what else is in the batch.
    """

    def __init__(self, path: Path, network: Network, feeding: Feeding) -> None:
        self.name = path.name
        self.hash = hashlib.sha256(f"file v1\n{network.sha256}\n{feeding.text()}".encode()).hexdigest()
        self.feeding = feeding
        self._path = path
        self._network = network
        self._batch = network.input_shape[0] or _BATCH
        self.dim = self._probe()

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """uint8 or uint16 [N, C, H, W] -> float32 [N, dim]."""
        return mean_over_windows(
            images,
            dim=self.dim,
            batch=self._batch,
            planes=self.feeding.channels,
            feed=self._fed,
            network=self._features,
        )

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        features = self._run(self._normalised(x))
        if features.shape[1] != self.dim:
            raise self._refusal(f"gave {features.shape[1]} features, and {self.dim} before")
        if not bool(torch.isfinite(features).all()):
            raise self._refusal("gave a feature that is not finite (nan or infinity)")
        return features

    def _fed(self, images: NDArray[Any]) -> torch.Tensor:
        low, high = self.feeding.range
        unit = torch.from_numpy(images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max))
        return resized(unit, self.feeding.size, self.feeding.resize, 1.0) * (high - low) + low

    def _normalised(self, x: torch.Tensor) -> torch.Tensor:
        shape = (1, self.feeding.channels, 1, 1)
        return ((x - torch.tensor(self.feeding.mean).view(shape)) / torch.tensor(self.feeding.std).view(shape)).float()

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        """Features [b, d] of b <= the batch; a file of a fixed batch gets its last image repeated."""
        count, fixed = len(x), self._network.input_shape[0]
        if fixed is not None and count < fixed:
            x = torch.cat([x, x[-1:].expand(fixed - count, -1, -1, -1)])
        shape = f"float32 [{', '.join(map(str, x.shape))}]"
        try:
            found = self._network(x.contiguous())
        except NetworkFaultError as problem:
            raise ConfigError(
                f"{self._path}: could not run on {shape}: {problem}",
                remedy=f"Say in {sidecar_path(self._path).name} what it takes (keys size and channels), or export it "
                "again for a batch of any size.",
            ) from None
        if found.ndim == 4 and found.shape[2:] == (1, 1):
            found = found.flatten(1)
        if found.ndim != 2 or len(found) != len(x) or not 2 <= found.shape[1] <= LARGEST_DIM:
            raise ConfigError(
                f"{self._path}: gives {list(found.shape)} for {shape}, expected features [N, d], d from 2 to "
                f"{LARGEST_DIM}",
                remedy="Export the network up to its pooled last layer: one vector an image.",
            )
        if not found.is_floating_point():
            raise self._refusal(f"gives {found.dtype}, expected floating point")
        return found[:count].float()

    def _refusal(self, found: str) -> ConfigError:
        return ConfigError(
            f"{self._path}: {found}",
            remedy="Export the network in evaluation mode (`net.eval()`), up to its features, and check its sidecar's "
            "range, mean and std.",
        )

    def _probe(self) -> int:
        shape = (_PROBES, self.feeding.channels, 8, 8)
        blocks = numpy_generator(0, "extractor_probe").integers(0, 256, shape, dtype=np.uint8)
        with torch.inference_mode():
            x = self._normalised(self._fed(blocks))
            batches = [x[i : i + self._batch] for i in range(0, _PROBES, self._batch)]
            together = torch.cat([self._run(batch) for batch in batches])
            alone = torch.cat([self._run(x[i : i + 1]) for i in reversed(range(_PROBES))]).flip(0)
        if not bool(torch.isfinite(together).all() and torch.isfinite(alone).all()):
            raise self._refusal("gives features that are not finite (nan or infinity) for a probe image")
        size = float(together.abs().max())
        if float((together - together.mean(dim=0)).abs().max()) <= 1e-6 * size:
            raise self._refusal("gives the same features for every image")
        if float((together - alone).abs().max()) > 1e-3 * size:
            raise self._refusal("gives other features for the same image in another batch, or at random")
        return together.shape[1]
