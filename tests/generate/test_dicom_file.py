"""Writing DICOM: what a reader finds in it, and that equal arguments give equal bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from stylescan.data.formats.dicom import read_dicom
from stylescan.data.formats.scans import Picture
from stylescan.generate.dicom_file import encode_dicom, make_uid

RNG = np.random.default_rng(2)
GREY8 = RNG.integers(0, 256, (1, 9, 7), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (1, 9, 7), dtype=np.uint16)
COLOUR = RNG.integers(0, 256, (3, 5, 7), dtype=np.uint8)

# Type 1 and 2 of the modules of the Secondary Capture Image IOD (PS3.3 A.8.1): type 2 may be empty, not absent.
FILLED = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ConversionType",
          "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
          "PixelRepresentation", "PixelData"]  # fmt: skip
PRESENT = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
           "ReferringPhysicianName", "AccessionNumber", "SeriesNumber", "InstanceNumber", "PatientOrientation",
           "Manufacturer"]  # fmt: skip


def encoded(image: np.ndarray[Any, Any], **changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "spacing_mm": (0.7, 0.65), "seed": 5, "model_hash": "ab" * 32, "description": "brain, class 1", "plane": "axial",
        "series_uid": make_uid("series", 1), "study_uid": make_uid("ab" * 32, 5), "number": 3, "value_range": None,
        "units": None,
    }  # fmt: skip
    return encode_dicom(image, **{**arguments, **changes})


def parsed(data: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


@pytest.mark.parametrize("image", [GREY8, GREY16, COLOUR], ids=["8 bits", "16 bits", "colour"])
def test_round_trip(tmp_path: Path, image: np.ndarray[Any, Any]) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(encoded(image))
    scan = read_dicom([path])
    assert isinstance(scan, Picture)
    assert np.array_equal(scan.pixels, image)
    assert scan.pixels.dtype == image.dtype
    assert scan.spacing_mm == (0.7, 0.65)


def test_what_the_standard_asks_of_a_secondary_capture() -> None:
    for image in (GREY8, COLOUR):
        data = parsed(encoded(image))
        assert all(data.get(keyword) not in (None, "") for keyword in FILLED)
        assert all(keyword in data for keyword in PRESENT)
        assert data.file_meta.MediaStorageSOPInstanceUID == data.SOPInstanceUID
        assert data.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert data.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
        assert ("PlanarConfiguration" in data) == (image is COLOUR)
        assert data.ConversionType == "SYN"
        assert len(data.PixelData) % 2 == 0
        for uid in (data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID):
            assert pydicom.uid.UID(uid).is_valid


def test_it_says_that_it_is_synthetic_and_nobody() -> None:
    data = parsed(encoded(GREY8))
    assert list(data.ImageType) == ["DERIVED", "SECONDARY", "SYNTHETIC"]
    assert data.SyntheticData == "YES"
    assert str(data.PatientName) == "SYNTHETIC^abababababab"
    assert data.PatientID == "SYN-abababababab-5"
    assert data.PatientIdentityRemoved == "YES"
    assert data.DeidentificationMethod
    assert data.BurnedInAnnotation == "NO"
    assert data.LossyImageCompression == "00"
    assert "not for diagnosis" in data.ImageComments
    assert list(data.PatientOrientation) == ["L", "P"]
    assert [element.keyword for element in data if element.VR in ("DA", "TM", "DT") and element.value] == []


def test_values_come_back_in_their_units(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(encoded(GREY16, value_range=(-1024.0, 3071.0), units="HU"))
    scan = read_dicom([path])
    assert isinstance(scan, Picture)
    assert scan.units == "HU"
    assert scan.window == pytest.approx((-1024.0, 3071.0))
    assert np.allclose(scan.pixels, -1024 + GREY16 / 65535 * 4095, atol=1e-2)
    assert "RescaleSlope" not in parsed(encoded(COLOUR, value_range=(0.0, 1.0)))
    assert all(len(parsed(encoded(GREY8, value_range=(1e-7 / 3, 2 / 3)))[k].value.original_string) <= 16
               for k in ("RescaleSlope", "RescaleIntercept", "WindowWidth"))  # fmt: skip


def test_equal_arguments_equal_bytes_and_any_other_another_uid() -> None:
    first = encoded(GREY8)
    assert encoded(GREY8.copy()) == first
    changes = [{"seed": 6}, {"model_hash": "cd" * 32}, {"number": 4}, {"spacing_mm": None}, {"plane": "coronal"},
               {"description": "other"}, {"series_uid": make_uid(2)}, {"study_uid": make_uid(3)},
               {"value_range": (0.0, 1.0)}]  # fmt: skip
    uids = [parsed(encoded(GREY8, **change)).SOPInstanceUID for change in changes]
    uids += [parsed(data).SOPInstanceUID for data in (first, encoded(255 - GREY8), encoded(GREY16))]
    assert len(set(uids)) == len(uids)
    assert make_uid("a", 1) == make_uid("a", 1) != make_uid("a1")


def test_unknown_spacing_is_not_written() -> None:
    assert not {"PixelSpacing", "NominalScannedPixelSpacing"} & set(parsed(encoded(GREY8, spacing_mm=None)).dir())
    known = parsed(encoded(GREY8))
    assert list(known.PixelSpacing) == list(known.NominalScannedPixelSpacing) == [0.7, 0.65]
    assert known.PixelSpacingCalibrationType == "GEOMETRY"
    assert known.PixelSpacingCalibrationDescription


def test_odd_descriptions_stay_one_short_line() -> None:
    data = parsed(encoded(GREY8, description="Größe\\x\n" + "ä" * 2000))
    assert str(data.SeriesDescription).startswith("Größe x")
    assert len(str(data.SeriesDescription).encode()) <= 64
    assert "\n" not in str(data.DerivationDescription)


@pytest.mark.parametrize(
    "image",
    [
        GREY8[0],
        GREY8.astype(np.float32),
        COLOUR.astype(np.uint16),
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((1, 0, 4), np.uint8),
    ],
)
def test_other_arrays_are_refused(image: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ValueError, match="no DICOM for shape"):
        encoded(image)


@pytest.mark.parametrize(
    "change", [{"value_range": (1.0, 1.0)}, {"value_range": (0.0, float("inf"))}, {"spacing_mm": (0.0, 1.0)}]
)
def test_numbers_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected finite"):
        encoded(GREY8, **change)
