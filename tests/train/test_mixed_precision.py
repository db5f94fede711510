"""Mixed precision run on the CPU with tiny nets: near float32, finite through second derivatives, state float32."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylescan.config import RunConfig
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError
from stylescan.ops.full_precision import full_precision
from stylescan.ops.layers import Linear, minibatch_std
from stylescan.ops.modulated_conv import demodulation
from stylescan.ops.resample import blur, fir_filter
from stylescan.runtime import DeviceFacts
from stylescan.train import step as step_module
from stylescan.train.precision import Precision
from stylescan.train.state import TrainState, build_state
from stylescan.train.step import Setup, StepStats, build_setup, draw_phase, read_reals, train_step

CPU = torch.device("cpu")
MIXED = Precision("cpu", bf16=True)
FAMILIES = ["stylegan2", "stylegan", "stylegan2-lite", "dcgan", "r3gan"]
Made = Callable[..., tuple[TrainState, Setup]]


@pytest.fixture
def made(make_dataset: Callable[..., PreparedDataset], family_config: Callable[..., RunConfig]) -> Made:
    """`made(family, precision, **sections)`: state and setup, every penalty of D in its main phase by default."""
    dataset = make_dataset()

    def make(family: str, precision: Precision, **sections: dict[str, object]) -> tuple[TrainState, Setup]:
        objective = {
            "r1_interval": 1,
            "r2_gamma": 0.5,
            "r2_interval": 1,
            "gp_weight": 0.1,
            **sections.pop("objective", {}),
        }
        config = family_config(family, dataset, augment={"mode": "none"}, objective=objective, **sections)
        setup = build_setup(config, dataset, dataset.indices("train"))
        state = build_state(config, setup.phases, device=CPU)
        return state, dataclasses.replace(setup, precision=precision)

    return make


def gradients(state: TrainState, setup: Setup, name: str) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Each term's values and the gradients of the loss of phase `name`, of the weights as they are."""
    level = setup.levels[-1]
    state.nimg = level.first + 200  # the last resolution is there
    (phase,) = (p for p in setup.phases if p.name == name)
    batch = draw_phase(state, phase, setup, level, read_reals(setup.reader, setup, level, state.nimg, CPU))
    net, other = (state.G, state.D) if phase.net == "G" else (state.D, state.G)
    net.requires_grad_(True)
    other.requires_grad_(False)
    terms = {term.name: term.value(batch) for term in phase.terms}
    sum((values.mean() for values in terms.values()), torch.zeros([])).backward()
    found = [p.grad for p in net.parameters() if p.grad is not None]
    return {key: value.detach() for key, value in terms.items()}, found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("phase", ["G_main", "D_main"])
def test_near_float32_in_value_gradient_and_double_gradient(made: Made, family: str, phase: str) -> None:
    exact_terms, exact = gradients(*made(family, Precision()), phase)
    terms, found = gradients(*made(family, MIXED), phase)
    assert len(found) == len(exact) > 0
    moved = 0.0
    for name, values in terms.items():
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, exact_terms[name], rtol=0.1, atol=0.05)
        moved += float((values - exact_terms[name]).abs().sum())
    assert moved > 0  # bfloat16 was indeed used
    assert all(g.dtype == torch.float32 and bool(g.isfinite().all()) for g in found)
    a, b = torch.cat([g.flatten() for g in exact]), torch.cat([g.flatten() for g in found])
    assert F.cosine_similarity(a, b, dim=0) > 0.99


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_keep_all_state_in_float32(made: Made, family: str) -> None:
    state, setup = made(family, MIXED)
    before = {(g, n): t.clone() for g, group in state.tensors().items() for n, t in group.items()}
    for _ in range(2):
        train_step(state, setup, StepStats())
    for group, tensors in state.tensors().items():
        for name, tensor in tensors.items():
            expected = before[(group, name)].dtype if (group, name) in before else torch.float32
            assert tensor.dtype == expected != torch.bfloat16, (group, name)
            assert bool(tensor.isfinite().all()), (group, name)
    assert not torch.is_autocast_enabled("cpu")


