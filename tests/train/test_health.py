"""What the watches see, when they speak, and what they have done about it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stylescan.config import HealthConfig
from stylescan.nets.build import build_discriminator, build_generator
from stylescan.train.health import (
    CEILING_LINES,
    COLLAPSED,
    LASTING_IMAGES,
    LEARNED,
    MAX_GROWTH,
    MAX_LOSS,
    MAX_PENALTY,
    OVERFIT,
    SIGN_LINES,
    Finding,
    HealthMonitor,
    Probed,
    decide,
    stop_error,
)
from stylescan.train.probe import (
    FirstBadStep,
    Probe,
    diversity,
    mean_score,
    overfitting,
    relative_diversity,
    weight_facts,
)

TOTAL = 1_000_000
WELL = {
    "D_loss": 1.1, "G_loss": 0.9, "r1_penalty": 0.05, "pl_penalty": 3.0,
    "score_real": 0.4, "score_fake": -0.5, "sign_real": 0.3, "sign_fake": -0.4, "augment_p": 0.1,
}  # fmt: skip


def monitor(**actions: str) -> HealthMonitor:
    return HealthMonitor(HealthConfig(**actions), TOTAL, p_max=0.8)


def lines(watch: HealthMonitor, *values: dict[str, float], first: int = 1, every: int = 500) -> list[Finding]:
    """Log lines of 100 steps each, with the given values in place of healthy ones."""
    found = []
    for number, value in enumerate(values, first):
        found += watch.on_log(number * 100, number * every, {**WELL, **value})
    return found


def test_a_healthy_run_gives_no_finding_and_good_checkpoints() -> None:
    watch = monitor()
    for number in range(200):
        means = {**WELL, "G_loss": 0.9 + 12 * (number % 7 == 0), "sign_real": 0.3 - 1.3 * (number % 9 == 0)}
        assert watch.on_log(number, number * 500, means) == []
        assert watch.on_score(number, number * 500, Probed(0.7, 0.3), kid=0.1) == []
        assert watch.good


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_named_with_its_step_at_once(value: float) -> None:
    watch = monitor()
    assert lines(watch, {}) == []
    [found] = lines(watch, {"G_loss": value}, first=2)
    assert (found.watch, found.step, found.action, found.sound_step) == ("nan", 200, "roll_back", 100)
    assert found.message == f"not finite: G_loss is {value}, first between steps 101 and 200"
    assert not watch.good
    watch = monitor(nan="stop")
    [found] = watch.on_log(200, 800, {**WELL, "D_loss": value}, first_bad=137)
    assert (found.step, found.action) == (137, "stop")
    assert "D_loss" in found.message
    assert "first at step 137" in found.message


def test_the_first_bad_step_is_kept() -> None:
    seen = FirstBadStep(torch.device("cpu"))
    for step, value in ((1, 2.0), (2, 3e30), (3, math.inf), (4, math.nan), (5, 1.0)):
        seen.note(step, [torch.tensor(1.0), torch.tensor(value)])
        assert seen.read() == (None if step < 3 else 3)
    seen.clear()
    assert seen.read() is None


@pytest.mark.parametrize(
    ("name", "limit"),
    [("D_loss", MAX_LOSS), ("G_loss", MAX_LOSS), ("score_fake", MAX_LOSS), ("r1_penalty", MAX_PENALTY)],
)
def test_divergence_of_losses_is_found_on_the_second_line(name: str, limit: float) -> None:
    watch = monitor()
    assert lines(watch, {name: -limit * 1.01}) == []
    assert not watch.good  # half way: not a checkpoint to go back to
    [found] = lines(watch, {name: limit * 1.01}, first=2)
    assert (found.watch, found.step, found.action, found.sound_step) == ("divergence", 200, "roll_back", 0)
    assert f"{name} {limit * 1.01:.4g}" in found.message
    assert lines(monitor(), {name: limit * 2}, {name: limit * 0.99}, {name: limit * 2}) == []


def test_a_d_that_is_the_wrong_way_round_is_found_after_lines_and_images() -> None:
    watch = monitor()
    wrong = {"sign_real": -0.51}
    found = lines(watch, *[wrong] * (SIGN_LINES + 3))
    assert [(f.watch, f.step) for f in found] == [("divergence", SIGN_LINES * 100)]
    assert "mean sign of their scores -0.51" in found[0].message
    assert "since step 100" in found[0].message
    assert lines(monitor(), *[wrong] * (SIGN_LINES - 1), {}, *[wrong] * (SIGN_LINES - 1)) == []
    # lines of a step each: not before LASTING_IMAGES images have gone by
    found = lines(monitor(), *[wrong] * 600, every=4)
    assert [f.step for f in found] == [100 * (1 + LASTING_IMAGES // 4)]


def test_weights_are_compared_with_their_start() -> None:
    watch = monitor()
    start = {"G": {"conv": 1.0, "mapping": 100.0, "bias": 0.0}}

    def now(**values: float) -> list[Finding]:
        return watch.on_weights(7, 56, {"G": {**start["G"], **values}})

    assert now() == []
    assert now(conv=MAX_GROWTH * 0.99, mapping=99 * MAX_GROWTH, bias=0.99 * MAX_GROWTH) == []
    [found] = now(mapping=101 * MAX_GROWTH)
    assert (found.watch, found.step) == ("divergence", 7)
    assert "G.mapping has root mean square 1.01e+04, 101 times its start" in found.message
    assert now(mapping=101 * MAX_GROWTH) == []  # known already
    assert not watch.good
    assert now() == []
    assert watch.good
    assert [f.watch for f in now(bias=1.01 * MAX_GROWTH)] == ["divergence"]
    [found] = now(conv=math.nan)
    assert found.watch == "nan"
    assert "G.conv" in found.message


def test_weight_facts_are_root_mean_squares() -> None:
    net = torch.nn.Linear(3, 2)
    torch.nn.init.constant_(net.weight, -2.0)
    torch.nn.init.zeros_(net.bias)
    assert weight_facts(net) == pytest.approx({"weight": 2.0, "bias": 0.0})
    with torch.no_grad():
        net.weight[1, 2] = math.nan
    assert math.isnan(weight_facts(net)["weight"])
    with torch.no_grad():
        net.weight[1, 2] = -math.inf
    assert weight_facts(net)["weight"] == math.inf


def scores(watch: HealthMonitor, *values: float | None, start: int = 0, r_v: float | None = None) -> list[Finding]:
    found = []
    for number, value in enumerate(values, 1):
        nimg = start + number * 10_000
        found += watch.on_score(nimg // 10, nimg, Probed(value, r_v), kid=0.1)
    return found


def test_collapse_needs_two_scores_and_something_learned() -> None:
    low, high = COLLAPSED * 0.9, LEARNED * 1.1
    late = TOTAL // 4
    assert scores(monitor(), low, low, low) == []  # not learned yet, and early
    assert scores(monitor(), 1.9, low, low) == []  # the untrained generator's noise is varied, but nothing learned
    assert [f.step for f in scores(monitor(), low, low, low, start=late)] == [(late + 20_000) // 10]
    learned = [high] * 6
    [found] = scores(monitor(), *learned, low, low, low)
    assert (found.watch, found.step, found.action) == ("collapse", 8000, "warn")
    assert "14%" in found.message
    assert scores(monitor(), *learned, low, COLLAPSED * 1.1, low, high, None, None) == []
    watch = monitor()
    scores(watch, *learned, low)
    assert not watch.good


def test_d_overfitting_needs_two_scores_and_says_what_helps() -> None:
    high = OVERFIT * 1.05
    watch = monitor()
    assert scores(watch, 0.8, r_v=high) == []
    [found] = scores(watch, 0.8, 0.8, r_v=high)
    assert (found.watch, found.action) == ("overfitting", "warn")
    assert "r_v 0.63" in found.message
    assert "KID has not improved for 1 scores" in found.message
    for word in ("augment.mode=ada", "--init", "kimg", "nothing is lost"):
        assert word in found.remedy
    assert watch.good  # D overfits; the weights are none the worse to go back to
    assert scores(monitor(), 0.8, 0.8, 0.8, r_v=OVERFIT * 0.95) == []


def test_r_v_is_equation_1() -> None:
    assert overfitting(1.0, 1.0, -1.0) == 0
    assert overfitting(1.0, -1.0, -1.0) == 1
    assert overfitting(1.0, 0.5, -1.0) == 0.25
    assert overfitting(0.1, -0.1, 0.0) is None  # D tells nothing apart
    assert overfitting(-1.0, 0.0, 1.0) is None  # D is the wrong way round: another watch's business


def test_augmentation_at_its_bound() -> None:
    at = {"augment_p": 0.8}
    assert lines(monitor(), *[at] * (CEILING_LINES - 1), {}, at) == []
    [found] = lines(monitor(), *[at] * (CEILING_LINES + 5))
    assert (found.watch, found.step, found.action) == ("augment_ceiling", CEILING_LINES * 100, "warn")
    assert lines(HealthMonitor(HealthConfig(), TOTAL), *[at] * 30) == []  # p is fixed there, by the user


def test_a_finding_is_repeated_only_after_it_went_away() -> None:
    bad = {"G_loss": 2 * MAX_LOSS}
    found = lines(monitor(divergence="warn"), *[bad] * 5, {}, *[bad] * 5)
    assert [(f.step, f.sound_step) for f in found] == [(200, 0), (800, 600)]


def test_ignored_watches_are_silent_and_leave_checkpoints_good() -> None:
    watch = monitor(divergence="ignore", collapse="ignore", overfitting="ignore", augment_ceiling="ignore")
    worst = {"G_loss": 1e9, "sign_real": -1.0, "augment_p": 0.8}
    assert lines(watch, *[worst] * 30) == []
    assert scores(watch, *[0.0] * 5, start=TOTAL // 2, r_v=1.0) == []
    assert watch.good
    assert [f.watch for f in watch.on_log(1, 1, {"D_loss": math.nan})] == ["nan"]  # never ignored


events = st.lists(
    st.tuples(
        st.sampled_from(["log", "score", "weights"]),
        st.sampled_from([0.01, 0.4, 0.7, 0.95, 2000.0, -1.0, math.nan]),
    ),
    max_size=60,
)


@given(events, st.integers(0, 60))
def test_a_monitor_put_back_from_json_goes_on_as_the_unbroken_one(happened: list[tuple[str, float]], cut: int) -> None:
    def tell(watch: HealthMonitor, number: int) -> list[Finding]:
        kind, value = happened[number]
        step, nimg = number * 10, TOTAL // 5 + number * 2000
        if kind == "log":
            return watch.on_log(step, nimg, {**WELL, "G_loss": value, "sign_real": value, "augment_p": min(value, 0.8)})
        if kind == "score":
            return watch.on_score(
                step, nimg, Probed(value, value) if math.isfinite(value) else Probed(None, None), kid=value
            )
        return watch.on_weights(step, nimg, {"D": {"weight": value}})

    whole, first = monitor(), monitor()
    for number in range(min(cut, len(happened))):
        tell(whole, number)
        tell(first, number)
    second = monitor()
    second.load_state(json.loads(json.dumps(first.state(), allow_nan=False)))
    for number in range(min(cut, len(happened)), len(happened)):
        assert tell(whole, number) == tell(second, number)
        assert whole.good == second.good
    assert whole.state() == second.state()


def finding(action: str) -> Finding:
    return Finding("divergence", 12, "G_loss 1e+09", "Do this.", action)


@pytest.mark.parametrize(
    ("actions", "rolled_back", "expected"),
    [
        ([], 0, "go on"),
        (["warn", "warn"], 0, "go on"),
        (["warn", "roll_back"], 0, "roll_back"),
        (["roll_back"], 1, "stop"),
        (["warn"], 1, "go on"),
        (["roll_back", "stop"], 0, "stop"),
    ],
)
def test_decide(actions: list[str], rolled_back: int, expected: str) -> None:
    assert decide([finding(a) for a in actions], rolled_back, HealthConfig()) == expected


def test_no_roll_back_where_none_is_allowed() -> None:
    assert decide([finding("roll_back")], 0, HealthConfig(roll_backs=0)) == "stop"
    assert decide([finding("roll_back")], 1, HealthConfig(roll_backs=2)) == "roll_back"


def test_the_error_names_step_value_and_remedy() -> None:
    error = stop_error([finding("warn"), finding("roll_back")], 1)
    assert error.message == "training stopped at step 12, after 1 roll back: G_loss 1e+09"
    assert error.remedy == "Do this. The checkpoints and the snapshot made before are unharmed."
    assert "after" not in stop_error([finding("stop")], 0).message


def test_diversity_has_closed_forms() -> None:
    def flat(*values: int, size: int = 32, dtype: type = np.uint8) -> np.ndarray:
        return np.stack([np.full((1, size, size), value, dtype) for value in values])

    assert diversity(flat(7, 7, 7)) == 0
    assert diversity(flat(0, 255)) == pytest.approx(1)
    assert diversity(flat(0, 65535, dtype=np.uint16)) == pytest.approx(1)
    assert diversity(flat(0, 51, 51)) == pytest.approx(0.2 * 2 / 3)  # pairs at distances .2, .2, 0
    assert diversity(flat(0, 51, size=4)) == pytest.approx(0.2)  # smaller than the grid
    assert math.isnan(diversity(flat(3)))
    checks = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)[None]
    assert diversity(np.stack([checks, 255 - checks])) == 0  # texture averages out


def test_relative_diversity_is_within_classes_and_the_least_counts() -> None:
    rng = np.random.default_rng(0)
    reals = rng.integers(0, 256, (200, 1, 16, 16), dtype=np.uint8)
    labels = np.arange(200) % 2
    assert relative_diversity(reals[100:], labels[100:], reals[:100], labels[:100]) == pytest.approx(1, abs=0.02)
    fakes = reals.copy()
    fakes[labels == 1] = fakes[1]  # one class collapses
    assert relative_diversity(fakes, labels, reals, labels) == 0
    means = np.where(labels == 1, 250, 5).astype(np.uint8)[:, None, None, None] * np.ones_like(reals)
    assert relative_diversity(means, labels, reals, labels) == 0  # two images, each class's only one
    assert relative_diversity(fakes, labels, np.zeros_like(reals), labels) is None


def test_mean_score_is_ds_mean_over_whatever_batches(make_dataset, tiny_config) -> None:
    dataset = make_dataset()
    D = build_discriminator(tiny_config(dataset).spec, seed=0)
    images, labels = dataset.read(range(8)), dataset.labels[:8]
    with torch.no_grad():
        D.mbstd_group = 1
        x = torch.from_numpy(images).float() / 127.5 - 1
        expected = D(x, torch.nn.functional.one_hot(torch.from_numpy(labels), 2).float()).mean()
    assert mean_score(D, images, labels, batch=3) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize(("classes", "subjects"), [(2, 12), (0, 12), (2, 4)])
def test_probe(make_dataset, tiny_config, classes: int, subjects: int) -> None:
    dataset = make_dataset(classes=classes, subjects=subjects)  # of 4 subjects, none is in select
    spec = tiny_config(dataset).spec
    G, D = build_generator(spec, seed=0).eval(), build_discriminator(spec, seed=0)
    probe = Probe(dataset)
    probed = probe(G, D)
    assert probed == probe(G, D)
    assert probed.diversity is not None
    assert probed.diversity > 0
    if subjects == 4:
        assert probed.overfitting is None
    with torch.no_grad():  # the same image for every latent, but for noise maps
        for name, parameter in G.named_parameters():
            if "affine.weight" in name or "noise_strength" in name:
                parameter.zero_()
    collapsed = probe(G, D).diversity
    assert collapsed is not None
    assert collapsed < 0.01 * probed.diversity


def test_signs_say_nothing_where_the_loss_leaves_zero_free() -> None:
    wrong = [{"sign_real": -1.0}] * (SIGN_LINES + 5)
    assert [f.watch for f in lines(monitor(divergence="warn"), *wrong)] == ["divergence"]
    free = HealthMonitor(HealthConfig(divergence="warn"), TOTAL, signs_tell=False)
    assert lines(free, *wrong) == []
