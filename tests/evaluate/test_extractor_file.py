"""A TorchScript or ONNX file as extractor: equal features from both, how it is fed, and every file that cannot serve."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from stylescan.errors import ConfigError
from stylescan.evaluate.extractors.from_file import FileExtractor, open_file
from stylescan.evaluate.extractors.onnx_file import _external_locations, _fields
from stylescan.evaluate.extractors.torchscript import refused_operators
from stylescan.evaluate.features import get_extractor

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Net(nn.Module):
    """A small network for 3 planes of any size: 6 features."""

    def __init__(self, planes: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.first = nn.Conv2d(planes, 8, 3, stride=2, padding=1)
            self.norm = nn.BatchNorm2d(8)
            self.last = nn.Conv2d(8, 6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.norm(self.first(x)))).mean(dim=[2, 3])


class Means(nn.Module):
    """The mean, the lowest and the highest value of each plane: shows what arrives."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2)
        return torch.cat([flat.mean(dim=2), flat.amin(dim=2), flat.amax(dim=2)], dim=1)


class Maps(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, ::2, ::2]


class Two(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean(dim=[2, 3]), x.amax(dim=[2, 3])


class Whole(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.mean(dim=[2, 3]) * 100.0).to(torch.int64)


class Constant(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones(x.shape[0], 4)


class Infinite(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x.mean(dim=[2, 3]) - 10.0)


class Batchwise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = x.mean(dim=[2, 3])
        return means - means.mean(dim=0, keepdim=True)


class Square(nn.Module):
    """Only for 32 x 32 px of one plane."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(6)
            self.layer = nn.Linear(1024, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1))


class Writer(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "written.bin")
        return x.mean(dim=[2, 3])


def scripted(net: nn.Module, path: Path, *, train: bool = False) -> Path:
    module: Any = torch.jit.script(net.train(train))
    torch.jit.save(module, str(path))  # type: ignore[no-untyped-call]
    return path


def sidecar(network: Path, **values: Any) -> Path:
    network.with_suffix(".json").write_text(json.dumps(values))
    return network


def exported(net: nn.Module, path: Path, shape: tuple[int, ...] = (2, 3, 32, 32), **options: Any) -> Path:
    """By torch.onnx.export, which takes seconds."""
    pytest.importorskip("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (torch.zeros(shape),), str(path), dynamo=True, verbose=False, **options)
    return path


def onnx_weights(planes: int) -> NDArray[np.float32]:
    return np.random.default_rng(4).normal(size=(6, planes, 3, 3)).astype(np.float32)


def onnx_file(
    path: Path, shape: tuple[int | str, ...] = ("n", 3, 16, 16), *, peak: bool = False, location: str | None = None
) -> Path:
    """A convolution to 6 planes, pooled to `mean` [N, 6] and, if asked, to `peak`. `location`: its weights lie there."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    planes = shape[1] if isinstance(shape[1], int) else 3
    weight = onnx.numpy_helper.from_array(onnx_weights(planes), "w")
    if location is not None:
        (path.parent / "w.bin").write_bytes(weight.raw_data)
        onnx.external_data_helper.set_external_data(weight, location)
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
    nodes = [helper.make_node("Conv", ["x", "w"], ["maps"])]
    for name, kind in (("mean", "GlobalAveragePool"), ("peak", "GlobalMaxPool"))[: 1 + peak]:
        nodes.append(helper.make_node(kind, ["maps"], [name + "_1x1"]))
        nodes.append(helper.make_node("Flatten", [name + "_1x1"], [name]))
    outputs = [helper.make_tensor_value_info(name, real, [None, 6]) for name in ("mean", "peak")[: 1 + peak]]
    inputs = [helper.make_tensor_value_info("x", real, shape)]
    graph = helper.make_graph(nodes, "net", inputs, outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def pictures(n: int = 5, channels: int = 1, size: int = 24) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def test_torchscript_and_onnx_of_one_network_give_equal_features(tmp_path: Path) -> None:
    onnx = open_file(onnx_file(tmp_path / "a.onnx"))
    net = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        net[0].weight.copy_(torch.from_numpy(onnx_weights(3)))
    script = open_file(sidecar(scripted(net, tmp_path / "b.pt"), size=16))
    assert script.feeding == onnx.feeding
    np.testing.assert_allclose(script(pictures(20, 2)), onnx(pictures(20, 2)), atol=1e-4)
    assert np.abs(onnx(pictures(20, 2))).max() > 0.5


@pytest.mark.slow
def test_what_torch_exports_gives_the_features_of_the_network(tmp_path: Path) -> None:
    net = Net().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    onnx = exported(net, tmp_path / "a.onnx", dynamic_shapes={"x": {0: batch}}, external_data=False)
    script = sidecar(scripted(net, tmp_path / "b.pt"), size=32)  # the ONNX file itself fixes 32
    first, second = open_file(onnx), open_file(script)
    assert (first.feeding, first.dim) == (second.feeding, 6)
    found = first(pictures(20))
    np.testing.assert_allclose(second(pictures(20)), found, atol=1e-4)
    x = torch.from_numpy(pictures(20)).float().div(255).expand(-1, 3, -1, -1)
    x = nn.functional.interpolate(x, size=(32, 32), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.inference_mode():
        np.testing.assert_allclose(found, net(x).numpy(), atol=1e-4)


def test_an_onnx_file_of_a_fixed_batch_serves_any_number(tmp_path: Path) -> None:
    extractor = open_file(onnx_file(tmp_path / "a.onnx", (4, 3, 16, 16)))
    together = extractor(pictures(7))
    np.testing.assert_allclose(
        np.concatenate([extractor(pictures(7)[i : i + 1]) for i in range(7)]), together, atol=1e-5
    )


def test_values_arrive_as_the_sidecar_says(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 256).astype(np.uint8).reshape(1, 1, 16, 16)
    plain = open_file(sidecar(scripted(Means(), tmp_path / "a.pt"), size=16))(ramp)
    np.testing.assert_allclose(plain[0], [0.5] * 3 + [0] * 3 + [1] * 3, atol=1e-6)
    sidecar(tmp_path / "a.pt", size=[16, 16], range=[-1, 1], mean=[0, 0.5, 1], std=[1, 2, 4])
    fed = open_file(tmp_path / "a.pt")(ramp)
    np.testing.assert_allclose(fed[0], [0, -0.25, -0.25, -1, -0.75, -0.5, 1, 0.25, 0], atol=1e-6)
    sidecar(tmp_path / "a.pt", size=16, channels=1)
    two = np.concatenate([ramp, ramp // 2], axis=1)
    np.testing.assert_allclose(open_file(tmp_path / "a.pt")(two)[0], [0.375, 0, 0.75], atol=2e-3)
    deep = open_file(tmp_path / "a.pt")(ramp.astype(np.uint16) * 257)
    np.testing.assert_allclose(deep, open_file(tmp_path / "a.pt")(ramp), atol=1e-6)


def test_the_hash_covers_the_file_and_how_it_is_fed_and_no_path(tmp_path: Path) -> None:
    first = open_file(sidecar(scripted(Net(), tmp_path / "a.pt"), size=32))
    (tmp_path / "deeper").mkdir()
    moved = tmp_path / "deeper" / "a.pt"
    moved.write_bytes((tmp_path / "a.pt").read_bytes())
    again = open_file(sidecar(moved, size=[32, 32], range=[0, 1]))
    assert again.hash == first.hash
    assert first.name == "a.pt"
    others = [open_file(sidecar(moved, **values)).hash for values in ({"size": 24}, {"size": 32, "resize": "bilinear"})]
    changed = Net()
    with torch.no_grad():
        next(changed.parameters())[0, 0, 0, 0] += 1e-3
    others.append(open_file(sidecar(scripted(changed, moved), size=32)).hash)
    assert len({first.hash, *others}) == 4


def test_a_path_or_its_text_is_opened_and_a_name_is_guessed(tmp_path: Path) -> None:
    path = sidecar(scripted(Net(), tmp_path / "net.ts"), size=32)
    assert get_extractor(path).hash == get_extractor(str(path)).hash
    with pytest.raises(ConfigError, match=r"'radiomic', expected one of efficientnet-lite0.*did you mean radiomics"):
        get_extractor("radiomic")
    with pytest.raises(ConfigError, match="nowhere.onnx: no such file"):
        get_extractor("nowhere.onnx")


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "maps": (lambda p: scripted(Maps(), p / "n.pt"), r"gives \[3, 3, 112, 112\].*expected features \[N, d\]"),
    "two outputs": (lambda p: scripted(Two(), p / "n.pt"), "returns a tuple"),
    "whole numbers": (lambda p: scripted(Whole(), p / "n.pt"), "int64"),
    "constant": (lambda p: scripted(Constant(), p / "n.pt"), "same features for every image"),
    "not finite": (lambda p: scripted(Infinite(), p / "n.pt"), "not finite"),
    "depends on the batch": (lambda p: scripted(Batchwise(), p / "n.pt"), "in another batch"),
    "another size": (lambda p: sidecar(scripted(Square(), p / "n.pt"), channels=1), r"could not run on .*224, 224"),
    "other planes": (lambda p: scripted(Net(1), p / "n.pt"), r"could not run on float32 \[3, 3, 224"),
    "writes files": (lambda p: scripted(Writer(), p / "n.pt"), r"its code calls torch\.save"),
    "unknown key": (lambda p: sidecar(scripted(Net(), p / "n.pt"), sise=32), "unknown key 'sise'.*did you mean 'size'"),
    "bad size": (lambda p: sidecar(scripted(Net(), p / "n.pt"), size=4), "size: expected 8 to"),
    "size as text": (lambda p: sidecar(scripted(Net(), p / "n.pt"), size="big"), "size: "),
    "size true": (lambda p: sidecar(scripted(Net(), p / "n.pt"), size=True), "size: "),
    "range upside down": (lambda p: sidecar(scripted(Net(), p / "n.pt"), range=[1, 0]), "range: expected two"),
    "std of zero": (lambda p: sidecar(scripted(Net(), p / "n.pt"), std=[0.1, 0.1, 0]), "std: expected numbers above"),
    "two means": (lambda p: sidecar(scripted(Net(), p / "n.pt"), mean=[0.1, 0.1]), "mean has 2 numbers for 3"),
    "no means": (lambda p: sidecar(scripted(Net(), p / "n.pt"), mean=[]), "mean has 0 numbers for 3"),
    "two channels": (lambda p: sidecar(scripted(Net(), p / "n.pt"), channels=2), "channels: "),
    "output of a script": (lambda p: sidecar(scripted(Net(), p / "n.pt"), output="o"), "output is for ONNX"),
    "a list as sidecar": (lambda p: _written(scripted(Net(), p / "n.pt"), "[1]"), "holds a list"),
    "a torn sidecar": (lambda p: _written(scripted(Net(), p / "n.pt"), '{"size": '), "not valid JSON"),
    "a folder": (lambda p: p, "a folder, expected a file"),
    "another ending": (lambda p: _made(p / "n.pt2", b"x"), r"\.pt2, expected one of .*as code"),
    "weights": (lambda p: _made(p / "n.pth", b"x"), r"\.pth, expected one of .*pickle"),
    "text": (lambda p: _made(p / "n.pt", b"hello"), "not a TorchScript file"),
    "text named onnx": (lambda p: _made(p / "n.onnx", b"hello"), "not an ONNX file"),
    "an empty onnx": (lambda p: _made(p / "n.onnx", b""), "not an ONNX file"),
}  # fmt: skip


def _made(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _written(network: Path, text: str) -> Path:
    network.with_suffix(".json").write_text(text)
    return network


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_serve_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    make, words = REFUSED[name]
    with pytest.raises(ConfigError, match=words) as caught:
        open_file(make(tmp_path))
    assert caught.value.remedy
    assert not (tmp_path / "written.bin").exists()


def test_batch_norm_left_in_training_is_put_into_evaluation(tmp_path: Path) -> None:
    kept = open_file(sidecar(scripted(Net(), tmp_path / "a.pt"), size=32))(pictures())
    trained = open_file(sidecar(scripted(Net(), tmp_path / "b.pt", train=True), size=32))(pictures())
    np.testing.assert_array_equal(kept, trained)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("way", ["torch.save", "pickle", "a legacy tar"])
def test_pickles_are_refused_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "n.pt"
    if way == "torch.save":
        torch.save({"net": Bomb()}, path)
    elif way == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        torch.save({"net": Bomb()}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ConfigError, match="not a TorchScript file|a pickle of torch.save"):
        open_file(path)
    assert not (tmp_path / "sprung").exists()


def test_a_bomb_inside_a_torchscript_archive_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = scripted(Net(), tmp_path / "good.pt")
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(tmp_path / "bad.pt", "w") as target:
        for member in source.namelist():
            content = pickle.dumps(Bomb(), 2) if member.endswith("/data.pkl") else source.read(member)
            target.writestr(member, content)
    with pytest.raises(ConfigError, match="TorchScript cannot load it"):
        open_file(tmp_path / "bad.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("capitals", [False, True])
def test_hidden_code_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capitals: bool) -> None:
    """A harmless file first, then code of the same name, or in capitals: whichever of them TorchScript would take."""
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(scripted(Writer(), tmp_path / "w.pt")) as source:
        content = {name: source.read(name) for name in source.namelist()}
    [code] = [name for name in content if name.endswith(".py")]
    harmless = content[code].replace(b"torch.save", b"torch.relu")
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as target, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in content.items():
            target.writestr(name, harmless if name == code else value)
        target.writestr(code.upper() if capitals else code, content[code])
    with pytest.raises(ConfigError, match=r"its code calls torch\.save"):
        open_file(tmp_path / "bad.pt")
    assert not (tmp_path / "written.bin").exists()


@pytest.mark.parametrize("size", [50, 2000])
def test_a_torn_archive_is_refused(tmp_path: Path, size: int) -> None:
    path = scripted(Net(), tmp_path / "n.pt")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ConfigError, match="not a TorchScript file"):
        open_file(path)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("torch.save(x, 'a')", "torch.save"),
        ("y = torch.from_file('a', True, 4)", "torch.from_file"),
        ("f = ops.aten.save", "ops.aten.save"),
        ("ops.c10d.send(x)", "ops.c10d.send"),
        ("fork(f)", "fork"),
        ("torch.relu(self.save(x))", None),
        ("ops.prim.RaiseException('torch.save')", None),
    ],
)
def test_operators_that_reach_out_are_named(code: str, found: str | None) -> None:
    assert next(refused_operators(code), None) == found


def test_onnx_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    whole, split = open_file(onnx_file(folder / "a.onnx")), open_file(onnx_file(folder / "b.onnx", location="w.bin"))
    np.testing.assert_allclose(split(pictures()), whole(pictures()), atol=1e-6)
    weights = np.fromfile(folder / "w.bin", np.float32)
    (folder / "w.bin").write_bytes((weights * 2).tobytes())
    assert open_file(folder / "b.onnx").hash != split.hash
    (tmp_path / "secret.bin").write_bytes(weights.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    for location in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin", "a\0b", "../models/../secret.bin"):
        with pytest.raises(ConfigError, match="outside its folder"):
            open_file(onnx_file(folder / "c.onnx", location=location))
    with pytest.raises(ConfigError, match=r"gone\.bin: no such file"):
        open_file(onnx_file(folder / "c.onnx", location="gone.bin"))


def test_onnx_of_wrong_inputs_or_outputs(tmp_path: Path) -> None:
    two = onnx_file(tmp_path / "two.onnx", peak=True)
    with pytest.raises(ConfigError, match="outputs are mean, peak; which of them"):
        open_file(two)
    with pytest.raises(ConfigError, match="asks for output 'peek'"):
        open_file(sidecar(two, output="peek"))
    peak, mean = open_file(sidecar(two, output="peak")), open_file(sidecar(two, output="mean"))
    assert (peak(pictures()) > mean(pictures())).all()
    assert peak.hash != mean.hash
    with pytest.raises(ConfigError, match=r"takes 16 x 16 px .*its sidecar says size 32 x 32"):
        open_file(sidecar(two, output="peak", size=32))
    with pytest.raises(ConfigError, match="takes 3 channels, its sidecar says channels 1"):
        open_file(sidecar(two, output="peak", channels=1))
    with pytest.raises(ConfigError, match="takes 7 channels, expected 1 or 3"):
        open_file(onnx_file(tmp_path / "many.onnx", (1, 7, 16, 16)))
    with pytest.raises(ConfigError, match="takes 4 x 4 px"):
        open_file(onnx_file(tmp_path / "small.onnx", (1, 3, 4, 4)))
    open_grey = open_file(sidecar(onnx_file(tmp_path / "open.onnx", ("n", 1, "h", "w")), size=[16, 24]))
    assert (open_grey.feeding.size, open_grey.feeding.channels) == ((16, 24), 1)


def test_onnx_without_its_package_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_file(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="needs onnxruntime") as caught:
        open_file(path)
    assert 'pip install "stylescan[onnx]"' in caught.value.remedy


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_a_clean_refusal(data: bytes) -> None:
    try:
        for number, value in _fields(memoryview(data)):
            assert number >= 0
            assert isinstance(value, int) or len(value) <= len(data)
        list(_external_locations(memoryview(data), "model", 100))
    except ValueError:
        pass


def test_a_nested_bomb_is_no_stack_overflow() -> None:
    def field(number: int, content: bytes) -> bytes:
        length, out = len(content), bytes([number << 3 | 2])
        while length > 127:
            out, length = out + bytes([length & 127 | 128]), length >> 7
        return out + bytes([length]) + content

    inner = b""
    for _ in range(300):  # graph > node > attribute > graph > ...
        inner = field(1, field(5, field(6, inner)))
    with pytest.raises(ValueError, match="nested too deeply"):
        list(_external_locations(memoryview(field(7, inner)), "model", 100))


def test_wrong_images_are_refused(tmp_path: Path) -> None:
    extractor: FileExtractor = open_file(sidecar(scripted(Net(), tmp_path / "n.pt"), size=32))
    with pytest.raises(ValueError, match="expected uint8 or uint16"):
        extractor(np.zeros((1, 1, 32, 32), np.float32))
    assert extractor(np.zeros((0, 1, 32, 32), np.uint8)).shape == (0, 6)
