"""Reading DICOM: values, geometry, and refusals that name the file."""

from __future__ import annotations

import itertools
import random
import shutil
import sys
import time
import warnings
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import dicom_builder as make
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from stylescan.data.formats import dicom_apart
from stylescan.data.formats.dicom import read_dicom
from stylescan.data.formats.dicom_apart import Apart
from stylescan.data.formats.dicom_header import blaming
from stylescan.data.formats.dicom_pixels import codestream_size
from stylescan.data.formats.scans import Picture, Volume
from stylescan.data.planes import plane_slices
from stylescan.errors import DataError

PYDICOM = Path(pydicom.__file__).parent / "data"
PLANTED = ["Planted^Name", "PLANTED-ID", "Planted Hospital", "planted private"]


MUTATED = ["MR_small_RLE.dcm", "CT_small.dcm", "MR_small_jp2klossless.dcm", "examples_palette.dcm", "image_dfl.dcm"]
RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 4000, (6, 5), dtype=np.int16)
SLICES = RNG.integers(0, 4000, (5, 6, 4), dtype=np.int16)


def picture(path: Path) -> Picture:
    scan = read_dicom([path])
    assert isinstance(scan, Picture)
    return scan


def volume(paths: list[Path]) -> Volume:
    scan = read_dicom(paths)
    assert isinstance(scan, Volume)
    return scan


def refused(paths: list[Path], *words: str) -> DataError:
    with pytest.raises(DataError) as caught:
        read_dicom(paths)
    for word in words:
        assert word in caught.value.message
    assert caught.value.remedy
    return caught.value


# --- geometry ---------------------------------------------------------------------------------------------------------


def marked_phantom() -> np.ndarray[Any, Any]:
    """Voxels [4, 5, 6] in RAS with a mark of its own on each face: 1 left, 2 right, 3 back, 4 front, 5 bottom, 6 top."""
    voxels = np.zeros((4, 5, 6), np.int16)
    for mark, (axis, end) in enumerate(itertools.product(range(3), (0, -1)), 1):
        index = [2, 2, 3]
        index[axis] = end
        voxels[tuple(index)] = 100 * mark
    return voxels


ORDERS = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]


@pytest.mark.parametrize(("axes", "signs"), ORDERS)
def test_every_axis_order_and_flip_reads_as_ras(
    tmp_path: Path, axes: tuple[int, int, int], signs: tuple[int, int, int]
) -> None:
    voxels, spacing = marked_phantom(), (1.0, 2.0, 3.0)
    stored = voxels.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]  # [column, row, slice]
    lps = [sign * np.array([-1.0, -1.0, 1.0]) * np.eye(3)[axis] for axis, sign in zip(axes, signs)]
    paths = []
    for k in range(stored.shape[2]):
        data = make.image(
            np.ascontiguousarray(stored[:, :, k].T), SOPInstanceUID=make.uid(9, k),
            ImageOrientationPatient=[*lps[0], *lps[1]], PixelSpacing=[spacing[axes[1]], spacing[axes[0]]],
            ImagePositionPatient=list(np.array([7.0, -9.0, 11.0]) + k * spacing[axes[2]] * lps[2]),
        )  # fmt: skip
        paths.append(make.save(tmp_path / f"{(k * 5 + 3) % 7}.dcm", data))
    scan = volume(sorted(paths))
    assert np.array_equal(scan.voxels, voxels)
    assert scan.spacing_mm == pytest.approx(spacing)
    axial, coronal, sagittal = (plane_slices(scan.voxels, plane) for plane in ("axial", "coronal", "sagittal"))
    # Radiological: the patient's right (mark 2) on the picture's left, front (4) up in axial, top (6) up in coronal.
    assert axial[3][2, 0] == 200
    assert axial[3][0, 1] == 400
    assert coronal[2][0, 1] == 600
    assert sagittal[2][2, 0] == 400
    assert sagittal[2][-1, 2] == 500


def test_names_say_nothing_about_order(tmp_path: Path) -> None:
    paths = make.series(tmp_path, SLICES)
    expected = volume(paths).voxels
    names = [tmp_path / f"{number:03d}.dcm" for number in random.Random(5).sample(range(999), len(paths))]
    renamed = sorted(path.rename(name) for path, name in zip(paths, names))
    assert [path.name for path in renamed] != [name.name for name in names]
    assert np.array_equal(volume(renamed).voxels, expected)
    # Axial rows run from front to back and columns from right to left, so both turn round in RAS.
    assert np.array_equal(expected, SLICES.transpose(2, 1, 0)[::-1, ::-1])
    assert volume(renamed).spacing_mm == pytest.approx((0.75, 0.5, 2.0))


