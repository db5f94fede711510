"""A bench of a tiny net: every figure is there, finite, and adds up. Nothing here asserts a time."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from stylescan.bench.ceiling import ceiling_gflops, ceiling_works
from stylescan.bench.flops import conv_flops, count_flops
from stylescan.bench.images import noise_images
from stylescan.bench.material import open_material
from stylescan.bench.measure import STEP, run_bench, share_of_ceiling
from stylescan.bench.memory import memory_method
from stylescan.bench.other_works import evaluation_works
from stylescan.bench.record import BenchRecord
from stylescan.bench.rounds import Kind, Timed, Work, time_in_rounds
from stylescan.bench.training_works import forward_works, open_bench, phase_works, step_works
from stylescan.config import merge
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError, DataError
from stylescan.train.precision import Precision

CPU = torch.device("cpu")
TINY = {
    "model": {"z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 4},
    "objective": {"r1_interval": 2, "pl_weight": 2.0, "pl_interval": 4, "mixing": 0.9},
}


@pytest.fixture(scope="module")
def record() -> BenchRecord:
    kinds: tuple[Kind, ...] = ("forward", "phase", "step", "reading", "sampling")
    with open_material("small", device=CPU, resolution=16, batch=4, overrides=TINY) as material:
        return run_bench(material.config, material.source, material.indices, device=CPU, repeats=3, kinds=kinds)


def test_every_part_is_measured_in_every_round(record: BenchRecord) -> None:
    names = [figure.name for figure in record.figures]
    assert names == ["G", "D", "G_main", "G_pl", "D_main", "D_r1", STEP, "read batches", "sample images"]
    assert {figure.n for figure in record.figures} == {3}
    assert 0 < record.cpu_use < 2
    for figure in record.figures:
        assert 0 < figure.q1_s <= figure.median_s <= figure.q3_s < math.inf
        assert figure.images_per_s * figure.median_s == pytest.approx(figure.images)


def test_shares_are_work_over_time_over_the_ceiling(record: BenchRecord) -> None:
    phases = [figure for figure in record.figures if figure.kind == "phase"]
    work = sum(phase.flops / phase.every_steps for phase in phases if phase.flops and phase.every_steps)
    seconds = sum(phase.median_s / phase.every_steps for phase in phases if phase.every_steps)
    assert record.ceiling_share == pytest.approx(work / seconds / (record.ceiling.gflops * 1e9))
    assert record.ceiling.gflops == max(record.ceiling.gflops_64, record.ceiling.gflops_32)
    assert record.ceiling_shares is not None
    for share in (*record.ceiling_shares.model_dump().values(), *(phase.ceiling_share for phase in phases)):
        assert 0 < share < math.inf
    main = [phase for phase in phases if phase.every_steps == 1]
    assert [phase.name for phase in main] == ["G_main", "D_main"]
    assert record.ceiling_shares.main_phases == pytest.approx(
        sum(phase.flops or 0 for phase in main) / sum(phase.median_s for phase in main) / record.ceiling.gflops / 1e9
    )


def test_a_mean_step_has_the_work_of_its_phases_each_by_its_interval(record: BenchRecord) -> None:
    figures = {figure.name: figure for figure in record.figures}
    parts = {"G_main": 1, "G_pl": 4, "D_main": 1, "D_r1": 2}
    assert {name: figures[name].every_steps for name in parts} == parts
    work = {name: figures[name].flops or 0 for name in parts}
    assert figures[STEP].flops == pytest.approx(sum(work[name] / every for name, every in parts.items()), abs=1)
    assert figures["G_pl"].images == 2  # half a batch
    assert figures["D_r1"].s_per_kimg == pytest.approx(1000 * figures["D_r1"].median_s / 2 / 4)


def test_counted_work_is_that_of_the_phase(record: BenchRecord) -> None:
    """G's phase: a pass of G and D each, G's two gradients, and D's one by its input, but for the styles and ends."""
    figures = {figure.name: figure for figure in record.figures}
    passes = {name: figures[name].flops or 0 for name in ("G", "D")}
    main = figures["G_main"].flops or 0
    assert 0.9 < main / (3 * passes["G"] + 2 * passes["D"]) < 1.1
    assert figures["sample images"].gflop_per_image == pytest.approx(passes["G"] / 4 / 1e9, rel=0.05)


