"""Starting from another model: what is equal stays equal, what is adapted computes the same, the rest is named."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stylescan.config import RunConfig, write_config
from stylescan.errors import CheckpointError, ConfigError, SnapshotError, StylescanError
from stylescan.files import file_sha256
from stylescan.generate.snapshot import SnapshotMeta, save_snapshot
from stylescan.nets.build import build_discriminator, build_generator
from stylescan.nets.protocols import one_hot
from stylescan.nets.stylegan2 import StyleGAN2Spec
from stylescan.ops.layers import normalise_second_moment
from stylescan.ops.resample import fir_filter, upsample2
from stylescan.presets import build_config
from stylescan.train.checkpoint import save_checkpoint
from stylescan.train.init_source import load_source
from stylescan.train.objective import build_objective
from stylescan.train.run_folder import RunFolder
from stylescan.train.start import fingerprint
from stylescan.train.state import build_state
from stylescan.train.transfer import (
    TransferPlan,
    apply_transfer,
    check_freeze,
    frozen_of,
    frozen_parameters,
    g_rests,
    lr_factor,
    plan_transfer,
    settle_transfer,
    source_model_overrides,
    transfer_lines,
    transfer_overrides,
)
from stylescan.train.transfer_rules import InitSource

CPU = torch.device("cpu")
BASE = {
    "z_dim": 6,
    "w_dim": 8,
    "mapping_layers": 2,
    "channel_base": 128,
    "channel_max": 8,
    "resolution": 32,
    "img_channels": 1,
}


def make_spec(**changes) -> StyleGAN2Spec:
    return StyleGAN2Spec(**{**BASE, **changes})


def trained_nets(spec: StyleGAN2Spec):
    """Nets in which nothing is at its initial zero: every tensor is moved a little."""
    nets = build_generator(spec, seed=5), build_discriminator(spec, seed=5)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for net in nets:
            for tensor in net.state_dict().values():
                tensor.add_(torch.randn(tensor.shape, generator=rng), alpha=0.3)
    return nets


def source_of(spec: StyleGAN2Spec, names: tuple[str, ...] = (), *, with_D: bool = True):
    G, D = trained_nets(spec)
    return InitSource(G.state_dict(), D.state_dict() if with_D else None, spec, names, "a" * 64), G, D


def moved(source: InitSource, spec: StyleGAN2Spec, names: tuple[str, ...] = ()):
    """(plan, G, D): nets of `spec` after the transfer."""
    plan = plan_transfer(source, spec, names)
    nets = {"G": build_generator(spec, seed=9), "D": build_discriminator(spec, seed=9)}
    with torch.no_grad():
        for entry in plan.entries:
            if entry.value is not None:
                nets[entry.net].state_dict()[entry.name].copy_(entry.value)
    return plan, nets["G"], nets["D"]


def draw(G, names: tuple[str, ...] = (), label: int = 0, n: int = 4):
    z = torch.randn(n, G.spec.z_dim, generator=torch.Generator().manual_seed(3))
    return G(z, one_hot([label] * n, len(names)), noise="const")


def pictures(spec: StyleGAN2Spec, n: int = 4):
    shape = (n, spec.img_channels, spec.resolution, spec.resolution)
    return torch.randn(shape, generator=torch.Generator().manual_seed(4))


def kinds(plan: TransferPlan) -> dict[str, str]:
    return {f"{e.net}.{e.name}": e.kind for e in plan.entries}


def test_equal_nets_are_equal_bit_for_bit() -> None:
    names = ("a", "b")
    spec = make_spec(num_classes=2)
    source, G, D = source_of(spec, names)
    plan, new_G, new_D = moved(source, spec, names)
    assert plan.count("taken") == len(plan.entries)
    c = one_hot([0, 1, 0, 1], 2)
    assert torch.equal(draw(new_G, names, 1), draw(G, names, 1))
    assert torch.equal(new_D(pictures(spec), c), D(pictures(spec), c))
    assert plan.freezable == 3
    assert transfer_overrides(plan) == {"source": "a" * 64, "freeze_d": 1, "d_alone": 0.0}


def test_every_tensor_is_listed_once_and_only_what_was_left_is_fresh() -> None:
    source, _, _ = source_of(make_spec(num_classes=2), ("a", "b"))
    target = make_spec(resolution=64, channel_max=6, img_channels=3, num_classes=3)
    plan, G, D = moved(source, target, ("b", "c", "a"))
    assert [(e.net, e.name) for e in plan.entries] == [
        *[("G", name) for name in G.state_dict()],
        *[("D", name) for name in D.state_dict()],
    ]
    assert sum(plan.count(kind) for kind in ("taken", "adapted", "left")) == len(plan.entries)
    fresh = {"G": build_generator(target, seed=9).state_dict(), "D": build_discriminator(target, seed=9).state_dict()}
    for e in plan.entries:
        assert (e.value is None) <= (e.kind == "left"), e.name
        assert bool(e.why) == (e.kind == "left"), e.name
        now = {"G": G, "D": D}[e.net].state_dict()[e.name]
        if e.value is None:
            assert torch.equal(now, fresh[e.net][e.name]), e.name
        if e.kind == "taken":
            assert e.source_shape == e.shape
    assert json.loads(json.dumps(plan.record()))[0]["name"] == plan.entries[0].name
    listed = [layer for layers in plan.left().values() for layer in layers]
    assert {e.layer for e in plan.entries if e.kind == "left"} == set(listed)


def test_a_larger_target_begins_as_the_source_enlarged() -> None:
    source, G, _ = source_of(make_spec())
    plan, larger, D = moved(source, make_spec(resolution=64))
    assert torch.allclose(draw(larger), upsample2(draw(G), fir_filter()), atol=1e-6)
    assert plan.freezable == 0  # D's first block is new
    by_name = kinds(plan)
    assert by_name["D.blocks.0.conv0.weight"] == "left"
    assert {kind for name, kind in by_name.items() if name.startswith("D.blocks.1.")} == {"taken"}
    assert torch.equal(D.blocks[1].conv0.weight, source.D["blocks.0.conv0.weight"])  # both read 32 px
    assert set(plan.left()) == {"a new resolution", "width 4 -> 2"}
    assert plan.left()["width 4 -> 2"] == ["D.from_image"]


def test_a_smaller_target_takes_the_lower_blocks() -> None:
    source, G, _ = source_of(make_spec(channel_max=4))
    plan, smaller, D = moved(source, make_spec(resolution=16, channel_max=4))
    assert plan.count("left") == 0  # equal widths: even what reads the image, which has no extent in pixels
    assert torch.equal(D.blocks[0].conv1.weight, source.D["blocks.1.conv1.weight"])
    ws = G.mapping(torch.randn(2, 6), None)
    G.synthesis.to_images[3].weight.data.zero_()  # what is left is the sum of its pictures up to 16 px
    G.synthesis.to_images[3].bias.data.zero_()
    below = upsample2(smaller.synthesis(ws[:, :6], noise="none"), fir_filter())
    assert torch.allclose(below, G.synthesis(ws, noise="none"), atol=1e-6)


def test_grey_to_colour_and_back_compute_the_same_on_grey_images() -> None:
    source, G, D = source_of(make_spec())
    plan, colour_G, colour_D = moved(source, make_spec(img_channels=3))
    assert plan.count("left") == 0
    image = draw(colour_G)
    for channel in range(3):
        assert torch.allclose(image[:, channel], draw(G)[:, 0], atol=1e-6)
    grey = pictures(make_spec())
    assert torch.allclose(colour_D(grey.repeat(1, 3, 1, 1)), D(grey), atol=1e-5)

    source, G, D = source_of(make_spec(img_channels=3))
    plan, grey_G, grey_D = moved(source, make_spec())
    assert plan.count("left") == 0
    assert torch.allclose(draw(grey_G), draw(G).mean(dim=1, keepdim=True), atol=1e-6)
    assert torch.allclose(grey_D(grey), D(grey.repeat(1, 3, 1, 1)), atol=1e-5)


def test_two_channels_to_three_are_left_and_named() -> None:
    plan = plan_transfer(source_of(make_spec(img_channels=2))[0], make_spec(img_channels=3), ())
    assert list(plan.left()) == ["image channels 2 -> 3"]
    assert plan.left()["image channels 2 -> 3"] == [*[f"G.synthesis.to_images.{k}" for k in range(4)], "D.from_image"]
    assert plan.freezable == 0


def test_new_classes_begin_as_the_net_without_them() -> None:
    names = ("a", "b")
    source, G, D = source_of(make_spec())
    plan, new_G, new_D = moved(source, make_spec(num_classes=2), names)
    for label in (0, 1):
        assert torch.allclose(draw(new_G, names, label), draw(G), atol=1e-5)
        assert torch.allclose(
            new_D(pictures(make_spec()), one_hot([label] * 4, 2)), D(pictures(make_spec())), atol=1e-6
        )
    assert torch.allclose(new_G.mapping.w_avg, G.mapping.w_avg.expand(2, -1))
    assert plan.left() == {"classes are new": ["G.mapping.embed", "D.embed"]}


def test_classes_are_taken_by_name_and_new_ones_start_from_the_mean() -> None:
    old, new = ("a", "b"), ("b", "c", "a")
    source, G, D = source_of(make_spec(num_classes=2), old)
    plan, new_G, new_D = moved(source, make_spec(num_classes=3), new)
    images = pictures(make_spec())
    scores = []
    for name in old:
        i, j = old.index(name), new.index(name)
        assert torch.allclose(draw(new_G, new, j), draw(G, old, i), atol=1e-5)
        assert torch.equal(new_G.mapping.w_avg[j], G.mapping.w_avg[i])
        scores.append(D(images, one_hot([i] * 4, 2)))
        assert torch.allclose(new_D(images, one_hot([j] * 4, 3)), scores[-1], atol=1e-5)
    assert torch.allclose(new_D(images, one_hot([1] * 4, 3)), (scores[0] + scores[1]) / 2, atol=1e-5)
    mean = torch.stack([G.mapping.embed(one_hot([k], 2)) for k in (0, 1)]).mean(dim=0)
    assert torch.allclose(new_G.mapping.embed(one_hot([1], 3)), mean, atol=1e-5)
    assert plan.count("left") == 0


def test_dropped_classes_become_their_mean() -> None:
    source, G, D = source_of(make_spec(num_classes=2), ("a", "b"))
    plan, new_G, new_D = moved(source, make_spec(), ())
    images = pictures(make_spec())
    mean = (D(images, one_hot([0] * 4, 2)) + D(images, one_hot([1] * 4, 2))) / 2
    assert torch.allclose(new_D(images), mean, atol=1e-5)
    z = normalise_second_moment(torch.randn(4, 6))
    before = []  # the first layer, before its activation, is linear in the embedded class: its mean is exact
    for k in (0, 1):
        layer = G.mapping.layers[0]
        x = torch.cat([z, normalise_second_moment(G.mapping.embed(one_hot([k] * 4, 2)))], dim=1)
        before.append(x @ (layer.weight * layer.weight_gain).t() + layer.bias * layer.bias_gain)
    layer = new_G.mapping.layers[0]
    now = z @ (layer.weight * layer.weight_gain).t() + layer.bias * layer.bias_gain
    assert torch.allclose(now, (before[0] + before[1]) / 2, atol=1e-5)
    assert torch.allclose(new_G.mapping.w_avg, G.mapping.w_avg.mean(dim=0, keepdim=True))
    assert plan.count("left") == 0
    one, G1, _ = source_of(make_spec(num_classes=1), ("a",))
    assert torch.allclose(
        draw(moved(one, make_spec(), ())[1]), draw(G1, ("a",)), atol=1e-5
    )  # of one class all is exact


def test_other_widths_leave_whole_layers() -> None:
    source, _, _ = source_of(make_spec(channel_max=16))  # 4 and 8 px: 16 -> 8 channels; 16 px and up are equal
    plan = plan_transfer(source, make_spec(), ())
    by_name = kinds(plan)
    assert plan.left()["width 16 -> 8"][:3] == ["G.synthesis.const", "G.synthesis.layers.0", "G.synthesis.layers.1"]
    assert by_name["G.synthesis.layers.3.bias"] == "left"  # 16 px, reads 16 channels: its bias goes with its weight
    assert by_name["G.synthesis.layers.3.noise_strength"] == "left"
    assert by_name["G.synthesis.layers.4.weight"] == "taken"
    assert by_name["G.synthesis.layers.0.noise_const"] == "taken"
    assert by_name["D.blocks.0.conv1.weight"] == "taken"
    assert by_name["D.dense.bias"] == "left"
    assert source_model_overrides(source) == {
        "family": "stylegan2", "spectral_norm": "none", "attention": (), "equalised_lr": True, "blur": "1331",
        "z_dim": 6, "w_dim": 8, "mapping_layers": 2, "channel_base": 128, "channel_max": 16, "mbstd_group": 4,
        "haar": 0, "convolutions": 2, "start": "constant", "excitation": False,
    }  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [("z_dim", 7), ("mapping_layers", 3), ("w_dim", 9)])
def test_another_mapping_is_left_whole(key: str, value: int) -> None:
    plan = plan_transfer(source_of(make_spec())[0], make_spec(**{key: value}), ())
    left = plan.left()
    assert "G.mapping.layers.0" in left[f"{key} {BASE[key]} -> {value}"]
    assert "G.mapping.w_avg" in left[f"{key} {BASE[key]} -> {value}"]
    by_name = kinds(plan)
    assert by_name["G.synthesis.layers.0.weight"] == "taken"
    assert by_name["G.synthesis.layers.0.affine.bias"] == ("left" if key == "w_dim" else "taken")


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"convolutions": 1}, ("synthesis.layers.", "blocks.")),
        ({"haar": 1, "resolution": 64}, ("synthesis.to_images.", "from_image.")),
    ],
)
def test_layers_whose_place_means_something_else_are_left(changes: dict, left: tuple[str, ...]) -> None:
    named = kinds(plan_transfer(source_of(make_spec())[0], make_spec(**changes), ()))
    for full, kind in named.items():
        name = full[2:]
        assert (kind == "left") == name.startswith(left), name


def test_between_haar_nets_of_two_sizes_the_coefficients_are_left() -> None:
    named = kinds(plan_transfer(source_of(make_spec(haar=1))[0], make_spec(haar=1, resolution=64), ()))
    assert named["G.synthesis.to_images.1.weight"] == named["D.blocks.1.conv1.weight"] == "taken"
    assert named["G.synthesis.to_images.2.weight"] == named["G.synthesis.to_images.3.weight"] == "left"
    assert named["D.blocks.0.conv1.weight"] == "left"


def test_nothing_in_common_is_an_error() -> None:
    source, _, _ = source_of(make_spec())
    with pytest.raises(ConfigError, match="no layer of the source fits"):
        plan_transfer(source, make_spec(z_dim=5, w_dim=5, channel_base=32, channel_max=2), ())
    other = InitSource(source.G, None, source.spec.model_copy(update={"family": "other"}), (), "b")
    with pytest.raises(ConfigError, match="the source is a other model, this run trains stylegan2"):
        plan_transfer(other, make_spec(), ())


def test_a_snapshot_brings_no_discriminator() -> None:
    source, _, _ = source_of(make_spec(), with_D=False)
    plan, _, _ = moved(source, make_spec())
    assert list(plan.left()) == ["no discriminator came along"]
    assert {e.net for e in plan.entries if e.kind == "left"} == {"D"}
    assert transfer_overrides(plan) == {"source": "a" * 64, "freeze_d": 0, "d_alone": 0.05}
    with pytest.raises(ConfigError, match="no discriminator came along"):
        check_freeze(plan, 1)
    check_freeze(plan, 0)


def test_frozen_blocks_are_those_nearest_the_image() -> None:
    D = build_discriminator(make_spec())
    assert frozen_parameters(D, 0) == frozenset()
    assert frozen_parameters(D, 1) == {n for n, _ in D.named_parameters() if n.startswith(("from_image.", "blocks.0."))}
    everything = frozen_parameters(D, 3)
    assert {n.split(".")[0] for n, _ in D.named_parameters() if n not in everything} == {"conv", "dense", "out"}
    with pytest.raises(ConfigError, match="has 3 blocks"):
        frozen_parameters(D, 4)


def test_noise_is_never_frozen(make_dataset, tiny_config) -> None:
    config = transfer_config(make_dataset, tiny_config, freeze_d=1)
    with pytest.raises(ConfigError, match="freeze_d: found 1 in a run from scratch"):
        frozen_of(config, build_discriminator(config.spec))


def test_the_model_section_comes_from_the_source_and_the_user_has_the_last_word(make_dataset) -> None:
    data = fingerprint(make_dataset())

    def build(overrides) -> RunConfig:
        return build_config("small", data, kimg=1, overrides=dict(overrides))

    source, _, _ = source_of(make_spec(resolution=16))
    overrides, plan = settle_transfer(source, {"train": {"batch": 2}}, build)
    config = build(overrides)
    assert config.model.model_dump() == {key: getattr(source.spec, key) for key in config.model.model_dump()}
    assert (config.train.batch, config.transfer.source, config.transfer.freeze_d) == (2, source.hash, 1)
    assert set(plan.left()) == {"classes are new"}
    lines = transfer_lines(source, plan, config)
    assert any("left (classes are new): G.mapping.embed, D.embed" in line for line in lines)
    assert lines[-1] == "learning rates rise over the first 2%; 1 of D's 2 blocks, from the image on, stay as they are"
    mine = {"model": {"channel_max": 4}, "transfer": {"source": "mine", "warmup": 0.5, "d_alone": 0.1}}
    overrides, plan = settle_transfer(source, mine, build)
    config = build(overrides)
    assert (config.model.channel_max, config.model.z_dim, config.transfer.warmup) == (4, 6, 0.5)
    assert (config.transfer.source, config.transfer.d_alone, config.transfer.freeze_d) == (source.hash, 0.1, 0)
    with pytest.raises(ConfigError, match="freeze_d: found 2, but 0 of D's first blocks came along"):
        settle_transfer(source, {**mine, "transfer": {"freeze_d": 2}}, build)


def transfer_config(make_dataset, tiny_config, **transfer):
    config = tiny_config(make_dataset(), kimg=1.0)
    return config.model_copy(update={"transfer": config.transfer.model_copy(update=transfer)})


def test_warm_up_and_d_alone_are_closed_forms_of_nimg(make_dataset, tiny_config) -> None:
    config = transfer_config(make_dataset, tiny_config, source="a" * 64, warmup=0.1, d_alone=0.2)
    for nimg in range(0, 1000, 4):
        assert lr_factor(config, "D", nimg) == pytest.approx(min(nimg / 100, 1))
        assert lr_factor(config, "G", nimg) == pytest.approx(min(max((nimg - 200) / 100, 0), 1))
        assert g_rests(config, nimg) == (nimg < 200)
    scratch = transfer_config(make_dataset, tiny_config, warmup=0.1, d_alone=0.2)  # no source: a run from scratch
    assert (lr_factor(scratch, "G", 0), g_rests(scratch, 0)) == (1.0, False)
    no_warmup = transfer_config(make_dataset, tiny_config, source="a" * 64, warmup=0.0)
    assert lr_factor(no_warmup, "G", 0) == 1.0


def test_apply_fills_all_three_nets(make_dataset, tiny_config) -> None:
    config = tiny_config(make_dataset())
    state = build_state(config, build_objective(config.objective), device=CPU)
    source, _, _ = source_of(config.spec, config.data.class_names)
    apply_transfer(plan_transfer(source, config.spec, config.data.class_names), state)
    for net, tensors in ((state.G, source.G), (state.G_ema, source.G), (state.D, source.D)):
        assert all(torch.equal(value, tensors[name]) for name, value in net.state_dict().items())
    assert state.G.synthesis.layers[1].weight.is_contiguous(memory_format=torch.channels_last)


# --- reading the source


@pytest.fixture(scope="module")
def run_template(tmp_path_factory: pytest.TempPathFactory, make_dataset) -> Path:
    """A run with checkpoints at 8, 16 and 24 images, whose weights differ, and the snapshot of the second."""
    model = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8}
    config = build_config("small", fingerprint(make_dataset()), kimg=1, overrides={"model": model})
    run = RunFolder(tmp_path_factory.mktemp("source") / "RUN")
    run.create()
    write_config(run.config, config)
    state = build_state(config, build_objective(config.objective), device=CPU)
    for nimg in (8, 16, 24):
        state.nimg = nimg
        for net in (state.G_ema, state.D):
            with torch.no_grad():
                next(net.parameters()).fill_(nimg)
        save_checkpoint(run.checkpoint(nimg), state, identity={})
        if nimg == 16:
            meta = SnapshotMeta(
                family="stylegan2", spec=config.spec.model_dump(), class_names=list(config.data.class_names),
                class_frequencies=[0.5, 0.5], data_content_hash="", preparation_hash="", preset="small", seed=0, nimg=16,
            )  # fmt: skip
            save_snapshot(run.snapshot, state.G_ema, meta)
    return run.path


@pytest.fixture
def run_folder(run_template: Path, tmp_path: Path) -> RunFolder:
    """A copy of the run to spoil."""
    return RunFolder(Path(shutil.copytree(run_template, tmp_path / "RUN")))


def first_value(source: InitSource) -> tuple[float, float | None]:
    return source.G["synthesis.const"].mean().item(), source.D and source.D["from_image.weight"].mean().item()


def test_a_run_gives_its_best_checkpoint_and_a_snapshot_no_D(run_folder: RunFolder) -> None:
    source = load_source(run_folder.path)
    assert first_value(source) == (16, 16)
    assert "best" in source.words[-1]
    assert source.class_names == ("kind 0", "kind 1")
    alone = load_source(run_folder.snapshot)
    assert first_value(alone) == (16, None)
    assert alone.hash == source.hash == file_sha256(run_folder.snapshot / "generator.safetensors")
    assert "D starts fresh" in alone.words[0]
    shutil.rmtree(run_folder.checkpoint(16))
    assert first_value(load_source(run_folder.path)) == (24, 24)
    shutil.rmtree(run_folder.snapshot)
    assert first_value(load_source(run_folder.path)) == (24, 24)
    torn = run_folder.checkpoint(24) / "D.safetensors"
    torn.write_bytes(torn.read_bytes()[:-9])
    older = load_source(run_folder.path)
    assert first_value(older) == (8, 8)
    assert "skipped a damaged checkpoint" in older.words[0]


def test_a_run_without_checkpoints_is_its_snapshot(run_folder: RunFolder) -> None:
    for folder in run_folder.list_checkpoints():
        shutil.rmtree(folder)
    assert load_source(run_folder.path).D is None


def rewrite(run: RunFolder, **changes) -> None:
    """Change the one checkpoint kept so that its hashes are right and its content is not."""
    for folder in run.list_checkpoints()[1:]:
        shutil.rmtree(folder)
    folder = run.list_checkpoints()[0]
    meta = json.loads((folder / "state.json").read_text())
    for group, change in changes.items():
        if group == "meta":
            change(meta)
            continue
        path = folder / f"{group}.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)
        meta["files"][path.name] = file_sha256(path)
    (folder / "state.json").write_text(json.dumps(meta))


def spoil_pickle(run: RunFolder) -> Path:
    path = run.snapshot / "generator.safetensors"
    path.write_bytes(pickle.dumps({"G": 1}))
    return run.snapshot


def spoil_pickled_checkpoint(run: RunFolder) -> Path:
    rewrite(run)
    path = run.list_checkpoints()[0] / "G_ema.safetensors"
    path.write_bytes(pickle.dumps({"G": 1}))
    meta = json.loads((path.parent / "state.json").read_text())
    meta["files"][path.name] = file_sha256(path)
    (path.parent / "state.json").write_text(json.dumps(meta))
    return run.path


def spoil_newer(run: RunFolder) -> Path:
    rewrite(run, meta=lambda meta: meta.update(format=99))
    return run.path


def spoil_newer_snapshot(run: RunFolder) -> Path:
    path = run.snapshot / "snapshot.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    return run.snapshot


def spoil_nan(run: RunFolder) -> Path:
    rewrite(run, D=lambda tensors: tensors["out.weight"].fill_(math.nan))
    return run.path


def spoil_shape(run: RunFolder) -> Path:
    rewrite(run, G_ema=lambda tensors: tensors.update({"mapping.w_avg": torch.zeros(7, 7)}))
    return run.path


def spoil_missing(run: RunFolder) -> Path:
    rewrite(run, meta=lambda meta: meta["files"].pop("D.safetensors"))
    return run.path


def spoil_torn(run: RunFolder) -> Path:
    rewrite(run)
    (run.list_checkpoints()[0] / "D.safetensors").write_bytes(b"short")
    return run.path


def spoil_names(run: RunFolder) -> Path:
    path = run.snapshot / "snapshot.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "class_names": ["one"]}))
    return run.snapshot


SPOILT = {
    "nothing there": (lambda run: run.path / "nowhere", SnapshotError, "no such file"),
    "no model": (lambda run: run.pictures, SnapshotError, "snapshot.json"),
    "pickle": (spoil_pickle, SnapshotError, "not a safetensors file"),
    "pickled checkpoint": (spoil_pickled_checkpoint, CheckpointError, "not a safetensors file"),
    "newer": (spoil_newer, CheckpointError, "format 99"),
    "newer snapshot": (spoil_newer_snapshot, SnapshotError, "format 99"),
    "not finite": (spoil_nan, CheckpointError, "out.weight: holds values that are not finite"),
    "other shape": (spoil_shape, CheckpointError, "mapping.w_avg: found"),
    "not listed": (spoil_missing, CheckpointError, "not among the files"),
    "torn": (spoil_torn, CheckpointError, "missing or damaged"),
    "class names": (spoil_names, SnapshotError, "class_names"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_source_is_one_clear_error(name: str, run_folder: RunFolder) -> None:
    spoil, kind, words = SPOILT[name]
    path = spoil(run_folder)
    with pytest.raises(StylescanError) as caught:
        load_source(path)
    assert isinstance(caught.value, kind)
    assert words in caught.value.message
    assert caught.value.remedy
