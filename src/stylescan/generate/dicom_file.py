"""Generated images as DICOM files: secondary captures that say of themselves that they are synthetic."""

from __future__ import annotations

import hashlib
import io
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan import __version__
from stylescan.generate.images import TITLE

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_METHOD = "Drawn by a generative model: shows no patient"
# Where a row and a column of planes.plane_slices lead: left/right, front (A), back (P), head, foot (PS3.3 C.7.6.1.1.1).
_HUNG = {"axial": ["L", "P"], "coronal": ["L", "F"], "sagittal": ["P", "F"]}


def make_uid(*parts: str | int) -> str:
    """A UID drawn from `parts`: equal parts give equal UIDs on every machine, others different ones (SHA-512)."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=["\0".join(["stylescan", *map(str, parts)])]))


def encode_dicom(
    image: NDArray[Any],
    *,
    spacing_mm: tuple[float, float] | None,
    seed: int,
    model_hash: str,
    description: str,
    plane: str | None,
    series_uid: str,
    study_uid: str,
    number: int,
    value_range: tuple[float, float] | None,
    units: str | None,
) -> bytes:
    """One image as a DICOM file of the class Secondary Capture Image (PS3.3 A.8.1), Explicit VR Little Endian.

    image: uint8 or uint16 [1, H, W], or uint8 [3, H, W]. spacing_mm: (row, column). number: of the image in its series.
    value_range: the source values that 0 and the largest integer of a grey image stand for, written as rescale;
    units: theirs, 'HU' or None. plane: as hung by planes.plane_slices. description: of the series.
    Every (model_hash, seed) is a patient of its own, so that `study_uid` should be one for each, for instance
    make_uid(model_hash, seed). The instance's UID comes from all arguments and pixels: equal arguments give equal bytes,
    and any other argument another UID. No dates, times, hosts or paths are written. ValueError for other shapes or types.
    """
    grey = image.ndim == 3 and image.shape[0] == 1 and image.dtype in (np.uint8, np.uint16)
    if not grey and not (image.ndim == 3 and image.shape[0] == 3 and image.dtype == np.uint8):
        raise ValueError(f"no DICOM for shape {image.shape}, {image.dtype}: expected [1, H, W], or [3, H, W] of uint8")
    if min(image.shape) < 1 or max(image.shape) > 65535:
        raise ValueError(f"no DICOM for shape {image.shape}: sides from 1 to 65535")
    from pydicom.dataset import Dataset

    pixels = np.ascontiguousarray(np.moveaxis(image, 0, -1)).astype(image.dtype.newbyteorder("<"), copy=False)
    settings = repr(
        (spacing_mm, seed, model_hash, description, plane, series_uid, study_uid, number, value_range, units)
    )
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    data: Any = Dataset()
    _set(data, SpecificCharacterSet="ISO_IR 192", SOPClassUID=_SECONDARY_CAPTURE, SyntheticData="YES",
         SOPInstanceUID=make_uid(settings, *pixels.shape, pixels.dtype.str, digest))  # fmt: skip
    _set_origin(data, re.sub(r"[^0-9A-Za-z]", "", model_hash)[:12], seed)
    _set(data, StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid, SeriesNumber=1, InstanceNumber=number,
         SeriesDescription=_line(description, 64), DerivationDescription=_line(description, 1024),
         PatientOrientation=_HUNG.get(plane or "", ""))  # fmt: skip
    _set_pixels(data, pixels)
    if spacing_mm is not None:
        _set_spacing(data, spacing_mm)
    if value_range is not None and grey:
        _set_rescale(data, value_range, units, int(np.iinfo(pixels.dtype).max))
    return _write(data)


def _set_origin(data: Any, model: str, seed: int) -> None:
    """The modules Patient, General Study, SC Equipment and General Image: nobody, from no scanner, at no time."""
    _set(data, PatientName=f"SYNTHETIC^{model}", PatientID=f"SYN-{model}-{seed}", PatientBirthDate="", PatientSex="",
         PatientIdentityRemoved="YES", DeidentificationMethod=_METHOD)  # fmt: skip
    _set(data, StudyDate="", StudyTime="", ReferringPhysicianName="", StudyID="", AccessionNumber="")
    _set(data, Modality="OT", ConversionType="SYN", Manufacturer="stylescan", SoftwareVersions=__version__,
         ManufacturerModelName=f"stylescan {model}")  # fmt: skip
    _set(data, ImageType=["DERIVED", "SECONDARY", "SYNTHETIC"], ImageComments=TITLE, BurnedInAnnotation="NO",
         LossyImageCompression="00")  # fmt: skip


def _set_spacing(data: Any, spacing_mm: tuple[float, float]) -> None:
    """The calibrated part of the module SC Image; (row, column) in mm."""
    if not all(math.isfinite(step) and step > 0 for step in spacing_mm):
        raise ValueError(f"spacing {spacing_mm} mm: expected finite numbers above 0")
    steps = [_decimal(step) for step in spacing_mm]
    _set(data, PixelSpacing=steps, NominalScannedPixelSpacing=steps, PixelSpacingCalibrationType="GEOMETRY",
         PixelSpacingCalibrationDescription="Spacing of the training images")  # fmt: skip


def _set(data: Any, **values: Any) -> None:
    for keyword, value in values.items():
        setattr(data, keyword, value)


def _set_pixels(data: Any, pixels: NDArray[Any]) -> None:
    """The module Image Pixel for `pixels` [H, W, C]."""
    height, width, samples = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    _set(data, SamplesPerPixel=samples, PhotometricInterpretation="RGB" if samples == 3 else "MONOCHROME2", Rows=height,
         Columns=width, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=0)  # fmt: skip
    if samples == 3:
        data.PlanarConfiguration = 0
    data.add_new("PixelData", "OW" if bits == 16 else "OB", pixels.tobytes())  # padded to even length when written


def _set_rescale(data: Any, value_range: tuple[float, float], units: str | None, largest: int) -> None:
    """The modules Modality LUT and VOI LUT: stored integers to `value_range`, shown as a whole."""
    low, high = value_range
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise ValueError(f"value range {value_range}: expected finite numbers, low < high")
    _set(data, RescaleIntercept=_decimal(low), RescaleSlope=_decimal((high - low) / largest),
         RescaleType="HU" if units == "HU" else "US", WindowCenter=_decimal((low + high) / 2),
         WindowWidth=_decimal(high - low), VOILUTFunction="LINEAR_EXACT")  # fmt: skip


def _decimal(number: float) -> str:
    """A decimal string (DS): at most 16 bytes, as many digits as fit."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(number))


def _line(text: str, longest: int) -> str:
    """Text of one line without what DICOM gives a meaning (backslash, control characters)."""
    plain = "".join(sign if sign.isprintable() and sign != "\\" else " " for sign in text)
    return plain.encode()[:longest].decode(errors="ignore").strip()


def _write(data: Any) -> bytes:
    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    data.file_meta = FileMetaDataset()
    # Named here, so that another version of the writing library does not write other bytes.
    _set(data.file_meta, MediaStorageSOPClassUID=_SECONDARY_CAPTURE, MediaStorageSOPInstanceUID=data.SOPInstanceUID,
         TransferSyntaxUID=ExplicitVRLittleEndian, ImplementationClassUID=make_uid("implementation"),
         ImplementationVersionName="STYLESCAN")  # fmt: skip
    stream = io.BytesIO()
    dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()