def test_lazy_penalties_are_those_of_float32(made: Made) -> None:
    lazy = {"r1_interval": 4, "r2_interval": 4, "gp_weight": 0.0, "pl_weight": 1.0, "pl_interval": 2}
    for phase in ("D_r1_r2", "G_pl"):
        exact_terms, exact = gradients(*made("stylegan2", Precision(), objective=lazy), phase)
        terms, found = gradients(*made("stylegan2", MIXED, objective=lazy), phase)
        assert all(torch.equal(terms[name], exact_terms[name]) for name in exact_terms)
        assert all(torch.equal(a, b) for a, b in zip(found, exact))


def test_kernels_of_lazy_penalties_are_not_tf32(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(Precision, "kernels", lambda self: asked.append(self.bf16) or contextlib.nullcontext())
    lazy = {"r1_interval": 4, "r2_interval": 4, "gp_weight": 0.0, "pl_weight": 1.0, "pl_interval": 2}
    state, setup = made("stylegan2", MIXED, objective=lazy)
    train_step(state, setup, StepStats())
    assert [phase.name for phase in setup.phases] == ["G_main", "G_pl", "D_main", "D_r1_r2"]
    assert asked == [True, False, True, False]


@pytest.mark.parametrize("family", FAMILIES)
def test_images_scores_and_styles_of_a_phase_are_float32(
    family: str, make_dataset: Callable[..., PreparedDataset], family_config: Callable[..., RunConfig]
) -> None:
    dataset = make_dataset(classes=0)  # a class's part of the score is float32, and would hide the rest's type
    config = family_config(family, dataset)
    setup = build_setup(config, dataset, dataset.indices("train"))
    setup = dataclasses.replace(setup, precision=MIXED)
    state, level = build_state(config, setup.phases, device=CPU), setup.levels[-1]
    state.nimg = level.first + 200
    reals = read_reals(setup.reader, setup, level, state.nimg, CPU)
    batch = draw_phase(state, setup.phases[0], setup, level, reals)
    assert {x.dtype for x in (batch.fake_images, batch.fake_scores, batch.ws)} == {torch.float32}


def test_features_are_bfloat16_inside(made: Made) -> None:
    state, setup = made("stylegan2", MIXED)
    level = setup.levels[-1]
    batch = draw_phase(state, setup.phases[0], setup, level, read_reals(setup.reader, setup, level, 0, CPU))
    inside: list[torch.dtype] = []
    for layer in (*state.D.get_submodule("blocks").children(), *state.G.get_submodule("synthesis.layers").children()):
        layer.register_forward_hook(lambda module, args, out: inside.append(out.dtype))
    assert batch.fake_scores.isfinite().all()
    assert set(inside) == {torch.bfloat16}


def test_what_leaves_autocast_keeps_its_digits() -> None:
    torch.manual_seed(0)
    x, s, weight, image = torch.randn(8, 16), torch.rand(8, 16), torch.randn(8, 16, 3, 3), torch.randn(4, 3, 8, 8)
    linear, f = Linear(16, 8), fir_filter()
    expected = linear(x), demodulation(weight, s), minibatch_std(image), blur(image, f, padding=2)
    with MIXED.nets():
        found = linear(x), demodulation(weight, s), minibatch_std(image), blur(image, f, padding=2)
        half = blur(image.bfloat16(), f, padding=2)
        assert minibatch_std(image.bfloat16()).dtype == torch.float32
        assert linear(x.bfloat16()).dtype == torch.float32
    assert half.dtype == torch.bfloat16
    for a, b in zip(found, expected):
        assert torch.equal(a, b)


def test_full_precision_is_nothing_outside_autocast() -> None:
    x = torch.ones(1)
    assert full_precision(x) is full_precision(x)
    with full_precision(x):
        assert not torch.is_autocast_enabled("cpu")


def test_a_cpu_without_units_refuses_bf16_before_training(
    made: Made, make_dataset: Callable[..., PreparedDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_module, "device_facts", lambda device: DeviceFacts("cpu", "chip", bf16=False))
    with pytest.raises(ConfigError, match=r"train\.precision=bf16: chip"):
        made("stylegan2", Precision(), train={"precision": "bf16"})
