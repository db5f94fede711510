"""Finding DICOM: series by their headers, whatever files and folders are called."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import dicom_builder as make
import numpy as np
import pydicom
import pytest

from stylescan.data.formats.scans import Volume
from stylescan.data.layouts.dicom_tree import detect_dicom, find_dicom
from stylescan.data.layouts.found import Found, Listing
from stylescan.data.layouts.table import find_sources
from stylescan.data.options import PrepareOptions
from stylescan.data.sources import Source, read_source
from stylescan.errors import ConfigError, DataError

SLICES = np.random.default_rng(3).integers(0, 4000, (12, 6, 4), dtype=np.int16)


def found(root: Path, **options: Any) -> Found:
    return find_sources(root, PrepareOptions(**options))[0]


def voxels(source: Source) -> np.ndarray[Any, Any]:
    scan = read_source(source)
    assert isinstance(scan, Volume)
    return scan.voxels


def in_ras(slices: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return slices.transpose(2, 1, 0)[::-1, ::-1]


def shuffle_into(folder: Path, paths: list[Path], seed: int = 4) -> None:
    """Rename all files at random, without a suffix, into one folder."""
    folder.mkdir(exist_ok=True)
    for path, number in zip(paths, random.Random(seed).sample(range(10**6), len(paths))):
        path.rename(folder / f"IM{number:06d}")


def test_series_mixed_in_one_folder_under_random_names(tmp_path: Path) -> None:
    one = make.series(tmp_path / "raw", SLICES[:5], key=1)
    two = make.series(tmp_path / "raw", SLICES[5:9], key=2, PatientID="patient-2", step=-2.0)  # numbered downwards
    shuffle_into(tmp_path / "all", one + two)
    calls: list[tuple[int, int, str]] = []
    result, layout, seen = find_sources(tmp_path / "all", PrepareOptions(), lambda *call: calls.append(call))
    assert layout == "dicom"
    assert "9 DICOM files, 9 of them known by their signature" in seen
    assert calls == [(k, 9, "reading headers") for k in range(1, 10)]
    by_subject = {source.subject: source for source in result.sources}
    assert set(by_subject) == {"patient-1", "patient-2"}
    assert np.array_equal(voxels(by_subject["patient-1"]), in_ras(SLICES[:5]))
    assert np.array_equal(voxels(by_subject["patient-2"]), in_ras(SLICES[5:9][::-1]))
    for source in result.sources:
        heights = [float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in source.paths]
        assert heights == sorted(heights)
    assert all(source.extra == {} and source.label is None for source in result.sources)


def test_names_do_not_depend_on_file_names_and_one_series_may_lie_in_several_folders(tmp_path: Path) -> None:
    paths = make.series(tmp_path / "raw", SLICES[:6], key=1)
    before = [source.name for source in found(tmp_path / "raw").sources]
    for k, path in enumerate(paths):
        (tmp_path / "other" / f"folder{k % 2}").mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "other" / f"folder{k % 2}" / f"{99 - k}.IMA")
    after = found(tmp_path / "other").sources
    assert [source.name for source in after] == before
    assert np.array_equal(voxels(after[0]), in_ras(SLICES[:6]))


def test_what_is_no_scan_is_left_out_and_counted(tmp_path: Path) -> None:
    paths = make.series(tmp_path, SLICES[:5])
    make.series(
        tmp_path, SLICES[:3], key=2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], StudyInstanceUID=make.uid(1)
    )
    make.series(tmp_path, SLICES[:2], key=3, StudyInstanceUID=make.uid(1))
    make.series(tmp_path, SLICES[:3], key=4, ImageType=["DERIVED", "SECONDARY", "MPR"], StudyInstanceUID=make.uid(1))
    make.save(
        tmp_path / "shot.dcm", make.image(np.zeros((4, 4, 3), np.uint8), SeriesInstanceUID=make.uid(5), Modality="MR")
    )
    report = make.image(SLICES[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR")
    make.save(tmp_path / "report.dcm", report)
    (tmp_path / "copy.dcm").write_bytes(paths[0].read_bytes())
    (tmp_path / "DICOMDIR").write_bytes(paths[0].read_bytes())
    (tmp_path / "readme").write_text("no image")
    result = found(tmp_path)
    assert [len(source.paths) for source in result.sources] == [5]
    notes = " | ".join(result.notes)
    for words in ("1 files are no images", "1 files are copies", "3 images of localisers", "3 images reformatted",
                  "3 single images beside the volumes"):  # fmt: skip
        assert words in notes


def test_slices_of_two_orientations_and_echoes_part(tmp_path: Path) -> None:
    sagittal = {"ImageOrientationPatient": [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]}
    paths = make.series(tmp_path, SLICES[:4], EchoTime=10)
    paths += make.series(
        tmp_path, SLICES[4:8], key=2, EchoTime=20, StudyInstanceUID=make.uid(1), SeriesInstanceUID=make.uid(1, 1)
    )
    for k, pixels in enumerate(SLICES[8:]):
        data = make.image(pixels, SOPInstanceUID=make.uid(7, k), ImagePositionPatient=[3.0 * k, 0.0, 0.0],
                          PixelSpacing=[0.5, 0.75], SeriesInstanceUID=make.uid(1, 1), EchoTime=10, **sagittal)  # fmt: skip
        make.save(tmp_path / f"s{k}.dcm", data)
    result = found(tmp_path)
    assert len(result.sources) == 3
    assert len({source.name for source in result.sources}) == 3
    axial = [voxels(source) for source in result.sources if voxels(source).shape == (4, 6, 4)]
    assert len(axial) == 2
    assert np.array_equal(axial[0], in_ras(SLICES[:4]))
    assert np.array_equal(axial[1], in_ras(SLICES[4:8]))
    assert any("several volumes" in note for note in result.notes)
    assert any("several volumes" in word for word in result.warnings)


@pytest.mark.parametrize("tag", ["TemporalPositionIdentifier", "AcquisitionNumber", "DiffusionBValue", "ImageType"])
def test_repeats_part_by_the_tag_that_tells_them_apart(tmp_path: Path, tag: str) -> None:
    for turn in range(3):
        value: Any = ["ORIGINAL", "PRIMARY", "MPW"[turn]] if tag == "ImageType" else turn + 8
        # A counter that differs in every slice must not part them.
        make.series(tmp_path / str(turn), SLICES[4 * turn : 4 * turn + 4], StudyInstanceUID=make.uid(1), key=turn + 1,
                    SeriesInstanceUID=make.uid(1, 1), **{"TriggerTime": turn, tag: value})  # fmt: skip
    for number, path in enumerate(sorted(tmp_path.rglob("*.dcm"))):
        data = pydicom.dcmread(path)
        data.TriggerTime = number
        data.save_as(path)
    result = found(tmp_path)
    assert [len(source.paths) for source in result.sources] == [4, 4, 4]
    assert sorted(float(voxels(source).sum()) for source in result.sources) == sorted(
        float(SLICES[k : k + 4].sum()) for k in (0, 4, 8)
    )


def test_repeats_that_nothing_tells_apart_are_refused_when_read(tmp_path: Path) -> None:
    make.series(tmp_path, SLICES[:4])
    make.series(tmp_path, SLICES[4:8], key=2, StudyInstanceUID=make.uid(1), SeriesInstanceUID=make.uid(1, 1))
    [source] = found(tmp_path).sources
    with pytest.raises(DataError, match="at one place"):
        read_source(source)


def test_single_images_are_pictures(tmp_path: Path) -> None:
    for k in range(3):
        data = make.image(SLICES[k], Modality="DX", SOPInstanceUID=make.uid(9, k), StudyInstanceUID=make.uid(k),
                          PatientID=f"p{k}", ImageLaterality="R" if k else "L", InstanceNumber=7)  # fmt: skip
        make.save(tmp_path / f"{k}.dcm", data)
    result = found(tmp_path)
    assert [source.kind for source in result.sources] == ["picture"] * 3
    assert {source.subject: source.side for source in result.sources} == {"p0": "left", "p1": "right", "p2": "right"}


def test_modalities_are_not_mixed(tmp_path: Path) -> None:
    make.series(tmp_path, SLICES[:4], SeriesDescription="t1 MPRAGE")
    make.series(tmp_path, SLICES[4:8], key=2, SeriesDescription="t2 tse", StudyInstanceUID=make.uid(1))
    make.series(tmp_path, SLICES[8:], key=3, Modality="CT", PatientID="b")
    with pytest.raises(DataError, match="4 of CT, 8 of MR") as caught:
        found(tmp_path)
    assert "--modality" in caught.value.remedy
    assert len(found(tmp_path, modality=("mr",)).sources) == 2
    [only] = found(tmp_path, modality=("MR", "mprage")).sources
    assert np.array_equal(voxels(only), in_ras(SLICES[:4]))
    with pytest.raises(DataError, match="no series description"):
        found(tmp_path, modality=("MR", "flair"))
    with pytest.raises(DataError, match="several modalities"):
        found(tmp_path, modality=("MR", "CT"))


def test_ct_without_a_window_is_warned_of(tmp_path: Path) -> None:
    make.series(tmp_path, SLICES[:4], Modality="CT")
    assert any("--window brain" in word for word in found(tmp_path).warnings)
    assert found(tmp_path, window="brain").warnings == ()


def test_subjects(tmp_path: Path) -> None:
    make.series(tmp_path / "a", SLICES[:4], key=1, PatientID="7", IssuerOfPatientID="A")
    make.series(tmp_path / "a", SLICES[4:8], key=2, PatientID="7", IssuerOfPatientID="B")
    assert {source.subject for source in found(tmp_path / "a").sources} == {"7@A", "7@B"}
    make.series(tmp_path / "a", SLICES[8:], key=3, PatientID="7")
    assert {source.subject for source in found(tmp_path / "a").sources} == {"7"}
    make.series(tmp_path / "a", SLICES[8:], key=4, PatientID="ANONYMOUS")
    with pytest.raises(DataError, match=r"4 of 16 images do not name their patient.*4-000\.dcm"):
        found(tmp_path / "a")
    make.series(tmp_path / "b", SLICES[:4], key=1, PatientID="")
    make.series(tmp_path / "b", SLICES[4:8], key=2, PatientID="Anonymous")
    result = found(tmp_path / "b")
    assert {source.subject for source in result.sources} == {make.uid(1), make.uid(2)}
    assert result.scan_wise
    assert any("PatientID" in word for word in result.warnings)
    make.series(tmp_path / "c", SLICES[:4], key=1, PatientID="x1")
    make.series(tmp_path / "c", SLICES[4:8], key=2, PatientID="x2", StudyInstanceUID=make.uid(1))
    with pytest.raises(DataError, match="several PatientIDs"):
        found(tmp_path / "c")


def test_classes_from_folders(tmp_path: Path) -> None:
    for key in range(1, 5):
        make.series(tmp_path / ("ill" if key < 3 else "well"), SLICES[:4], key=key, PatientID=f"p{key}")
    plain = found(tmp_path)
    assert {source.label for source in plain.sources} == {None}
    assert any("--label-column folder" in note for note in plain.notes)
    labels = {source.subject: source.label for source in found(tmp_path, label_column="folder").sources}
    assert labels == {"p1": "ill", "p2": "ill", "p3": "well", "p4": "well"}
    (tmp_path / "ill" / "1-001.dcm").rename(tmp_path / "well" / "1-001.dcm")
    with pytest.raises(DataError, match="in 2 class folders"):
        found(tmp_path, label_column="folder")
    with pytest.raises(ConfigError, match="label-column"):
        found(tmp_path, label_column="diagnosis")


@pytest.mark.parametrize("option", [{"pattern": "(?P<label>ill|well)"}, {"contrasts": True}])
def test_options_that_headers_cannot_obey_are_refused(tmp_path: Path, option: dict[str, Any]) -> None:
    make.series(tmp_path, SLICES[:4])
    with pytest.raises(ConfigError) as caught:
        found(tmp_path, **option)
    assert caught.value.remedy


def test_damaged_files_are_sources_of_their_own_and_named_when_read(tmp_path: Path) -> None:
    make.series(tmp_path, SLICES[:4])
    (tmp_path / "torn.dcm").write_bytes((tmp_path / "1-000.dcm").read_bytes()[:180] + b"\xff" * 9)
    (tmp_path / "text.dcm").write_text("not DICOM at all")
    result = found(tmp_path)
    damaged = [source for source in result.sources if len(source.paths) == 1]
    assert {source.name for source in damaged} >= {"text.dcm"}
    for source in damaged:
        with pytest.raises(DataError, match=source.paths[0].name):
            read_source(source)


def test_a_file_of_many_frames_is_a_volume(tmp_path: Path) -> None:
    for k in range(2):
        positions = [[0.0, 0.0, 2.0 * n] for n in range(4)]
        uids = {"SOPInstanceUID": make.uid(9, k), "StudyInstanceUID": make.uid(k), "SeriesInstanceUID": make.uid(k, 1)}
        make.enhanced(tmp_path / f"{k}.dcm", SLICES[:4], positions, PatientID=f"p{k}", **uids)
    result = found(tmp_path)
    assert [source.kind for source in result.sources] == ["volume"] * 2
    assert np.array_equal(voxels(result.sources[0]), in_ras(SLICES[:4]))
    assert found(tmp_path / "0.dcm").sources[0].subject == "p0"


def test_files_without_series_are_refused_by_name(tmp_path: Path) -> None:
    make.series(tmp_path, SLICES[:4], SeriesInstanceUID=None)
    with pytest.raises(DataError, match=r"4 files without SeriesInstanceUID.*1-000\.dcm"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("name", "listed"),
    [("IM0001", True), ("1.2.840.113", True), ("scan.ima", True), ("x.dcm30", True), ("notes.txt", False),
     (".hidden", False), ("DICOMDIR", False), ("data.bin", False)],
)  # fmt: skip
def test_files_without_a_known_suffix_are_listed_by_their_signature(tmp_path: Path, name: str, listed: bool) -> None:
    data = make.save(tmp_path / "made" / "a.dcm", make.image(SLICES[0])).read_bytes()
    root = tmp_path / "root"
    root.mkdir()
    (root / name).write_bytes(data)
    assert [path.name for path in Listing(root).files] == ([name] if listed else [])
    (root / name).write_bytes(b"\0" * 128 + b"DICX")
    assert [path.name for path in Listing(root).files] == ([name] if name.endswith(".ima") else [])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_without_suffix_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert Listing(tmp_path).files == []


def test_other_images_beside_are_not_taken_for_dicom(tmp_path: Path) -> None:
    make.series(tmp_path, SLICES[:4])
    (tmp_path / "preview.png").write_bytes(b"")
    listing = Listing(tmp_path)
    assert detect_dicom(listing) is None
    assert len(find_dicom(listing, PrepareOptions(), None).sources) == 1


def test_no_name_of_a_header_gets_into_sources(tmp_path: Path) -> None:
    make.series(tmp_path, SLICES[:4], PatientID="PLANTED-ID", SeriesDescription="PLANTED words", StudyID="PLANTED",
                InstitutionName="PLANTED Hospital", PatientName="PLANTED^Name")  # fmt: skip
    result = found(tmp_path)
    [source] = result.sources
    assert source.subject == "PLANTED-ID"
    shown = " ".join([source.name, str(source.extra), str(source.label), *result.notes, *result.warnings])
    assert "PLANTED" not in shown
    assert source.name.count("/") == 1
    assert source.name.split("/")[1].startswith("1-")


def test_real_series_beside_a_second_one(tmp_path: Path, shared_data: Path) -> None:
    real = sorted((shared_data / "brain_dicom_studyforrest").glob("*.dcm"))
    copies = [tmp_path / f"real{k}" for k in range(len(real))]
    for path, copy in zip(real, copies):
        copy.write_bytes(path.read_bytes())
    other = make.series(tmp_path, SLICES[:5], PatientID="other")
    shuffle_into(tmp_path / "all", copies + other)
    sources = {source.subject: source for source in found(tmp_path / "all").sources}
    assert {subject: len(source.paths) for subject, source in sources.items()} == {"02": 64, "other": 5}
    files = sorted((pydicom.dcmread(p) for p in sources["02"].paths), key=lambda f: float(f.ImagePositionPatient[2]))
    by_hand = np.stack([file.pixel_array for file in files])
    assert np.array_equal(voxels(sources["02"]), in_ras(by_hand).astype(np.float32))