def test_shared_fakes_save_d_the_pass_of_g() -> None:
    def operations(shared: str) -> dict[str, float]:
        overrides = merge(TINY, {"objective": {"shared": shared}})
        with (
            open_material("small", device=CPU, resolution=16, batch=4, overrides=overrides) as material,
            open_bench(material.config, material.source, material.indices, device=CPU) as bench,
        ):
            passes, phases, steps = forward_works(bench), phase_works(bench), step_works(bench)
            found = {work.name: float(count_flops(work.call)) for work in [*passes, *phases]}
            found["phases"] = sum(found[phase.name] * phase.due for phase in phases)
            found["step"] = sum(count_flops(kind.call) * kind.due for kind in steps)
            return found

    apart, shared = operations("none"), operations("fakes")
    assert apart["D_main"] - shared["D_main"] == pytest.approx(apart["G"], rel=0.05)
    assert apart["step"] == pytest.approx(apart["phases"])
    assert shared["step"] == pytest.approx(shared["phases"])


@pytest.mark.parametrize(
    ("augment", "p"),
    [({"mode": "none"}, 0.0), ({"mode": "scheduled", "p": 0.3}, 0.3), ({"mode": "fixed", "p": 0.2}, 0.2),
     ({"mode": "ada", "p_max": 0.6}, 0.3)],
)  # fmt: skip
def test_augmentation_is_measured_at_work(augment: dict[str, object], p: float) -> None:
    overrides = merge(TINY, {"augment": augment})
    with open_material("small", device=CPU, resolution=16, batch=4, overrides=overrides) as material:
        with open_bench(material.config, material.source, material.indices, device=CPU) as bench:
            assert bench.state.ada.p == pytest.approx(p)
        record = run_bench(
            material.config, material.source, material.indices, device=CPU, repeats=1, kinds=("forward",)
        )
    assert record.setting.augment["p"] == pytest.approx(p)


