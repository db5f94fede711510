"""What G and D share in a step: the same gradients as apart, where the maths says so."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from stylescan.config import ObjectiveConfig
from stylescan.errors import ConfigError
from stylescan.nets.build import build_discriminator, build_generator
from stylescan.nets.stylegan2 import StyleGAN2Spec
from stylescan.train.losses import LOSSES
from stylescan.train.objective import PhaseBatch, build_objective, lazy_correction
from stylescan.train.one_pass import ONE_PASS_LOSSES, score_ratio, teach_G
from stylescan.train.state import build_state
from stylescan.train.step import StepStats, build_setup, draw_phase, level_at, read_reals, run_phase, train_step


def config_of(loss: str, shared: str, **more: object) -> ObjectiveConfig:
    return ObjectiveConfig(loss=loss, shared=shared, **{"r1_gamma": 0.0, "pl_weight": 0.0, "mixing": 0.0, **more})


@pytest.mark.parametrize("loss", ONE_PASS_LOSSES)
def test_G_gets_the_gradient_of_its_own_loss(loss: str) -> None:
    # groups of one: an image's score depends on that image alone
    spec = StyleGAN2Spec(
        z_dim=8, w_dim=8, channel_base=128, channel_max=8, mbstd_group=1, resolution=16, img_channels=1, haar=1
    )
    G, D = build_generator(spec).double(), build_discriminator(spec).double()
    rng = torch.Generator().manual_seed(0)
    reals = torch.randn(5, 1, 16, 16, generator=rng, dtype=torch.float64)
    z = torch.randn(5, 8, generator=rng, dtype=torch.float64)
    adversarial = LOSSES[loss](config_of(loss, "pass"))

    def batch(net: str, teaches: bool) -> PhaseBatch:
        return PhaseBatch(
            G=G, D=D, net=net, reals=reals, c_real=None, z=z, c_fake=None, z_mix=None, crossover=None,
            rng=torch.Generator().manual_seed(5), buffers={}, teaches_G=teaches,
        )  # fmt: skip

    def gradients() -> list[torch.Tensor]:
        found = [p.grad.clone() for net in (G, D) for p in net.parameters() if p.grad is not None]
        G.zero_grad()
        D.zero_grad()
        return found

    apart = batch("G", False)
    adversarial.g(apart.real_scores, apart.fake_scores).mean().backward()
    D.zero_grad()
    alone = batch("D", False)
    with torch.no_grad():
        alone.__dict__["made"] = apart.made.detach()
    adversarial.d(alone.real_scores, alone.fake_scores).mean().backward()
    expected = gradients()

    both = batch("D", True)
    adversarial.d(both.real_scores, both.fake_scores).mean().backward()
    teach_G(adversarial, both.made, both.fake_images.grad, both.seen["real"], both.seen["fake"])
    found = gradients()
    assert len(found) == len(expected) > 20
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-9)


def test_the_ratio_of_the_logistic_loss_is_known_in_closed_form() -> None:
    fake = torch.tensor([-30.0, -1.0, 0.0, 2.0, 30.0])
    ratio = score_ratio(LOSSES["logistic"](ObjectiveConfig()), torch.zeros(5), fake)
    torch.testing.assert_close(ratio, -torch.exp(-fake))
    assert torch.isfinite(
        score_ratio(LOSSES["logistic"](ObjectiveConfig()), torch.zeros(1), torch.tensor([-1e4]))
    ).all()


def test_phases_and_lazy_corrections_count_both_nets() -> None:
    phases = build_objective(config_of("logistic", "pass", r1_gamma=1.0, r1_interval=8, pl_weight=2.0, pl_interval=4))
    assert [phase.name for phase in phases] == ["G_pl", "D_main", "D_r1"]
    assert lazy_correction(phases, "G") == pytest.approx(1 / (1 + 1 / 4))
    assert lazy_correction(phases, "D") == pytest.approx(1 / (1 + 1 / 8))


@pytest.mark.parametrize("loss", ["hinge", "relativistic-average-hinge"])
def test_losses_that_ask_nothing_of_some_scores_are_refused(loss: str) -> None:
    with pytest.raises(ConfigError, match="objective.shared=pass"):
        build_objective(config_of(loss, "pass"))


def test_r2_at_every_step_is_refused() -> None:
    with pytest.raises(ConfigError, match="R2 at every step"):
        build_objective(config_of("logistic", "pass", r2_gamma=1.0, r2_interval=1))


@pytest.mark.parametrize(
    ("penalty", "reaches"),
    [({"r1_gamma": 1.0, "r1_interval": 1}, False), ({"gp_weight": 1.0}, False), ({"drift_weight": 1.0}, False),
     ({"r2_gamma": 1.0, "r2_interval": 1}, True)],
)  # fmt: skip
def test_of_all_penalties_r2_alone_reaches_the_fakes(
    penalty: dict[str, float], reaches: bool, tiny_config, make_dataset
) -> None:
    """What is refused would reach G, and what is allowed does not."""
    dataset = make_dataset()
    none = {"r1_gamma": 0.0, "r2_gamma": 0.0, "gp_weight": 0.0, "drift_weight": 0.0, "pl_weight": 0.0}
    config = tiny_config(dataset, objective={**none, **penalty})
    setup = build_setup(config, dataset, dataset.indices("train"))
    state, level = build_state(config, setup.phases, device=torch.device("cpu")), setup.levels[-1]
    main = next(phase for phase in setup.phases if phase.name == "D_main")
    reals = read_reals(setup.reader, setup, level, 0, torch.device("cpu"))
    batch = dataclasses.replace(draw_phase(state, main, setup, level, reals), teaches_G=True)
    (term,) = (term for term in main.terms if term.name.endswith("_penalty"))
    (found,) = torch.autograd.grad(term.value(batch).sum(), batch.fake_images, allow_unused=True)
    assert (found is not None and bool(found.any())) == reaches


@pytest.mark.parametrize("shared", ["fakes", "pass"])
def test_a_shared_step_moves_both_nets_and_repeats_exactly(shared: str, tiny_config, make_dataset) -> None:
    dataset = make_dataset()
    config = tiny_config(dataset, objective={"shared": shared, "r1_interval": 2})

    def weights() -> list[torch.Tensor]:
        setup = build_setup(config, dataset, dataset.indices("train"))
        state = build_state(config, setup.phases, device=torch.device("cpu"))
        before = [p.detach().clone() for net in (state.G, state.D) for p in net.parameters()]
        stats = StepStats()
        for _ in range(3):
            train_step(state, setup, stats)
        after = [p.detach().clone() for net in (state.G, state.D) for p in net.parameters()]
        moved = [not torch.equal(a, b) for a, b in zip(before, after)]
        assert sum(moved) > 0.8 * len(moved)
        assert {"G_loss", "D_loss"} <= set(stats.take(setup.team))
        assert state.G.mapping.w_avg.any()
        return after

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights()))


def test_shared_fakes_are_those_of_G_with_their_classes(tiny_config, make_dataset) -> None:
    dataset = make_dataset()
    config = tiny_config(dataset, objective={"shared": "fakes"})
    setup = build_setup(config, dataset, dataset.indices("train"))
    state = build_state(config, setup.phases, device=torch.device("cpu"))
    level = level_at(setup.levels, 0)
    reals = read_reals(setup.reader, setup, level, 0, torch.device("cpu"))
    phases = {phase.name: phase for phase in setup.phases}
    of_G = draw_phase(state, phases["G_main"], setup, level, reals)
    run_phase(state, phases["G_main"], of_G, StepStats())
    of_D = draw_phase(state, phases["D_main"], setup, level, reals, fakes_of=of_G)
    assert torch.equal(of_D.fake_images, of_G.fake_images)
    assert not of_D.fake_images.requires_grad
    assert of_D.c_fake is of_G.c_fake