def test_distance_comes_from_positions_not_thickness(tmp_path: Path) -> None:
    paths = make.series(tmp_path, SLICES, step=3.3, SliceThickness=1.0, SpacingBetweenSlices=1.0)
    assert volume(paths).spacing_mm[2] == pytest.approx(3.3)


def test_real_oblique_series_is_stacked_by_position(shared_data: Path) -> None:
    paths = sorted((shared_data / "brain_dicom_studyforrest").glob("*.dcm"))
    mixed = random.Random(1).sample(paths, len(paths))
    scan = volume(mixed)
    files = [pydicom.dcmread(path) for path in paths]
    across = np.array(files[0].ImageOrientationPatient, float)
    normal = np.cross(across[:3], across[3:])
    files.sort(key=lambda file: float(normal @ np.array(file.ImagePositionPatient, float)))
    by_hand = np.stack([file.pixel_array for file in files])  # [bottom to top, front to back, right to left]
    assert np.array_equal(scan.voxels, by_hand.transpose(2, 1, 0)[::-1, ::-1].astype(np.float32))
    assert scan.spacing_mm == pytest.approx((0.7, 0.6667, 0.6667), abs=1e-4)
    assert scan.voxels.shape == (274, 384, 64)


def test_tilted_gantry_is_kept_and_told(tmp_path: Path) -> None:
    paths = [
        make.save(tmp_path / f"{k}.dcm", make.image(SLICES[k], ImagePositionPatient=[0.0, 0.8 * k, 2.0 * k],
                  ImageOrientationPatient=make.AXIAL, PixelSpacing=[1, 1]))
        for k in range(5)
    ]  # fmt: skip
    scan = volume(paths)
    assert scan.spacing_mm == pytest.approx((1.0, 1.0, 2.0))
    assert any("21.8 degrees" in note for note in scan.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Rows": 4, "Columns": 6}, "Rows or Columns"),
        ({"PixelSpacing": [0.6, 0.75]}, "PixelSpacing"),
        ({"ImageOrientationPatient": [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]}, "ImageOrientationPatient"),
        ({"ImagePositionPatient": None}, "without the tag ImagePositionPatient"),
        ({"ImagePositionPatient": [-10.0, -20.0, 0.0]}, "two slices of one series at one place"),
        ({"ImagePositionPatient": [-10.0, -20.0, 4.6]}, "a slice is missing"),
        ({"ImagePositionPatient": [-4.0, -20.0, 4.0]}, "beside the line"),
        ({"ImageOrientationPatient": [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]}, "right angle"),
        ({"NumberOfFrames": 2}, "many frames"),
        ({"BurnedInAnnotation": "YES"}, "burned"),
    ],
)
def test_slices_that_do_not_belong_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    paths = make.series(tmp_path, SLICES)
    data = pydicom.dcmread(paths[2])
    for keyword, value in change.items():
        setattr(data, keyword, value)
        if value is None:
            delattr(data, keyword)
    data.save_as(paths[2])
    refused(paths, words, tmp_path.name)


def test_a_missing_slice_is_refused_by_the_names_around_it(tmp_path: Path) -> None:
    paths = make.series(tmp_path, SLICES)
    refused([*paths[:2], *paths[3:]], "1-001.dcm and", "1-003.dcm", "4 mm apart")
    assert volume(paths[:4]).voxels.shape == (4, 6, 4)


# --- values -----------------------------------------------------------------------------------------------------------


def test_hounsfield_units_and_window(tmp_path: Path) -> None:
    tags = {"SOPClassUID": make.CT, "Modality": "CT", "RescaleSlope": 2, "RescaleIntercept": -1024}
    scan = picture(make.save(tmp_path / "a", make.image(GREY, WindowCenter=[40, 600], WindowWidth=[80, 2000], **tags)))
    assert np.array_equal(scan.pixels, GREY[None] * 2.0 - 1024)
    assert scan.pixels.dtype == np.float32
    assert scan.units == "HU"
    assert scan.window == (0.0, 79.0)  # LINEAR: centre - 0.5 -+ (width - 1) / 2
    exact = make.image(GREY, WindowCenter=40, WindowWidth=80, VOILUTFunction="LINEAR_EXACT", RescaleType="US", **tags)
    assert picture(make.save(tmp_path / "b", exact)).window == (0.0, 80.0)
    assert picture(make.save(tmp_path / "c", make.image(GREY))).units is None


