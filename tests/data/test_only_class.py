"""`--only-class` and `--ignore-classes`: some classes, one (a set without classes), or all images without them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.cli import run as command
from stylescan.data.audit.summary import Audit, audit_lines
from stylescan.data.classes import choose_classes
from stylescan.data.options import PrepareOptions
from stylescan.data.prepare import prepare
from stylescan.data.prepared import PreparedDataset
from stylescan.data.sources import Source
from stylescan.errors import ConfigError

PATTERN = r"(?P<subject>\d+)_(?P<slice>\d+)\.png"
Folder = Callable[..., Path]


def run(root: Path, out: Path, **settings: object) -> tuple[PreparedDataset, Audit]:
    options = PrepareOptions.model_validate({"pattern": PATTERN, "workers": 1, "keep_ids": True, **settings})
    return prepare(root, out, options)


@pytest.fixture
def scans(subject_folder: Folder) -> Path:
    """27 subjects of three slices; of each of three classes nine."""
    return subject_folder(27, 3, ("ill", "odd", "well"))


def test_one_class_makes_a_set_without_classes(scans: Path, tmp_path: Path) -> None:
    data, audit = run(scans, tmp_path / "out", only_classes=("odd",))
    assert (len(data), data.class_names, data.num_classes, set(data.labels.tolist())) == (27, (), 0, {-1})
    assert {image.source.split("/")[0] for image in data.manifest.images} == {"odd"}
    assert sorted(set(data.subjects.tolist())) == [f"{k:03d}" for k in range(1, 27, 3)]
    lines = "\n".join(audit_lines(audit))
    assert "27 of 81 scans kept, those of class odd" in lines
    assert "every image has the class" not in lines  # it was asked for: no surprise to warn of


def test_several_classes_keep_their_names(scans: Path, tmp_path: Path) -> None:
    data, _ = run(scans, tmp_path / "out", only_classes=("well", "ill"))
    assert (len(data), data.class_names) == (54, ("ill", "well"))
    for image in data.manifest.images:
        assert image.label is not None
        assert data.class_names[image.label] == image.source.split("/")[0]


def test_classes_are_left_aside_and_all_images_kept(scans: Path, tmp_path: Path) -> None:
    data, audit = run(scans, tmp_path / "out", ignore_classes=True)
    assert (len(data), data.class_names, set(data.labels.tolist())) == (81, (), {-1})
    assert len(set(data.subjects.tolist())) == 27
    assert "classes left aside (ill, odd, well)" in "\n".join(audit_lines(audit))
    whole, _ = run(scans, tmp_path / "whole")
    np.testing.assert_array_equal(data.read(range(81)), whole.read(range(81)))


def test_what_was_asked_is_recorded_and_the_order_of_names_is_not(scans: Path, tmp_path: Path) -> None:
    first, _ = run(scans, tmp_path / "first", only_classes=("well", "ill", "well"))
    assert first.manifest.preparation["only_classes"] == ["ill", "well"]
    again, audit = run(scans, tmp_path / "first", only_classes=("ill", "well"))
    assert again.manifest == first.manifest
    assert "up to date" in "\n".join(audit_lines(audit))
    other, _ = run(scans, tmp_path / "other", only_classes=("ill", "odd"))
    plain, _ = run(scans, tmp_path / "plain", ignore_classes=True)
    assert plain.manifest.preparation["ignore_classes"] is True
    assert len({first.preparation_hash, other.preparation_hash, plain.preparation_hash}) == 3


def test_sets_prepared_before_keep_their_hash() -> None:
    assert not {"only_classes", "ignore_classes", "contrasts"} & set(PrepareOptions().recorded())


@pytest.mark.parametrize(
    ("asked", "words", "remedy"),
    [
        ("wel", "'wel': no scan has it; the classes are 'ill', 'odd', 'well'", "did you mean 'well'?"),
        ("ILL", "'ILL'", "did you mean 'ill'?"),
        ("xyz", "'ill', 'odd', 'well'", "name one of these, as it is spelt there"),
    ],
)
def test_an_unknown_class_names_the_known_ones(
    scans: Path, tmp_path: Path, asked: str, words: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(scans, tmp_path / "out", only_classes=("ill", asked))
    assert words in caught.value.message
    assert caught.value.remedy == remedy
    assert not (tmp_path / "out").exists()


def test_scans_without_classes_would_all_be_gone(subject_folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no image would be left") as caught:
        run(subject_folder(16, 2, ()), tmp_path / "out", only_classes=("ill",))
    assert "--layout classes" in caught.value.remedy


def test_on_the_command_line_the_option_repeats(scans: Path, tmp_path: Path) -> None:
    arguments = ["prepare", str(scans), "--out", str(tmp_path / "out"), "--pattern", PATTERN, "--workers", "1"]
    assert command([*arguments, "--only-class", "ill", "--only-class", "odd"]) == 0
    assert PreparedDataset.open(tmp_path / "out").class_names == ("ill", "odd")


NAMES = st.sampled_from(["AD", "NC", "a", "ä b"])


@given(labels=st.lists(st.one_of(st.none(), NAMES), min_size=1, max_size=12), asked=st.sets(NAMES, min_size=1))
def test_kept_are_exactly_the_scans_of_the_named_classes(labels: list[str | None], asked: set[str]) -> None:
    sources = [
        Source(f"{k}.png", (Path(f"{k}.png"),), "picture", "picture", label=label) for k, label in enumerate(labels)
    ]
    options = PrepareOptions(only_classes=tuple(asked))
    if asked <= set(labels):
        kept, _ = choose_classes(sources, options)
        assert kept == [source for source in sources if source.label in asked]
        assert kept
    else:
        with pytest.raises(ConfigError):
            choose_classes(sources, options)
