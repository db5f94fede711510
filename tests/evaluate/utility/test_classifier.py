"""The classifier learns, repeats itself on any number of threads, and its augmentation is lawful."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from stylescan.data.tensors import to_unit_range
from stylescan.evaluate.utility.arms import ARMS, predict_all, train_arms
from stylescan.evaluate.utility.classic import augment, operations
from stylescan.evaluate.utility.classifier import Labelled, Recipe, fitted, new_classifier, predict, train_classifier
from stylescan.evaluate.utility.cohort import gather_cohort
from stylescan.evaluate.utility.scores import plain_auc
from stylescan.randomness import torch_generator


def labelled(draw: Callable[..., Any], n: int, seed: int, classes: int = 2, **how: int) -> Labelled:
    labels = np.arange(n) % classes
    return Labelled(fitted(to_unit_range(draw(labels, seed, **how))), labels, np.array([str(i) for i in range(n)]))


@pytest.mark.parametrize(
    ("how", "side"), [({"px": 4}, 8), ({"px": 32, "channels": 3}, 32), ({"px": 256, "bits": 16}, 64)]
)
def test_every_resolution_channel_count_and_depth_fits(shapes_by: Any, how: dict[str, int], side: int) -> None:
    data = labelled(shapes_by, 12, 0, 3, **how)
    assert data.images.shape[1:] == (how.get("channels", 1), side, side)
    net = train_classifier(data, data, 3, recipe=Recipe(steps=2, batch=8, checks=2), seed=0)
    out = predict(net, data.images)
    assert out.shape == (12, 3)
    assert np.allclose(out.sum(axis=1), 1)


def test_it_learns_what_can_be_learnt(shapes_by: Any, quick: Recipe) -> None:
    net = train_classifier(labelled(shapes_by, 120, 0), None, 2, recipe=quick, seed=0)
    fresh = labelled(shapes_by, 100, 9)
    assert (predict(net, fresh.images).argmax(axis=1) == fresh.labels).mean() > 0.9


def test_the_best_state_on_select_counts(shapes_by: Any, quick: Recipe) -> None:
    data = labelled(shapes_by, 60, 0)
    # What select calls a disc, training calls a square: the more it learns, the worse it is on select.
    select = labelled(shapes_by, 40, 4)
    select = Labelled(select.images, 1 - select.labels, select.subjects)
    recipe = Recipe(steps=20, batch=32, learning_rate=quick.learning_rate, checks=20)
    chosen = train_classifier(data, select, 2, recipe=recipe, seed=0)
    last = train_classifier(data, None, 2, recipe=recipe, seed=0)
    areas = [plain_auc(predict(net, select.images), select.labels) for net in (chosen, last)]
    assert areas[0] > areas[1] + 0.2


def test_select_has_no_part_in_what_is_learnt(shapes_by: Any) -> None:
    data, select = labelled(shapes_by, 60, 0), labelled(shapes_by, 20, 4)
    once = Recipe(steps=6, batch=16, checks=1)
    with_it = train_classifier(data, select, 2, recipe=once, seed=3).state_dict()
    without = train_classifier(data, None, 2, recipe=once, seed=3).state_dict()
    assert all(torch.equal(with_it[name], without[name]) for name in without)


def test_training_repeats_itself_and_leaves_the_global_generator_alone(shapes_by: Any) -> None:
    data, recipe = labelled(shapes_by, 40, 0), Recipe(steps=5, batch=16)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train_classifier(data, data, 2, recipe=recipe, seed=3).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    again = train_classifier(data, data, 2, recipe=recipe, seed=3).state_dict()
    other = train_classifier(data, data, 2, recipe=recipe, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_answers_do_not_depend_on_the_number_of_threads(twins: Any) -> None:
    cohort, recipe = gather_cohort(twins), Recipe(steps=4, batch=16, checks=1)

    def answers(threads: int) -> np.ndarray:
        torch.set_num_threads(threads)
        try:
            nets = train_arms(ARMS[:2], cohort, None, recipe=recipe, seeds=2, seed=0, cache=None, progress=None)
            assert torch.get_num_threads() == threads
            return np.concatenate([predict_all(nets[arm.name], cohort.test.images) for arm in ARMS[:2]])
        finally:
            torch.set_num_threads(1)

    assert (answers(1) == answers(3)).all()


def test_every_seed_starts_every_arm_alike(shapes_by: Any) -> None:
    one, two = labelled(shapes_by, 20, 0), labelled(shapes_by, 30, 1)
    first, second = new_classifier(one.images, 2, 7), new_classifier(two.images, 2, 7)
    assert torch.equal(first.stem.weight, second.stem.weight)
    assert not torch.equal(first.mean, second.mean)


# -- classic augmentation -------------------------------------------------------------------------------------------


def lit_half(n: int) -> torch.Tensor:
    """Air, but for a bright left half with air around it."""
    images = torch.full((n, 1, 32, 32), -1.0)
    images[:, :, 8:24, 6:16] = 0.5
    return images


def test_left_stays_left_unless_flips_are_lawful() -> None:
    kept = augment(lit_half(200), False, torch_generator(0, "test"))
    lighter_left = (kept[..., :16].sum(dim=(1, 2, 3)) > kept[..., 16:].sum(dim=(1, 2, 3))).float().mean()
    assert lighter_left == 1
    flipped = augment(lit_half(200), True, torch_generator(0, "test"))
    lighter_left = (flipped[..., :16].sum(dim=(1, 2, 3)) > flipped[..., 16:].sum(dim=(1, 2, 3))).float().mean()
    assert 0.35 < lighter_left < 0.65
    assert operations(True)[0] == "left-right flips"
    assert len(operations(False)) == len(operations(True)) - 1


def test_air_stays_air_and_tissue_keeps_its_sign() -> None:
    out = augment(lit_half(100), False, torch_generator(1, "test"))
    assert out.min() >= -1 - 1e-5
    assert (out[:, :, 0] == -1).all()  # far from the object
    assert (out[:, :, 15, 10] > -0.8).all()  # inside it, never dark
    spread = out.amax(dim=(1, 2, 3))
    assert spread.max() <= 1.5 * 1.2 - 1 + 1e-5
    assert spread.std() > 0.05


def test_the_same_numbers_whether_flips_are_lawful_or_not() -> None:
    one, two = torch_generator(2, "test"), torch_generator(2, "test")
    augment(lit_half(5), False, one)
    augment(lit_half(5), True, two)
    assert torch.equal(one.get_state(), two.get_state())