def test_monochrome1_is_inverted_with_its_window(tmp_path: Path) -> None:
    tags = {"PhotometricInterpretation": "MONOCHROME1", "Modality": "DX", "WindowCenter": 60.5, "WindowWidth": 41}
    pixels = np.arange(30, dtype=np.uint8).reshape(5, 6)
    scan = picture(make.save(tmp_path / "a", make.image(pixels, **tags)))
    assert np.array_equal(scan.pixels[0], 255 - pixels)
    assert scan.pixels.dtype == np.uint8
    assert scan.window == (255.0 - 80, 255.0 - 40)
    twelve = picture(make.save(tmp_path / "b", make.image(pixels.astype(np.uint16), BitsStored=12, **tags)))
    assert np.array_equal(twelve.pixels[0], 4095 - pixels.astype(int))
    signed = picture(make.save(tmp_path / "c", make.image(GREY, RescaleSlope=0.5, RescaleIntercept=1, **tags)))
    assert np.allclose(signed.pixels[0], (-16383 + 16384.5) - (GREY * 0.5 + 1))


def test_bits_that_are_not_stored_do_not_count(tmp_path: Path) -> None:
    true = np.array([[-2048, -1, 0], [5, 2047, -7]], np.int16)
    dirty = ((true.astype(np.int32) & 0x0FFF) | 0x5000).astype(np.uint16).view(np.int16)
    assert np.array_equal(picture(make.save(tmp_path / "a", make.image(dirty, BitsStored=12))).pixels[0], true)
    unsigned = (np.array([[0, 4095], [17, 99]], np.uint16) | 0xA000).astype(np.uint16)
    clean = picture(make.save(tmp_path / "b", make.image(unsigned, BitsStored=12)))
    assert np.array_equal(clean.pixels[0], unsigned & 0x0FFF)
    assert clean.pixels.dtype == np.uint16


