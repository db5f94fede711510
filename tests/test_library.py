"""The library as its users meet it: a dozen names, lazily loaded, each with an example that runs."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import stylescan
from stylescan import (
    StylescanError,
    TrainedRun,
    evaluate_images,
    mix_styles,
    prepare_scans,
    resolve_config,
    sample_images,
    train_generator,
    write_picture,
)
from stylescan.config import read_config
from stylescan.data.prepared import PreparedDataset
from stylescan.generate.images import read_provenance

PROJECT = Path(__file__).resolve().parents[1]
TINY = {
    "model.z_dim": 8,
    "model.w_dim": 8,
    "model.channel_base": 64,
    "model.channel_max": 4,
    "train.batch": 4,
    "train.score_images": 16,
}


@pytest.fixture(scope="module")
def home(make_dataset: Callable[..., PreparedDataset], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What the examples may use: `data`, `run`, `snapshot` and `scans`, a folder a class of 20 subjects each."""
    folder = tmp_path_factory.mktemp("library")
    rng, axis = np.random.default_rng(0), np.linspace(-1, 1, 20)
    for subject in range(20):
        name = ("big", "small")[subject % 2]
        (folder / "scans" / name).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            disc = (axis[:, None] ** 2 + axis[None] ** 2 < rng.uniform(0.3, 0.9)) * 180 + rng.normal(20, 6, (20, 20))
            Image.fromarray(disc.astype(np.uint8)).save(folder / "scans" / name / f"p{subject:02d}_{number}.png")
    data = make_dataset()
    run = train_generator(data, folder / "run", preset="small", kimg=0.04, settings=TINY)
    return SimpleNamespace(data=data, run=run, snapshot=run.snapshot(), scans=folder / "scans")


@pytest.mark.parametrize("name", stylescan.__all__)
def test_every_public_name_has_an_example_that_runs(name: str, home: SimpleNamespace, tmp_path: Path) -> None:
    names = {public: getattr(stylescan, public) for public in stylescan.__all__}
    found = doctest.DocTestFinder(recurse=False).find(
        names[name], name, globs={**names, **vars(home), "folder": tmp_path}
    )
    assert found[0].examples, f"{name} has no example"
    said: list[str] = []
    assert doctest.DocTestRunner().run(found[0], out=said.append).failed == 0, "".join(said)


