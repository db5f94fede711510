"""A copy of a generator for sampling alone: all that does not depend on the latent is computed once.

Layers are exchanged one by one for counterparts of the same call, so whatever else a family has between them stays as
it is. Nothing here can be differentiated: activations are changed in place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stylescan.nets.dcgan import UpLayer
from stylescan.nets.protocols import Generator
from stylescan.nets.stylegan import StyleLayer, UpConv2d
from stylescan.nets.stylegan2 import SynthesisLayer, ToImage
from stylescan.nets.stylegan2_lite import GLayer
from stylescan.ops.adain import adain
from stylescan.ops.layers import LRELU_GAIN, LRELU_SLOPE, Conv2d, EqualisedLayer, Linear
from stylescan.ops.modulated_conv import DEMOD_EPS


@torch.no_grad()
def frozen(generator: Generator) -> Generator:
    """The same images to rounding (about 1e-6 of their range), faster; `generator` is left as it is.

    The copy shares no memory with `generator`, so further training does not reach it. It is in evaluation mode, takes
    part in no gradient, and is for calls under `torch.no_grad` or `inference_mode` alone. Folded are the gains of the
    equalised learning rate and of the leaky ReLU, the energies of demodulation, filters, biases, spectral norms and
    batch normalisation; families without any of these are copied as they are.
    """
    copied = copy.deepcopy(generator).eval().requires_grad_(False)
    for module in copied.modules():
        _settle_parametrizations(module)
    _exchange(copied)
    return copied


def _exchange(net: nn.Module) -> None:
    """Put counterparts in place of the layers below `net`, the outermost first."""
    for name, child in net.named_children():
        # By the exact class: what a subclass does otherwise is not known here.
        counterpart = _COUNTERPARTS.get(type(child))
        if counterpart is not None:
            setattr(net, name, counterpart(child))
            continue
        if type(child) in (UpLayer, GLayer):
            _fold_batch_norm(child)
        _exchange(child)


def _settle_parametrizations(module: nn.Module) -> None:
    """Store what parametrizations (spectral norm) give as plain tensors.

    `parametrize.remove_parametrizations` would take the property off the class, which a copy shares with its original.
    """
    if not parametrize.is_parametrized(module):
        return
    names = list(module.get_submodule("parametrizations")._modules)
    values = {name: getattr(module, name).detach().clone() for name in names}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        module.register_parameter(name, constant(value))


def _fold_batch_norm(layer: nn.Module) -> None:
    """Batch normalisation by running statistics is one factor and one shift a channel: part of the convolution."""
    conv, norm = layer.get_submodule("conv"), layer.get_submodule("norm")
    if isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
        fused = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))
        layer.conv = fused.requires_grad_(False)
        layer.norm = nn.Identity()


def constant(value: Tensor) -> nn.Parameter:
    """`value` as a parameter that nothing trains."""
    return nn.Parameter(value, requires_grad=False)


def _bias_of(layer: EqualisedLayer) -> nn.Parameter | None:
    return None if layer.bias is None else constant(layer.bias * layer.bias_gain)


def _depthwise(fir: Tensor, channels: int) -> nn.Parameter:
    """The filter [K, K] for each channel, times 4 for the zeros that doubling inserts: [C, 1, K, K]."""
    kernel = (fir * 4.0)[None, None].expand(channels, 1, *fir.shape)
    return constant(kernel.contiguous(memory_format=torch.channels_last))


def _channels_last(weight: Tensor) -> nn.Parameter:
    return constant(weight.contiguous(memory_format=torch.channels_last))


class FrozenLinear(nn.Module):
    """`Linear` with its gains inside."""

    def __init__(self, layer: Linear) -> None:
        super().__init__()
        self.weight = constant(layer.weight * layer.weight_gain)
        self.bias = _bias_of(layer)
        self.activation = layer.activation

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight, self.bias)  # [N, out]
        return F.leaky_relu_(x, LRELU_SLOPE) if self.activation == "lrelu" else x


class FrozenSynthesisLayer(SynthesisLayer):
    """`SynthesisLayer` in four passes over the activations beside its convolutions."""

    def __init__(self, layer: SynthesisLayer) -> None:
        nn.Module.__init__(self)  # the weights are those of `layer`
        self.up = layer.up
        self.linear = FrozenLinear(layer.affine)
        # The gain of the leaky ReLU, G rsqrt(e + eps), goes into the sum: rsqrt((e + eps) / G^2).
        energy = layer.weight.square().sum(dim=(2, 3)).t() / LRELU_GAIN**2
        self.energy = constant(energy.contiguous())  # [in, out]
        self.eps = constant(energy.new_full((1, 1), DEMOD_EPS / LRELU_GAIN**2))
        self.weight = _channels_last(layer.weight.transpose(0, 1) if layer.up else layer.weight)
        self.bias = constant(layer.bias[None, :, None, None] * LRELU_GAIN)
        self.noise_strength = constant(layer.noise_strength * LRELU_GAIN)
        self.register_buffer("noise_const", layer.noise_const)
        self.kernel = _depthwise(layer.fir, layer.weight.shape[0]) if layer.up else None
        self.padding = layer.fir.shape[0] // 2 - 1

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        s = self.linear(w)  # [N, in]
        d = torch.addmm(self.eps, s.square(), self.energy).rsqrt()[:, :, None, None]  # [N, out, 1, 1]
        x = x * s[:, :, None, None]  # not in place: the same features may be read elsewhere
        if self.kernel is None:
            x = F.conv2d(x, self.weight, padding=1)
        else:
            x = F.conv_transpose2d(x, self.weight, stride=2)  # [N, out, 2H + 1, 2W + 1]
            x = F.conv2d(x, self.kernel, padding=self.padding, groups=x.shape[1])
        if noise is None:
            x = torch.addcmul(self.bias, x, d)
        else:
            x = torch.addcmul(noise * self.noise_strength, x, d).add_(self.bias)
        return F.leaky_relu_(x, LRELU_SLOPE)


class FrozenToImage(nn.Module):
    """`ToImage` with its gain inside the weight."""

    def __init__(self, layer: ToImage) -> None:
        super().__init__()
        self.affine = FrozenLinear(layer.affine)
        self.weight = constant((layer.weight * layer.weight_gain)[None])  # [1, C_img, in]
        self.bias = constant(layer.bias * layer.bias_gain)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        n, c, height, width = x.shape
        weight = self.weight * self.affine(w)[:, None]  # [N, C_img, in]
        pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, c)
        out = torch.baddbmm(self.bias, pixels, weight.transpose(1, 2))  # [N, HW, C_img]
        return out.reshape(n, height, width, -1).permute(0, 3, 1, 2)


class _BiasedConv(nn.Module):
    """`Conv2d` or `UpConv2d` of a style layer, with the bias that the layer adds behind it."""

    def __init__(self, conv: Conv2d, bias: Tensor) -> None:
        super().__init__()
        weight = conv.weight * conv.weight_gain
        self.up = isinstance(conv, UpConv2d)
        self.weight = _channels_last(weight.transpose(0, 1) if self.up else weight)
        self.bias = constant(bias)
        self.kernel = _depthwise(conv.fir, len(weight)) if self.up else None
        self.padding = conv.fir.shape[0] // 2 - 1 if self.up else weight.shape[2] // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel is None:
            return F.conv2d(x, self.weight, self.bias, padding=self.padding)
        x = F.conv_transpose2d(x, self.weight, stride=2)  # [N, out, 2H + 1, 2W + 1]
        return F.conv2d(x, self.kernel, self.bias, padding=self.padding, groups=x.shape[1])


class FrozenStyleLayer(StyleLayer):
    """`StyleLayer` with its bias inside the convolution."""

    def __init__(self, layer: StyleLayer) -> None:
        nn.Module.__init__(self)
        self.biased = None if layer.conv is None else _BiasedConv(layer.conv, layer.bias)
        self.bias = constant(layer.bias[:, None, None])
        self.linear = FrozenLinear(layer.affine)
        self.strength = None if layer.noise_strength is None else constant(layer.noise_strength[:, None, None])
        if layer.noise_strength is not None:
            self.register_buffer("noise_const", layer.noise_const)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        x = x.add_(self.bias) if self.biased is None else self.biased(x)
        if noise is not None and self.strength is not None:
            x = x.addcmul_(noise, self.strength)
        scale, shift = self.linear(w).chunk(2, dim=1)  # [N, out] each
        return adain(F.leaky_relu_(x, LRELU_SLOPE), scale, shift)


_COUNTERPARTS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    Linear: FrozenLinear,
    SynthesisLayer: FrozenSynthesisLayer,
    ToImage: FrozenToImage,
    StyleLayer: FrozenStyleLayer,
}
