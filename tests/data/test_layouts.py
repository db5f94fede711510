"""Layouts: what is recognised, what is refused, and whose each file is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.data.layouts.table import find_sources
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source, natural_key, normal_side
from stylescan.errors import ConfigError, DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def find(root: Path, **settings: object) -> tuple[list[Source], str]:
    found, name, seen = find_sources(root, PrepareOptions.model_validate(settings))
    assert seen.startswith(f"layout {name}: ")
    return found.sources, name


def test_classes_flat_and_nested(tmp_path: Path) -> None:
    sources, name = find(touch(tmp_path / "a", "ill/10.png", "ill/9.png", "well/1.jpg", "ill/.hidden.png", "note.txt"))
    assert name == "classes"
    assert [(s.name, s.label) for s in sources] == [("ill/9.png", "ill"), ("ill/10.png", "ill"), ("well/1.jpg", "well")]
    sources, name = find(touch(tmp_path / "b", "2.png", "1.png"))
    assert (name, [s.name for s in sources], sources[0].label) == ("flat", ["1.png", "2.png"], None)
    assert find(touch(tmp_path / "c", "only/1.png", "only/deep er/ü.png"))[1] == "flat"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("train/1.png", "test/1.png"), "look like splits"),
        (("1.png", "ill/1.png"), "both here and in folders"),
        (("readme.txt",), "no scans found"),
        (("a.nii", "b.png"), "expected one kind"),
    ],
)
def test_ambiguous_folders_are_refused(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        find(touch(tmp_path / "scans", *names))
    assert caught.value.remedy


def test_unknown_layout_and_missing_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'shoebox'"):
        find(touch(tmp_path, "1.png"), layout="shoebox")
    with pytest.raises(DataError, match="no such file or folder"):
        find(tmp_path / "absent")
    with pytest.raises(DataError, match="expects a folder"):
        find(touch(tmp_path, "1.png") / "1.png", layout="flat")


def test_nifti_subjects_are_stems_and_bids_sessions_stay_together(tmp_path: Path) -> None:
    root = touch(tmp_path, "case_1.nii.gz", "sub-07/ses-1/sub-07_ses-1_T1w.nii.gz", "sub-07/ses-2/sub-07_ses-2_T1w.nii",
                 "._case_1.nii.gz", "x/case_1.nii.gz")  # fmt: skip
    sources, name = find(root)
    assert name == "nifti"
    assert {s.name: s.subject for s in sources} == {
        "case_1.nii.gz": "case_1",
        "sub-07/ses-1/sub-07_ses-1_T1w.nii.gz": "sub-07",
        "sub-07/ses-2/sub-07_ses-2_T1w.nii": "sub-07",
        "x/case_1.nii.gz": "x/case_1",
    }
    assert find(root / "case_1.nii.gz")[0][0].subject == "case_1"


def test_pattern_fills_subject_slice_side_label_and_extra(tmp_path: Path) -> None:
    root = touch(tmp_path, "OAI9_L_E_F_T_t2_12.png", "OAI9_right_t1_3.png")
    pattern = r"OAI(?P<subject>\d+)_(?P<side>L_E_F_T|right)_(?P<series>t\d)_(?P<slice>\d+)"
    sources, _ = find(root, pattern=pattern)
    assert [(s.subject, s.side, s.slice, s.extra) for s in sources] == [
        ("9", "left", 12, {"series": "t2"}),
        ("9", "right", 3, {"series": "t1"}),
    ]
    labelled, _ = find(root, pattern=r"(?P<label>left|right|L_E_F_T)")
    assert [s.label for s in labelled] == ["L_E_F_T", "right"]


def test_pattern_that_misses_files_is_refused_with_their_names(tmp_path: Path) -> None:
    root = touch(tmp_path, *(f"{k}.png" for k in range(30)), "17.odd.png")
    with pytest.raises(DataError, match=r"does not match 1 of 31 files: 17\.odd\.png"):
        find(root, pattern=r"^(?P<subject>\d+)\.png$")
    with pytest.raises(DataError, match=r"does not match 31 of 31 files: .*, and 11 more"):
        find(root, pattern=r"^(?P<subject>x)")
    with pytest.raises(DataError, match="slice is 'png'"):
        find(root, pattern=r"\.(?P<slice>png)")
    for wrong in ("(", r"\d+"):
        with pytest.raises(ValueError, match="pattern"):
            find(root, pattern=wrong)


def test_links(tmp_path: Path) -> None:
    root = touch(tmp_path / "scans", "1.png")
    outside = touch(tmp_path / "private", "secret.png")
    (root / "inside.png").symlink_to(root / "1.png")
    (root / "elsewhere").symlink_to(outside, target_is_directory=True)
    assert [s.name for s in find(root)[0]] == ["1.png", "inside.png"]
    (root / "climbs.png").symlink_to(outside / "secret.png")
    with pytest.raises(DataError, match="leads out"):
        find(root)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1), max_size=6))
def test_natural_order_is_total(names: list[str]) -> None:
    assert sorted(names, key=natural_key)[::-1] == sorted(names, key=natural_key, reverse=True)
    assert sorted(["a10", "a9", "a", "a9b"], key=natural_key) == ["a", "a9", "a9b", "a10"]


def test_sides() -> None:
    assert [normal_side(s) for s in ("L", "R_I_G_H_T", "lh", " Left ", "both")] == [
        "left",
        "right",
        "left",
        "left",
        "both",
    ]


def write_list(root: Path, text: str, name: str = "list.csv", encoding: str = "utf-8") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text.encode(encoding))
    return root / name


def test_list_carries_every_column(tmp_path: Path) -> None:
    touch(tmp_path, "a b/ü 1.png", "2.png")
    text = (
        "path,subject,label,split,slice,side,area_mm2,site\na b/ü 1.png,p1,ill,val,7,L,12.5,x\n2.png,p2,,test,,,3,9\n\n"
    )
    for file in (write_list(tmp_path, text, encoding="utf-8-sig"), tmp_path):
        sources, name = find(file)
        assert name == "csv"
        by_name = {s.name: s for s in sources}
        first, second = by_name["a b/ü 1.png"], by_name["2.png"]
        assert (first.subject, first.label, first.split, first.slice, first.side) == ("p1", "ill", "select", 7, "left")
        assert first.extra == {"area_mm2": 12.5, "site": "x"}
        assert (second.label, second.split, second.slice, second.side) == (None, "holdout", None, None)
        assert second.extra == {"area_mm2": 3.0, "site": "9"}  # a column is all numbers or all text


def test_list_with_semicolons_absolute_paths_and_quotes(tmp_path: Path) -> None:
    touch(tmp_path / "far", "1;2.png")
    file = write_list(tmp_path / "lists", f'path;subject\n"{tmp_path}/far/1;2.png";"p;1"\n')
    sources, _ = find(file)
    assert sources[0].paths[0] == tmp_path / "far" / "1;2.png"
    assert sources[0].subject == "p;1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("subject,label\np,1\n", "`path` is missing"),
        ("path,path\n1.png,1.png\n", "occurs twice"),
        ("path,subject\n1.png,p\n2.png,\n", r"line 3: `subject` is empty"),
        ("path,split\n1.png,train\n2.png,\n", r"`split` is empty"),
        ("path,split\n1.png,train\n2.png,later\n", "split 'later'"),
        ("path,slice\n1.png,2.5\n2.png,1\n", "slice '2.5'"),
        ("path\n1.png\n3.png\n", r"1 of 2 files do not exist: 3\.png"),
        ("path\n1.png\n1.png\n", "listed twice"),
        ("path\n1.png\n../up.png\n", "leads out"),
        ("path,subject\n1.png,p,extra\n", "3 values"),
        ("path\nnotes.txt\n", "none of the known suffixes"),
        ("path\n", "no scans found"),
        ("", "`path` is missing"),
    ],
)
def test_faulty_lists_are_refused(tmp_path: Path, text: str, words: str) -> None:
    touch(tmp_path, "up.png")
    root = touch(tmp_path / "scans", "1.png", "2.png", "notes.txt")
    with pytest.raises(DataError, match=words) as caught:
        find(write_list(root, text))
    assert caught.value.remedy


def test_list_in_another_encoding_and_unrelated_tables(tmp_path: Path) -> None:
    root = touch(tmp_path, "1.png")
    with pytest.raises(DataError, match="not UTF-8"):
        find(write_list(tmp_path / "l", "path,subject\n1.png,é\n", encoding="latin-1"))
    write_list(root, "weight,é\n1,2\n", name="other.csv", encoding="latin-1")
    assert find(root)[1] == "flat"


def test_pattern_completes_a_list(tmp_path: Path, subject_folder: Callable[..., Path]) -> None:
    root = subject_folder(2, 2)
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))
    file = write_list(root, "path,score\n" + "".join(f"{n},1\n" for n in names))
    sources, _ = find(file, pattern=r"(?P<subject>\d+)_(?P<slice>\d+)\.png")
    assert {s.subject for s in sources} == {"000", "001"}
    assert sources[0].extra == {"score": 1.0}


@pytest.mark.parametrize("stray", ["scan.dcm", "stack.npy", "set.zip"])
def test_what_has_a_layout_of_its_own_is_refused_among_pictures(stray: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"1 of 3 files are DICOM, stacks or archives: {stray}"):
        find(touch(tmp_path, "1.png", "2.png", stray))
