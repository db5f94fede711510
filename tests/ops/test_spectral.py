"""Spectral normalisation: the weight that acts has norm 1, whatever stores it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylescan.nets.build import build_discriminator, build_generator
from stylescan.nets.stylegan2 import StyleGAN2Spec, SynthesisLayer
from stylescan.nets.stylegan2_discriminator import StyleGAN2Discriminator
from stylescan.ops.layers import Conv2d, EqualisedLayer, Linear
from stylescan.ops.resample import fir_filter
from stylescan.ops.spectral import LAYERS, apply_spectral_norm, settle_spectral_norm


def spec(**changes) -> StyleGAN2Spec:
    values = {
        "z_dim": 16, "w_dim": 16, "channel_base": 256, "channel_max": 16,
        "resolution": 16, "img_channels": 1, "num_classes": 2, "attention": (8,),
    }  # fmt: skip
    return StyleGAN2Spec(**{**values, **changes})


def norms(net: nn.Module) -> dict[str, float]:
    """Largest singular value of every effective weight, by a full decomposition, without moving the vectors."""
    was = net.training
    net.eval()
    found = {}
    for name, module in net.named_modules():
        if isinstance(module, LAYERS):
            weight = module.weight.detach().double() * getattr(module, "weight_gain", 1.0)
            weight = weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else weight
            found[name] = torch.linalg.svdvals(weight.flatten(1))[0].item()
    net.train(was)
    return found


def normalised_D(**changes) -> StyleGAN2Discriminator:
    D = build_discriminator(spec(**changes), seed=1)
    apply_spectral_norm(D)
    return D


def train(D: nn.Module, steps: int) -> None:
    torch.manual_seed(2)
    optimiser = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.0, 0.99))
    c = F.one_hot(torch.arange(4) % 2, 2).float()
    sign = torch.tensor([1.0, 1.0, -1.0, -1.0])
    for _ in range(steps):
        images = torch.cat([torch.randn(2, 1, 16, 16), torch.rand(2, 1, 16, 16)])
        loss = F.softplus(sign * D(images, c)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.mark.parametrize("equalised", [True, False])
def test_every_weight_of_D_has_norm_one_at_the_start(equalised: bool) -> None:
    found = norms(normalised_D(equalised_lr=equalised))
    assert {"from_image", "blocks.0.skip", "conv", "dense", "out", "embed", "attention.r8.query"} <= set(found)
    assert all(value == pytest.approx(1.0, abs=1e-3) for value in found.values()), found


def test_training_stays_near_one_and_settling_brings_it_back() -> None:
    D = normalised_D()
    train(D, 100)
    followed = norms(D)
    assert max(followed.values()) < 1.1, followed
    assert min(followed.values()) > 1 - 1e-3  # an estimate is never above the true value
    settle_spectral_norm(D)
    assert all(value == pytest.approx(1.0, abs=1e-3) for value in norms(D).values())


def test_the_iteration_catches_up_once_the_weights_rest() -> None:
    layer = Linear(64, 32)
    apply_spectral_norm(layer)
    torch.manual_seed(5)
    layer.parametrizations.weight.original.data.copy_(torch.randn(32, 64))
    assert norms(layer)[""] > 1.1
    for _ in range(300):
        layer(torch.zeros(1, 64))
    assert norms(layer)[""] == pytest.approx(1.0, abs=1e-3)


def test_diagonal_matrix_is_divided_by_its_largest_entry() -> None:
    layer = Linear(3, 3, activation="lrelu", bias_init=0.5)
    layer.weight.data.copy_(torch.diag(torch.tensor([1.0, -4.0, 2.0])))
    bias_gain = layer.bias_gain
    apply_spectral_norm(layer)
    y = layer(torch.tensor([[1.0, -1.0, 1.0]]))
    expected = torch.tensor([[0.25, 1.0, 0.5]]) + 0.5 * bias_gain
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(12, 5),
        nn.Conv2d(6, 8, 3),
        nn.ConvTranspose2d(6, 8, 4, stride=2),
        nn.Conv2d(8, 8, 3, groups=4),
        nn.Embedding(3, 9),
        Conv2d(6, 8, 3, fir=fir_filter(), down=True),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_torchs_layers_and_ours(layer: nn.Module) -> None:
    apply_spectral_norm(layer)
    assert norms(layer)[""] == pytest.approx(1.0, abs=1e-3)


def test_one_iteration_a_pass_in_training_and_none_in_evaluation() -> None:
    layer = Conv2d(4, 8, 3, fir=fir_filter())
    torch.manual_seed(0)
    apply_spectral_norm(layer)
    original = layer.parametrizations.weight.original
    original.data.copy_(torch.randn(8, 4, 3, 3))
    before = {k: v.clone() for k, v in layer.named_buffers()}
    x = torch.randn(1, 4, 6, 6)
    layer.eval()
    layer(x)
    assert all(torch.equal(v, before[k]) for k, v in layer.named_buffers())
    layer.train()
    layer(x)
    matrix = original.detach().flatten(1)
    u = F.normalize(matrix @ before["parametrizations.weight.0._v"], dim=0)
    after = dict(layer.named_buffers())
    torch.testing.assert_close(after["parametrizations.weight.0._u"], u)
    torch.testing.assert_close(after["parametrizations.weight.0._v"], F.normalize(matrix.t() @ u, dim=0))


def scores(D: nn.Module) -> Tensor:
    x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return D(x, F.one_hot(torch.arange(4) % 2, 2).float())


def test_copy_state_dict_and_skeleton_give_the_same_outputs() -> None:
    D = normalised_D()
    train(D, 3)
    D.eval()
    expected = scores(D)
    torch.testing.assert_close(scores(copy.deepcopy(D)), expected, rtol=0, atol=0)
    other = build_discriminator(spec(), seed=7)
    apply_spectral_norm(other)
    assert not torch.allclose(scores(other.eval()), expected)
    other.load_state_dict(D.state_dict())
    torch.testing.assert_close(scores(other), expected, rtol=0, atol=0)
    with torch.device("meta"):
        skeleton = StyleGAN2Discriminator(spec())
        apply_spectral_norm(skeleton)
    assert {k: v.shape for k, v in skeleton.state_dict().items()} == {k: v.shape for k, v in D.state_dict().items()}


def test_weights_stay_channels_last() -> None:
    D = normalised_D()
    for module in D.modules():
        if isinstance(module, Conv2d):
            assert module.weight.is_contiguous(memory_format=torch.channels_last)


def test_second_derivative_of_a_penalty_is_that_of_finite_differences() -> None:
    D = normalised_D().double().eval()  # eval: the vectors rest, so that two passes see one function
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    c = F.one_hot(torch.arange(2), 2).double()
    weight = D.conv.parametrizations.weight.original

    def penalty() -> Tensor:
        (slope,) = torch.autograd.grad(D(x, c).sum(), x, create_graph=True)
        return slope.square().sum()

    (slope,) = torch.autograd.grad(penalty(), weight)
    direction = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    values = []
    for step in (1e-4, -1e-4):
        weight.data.add_(direction, alpha=step)
        values.append(penalty().item())
        weight.data.sub_(direction, alpha=step)
    assert (values[0] - values[1]) / 2e-4 == pytest.approx((slope * direction).sum().item(), rel=1e-4)


def test_demodulated_layers_are_left_alone_because_their_scale_is_without_effect() -> None:
    G = build_generator(spec(), seed=1)
    apply_spectral_norm(G)
    layers = [m for m in G.modules() if isinstance(m, SynthesisLayer)]
    assert layers
    assert all(isinstance(m.weight, nn.Parameter) for m in layers)
    assert all(value == pytest.approx(1.0, abs=1e-3) for value in norms(G).values())
    layer = layers[0].eval()
    x, w = torch.randn(2, 16, 4, 4), torch.randn(2, 16)
    before = layer(x, w, None)
    layer.weight.data.mul_(7.0)
    torch.testing.assert_close(layer(x, w, None), before)


def test_applying_twice_is_applying_once() -> None:
    D = normalised_D()
    before = D.eval().state_dict()
    apply_spectral_norm(D)
    assert all(torch.equal(before[k], v) for k, v in D.state_dict().items())
    assert all(m.weight_gain == 1.0 for m in D.modules() if isinstance(m, EqualisedLayer))
