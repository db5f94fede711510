"""What growing nets and reals share: exact means, repeated pixels, and their blend."""

from __future__ import annotations

import pytest
import torch

from stylescan.nets.growing import Reached, at_stage, blend, enlarge, halve
from stylescan.nets.protocols import Stage

X = torch.arange(2 * 32 * 32, dtype=torch.float32).reshape(2, 1, 32, 32)


def means(images: torch.Tensor, side: int) -> torch.Tensor:
    n, c, full, _ = images.shape
    k = full // side
    return images.reshape(n, c, side, k, side, k).mean(dim=(3, 5))


def test_halving_takes_means_and_enlarging_is_undone_by_it() -> None:
    torch.testing.assert_close(halve(X), means(X, 16))
    assert torch.equal(halve(enlarge(X)), X)
    assert enlarge(X, 4).shape == (2, 1, 128, 128)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_reals_of_a_stage_are_means_with_the_newest_resolution_faded_in(depth: int) -> None:
    side = 4 * 2**depth
    torch.testing.assert_close(at_stage(X, Stage(depth)), means(X, side))
    if depth:
        below = enlarge(means(X, side // 2))
        torch.testing.assert_close(at_stage(X, Stage(depth, 0.25)), 0.75 * below + 0.25 * means(X, side))
        assert torch.equal(at_stage(X, Stage(depth, 0.0)), enlarge(halve(at_stage(X, Stage(depth)))))


def test_a_blend_ends_exactly() -> None:
    a, b = torch.randn(2, 3, 1, 4, 4).unbind()
    assert torch.equal(blend(a, b, 0.0), a)
    assert torch.equal(blend(a, b, 1.0), b)


def test_the_stage_reached_survives_in_the_weights() -> None:
    first, second = Reached(4), Reached(4)
    assert first.read() == Stage(4, 1.0)
    first.note(Stage(2, 0.3))
    second.load_state_dict(first.state_dict())
    assert second.read() == Stage(2, 0.3)