def test_importing_the_package_loads_nothing() -> None:
    code = """
import sys, stylescan
heavy = {"torch", "numpy", "pydantic", "PIL", "scipy", "matplotlib", "difflib"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert "train_generator" in dir(stylescan) and "torch" not in sys.modules
from stylescan import StylescanError
assert "torch" not in sys.modules
from stylescan import sample_images
assert "torch" in sys.modules and "matplotlib" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_names_are_the_documented_ones() -> None:
    documented = re.findall(r"^   (\w+)$", (PROJECT / "docs" / "library.rst").read_text("utf-8"), re.MULTILINE)
    assert sorted(documented) == stylescan.__all__
    assert set(stylescan._HOME) == set(stylescan.__all__) <= set(dir(stylescan))
    packages = {item.stem for item in Path(stylescan.__file__).parent.iterdir()}
    assert not packages & set(stylescan.__all__), "importing the package would hide the name"


def test_every_name_is_imported_for_type_checkers_from_its_home() -> None:
    text = Path(stylescan.__file__).read_text("utf-8")
    block = text[text.index("if TYPE_CHECKING:") : text.index("__version__")]
    rows = re.findall(r"from (\S+) import (.+)", block)
    assert {name: module for module, names in rows for name in names.split(", ")} == stylescan._HOME


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("load_snapshots", "mean load_snapshot"), ("prepareddataset", "mean PreparedDataset"), ("mix", "mean mix_styles"),
     ("xyzzy", "the public names are")],
)  # fmt: skip
def test_an_unknown_name_is_an_attribute_error_with_near_names(wrong: str, near: str) -> None:
    with pytest.raises(AttributeError, match=near) as caught:
        getattr(stylescan, wrong)
    assert wrong in str(caught.value)
    with pytest.raises(ImportError):
        exec(f"from stylescan import {wrong}")


@pytest.mark.slow
def test_a_type_checker_sees_the_names_and_no_others() -> None:
    pytest.importorskip("mypy")
    code = "from stylescan import StylescanError, nonsense\nreveal_type(StylescanError('x').remedy)\n"
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--follow-imports=silent",
        "--no-incremental",
        "--config-file=",
        "-c",
        code,
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT / "src").stdout
    assert 'Revealed type is "' in said
    assert re.search(r"Revealed type is \"(builtins\.)?str\"", said), said
    assert 'has no attribute "nonsense"' in said
    assert "Found 1 error" in said


def test_training_equals_the_command_line(home: SimpleNamespace, tmp_path: Path) -> None:
    from stylescan.cli import run as command

    options = [f"--set={key}={value}" for key, value in TINY.items()]
    out = tmp_path / "run"
    assert command(["train", "--data", str(home.data.path), "--out", str(out), "--preset", "small", "--kimg", "0.04",
                    *options]) == 0  # fmt: skip
    weights = "snapshot/generator.safetensors"
    assert (out / weights).read_bytes() == (home.run.path / weights).read_bytes()
    assert read_config(out / "config.yaml") == home.run.config


def test_training_prints_nothing_and_tells_its_callers(
    home: SimpleNamespace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shown: list[int] = []
    said: list[str] = []
    settings = {**TINY, "train.score_kimg": None}

    def train(kimg: float, resume: bool) -> TrainedRun:
        return train_generator(
            str(home.data.path), str(tmp_path / "run"), preset="small", kimg=kimg, settings=settings, resume=resume,
            progress=lambda p: shown.append(p.nimg), notice=said.append,
        )  # fmt: skip

    run = train(0.012, False)
    assert shown == [4, 8, 12]
    assert any("training preset small" in line for line in said)
    assert run.config == resolve_config(home.data, preset="small", kimg=0.012, settings=settings)
    again = train(0.012, True)  # finished: nothing to do
    assert (again.result.nimg, shown) == (12, [4, 8, 12])
    with pytest.raises(StylescanError, match="already holds a run"):
        train(0.012, False)
    with pytest.raises(StylescanError, match=r"train\.total_kimg"):
        train(0.5, True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda h, t: prepare_scans(h.scans, t / "d", resolution=48), "resolution: 48 is not a power of two"),
        (lambda h, t: prepare_scans(t / "none", t / "d"), "none"),
        (lambda h, t: resolve_config(h.data, preset="smal"), "smal"),
        (lambda h, t: resolve_config(h.data, settings={"lr": 0.1}), "train.lr"),
        (lambda h, t: resolve_config(h.data, settings={"data.resolution": 8}), "unknown key"),
        (lambda h, t: resolve_config(h.data, settings={"train.batch": 0}), "train.batch"),
        (lambda h, t: train_generator(h.scans, t / "r"), "not a prepared dataset"),
        (lambda h, t: train_generator(h.data, t / "r", kimg=1, minutes=1), "both given"),
        (lambda h, t: evaluate_images(h.scans), "no dataset named"),
        (lambda h, t: sample_images(h.snapshot, [1], labels="kind 9"), "kind 0, kind 1"),
        (lambda h, t: sample_images(h.snapshot, [1, 2], labels=["kind 0"]), "1 for 2 seeds"),
        (lambda h, t: write_picture(t / "a.png", np.zeros((3, 3)), h.snapshot), "of shape (3, 3)"),
    ],
)
def test_a_wrong_turn_is_a_clear_error(
    call: Callable[[SimpleNamespace, Path], object], words: str, home: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(StylescanError) as caught:
        call(home, tmp_path)
    assert words in str(caught.value)
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_picture_holds_the_images_in_rows_and_says_that_it_is_synthetic(
    home: SimpleNamespace, tmp_path: Path
) -> None:
    images = mix_styles(home.snapshot, [0, 1], [5, 6, 7])
    path = write_picture(tmp_path / "mix.png", images, home.snapshot)
    assert read_provenance(path).keys() == {"Title", "Software", "model_hash"}
    pixels = np.asarray(Image.open(path))
    assert pixels.shape == (2 * 16 + 2, 3 * 16 + 4)
    np.testing.assert_array_equal(pixels[18:, 36:], images[1, 2, 0])
    with pytest.raises(StylescanError, match="exists already"):
        write_picture(path, images, home.snapshot)


def test_the_example_is_short_and_uses_the_public_names_alone() -> None:
    text = (PROJECT / "examples" / "train_sample_mix.py").read_text("utf-8")
    assert len(text.splitlines()) <= 40
    assert len(re.findall(r"^# %% ", text, re.MULTILINE)) >= 4
    assert set(re.findall(r"(?:from|import) (stylescan[\w.]*)", text)) == {"stylescan"}


def run_example(*arguments: object) -> None:
    command = [sys.executable, str(PROJECT / "examples" / "train_sample_mix.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check_example(out: Path, *, classes: int) -> None:
    for name, rows, columns in (("samples.png", classes, 8), ("mix.png", 5, 7)):
        assert Image.open(out / name).size == (columns * 66 - 2, rows * 66 - 2)
        assert read_provenance(out / name)["Title"].startswith("SYNTHETIC")
    mix = np.asarray(Image.open(out / "mix.png")).astype(float)
    tiles = mix[:264].reshape(4, 66, -1)  # a column's images differ by their rows' seeds, so none is a copy
    assert all(np.abs(tiles[k] - tiles[0]).max() > 0 for k in (1, 2, 3))


@pytest.mark.slow
def test_the_example_runs_without_data(tmp_path: Path) -> None:
    run_example(tmp_path, 0.05)
    check_example(tmp_path, classes=2)


def test_the_example_runs_on_a_folder(home: SimpleNamespace, tmp_path: Path) -> None:
    scans = tmp_path / "flat"
    scans.mkdir()
    for path in home.scans.glob("big/*.png"):
        (scans / path.name).write_bytes(path.read_bytes())
    run_example(tmp_path / "out", 0.02, scans)
    check_example(tmp_path / "out", classes=1)


def test_library_and_command_line_offer_every_option_of_prepare() -> None:
    from stylescan.api import prepare_scans
    from stylescan.cli.prepare import prepare
    from stylescan.data.options import PrepareOptions

    for verb in (prepare_scans, prepare):
        assert set(PrepareOptions.model_fields) <= set(inspect.signature(verb).parameters), verb