def test_modality_lookup_table(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "HU"
    table.add_new("LUTData", "OW", np.array([10, 500, 30, 4000], "<u2").tobytes())
    pixels = np.array([[0, 1], [2, 3]], np.uint8)
    scan = picture(make.save(tmp_path / "a", make.image(pixels, ModalityLUTSequence=[table])))
    assert np.array_equal(scan.pixels[0], [[10, 500], [30, 4000]])
    assert scan.units == "HU"


@pytest.mark.parametrize(("value", "limit", "padded"), [(-2000, None, [0]), (63536, None, [0]), (-2000, -1900, [0, 1])])
def test_padding_becomes_the_lowest_real_value(
    tmp_path: Path, value: int, limit: int | None, padded: list[int]
) -> None:
    pixels = GREY.copy()
    pixels[0, 0], pixels[0, 1] = -2000, -1950
    data = make.image(pixels)
    data.add_new("PixelPaddingValue", "US" if value > 32767 else "SS", value)
    if limit is not None:
        data.add_new("PixelPaddingRangeLimit", "SS", limit)
    scan = picture(make.save(tmp_path / "a", data))
    real = np.delete(pixels.ravel(), padded)
    assert all(scan.pixels[0, 0, k] == real.min() for k in padded)
    assert np.array_equal(np.delete(scan.pixels.ravel(), padded), real)
    assert any("padding" in note for note in scan.notes)


def test_padding_of_a_volume_takes_the_lowest_of_all_slices(tmp_path: Path) -> None:
    slices = SLICES.copy() + 5
    slices[1] = -2000
    scan = volume(make.series(tmp_path, slices, PixelPaddingValue=-2000))
    assert (scan.voxels[:, :, 1] == slices[slices > -2000].min()).all()


def test_voi_lookup_table_alone_gives_no_window(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [2, 0, 16]
    table.add_new("LUTData", "OW", b"\0\0\1\0")
    scan = picture(make.save(tmp_path / "a", make.image(GREY, VOILUTSequence=[table])))
    assert scan.window is None
    assert any("VOI" in note for note in scan.notes)


def test_colours(tmp_path: Path) -> None:
    colours = RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    tags = {"SOPClassUID": make.SC, "Modality": "OT"}
    assert np.array_equal(
        picture(make.save(tmp_path / "a", make.image(colours, **tags))).pixels, colours.transpose(2, 0, 1)
    )
    grey = np.repeat(colours[..., :1], 3, axis=2)
    assert np.array_equal(picture(make.save(tmp_path / "b", make.image(grey, **tags))).pixels, grey[None, ..., 0])
    wide = picture(make.save(tmp_path / "c", make.image(colours.astype(np.uint16) * 256 + 7, **tags)))
    assert np.array_equal(wide.pixels, colours.transpose(2, 0, 1))
    path = PYDICOM / "test_files" / "examples_palette.dcm"
    raw = pydicom.dcmread(path)
    keywords = [f"{name}PaletteColorLookupTableData" for name in ("Red", "Green", "Blue")]
    tables = [np.frombuffer(raw[keyword].value, "<u2") >> 8 for keyword in keywords]
    assert np.array_equal(picture(path).pixels, np.stack([table[raw.pixel_array] for table in tables]))


# --- many frames ------------------------------------------------------------------------------------------------------


def test_enhanced_file_is_a_volume_in_the_order_of_its_positions(tmp_path: Path) -> None:
    order = [3, 0, 4, 1, 2]
    positions = [[-10.0, -20.0, 2.0 * k] for k in order]
    rescale = [{"RescaleSlope": 1 + k, "RescaleIntercept": -k, "StackID": "1"} for k in order]
    path = make.enhanced(tmp_path / "a.dcm", SLICES[order], positions, per_frame=rescale)
    scan = volume([path])
    expected = np.stack([SLICES[k] * (1.0 + k) - k for k in range(5)])
    assert np.array_equal(scan.voxels, expected.transpose(2, 1, 0)[::-1, ::-1].astype(np.float32))
    assert scan.spacing_mm == pytest.approx((0.75, 0.5, 2.0))


@pytest.mark.parametrize(("tag", "word"), [("StackID", "2 stacks"), ("TemporalPositionIndex", "2 time points")])
def test_several_volumes_in_one_file_are_refused(tmp_path: Path, tag: str, word: str) -> None:
    groups = [{tag: str(k % 2) if tag == "StackID" else k % 2 + 1} for k in range(4)]
    positions = [[0.0, 0.0, 2.0 * (k // 2)] for k in range(4)]
    refused([make.enhanced(tmp_path / "a", SLICES[:4], positions, per_frame=groups)], word)
    refused([make.enhanced(tmp_path / "b", SLICES[:4], positions)], "at one place")


def test_film_is_refused(tmp_path: Path) -> None:
    path = make.save(tmp_path / "a", make.image(SLICES, NumberOfFrames=5, Modality="US"))
    assert "single images" in refused([path], "5 frames without positions").remedy


# --- what is packed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RLE", "jp2klossless", "jpeg_ls_lossless", "bigendian", "implicit", "expb", "padded"])
def test_lossless_encodings_of_one_image_are_equal(name: str) -> None:
    plain = pydicom.dcmread(PYDICOM / "test_files" / "MR_small.dcm").pixel_array
    assert np.array_equal(picture(PYDICOM / "test_files" / f"MR_small_{name}.dcm").pixels[0], plain)


def test_lossless_jpeg(tmp_path: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(PYDICOM / "test_files" / "CT_small.dcm"))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(tmp_path / "packed.dcm"))
    assert writer.Write()
    assert pydicom.dcmread(tmp_path / "packed.dcm").file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"
    plain = picture(PYDICOM / "test_files" / "CT_small.dcm")
    packed = picture(tmp_path / "packed.dcm")
    assert np.array_equal(packed.pixels, plain.pixels)
    assert packed.units == "HU"


def test_a_decoder_that_crashes_ends_only_its_own_process(tmp_path: Path) -> None:
    pytest.importorskip("gdcm")
    good = PYDICOM / "test_files" / "MR_small_jpeg_ls_lossless.dcm"
    data = bytearray(good.read_bytes())
    data[data.find(b"\xff\xd8\xff\xf7") + 6] = 255  # bits a sample: GDCM ends its process over it
    (tmp_path / "bad.dcm").write_bytes(data)
    with closing(Apart()) as apart:
        assert apart.unpack(tmp_path / "bad.dcm") is None
        assert np.array_equal(apart.unpack(good), pydicom.dcmread(PYDICOM / "test_files" / "MR_small.dcm").pixel_array)
        assert apart.unpack(PYDICOM / "test_files" / "README.txt") is None
        assert apart.unpack(good).shape == (64, 64)
    refused([tmp_path / "bad.dcm"], "bad.dcm", "unpacked")


def test_a_decoder_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(dicom_apart, "__file__", str(tmp_path / "sleeper.py"))
    monkeypatch.setattr(dicom_apart, "LONGEST_S", 0.3)
    start = time.monotonic()
    with closing(Apart()) as apart:
        assert apart.unpack(PYDICOM / "test_files" / "MR_small_jpeg_ls_lossless.dcm") is None
    assert time.monotonic() - start < 20


def test_without_a_decoder_the_remedy_is_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.is_available", property(lambda self: False))
    path = PYDICOM / "test_files" / "MR_small_jpeg_ls_lossless.dcm"
    assert 'pip install "stylescan[dicom]"' in refused([path], "JPEG-LS").remedy
    assert picture(PYDICOM / "test_files" / "MR_small.dcm").pixels.shape == (1, 64, 64)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpacked(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    large = make.image(GREY, Rows=9000, Columns=9000)
    many = make.image(SLICES, NumberOfFrames=2**30)
    packed = pydicom.dcmread(PYDICOM / "test_files" / "JPEG2000.dcm")
    packed.Columns = 128
    packed.save_as(tmp_path / "c")
    monkeypatch.setattr("pydicom.pixels.utils.pixel_array", unpacked)
    refused([make.save(tmp_path / "a", large)], "9000x9000 pixels", "(a decompression bomb?)")
    refused([make.save(tmp_path / "b", many)], "1073741824 frames", "(a decompression bomb?)")
    refused([tmp_path / "c"], "packed with (1024, 256)")


def test_deflated_files_are_unpacked_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make.save(tmp_path / "plain", make.image(GREY))
    raw = pydicom.dcmread(plain)
    raw.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    raw.save_as(tmp_path / "deflated")
    assert b"1.2.840.10008.1.2.1.99" in (tmp_path / "deflated").read_bytes()
    assert np.array_equal(picture(tmp_path / "deflated").pixels, picture(plain).pixels)
    monkeypatch.setattr("stylescan.data.formats.dicom_header.MAX_INFLATED", 100)
    refused([tmp_path / "deflated"], "unpacks to more than 100 bytes")


def test_codestream_sizes() -> None:
    assert codestream_size(b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc0\x00\x0b\x08\x00\x10\x00\x20\x01") == (16, 32)
    assert codestream_size(b"\xff\xd8\xff\xf7\x00\x0b\x10\x00\x05\x00\x06\x01") == (5, 6)
    assert codestream_size(b"\xff\xd8\xff") is None
    assert codestream_size(zlib.compress(b"no image")) is None


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_is_no_image_is_refused_with_a_word_what_it_is(tmp_path: Path) -> None:
    files = PYDICOM / "test_files"
    refused([files / "test-SR.dcm"], "report")
    refused([files / "dicomdirtests" / "DICOMDIR"], "a DICOMDIR")
    refused([files / "rtplan.dcm"], "radiotherapy")
    refused([files / "liver_1frame.dcm"], "segmentation")
    refused([files / "waveform_ecg.dcm"], "waveform")
    refused([files / "README.txt"], "is not DICOM")
    (tmp_path / "empty").write_bytes(b"")
    refused([tmp_path / "empty"], "is empty")
    refused([tmp_path / "gone"], "no such file")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    refused([PYDICOM / "test_files" / "MR_truncated.dcm"], "MR_truncated.dcm", "unpacked")
    data = make.image(GREY)
    del data.Columns
    refused([make.save(tmp_path / "a", data)], "the tag Columns holds nothing")
    data = make.image(GREY)
    del data.PixelData
    refused([make.save(tmp_path / "b", data)], "PixelData is missing")
    refused([make.save(tmp_path / "c", make.image(GREY, RescaleSlope=0))], "RescaleSlope")
    refused([make.save(tmp_path / "d", make.image(GREY, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]))], "mosaic")
    refused([make.save(tmp_path / "e", make.image(GREY, PhotometricInterpretation="RGB"))], "e")


def test_a_fault_in_a_tag_that_does_not_matter_is_no_fault(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = make.save(tmp_path / "a", make.image(GREY, PatientWeight="71.25"))
    path.write_bytes(path.read_bytes().replace(b"71.25 ", b"heavy "))
    assert b"heavy" in path.read_bytes()
    assert np.array_equal(picture(path).pixels[0], GREY)


def test_burned_in_text_is_refused(tmp_path: Path) -> None:
    path = make.save(tmp_path / "a", make.image(GREY, BurnedInAnnotation="YES"))
    assert "--skip-corrupt" in refused([path], "burned").remedy
    assert picture(make.save(tmp_path / "b", make.image(GREY, BurnedInAnnotation="NO"))).pixels.shape == (1, 6, 5)


def planted(folder: Path) -> list[Path]:
    paths = make.series(folder, SLICES, PatientID="PLANTED-ID", InstitutionName="Planted Hospital", Modality="CT",
                        WindowCenter=5, WindowWidth=10, SeriesDescription="Planted^Name", PixelPaddingValue=0)  # fmt: skip
    for path in paths:
        data = pydicom.dcmread(path)
        data.private_block(0x0029, "PLANTED-ID", create=True).add_new(1, "LO", "planted private")
        data.save_as(path)
    return paths


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # the planted words fit no tag
def test_no_name_of_a_header_leaves_it(tmp_path: Path) -> None:
    paths = planted(tmp_path)
    raw = b"".join(path.read_bytes() for path in paths)
    assert all(name.encode() in raw for name in PLANTED)
    for scan in (volume(paths), picture(paths[0])):
        words = " ".join([*scan.notes, str(scan.units), str(scan.window), getattr(scan, "mode", "")])
        assert not any(name.lower() in words.lower() for name in PLANTED)
        values = scan.voxels if isinstance(scan, Volume) else scan.pixels
        assert not any(name.encode() in values.tobytes() for name in PLANTED)
    for change in ({"ImageOrientationPatient": [1, 1, 1, 1, 1, 1]}, {"PhotometricInterpretation": "PLANTED-ID"}):
        data = pydicom.dcmread(paths[1])
        for keyword, value in change.items():
            setattr(data, keyword, value)
        data.save_as(paths[1])
        problem = refused(paths, "1-001.dcm")
        assert not any(name in str(problem) for name in PLANTED)


def test_words_of_the_library_which_may_quote_the_header_are_not_passed_on(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught, blaming(tmp_path / "scan.dcm"):
        raise ValueError("PLANTED-ID is no number")
    assert "scan.dcm: cannot be read as DICOM (ValueError)" in str(caught.value)
    assert "PLANTED" not in str(caught.value)


def test_pydicom_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for name in (
            "MR_small_padded.dcm",
            "examples_overlay.dcm",
            "J2K_pixelrep_mismatch.dcm",
            "no_meta_group_length.dcm",
        ):
            try:
                read_dicom([PYDICOM / "test_files" / name])
            except DataError:
                continue
    assert [str(item.message) for item in heard] == []
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_every_file_of_pydicom_reads_or_is_refused_by_name() -> None:
    files = [path for name in ("test_files", "charset_files") for path in sorted((PYDICOM / name).rglob("*"))]
    read = 0
    for path in filter(Path.is_file, files):
        try:
            scan = read_dicom([path])
        except DataError as problem:
            assert str(path) in problem.message
            assert problem.remedy
        else:
            read += 1
            values = scan.voxels if isinstance(scan, Volume) else scan.pixels
            assert values.size
            assert np.isfinite(values).all()
    assert read >= 85


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(
    name=st.sampled_from(MUTATED),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    keep=st.floats(0.3, 1.5),
)
def test_mutated_files_read_or_are_refused(
    tmp_path: Path, name: str, changes: list[tuple[float, int]], keep: float
) -> None:
    data = bytearray((PYDICOM / "test_files" / name).read_bytes())
    header = min(len(data), 3000)  # most changes hit the header, where they hurt
    for place, value in changes:
        data[int(place * (header - 1))] = value
    path = tmp_path / "a.dcm"
    path.write_bytes(data[: int(len(data) * keep)])
    try:
        scan = read_dicom([path])
    except DataError as problem:
        assert str(path) in problem.message
    else:
        assert isinstance(scan, Picture)
        assert np.isfinite(scan.pixels).all()


def test_importing_the_reader_does_not_import_pydicom() -> None:
    import subprocess

    code = "import sys, stylescan.data.formats.dicom; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_copy_elsewhere_reads_the_same(tmp_path: Path) -> None:
    copy = Path(shutil.copy(PYDICOM / "test_files" / "CT_small.dcm", tmp_path / "no suffix at all"))
    assert np.array_equal(picture(copy).pixels, picture(PYDICOM / "test_files" / "CT_small.dcm").pixels)
