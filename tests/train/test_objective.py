"""One pass of D over fakes and reals gives what two passes give."""

from __future__ import annotations

import pytest
import torch

from stylescan.nets.build import build_discriminator, build_generator
from stylescan.nets.protocols import one_hot
from stylescan.nets.stylegan2 import StyleGAN2Spec
from stylescan.train.objective import PhaseBatch
from stylescan.train.schedule import level_at
from stylescan.train.state import build_state
from stylescan.train.step import StepStats, build_setup, draw_phase, read_reals, run_phase


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 8])
def test_paired_scores_and_gradients_equal_two_passes(n: int) -> None:
    spec = StyleGAN2Spec(
        z_dim=8, w_dim=8, channel_base=128, channel_max=8, mbstd_group=4, resolution=16, img_channels=1, num_classes=2
    )
    G, D = build_generator(spec).double(), build_discriminator(spec).double()
    g = torch.Generator().manual_seed(n)
    reals = torch.randn(n, 1, 16, 16, generator=g, dtype=torch.float64)
    fakes = torch.randn(n, 1, 16, 16, generator=g, dtype=torch.float64)
    c_real, c_fake = one_hot([i % 2 for i in range(n)], 2).double(), one_hot([1] * n, 2).double()

    def batch(net: str) -> PhaseBatch:
        made = PhaseBatch(
            G=G, D=D, net=net, reals=reals, c_real=c_real, z=None, c_fake=c_fake, z_mix=None, crossover=None, rng=None,
            buffers={},
        )  # fmt: skip
        made.__dict__["fake_images"] = fakes
        return made

    results = []
    for net in ("D", "G"):  # G's phases score fakes and reals in passes of their own
        D.zero_grad()
        made = batch(net)
        (made.real_scores.sum() + made.fake_scores.square().sum()).backward()
        assert ("_paired_scores" in made.__dict__) == (net == "D")
        results.append([made.real_scores, made.fake_scores, *(p.grad.clone() for p in D.parameters())])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_a_penalty_leaves_no_gradient_at_the_images(tiny_config, make_dataset) -> None:
    """Nobody reads it, and at full resolution it costs."""
    dataset = make_dataset()
    config = tiny_config(dataset)
    setup = build_setup(config, dataset, dataset.indices("train"))
    state = build_state(config, setup.phases, device=torch.device("cpu"))
    level = level_at(setup.levels, 0)
    reals = read_reals(setup.reader, setup, level, 0, torch.device("cpu"))
    phase = next(phase for phase in setup.phases if phase.name == "D_r1")
    before = [p.detach().clone() for p in state.D.parameters()]
    batch = draw_phase(state, phase, setup, level, reals)
    run_phase(state, phase, batch, StepStats())
    assert batch.real_images.requires_grad
    assert batch.real_images.grad is None
    assert any(not torch.equal(a, b) for a, b in zip(before, state.D.parameters()))