def test_classes_and_growing_nets_too(make_dataset: Callable[..., PreparedDataset]) -> None:
    data = make_dataset(subjects=12, slices=3, resolution=16, classes=2)
    narrow = {"model": {"z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 4}}
    with open_material("akoa-stylegan", device=CPU, data=data.path, overrides=narrow) as material:
        assert material.images == "prepared"
        found = run_bench(material.config, material.source, material.indices, device=CPU, repeats=1,
                          kinds=("forward", "phase", "step", "sampling"))  # fmt: skip
    assert (found.setting.classes, found.setting.resolution) == (2, 16)
    assert found.setting.batch == material.config.growth.batch[-1]
    assert (found.ceiling_share or 0) > 0


def test_the_ceiling_counts_the_operations_that_it_runs() -> None:
    big, small = ceiling_works(CPU, Precision())
    assert count_flops(small.call) == conv_flops(16, 32, 128, 128, 3) == 2 * 16 * 32 * 32 * 128 * 128 * 9
    timed = {big.name: Timed((3.0, 1.0, 2.0), 1), small.name: Timed((0.5, 0.5, 9.0), 1)}
    assert ceiling_gflops(timed) == {
        64: conv_flops(16, 64, 128, 128, 3) / 2e9,
        32: conv_flops(16, 32, 128, 128, 3) / 5e8,
    }
    assert share_of_ceiling(6e9, 2.0, 12.0) == pytest.approx(0.25)


def test_works_take_turns() -> None:
    seen: list[str] = []
    works = [Work(name, "phase", 1, lambda name=name: seen.append(name)) for name in "abc"]  # type: ignore[misc]
    told: list[tuple[int, int]] = []
    timed = time_in_rounds(works, repeats=3, device=CPU, progress=lambda done, total, what: told.append((done, total)))
    assert "".join(seen) == "abc" * 3
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert {len(each.seconds) for each in timed.values()} == {3}


def test_quartiles_and_median() -> None:
    assert Timed((5.0, 1.0, 3.0, 2.0, 4.0), 1).quartiles == (2.0, 3.0, 4.0)


TAKES = """
import torch
from stylescan.allocator import tune_allocator
from stylescan.bench.memory import allocator_keeps_blocks, measure_peak
before, tuned = allocator_keeps_blocks(), tune_allocator()
print(before, tuned, allocator_keeps_blocks())
for mb in (160, 32):
    peak = measure_peak(lambda: torch.full((mb << 18,), 1.0).sum(), torch.device("cpu"))
    print(peak.peak_mb, peak.added_mb)
"""


@pytest.mark.skipif("each" not in memory_method(CPU), reason="this system does not reset the peak of a process")
def test_peak_memory_is_that_of_the_work_alone_though_the_allocator_keeps_blocks() -> None:
    done = subprocess.run([sys.executable, "-c", TAKES], capture_output=True, text=True, check=True)
    allocator, large, small = (line.split() for line in done.stdout.splitlines())
    if allocator[1] == "True":  # glibc
        assert allocator == ["False", "True", "True"]
    assert 150 < float(large[1]) < 200
    assert 25 < float(small[1]) < 60  # what the first one took has been given back
    assert float(large[0]) > float(large[1])


def test_without_the_extractor_the_distances_are_measured_and_a_word_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ConfigError(f"extractor {name}: package is not installed" + "." * 300)

    monkeypatch.setattr("stylescan.bench.other_works.get_extractor", absent)
    with noise_images(16, 1, count=20) as source:
        works, notes = evaluation_works(source, np.arange(20))
    assert [work.name for work in works] == ["KID", "FD"]
    assert "efficientnet-lite0: package is not installed" in notes[0]
    assert len(notes[0]) <= 200  # what the record takes


def test_noise_images_repeat_a_pool_and_leave_no_file() -> None:
    with noise_images(16, 3, count=100, pool_bytes=20 * 3 * 256) as source:
        assert source.pool.shape == (20, 3, 16, 16)
        file = source.pool.filename  # type: ignore[attr-defined]
        assert len(source) == 100
        images = source.read(np.array([1, 21, 99]))
        assert images.dtype == np.uint8
        assert (images[0] == images[1]).all()
        assert not (images[0] == images[2]).all()
        assert 100 < images.mean() < 155
    assert not file.exists()


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"resolution": 48}, "--resolution 48"),
        ({"resolution": 8192}, "--resolution 8192"),
        ({"channels": 17}, "--channels 17"),
        ({"preset": "smal"}, "smal"),
        ({"preset": "akoa-stylegan", "batch": 4}, "--batch 4"),
        ({"batch": 0}, "train.batch"),
    ],
)
def test_what_cannot_be_measured_is_refused(asked: dict[str, object], word: str) -> None:
    arguments = {"preset": "small", **asked}
    with pytest.raises(ConfigError, match=word), open_material(**arguments, device=CPU):  # type: ignore[arg-type]
        pass


def test_data_decide_their_size(make_dataset: Callable[..., PreparedDataset], tmp_path: object) -> None:
    data = make_dataset(subjects=12, slices=1, resolution=16, classes=0)
    with pytest.raises(ConfigError, match="--resolution with --data"):
        open_material("small", device=CPU, data=data.path, resolution=32).__enter__()
    with pytest.raises(DataError, match="no such folder"):
        open_material("small", device=CPU, data=data.path / "nowhere").__enter__()
