"""The layouts of known sets: recognised wherever they lie, whole or faulty, and by nothing but themselves."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from stylescan.data.formats.scans import Volume
from stylescan.data.layouts import adni, adni_raw, akoa, bids, oasis, oasis_raw
from stylescan.data.layouts.found import Found, Listing
from stylescan.data.layouts.names import keep_one_copy, nearby, sort_names
from stylescan.data.layouts.table import find_sources
from stylescan.data.options import PrepareOptions
from stylescan.data.prepare import prepare
from stylescan.data.sources import read_source
from stylescan.errors import ConfigError, DataError

NAMED = ("akoa", "oasis", "adni", "oasis1", "adni-raw", "bids")


def find(root: Path, expected: str, **settings: Any) -> Found:
    """What `auto` finds; it has to be the layout `expected`."""
    found, name, seen = find_sources(root, PrepareOptions.model_validate(settings))
    assert name == expected
    assert seen.startswith(f"layout {name}: ")
    return found


def blocks(seed: int, subject: int, visit: int, label: str, slices: int) -> NDArray[np.uint8]:
    """In place of brains: blocks of grey, others for each subject. Drawn quickly."""
    grey = np.random.default_rng([seed, subject]).integers(20, 235, (slices, 8, 8))
    noise = np.random.default_rng([seed, subject, visit]).integers(0, 20, (slices, 256, 256))
    return (np.kron(grey, np.ones((1, 32, 32), np.int64)) + noise).astype(np.uint8)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


KNEE = "OAI9896743_BaseLine_3de3d1_SAG_3D_DESS_WE_RIGHT.nii.gz_0.png"
ADNI_NAMES = tuple(f"{split}/{label}/{scan}_{k}.jpeg" for split, label, scan in
                   (("train", "AD", 11), ("train", "NC", 12), ("test", "AD", 13)) for k in (80, 81))  # fmt: skip
ADNI_META = {str(k): {"label": label, "raw": f"ADNI_{k:03d}_S_0001_MR.nii"} for k, label in
             ((11, "AD"), (12, "CN"), (13, "AD"))}  # fmt: skip


# ---- akoa ----


def test_akoa_names(tmp_path: Path) -> None:
    sides = ("LEFT", "left", "l_e_f_t", "L_E_F_T", "RIGHT", "Right", "r_i_g_h_t")
    names = [f"OAI90{k}_BaseLine_{3 + k % 2}{'_' * (k % 2)}de3d1_SAG_3D_DESS_WE_{side}.nii{'.gz' * (k % 3 > 0)}_{20 - k}.png"
             for k, side in enumerate(sides)]  # fmt: skip
    found = find(touch(tmp_path / "AKOA_Analysis", *names, "oai91_baseline_10_RIGHT.NII.GZ_7.PNG"), "akoa")
    by = {source.subject: source for source in found.sources}
    assert [by[f"90{k}"].side for k in range(7)] == ["left"] * 4 + ["right"] * 3
    assert [by[f"90{k}"].slice for k in range(7)] == list(range(20, 13, -1))
    assert [by[f"90{k}"].extra for k in range(3)] == [{"series": "3"}, {"series": "4"}, {"series": "3"}]
    assert (by["91"].extra, by["91"].side, by["91"].slice) == ({"series": "10"}, "right", 7)
    assert (found.plane, found.symmetry, found.anatomy, found.scan_wise) == ("sagittal", "none", "knee", False)
    assert not found.warnings
    assert "90" not in found.notes[0].replace("8 subjects with 8 volumes", "")  # no names in what is kept


def test_akoa_subjects_own_both_knees_and_all_series(look_alikes: ModuleType, tmp_path: Path) -> None:
    found = find(look_alikes.write_akoa(tmp_path, 5, 2), "akoa")
    assert Counter(source.side for source in found.sources) == {"left": 6, "right": 10}
    assert len({source.subject for source in found.sources}) == 5
    assert found.notes == ("5 subjects with 8 volumes, 6 slices of left knees and 10 of right ones",)
    assert [s.slice for s in found.sources[:2]] == [0, 1]


def test_akoa_unpacked_into_itself_is_taken_once(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.double(look_alikes.write_akoa(tmp_path, 2, 2))
    calls: list[tuple[int, int, str]] = []
    found, name, _ = find_sources(root, PrepareOptions(), lambda *call: calls.append(call))
    assert (name, len(found.sources)) == ("akoa", 6)
    assert all("/" not in source.name for source in found.sources)  # the outer folder's
    assert found.warnings == ("6 files stand twice, byte for byte, in different folders: one of each is taken",)
    assert calls == [(0, 6, "comparing doubled files")]
    inner = sorted((root / root.name).iterdir())[3]
    inner.write_bytes(inner.read_bytes()[:-1] + b"!")  # as long, but other bytes
    with pytest.raises(DataError, match=r"1 files stand twice and differ: .* and AKOA_Analysis/OAI") as caught:
        find(root, "akoa")
    assert caught.value.remedy


# ---- wherever it lies ----


@pytest.mark.parametrize("kind", NAMED)
def test_recognised_in_wrappers_and_among_litter(kind: str, look_alikes: ModuleType, tmp_path: Path) -> None:
    root = write(look_alikes, kind, tmp_path)
    plain = facts(find(root, kind))
    look_alikes.litter(root)
    assert facts(find(root, kind)) == plain
    outer = look_alikes.wrap(root, "Downloads", "unpacked set")
    assert facts(find(outer, kind)) == plain
    assert facts(find(outer / "unpacked set", kind)) == plain


def write(look_alikes: ModuleType, kind: str, folder: Path) -> Path:
    """A small look-alike of each set."""
    slices = {"akoa": look_alikes.write_akoa, "oasis": look_alikes.write_oasis, "adni": look_alikes.write_adni}
    volumes = {
        "oasis1": look_alikes.write_oasis1, "adni-raw": look_alikes.write_adni_raw, "bids": look_alikes.write_bids,
    }  # fmt: skip
    if kind in volumes:
        written = volumes[kind](folder, 3)
    else:
        written = slices[kind](folder, 4, 1, **({} if kind == "akoa" else {"brain": blocks}))
    assert isinstance(written, Path)
    return written


def facts(found: Found) -> list[tuple[object, ...]]:
    """All that is known of each scan but where it lies."""
    return sorted(
        (Path(s.name).name, s.subject or "", s.label, s.split, s.side, s.slice, s.mask and s.mask.name, str(s.extra))
        for s in found.sources
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "inner"),
    [("oasis", "keras_png_slices_train"), ("adni", "AD_NC"), ("adni", "AD_NC/train"), ("adni", "AD_NC/train/AD"),
     ("oasis1", "disc2"), ("oasis1", "disc2/OAS1_0001_MR1"), ("adni-raw", "002_S_0295"), ("adni-raw", "002_S_0295/MP-RAGE"),
     ("bids", "sub-01"), ("bids", "sub-01/anat")],
)  # fmt: skip
def test_recognised_from_an_inner_folder(kind: str, inner: str, look_alikes: ModuleType, tmp_path: Path) -> None:
    root = write(look_alikes, kind, tmp_path)
    whole = {source.paths[0]: source for source in find(root, kind).sources}
    part = find(root / inner, kind)
    assert part.sources
    assert {source.paths[0] for source in part.sources} == {p for p in whole if p.is_relative_to(root / inner)}
    for source in part.sources:
        other = whole[source.paths[0]]
        assert (source.subject, source.label, source.slice) == (other.subject, other.label, other.slice)


def test_recognised_from_the_working_folder(
    look_alikes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = look_alikes.write_adni(tmp_path, 4, 1)
    monkeypatch.chdir(root / "AD_NC" / "train")
    found = find(Path("."), "adni")
    assert {source.label for source in found.sources} == {"AD", "NC"}
    assert not found.scan_wise


@pytest.mark.parametrize("kind", ["akoa", "oasis", "adni", "oasis1", "adni-raw", "bids"])
def test_a_stray_scan_is_refused_by_name(kind: str, look_alikes: ModuleType, tmp_path: Path) -> None:
    root = {"akoa": lambda: touch(tmp_path, *(KNEE.replace("_0.png", f"_{k}.png") for k in range(20)))}.get(
        kind, lambda: write(look_alikes, kind, tmp_path)
    )()
    stray = {"oasis1": "mean.img", "adni-raw": "mean.nii", "bids": "sub-01/mean.nii.gz"}.get(kind, "overview 1.png")
    touch(root, stray)
    with pytest.raises(DataError, match=re.escape(stray)) as caught:
        find(root, kind)
    assert caught.value.remedy


@pytest.mark.parametrize("kind", NAMED)
def test_asked_for_by_name_where_nothing_fits(kind: str, tmp_path: Path) -> None:
    name = "a.nii" if kind in ("oasis1", "adni-raw", "bids") else "a.png"
    with pytest.raises((DataError, ConfigError)) as caught:
        find_sources(touch(tmp_path, name), PrepareOptions(layout=kind))
    assert caught.value.remedy


@pytest.mark.parametrize(
    "names",
    [
        ("train/AD/a.jpeg", "train/NC/b.jpeg"),
        ("train/ill/11_80.jpeg", "test/well/12_80.jpeg"),
        ("AD/11_80.jpeg", "NC/12_80.jpeg"),
        (KNEE, "1.png", "2.png", "3.png"),
        ("case_001_slice_0.nii.png", "case_002_slice_0.nii.png"),
        ("keras_png_slices_seg_train/seg_001_slice_0.nii.png",),
        ("keras_png_slices_train/seg_001_slice_0.nii.png", "keras_png_slices_seg_train/case_001_slice_0.nii.png"),
        ("sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz"),
        ("sub-01/anat/sub-02_T1w.nii.gz",),
        ("derivatives/sub-01/anat/sub-01_T1w.nii.gz",),
        ("sub-01/func/sub-01_bold.nii.gz",),
        ("002_S_0295_I1.nii", "002_S_0295_I2.nii"),
        ("1002_S_0295/MPRAGE/x_I1.nii",),
    ],
)
def test_others_are_not_taken_for_a_known_set(names: tuple[str, ...], tmp_path: Path) -> None:
    listing = Listing(touch(tmp_path / "scans", *names))
    for module in (akoa, oasis, adni, oasis_raw, adni_raw, bids):
        for name, detect in vars(module).items():
            if name.startswith("detect_"):
                assert detect(listing) is None, name


def test_real_folders_are_not_taken_for_a_known_set(shared_data: Path) -> None:
    for folder in ("brain_t1ce_figshare", "hippocampus_nifti", "hippocampus_nifti/images", "mednist64", "mednist64/Hand",
                   "brain_dicom_studyforrest"):  # fmt: skip
        listing = Listing(shared_data / folder)
        for detect in (akoa.detect_akoa, oasis.detect_oasis, adni.detect_adni, oasis_raw.detect_oasis1,
                       adni_raw.detect_adni_raw, bids.detect_bids):  # fmt: skip
            assert detect(listing) is None, (folder, detect)


# ---- oasis ----


def test_oasis_masks_splits_and_what_it_declares(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_oasis(tmp_path, 20, 1, brain=blocks, missing_masks=2)
    found = find(root, "oasis")
    assert (found.plane, found.symmetry, found.anatomy) == ("axial", "left-right", "brain")
    assert Counter(source.split for source in found.sources) == {"train": 17, "holdout": 3}
    for source in found.sources:
        if source.subject in ("001", "002"):
            assert source.mask is None
            continue
        assert source.mask is not None
        assert source.mask.name == Path(source.name).name.replace("case_", "seg_")
        assert source.mask.parent.name == source.paths[0].parent.name.replace("slices_", "slices_seg_")
        with Image.open(source.mask) as mask:
            assert set(np.unique(np.asarray(mask))) <= set(look_alikes.TISSUES)
    assert found.warnings == ("2 of 20 images have no mask",)
    assert "3 subjects of validate and test held out" in found.notes[0]
    assert "--symmetry none" in found.notes[1]


def test_oasis_doubled_alone_and_with_a_lone_mask(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_oasis(tmp_path, 4, 1, brain=blocks)
    look_alikes.double(root)
    found = find(root, "oasis")
    assert (len(found.sources), len(found.warnings)) == (4, 1)
    assert all(source.mask for source in found.sources)
    shutil.rmtree(root / root.name)
    train = find(root / "keras_png_slices_train", "oasis")
    assert {source.split for source in train.sources} == {None}  # a split of one part would hold nobody out
    assert "the split is drawn" in train.notes[0]
    (root / "keras_png_slices_train" / "case_001_slice_0.nii.png").unlink()
    assert find(root, "oasis").warnings == ("1 mask without an image",)


def test_oasis_subject_in_two_folders_is_left_to_the_leak_check(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_oasis(tmp_path / "set", 20, 1, brain=blocks)
    first = root / "keras_png_slices_train" / "case_001_slice_0.nii.png"
    shutil.copy(first, root / "keras_png_slices_test" / "case_001_slice_1.nii.png")
    with pytest.raises(DataError, match="leaks") as caught:
        prepare(root, tmp_path / "out", PrepareOptions(resolution=32, workers=1))
    assert "--repair" in caught.value.remedy


# ---- adni ----


def adni_folder(root: Path, meta: object = ADNI_META, *names: str) -> Path:
    touch(root / "AD_NC", *ADNI_NAMES, *names)
    if meta is not None:
        (root / "meta_data_with_label.json").write_text(json.dumps(meta))
    return root


def test_adni_subjects_classes_slices_and_split(tmp_path: Path) -> None:
    meta = {**ADNI_META, "13": {"raw": "ADNI_011_S_0001_MR_2.nii"}}  # a second scan of the first patient
    found = find(adni_folder(tmp_path / "ADNI", meta), "adni")
    assert facts(found) == [
        ("11_80.jpeg", "011_S_0001", "AD", "train", None, 80, None, "{'scan': '1'}"),
        ("11_81.jpeg", "011_S_0001", "AD", "train", None, 81, None, "{'scan': '1'}"),
        ("12_80.jpeg", "012_S_0001", "NC", "train", None, 80, None, "{'scan': '1'}"),
        ("12_81.jpeg", "012_S_0001", "NC", "train", None, 81, None, "{'scan': '1'}"),
        ("13_80.jpeg", "011_S_0001", "AD", "holdout", None, 80, None, "{'scan': '2'}"),
        ("13_81.jpeg", "011_S_0001", "AD", "holdout", None, 81, None, "{'scan': '2'}"),
    ]
    assert (found.plane, found.symmetry, found.anatomy, found.scan_wise) == ("sagittal", "none", "brain", False)
    assert found.notes == ("meta_data_with_label.json: 3 scans of 2 patients",)


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        (
            {**ADNI_META, "11": {"label": "NC", "raw": "ADNI_011_S_0001_"}},
            r"contradicts their folder: 11 \(NC, in folder AD\)",
        ),
        ({"12": ADNI_META["12"]}, "lacks 2 of 3 scans: 11, 13"),
        ({}, "lacks 3 of 3 scans"),
        ([1], "holds a list"),
        ({**ADNI_META, "12": "x"}, "12 is a text, expected an object"),
        ({**ADNI_META, "12": {"label": "NC"}}, "12.raw is missing"),
        ({**ADNI_META, "12": {"raw": 5}}, "12.raw is a number"),
        ({**ADNI_META, "12": {"raw": {"a": 1}}}, "12.raw is an object"),
        ({**ADNI_META, "12": {"raw": "ADNI_12_S_1_"}}, "12.raw names no patient"),
        ({**ADNI_META, "12": {"raw": "ADNI_٠١٢_S_0001_"}}, "12.raw names no patient"),
    ],
)
def test_adni_json_that_cannot_be_right(meta: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        find(adni_folder(tmp_path, meta), "adni")
    assert "meta_data_with_label.json" in caught.value.message
    assert caught.value.remedy


def test_adni_json_broken_or_huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = adni_folder(tmp_path)
    for text in ("{", '{"11": NaN}', '{"11": 1, "11": 2}', "[" * 100_000):
        (root / "meta_data_with_label.json").write_text(text)
        with pytest.raises(DataError, match="not valid JSON"):
            find(root, "adni")
    monkeypatch.setattr(adni, "META_BYTES", 1000)
    with pytest.raises(DataError, match="100,000 bytes, expected at most 1,000"):
        find(root, "adni")


def test_adni_scan_in_two_class_folders(tmp_path: Path) -> None:
    root = adni_folder(tmp_path, ADNI_META, "train/NC/11_82.jpeg")
    with pytest.raises(DataError, match=r"1 slices lie in another class folder .*: AD_NC/train/NC/11_82\.jpeg"):
        find(root, "adni")


def test_adni_one_folder_alone_is_drawn_anew(tmp_path: Path) -> None:
    root = adni_folder(tmp_path)
    found = find(root / "AD_NC" / "train", "adni")
    assert {source.split for source in found.sources} == {None}
    assert "the split is drawn" in found.notes[1]
    assert {source.subject for source in found.sources} == {"011_S_0001", "012_S_0001"}


def test_adni_leak_is_refused_repaired_and_depth_tells_the_class(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_adni(tmp_path / "raw", 24, 2, brain=blocks, depth_shortcut=True)
    options = PrepareOptions(resolution=32, workers=1)
    with pytest.raises(DataError, match="the given split leaks: 8 subjects") as caught:
        prepare(root, tmp_path / "refused", options)
    assert "--repair" in caught.value.remedy
    dataset, audit = prepare(root, tmp_path / "mended", options.model_copy(update={"repair": True}))
    splits: dict[str, set[str]] = {}
    for image in dataset.manifest.images:
        splits.setdefault(image.subject, set()).add(image.split)
    assert (len(splits), {len(where) for where in splits.values()}) == (24, {1})
    assert audit.subjects_by_split == {"train": 14, "select": 5, "holdout": 5}
    assert audit.depth_shortcut is not None
    assert audit.depth_shortcut.notable
    assert (dataset.manifest.plane, dataset.manifest.claim) == ("sagittal", "subject-wise")
    written = (tmp_path / "mended" / "manifest.json").read_text() + (tmp_path / "mended" / "audit.json").read_text()
    assert not re.search(r"_S_\d{4}|218\d{3}", written)  # neither patients nor scans


def test_adni_without_faults_keeps_its_folders(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_adni(tmp_path / "raw", 24, 1, brain=blocks, leaking=False)
    dataset, audit = prepare(root, tmp_path / "out", PrepareOptions(resolution=32, workers=1, keep_ids=True))
    held = {image.source.split("/")[1] for image in dataset.manifest.images if image.split == "holdout"}
    assert held == {"test"}
    assert audit.subjects_by_split["holdout"] == 6
    assert audit.depth_shortcut is not None
    assert not audit.depth_shortcut.notable


def test_adni_without_json_is_loud_and_scan_wise(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_adni(tmp_path / "raw", 8, 1, brain=blocks, meta="none")
    found = find(root, "adni")
    assert found.scan_wise
    assert {source.subject for source in found.sources} == {str(218_391 + 13 * k) for k in range(11)}
    assert {source.split for source in found.sources} == {None}
    assert found.warnings[0].startswith("NO SUBJECTS")
    dataset, _ = prepare(root, tmp_path / "out", PrepareOptions(resolution=32, workers=1))
    assert dataset.manifest.claim == "scan-wise"


def test_adni_json_that_lacks_scans(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_adni(tmp_path, 8, 1, brain=blocks, meta="lacking")
    with pytest.raises(DataError, match="lacks 2 of 11 scans: 218430, 218482"):
        find(root, "adni")


# ---- oasis1 ----


def test_oasis1_takes_the_stripped_volume_of_each_session(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_oasis1(tmp_path, 3)
    found = find(root, "oasis1")
    assert [(s.subject, s.extra) for s in found.sources] == [
        ("OAS1_0002", {"visit": "MR1"}), ("OAS1_0002", {"visit": "MR2"}), ("OAS1_0001", {"visit": "MR1"}),
        ("OAS1_0003", {"visit": "MR1"}),
    ]  # fmt: skip
    for source in found.sources:
        assert (source.kind, source.format) == ("volume", "analyze")
        assert [path.name.split("t88")[1] for path in source.paths] == ["_masked_gfc.img", "_masked_gfc.hdr"]
        assert source.mask is not None
        assert source.mask.name == source.paths[0].name.replace(".img", "_fseg.img")
    assert found.notes[0] == "one volume a session (t88_masked_gfc 4), 4 tissue maps beside them"
    assert "M/F, Hand, Age" in found.notes[1]
    own = find(root, "oasis1", modality=("sbj_111",))
    assert all(s.paths[0].parent.name == "SUBJ_111" and s.mask is None for s in own.sources)


def test_oasis1_falls_back_by_session_and_says_so(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_oasis1(tmp_path, 3)
    for path in (root / "disc1").rglob("*masked_gfc.*"):
        path.unlink()
    found = find(root, "oasis1")
    assert found.warnings[0].startswith("sessions differ in what they hold (")
    assert {"t88_gfc 2", "t88_masked_gfc 2"} <= set(re.findall(r"t88_\w+ \d", found.warnings[0]))
    for path in (root / "disc1").rglob("*t88_gfc.*"):
        path.unlink()
    assert {s.paths[0].parent.name for s in find(root, "oasis1").sources} == {"SUBJ_111", "T88_111"}
    for path in (root / "disc1").rglob("*sbj_111.*"):
        path.unlink()
    with pytest.raises(DataError, match="2 of 4 sessions have no file .*: OAS1_0002_MR1, OAS1_0002_MR2"):
        find(root, "oasis1")


@pytest.mark.parametrize("suffix", [".img", ".hdr"])
def test_oasis1_half_a_pair_is_named(suffix: str, look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_oasis1(tmp_path, 2)
    gone = next(root.rglob(f"*0001*masked_gfc{suffix}"))
    gone.unlink()
    with pytest.raises(DataError, match=f"1 Analyze files lack their .img or .hdr: .*{gone.stem}"):
        find(root, "oasis1")


def test_oasis1_class_from_the_table(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_oasis1(tmp_path, 3)
    found = find(root, "oasis1", label_column="CDR")
    assert {(s.subject, s.label) for s in found.sources} == {
        ("OAS1_0001", "0.5"),
        ("OAS1_0002", "1"),
        ("OAS1_0003", "0"),
    }
    table = root / "oasis_cross-sectional.csv"
    table.write_text(table.read_text().replace(",0.5,", ",,"))
    with pytest.raises(DataError, match="no `CDR` for 1 of 4: OAS1_0001_MR1") as caught:
        find(root, "oasis1", label_column="CDR")
    assert "--only-class" in caught.value.remedy
    kept = find(root, "oasis1", label_column="CDR", only_classes=("0",))
    assert {s.label for s in kept.sources} == {None, "0", "1"}
    with pytest.raises(ConfigError, match="'cdr': .* has M/F, Hand, Age"):
        find(root, "oasis1", label_column="cdr")
    table.unlink()
    with pytest.raises(ConfigError, match="oasis_cross"):
        find(root, "oasis1", label_column="CDR")


def test_oasis1_is_prepared(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_oasis1(tmp_path / "raw", 8)
    dataset, _ = prepare(root, tmp_path / "out", PrepareOptions(resolution=16, workers=1, every=6))
    assert len(set(dataset.subjects.tolist())) == 8
    assert np.ptp(dataset.read([0, 1, 2])) > 200


# ---- adni-raw ----


@pytest.mark.parametrize("dicom", [False, True])
def test_adni_raw_volumes_patients_and_classes(dicom: bool, look_alikes: ModuleType, tmp_path: Path) -> None:
    if dicom:
        pytest.importorskip("pydicom")
    root = look_alikes.write_adni_raw(tmp_path, 4, dicom=dicom)
    found = find(root, "adni-raw")
    assert Counter((s.subject, s.label) for s in found.sources) == {
        ("002_S_0295", "CN"): 1, ("003_S_0413", "MCI"): 2, ("004_S_0531", "AD"): 1, ("005_S_0649", "CN"): 2,
    }  # fmt: skip
    assert {len(source.paths) for source in found.sources} == {24 if dicom else 1}
    for source in found.sources:  # each volume's slices are one image's, in the order of their places
        assert len({path.parent for path in source.paths}) == 1
        subject = int(str(source.subject)[:3]) - 2
        visit = int(source.paths[0].parent.parent.name[3]) - 6
        scan = read_source(source)
        assert isinstance(scan, Volume)
        np.testing.assert_allclose(scan.voxels, look_alikes.volume_phantom(0, subject, visit))
    assert (found.anatomy, found.scan_wise) == ("brain", False)
    sexes = find(root, "adni-raw", label_column="Sex")
    assert {s.label for s in sexes.sources} == {"F"}


def test_adni_raw_dicom_is_prepared_and_names_nobody(look_alikes: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    root, out = look_alikes.write_adni_raw(tmp_path / "raw", 6, dicom=True), tmp_path / "out"
    dataset, _ = prepare(root, out, PrepareOptions(resolution=16, workers=1, every=6))
    assert (dataset.class_names, dataset.manifest.claim) == (("AD", "CN", "MCI"), "subject-wise")
    assert len(set(dataset.subjects.tolist())) == 6
    for file in out.rglob("*"):
        assert not file.is_file() or not re.search(rb"PLANTED|_S_\d{4}|I30\d{3}", file.read_bytes()), file


def test_adni_raw_without_a_table_has_no_classes(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_adni_raw(tmp_path, 2, table=False)
    assert {s.label for s in find(root, "adni-raw").sources} == {None}
    with pytest.raises(ConfigError, match="no CSV with the columns Image Data ID and Subject"):
        find(root, "adni-raw", label_column="Group")
    touch(root, "notes.csv")  # a table of something else is none of ours
    assert {s.label for s in find(root, "adni-raw").sources} == {None}


def test_adni_raw_table_that_lacks_or_contradicts(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_adni_raw(tmp_path, 3)
    table = next(root.glob("*.csv"))
    whole = table.read_text()
    table.write_text(whole.replace('"I30148"', '"30148"'))
    assert len(find(root, "adni-raw").sources) == 4
    table.write_text("\n".join(line for line in whole.split("\n") if "I30148" not in line))
    with pytest.raises(DataError, match="no `Group` for 1 of 4: I30148"):
        find(root, "adni-raw")
    table.write_text(whole.replace('"I30148","002_S_0295"', '"I30148","099_S_0001"'))
    with pytest.raises(DataError, match="gives 1 image to another patient"):
        find(root, "adni-raw")
    table.write_text(whole)
    (root / "again.csv").write_text(whole)
    with pytest.raises(DataError, match="which of these tables"):
        find(root, "adni-raw")


def test_adni_raw_file_in_the_wrong_folder_and_series(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_adni_raw(tmp_path, 3, table=False)
    scan = next((root / "002_S_0295").rglob("*.nii"))
    other = root / "004_S_0531" / "MPRAGE_SENSE2" / "d" / "I1"
    other.mkdir(parents=True)
    shutil.copy(scan, other / scan.name)
    with pytest.raises(DataError, match="1 files name another patient than their folder"):
        find(root, "adni-raw")
    assert len(find(root, "adni-raw", modality=("MP-RAGE",)).sources) == 4
    with pytest.raises(ConfigError, match="'FLAIR': no patient has .*MP-RAGE, MPRAGE_SENSE2"):
        find(root, "adni-raw", modality=("FLAIR",))
    with pytest.raises(ConfigError, match="name one of them"):
        find(root, "adni-raw", modality=("MP-RAGE", "FLAIR"))
    (other / scan.name).rename(other / "ADNI_004_S_0531_MR_I30148.nii")
    mixed_series = find(root, "adni-raw")
    assert mixed_series.notes[-1].startswith("2 kinds of series are mixed")
    assert {s.subject for s in mixed_series.sources if "SENSE2" in s.name} == {"004_S_0531"}
    assert {s.subject for s in find(root, "adni-raw", modality=("sense",)).sources} == {"004_S_0531"}


# ---- bids ----


def test_bids_takes_t1w_and_keeps_people_together(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_bids(tmp_path, 3, sessions=2)
    found = find(root, "bids")
    assert Counter(s.subject for s in found.sources) == {"sub-01": 2, "sub-02": 4, "sub-03": 2}
    assert all("_T1w" in s.name and "/anat/" in s.name and not s.name.startswith("derivatives") for s in found.sources)
    assert found.notes == (
        "participants.tsv has the columns age, sex, group: --label-column makes one of them the class",
        "2 sessions with several T1w (acq-, run-, ...): all are taken",
    )
    assert {s.label for s in found.sources} == {None}


def test_bids_contrasts_become_one_source(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_bids(tmp_path, 3)
    found = find(root, "bids", modality=("T1w", "T2w"))
    assert [[path.name for path in s.paths] for s in found.sources] == [
        ["sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"],
        ["sub-02_run-1_T1w.nii.gz", "sub-02_run-1_T2w.nii.gz"],
        ["sub-02_run-2_T1w.nii.gz", "sub-02_run-2_T2w.nii.gz"],
    ]
    assert found.warnings == ("1 session without all of T1w, T2w: left out",)
    (root / "sub-02/anat/sub-02_run-1_T2w.nii.gz").unlink()
    with pytest.raises(DataError, match="which T1w and T2w belong together is not clear in 1 session: sub-02"):
        find(root, "bids", modality=("T1w", "T2w"))
    with pytest.raises(ConfigError, match=r"FLAIR: none in .*; anat holds T1w \(4\), T2w \(2\)"):
        find(root, "bids", modality=("FLAIR",))


def test_bids_contrasts_are_prepared_as_channels(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_bids(tmp_path / "raw", 2)
    options = PrepareOptions(resolution=32, workers=1, every=6, modality=("T1w", "T2w"), contrasts=True)
    dataset, _ = prepare(root, tmp_path / "out", options)
    assert dataset.channels == 2
    first, second = dataset.read([1])[0].astype(int)
    assert np.ptp(first) > 100
    assert 0 < np.abs(first - second).mean() < 40  # one anatomy, other noise


def test_bids_class_from_participants(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_bids(tmp_path, 3)
    found = find(root, "bids", label_column="group")
    assert {(s.subject, s.label) for s in found.sources} == {
        ("sub-01", "control"), ("sub-02", "patient"), ("sub-03", "control")}  # fmt: skip
    table = root / "participants.tsv"
    whole = table.read_text()
    table.write_text(whole.replace("sub-0", "0"))
    assert {s.label for s in find(root, "bids", label_column="group").sources} == {"control", "patient"}
    for broken in (whole.replace("control", "n/a"), whole.split("sub-01")[0]):
        table.write_text(broken)
        with pytest.raises(DataError, match="no `group` for"):
            find(root, "bids", label_column="group")
    table.write_text(whole + "sub-01\t31\tM\tpatient\n")
    with pytest.raises(DataError, match="line 5: sub-01 stands here a second time"):
        find(root, "bids", label_column="group")
    table.write_text(whole.replace("participant_id", "who"))
    with pytest.raises(DataError, match="`participant_id` is missing"):
        find(root, "bids")
    table.write_text(whole + "sub-09\t1\n")
    with pytest.raises(DataError, match="line 5: 2 values, the header names 4"):
        find(root, "bids")
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a table"):
        find(root, "bids")
    table.unlink()
    with pytest.raises(ConfigError, match=r"no participants\.tsv"):
        find(root, "bids", label_column="group")


def test_bids_table_beyond_its_limit(look_alikes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = look_alikes.write_bids(tmp_path, 1)
    monkeypatch.setattr("stylescan.data.layouts.beside.TABLE_BYTES", 10)
    with pytest.raises(DataError, match="expected at most 10"):
        find(root, "bids")


def test_bids_nothing_of_the_table_is_kept(look_alikes: ModuleType, tmp_path: Path) -> None:
    root = look_alikes.write_bids(tmp_path / "raw", 5)
    (root / "participants.tsv").write_text(
        "participant_id\tnickname\tgroup\n" + "".join(f"sub-{k:02d}\tPLANTED-{k}\tg{k % 2}\n" for k in range(1, 6))
    )
    out = tmp_path / "out"
    dataset, _ = prepare(root, out, PrepareOptions(resolution=16, workers=1, every=6, label_column="group"))
    assert dataset.class_names == ("g0", "g1")
    for file in out.rglob("*"):
        assert not file.is_file() or not re.search(rb"PLANTED|sub-0\d\b", file.read_bytes()), file


# ---- names of every kind ----

WORDS = st.text(
    st.sampled_from("OAI_BaseLine0189leftRIGHTr_i_g.niipgzkercaslSdubADNC/-Tw \u0660\u017f\u212a"), max_size=60
)


@given(WORDS)
def test_garbage_never_crashes(name: str) -> None:
    for pattern in (akoa.NAME, oasis.NAME, adni.NAME, oasis_raw.NAME, adni_raw.NAME, bids.NAME):
        match = pattern.search(name)
        assert match is None or all(group is None or group.isascii() for group in match.groups())


def mixed(word: str) -> st.SearchStrategy[str]:
    """A word in any mixture of large and small letters."""
    return st.tuples(*(st.sampled_from(sorted({c.lower(), c.upper()})) for c in word)).map("".join)


@given(
    st.integers(0, 10**8), st.integers(0, 10**9), st.sampled_from(["", "_"]),
    st.sampled_from(["de3d1_SAG_3D_DESS_WE", "SAG_left_WE", "x", ""]),
    st.sampled_from(["left", "right", "l_e_f_t", "r_i_g_h_t"]).flatmap(mixed), mixed("nii"), st.sampled_from([".gz", ""]),
    st.integers(0, 10**6), st.sampled_from(["", "AKOA_Analysis/", "a b/c/"]),
)  # fmt: skip
def test_akoa_pattern_finds_what_was_written(
    subject: int, series: int, line: str, sequence: str, side: str, nii: str, gz: str, number: int, folder: str
) -> None:
    match = akoa.NAME.search(f"{folder}OAI{subject}_BaseLine_{series}{line}{sequence}_{side}.{nii}{gz}_{number}.png")
    assert match is not None
    assert (match["subject"], match["series"], match["slice"]) == (str(subject), str(series), str(number))
    assert match["side"] == side


@given(mixed("train"), st.integers(0, 999), st.integers(0, 9999), st.sampled_from(["case", "seg"]))
def test_oasis_pattern_tells_images_from_masks(split: str, subject: int, number: int, kind: str) -> None:
    folder = f"keras_png_slices_{'seg_' if kind == 'seg' else ''}{split}"
    match = oasis.NAME.search(f"x/{folder}/{kind}_{subject:03d}_slice_{number}.nii.png")
    assert match is not None
    assert (match["split"], match["mask_split"]) == ((split, None) if kind == "case" else (None, split))
    assert (match["subject"], match["slice"]) == (f"{subject:03d}", str(number))


def test_patterns_are_linear_in_the_name() -> None:
    hostile = ["OAI1_BaseLine_" + "1" * 4000 + "_left" * 4000, "1_S_" * 9000 + ".nii", "002_S_0001/" + "a_I1/" * 8000,
               "sub-01/anat/sub-01_" + "a-1_" * 8000 + "!", "AD/" * 9000 + "1", "keras_png_slices_" * 4000,
               "OAS1_0001_MR1/" * 4000]  # fmt: skip
    for pattern in (akoa.NAME, oasis.NAME, adni.NAME, oasis_raw.NAME, adni_raw.NAME, bids.NAME):
        for name in hostile:
            assert pattern.search(name) is None


def test_twenty_thousand_names_are_told_apart(tmp_path: Path) -> None:
    listing = Listing(tmp_path / "AKOA")
    listing.names = [KNEE.replace("_0.png", f"_{k}.png") for k in range(20_000)]
    listing.files = [listing.root / name for name in listing.names]
    assert (akoa.detect_akoa(listing) or "").startswith("AKOA knees: 20,000 of 20,000 names")
    assert adni.detect_adni(listing) is None
    assert bids.detect_bids(listing) is None


def test_nearby_goes_up_and_names_each_folder_once(tmp_path: Path) -> None:
    found = nearby([tmp_path / "a" / "b", tmp_path / "a" / "c"], above=2)
    assert found == [tmp_path / "a" / "b", tmp_path / "a" / "c", tmp_path / "a", tmp_path]


def test_copies_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, KNEE, f"in/{KNEE}")
    files = sort_names(Listing(tmp_path), akoa.NAME).fitting

    def refused(first: Path, second: Path, shallow: bool) -> bool:
        raise PermissionError(13, "Permission denied", str(second))

    monkeypatch.setattr("filecmp.cmp", refused)
    with pytest.raises(DataError, match=r"in/OAI.*cannot be read \(Permission denied\)"):
        keep_one_copy(files, lambda file: file.path.name, tmp_path, None)
