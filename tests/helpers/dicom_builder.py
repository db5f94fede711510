"""Writes small DICOM files with pydicom, so that every test knows what lies in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

MR, CT, SC = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def uid(*numbers: int) -> str:
    return "1.2.3." + ".".join(map(str, numbers))


def image(pixels: NDArray[Any], **tags: Any) -> Dataset:
    """A dataset of `pixels` [H, W], [H, W, 3] or [N, H, W] (with NumberOfFrames in tags); `tags` win over the defaults."""
    data = Dataset()
    colour = pixels.ndim == 3 and "NumberOfFrames" not in tags
    bits = 8 * pixels.dtype.itemsize
    rows, columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    values = {
        "SOPClassUID": MR, "SOPInstanceUID": uid(9, 1), "StudyInstanceUID": uid(1), "SeriesInstanceUID": uid(1, 1),
        "Modality": "MR", "PatientID": "patient-1", "PatientName": "Planted^Name", "SeriesNumber": 1, "InstanceNumber": 1,
        "Rows": rows, "Columns": columns, "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2", "BitsAllocated": bits, "BitsStored": bits,
        "HighBit": bits - 1, "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }  # fmt: skip
    if colour:
        values["PlanarConfiguration"] = 0
    for keyword, value in {**values, **tags}.items():
        if value is not None:
            setattr(data, keyword, value)
    if "BitsStored" in tags and "HighBit" not in tags:
        data.HighBit = data.BitsStored - 1
    raw = np.ascontiguousarray(pixels).tobytes()
    data.add_new("PixelData", "OW" if bits > 8 else "OB", raw + b"\0" * (len(raw) % 2))
    return data


def save(path: Path, data: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return path


def series(folder: Path, slices: NDArray[Any], *, step: float = 2.0, key: int = 1, **tags: Any) -> list[Path]:
    """`slices` [n, H, W] as axial files, bottom to top, `step` mm apart; `key` makes the UIDs of the series unique."""
    paths = []
    for k, pixels in enumerate(slices):
        own = {
            "SOPInstanceUID": uid(9, key, k), "StudyInstanceUID": uid(key), "SeriesInstanceUID": uid(key, 1),
            "InstanceNumber": k + 1, "ImagePositionPatient": [-10.0, -20.0, step * k], "ImageOrientationPatient": AXIAL,
            "PixelSpacing": [0.5, 0.75],
        }  # fmt: skip
        paths.append(save(folder / f"{key}-{k:03d}.dcm", image(pixels, **{**own, **tags})))
    return paths


def enhanced(path: Path, frames: NDArray[Any], positions: list[list[float]], **options: Any) -> Path:
    """Frames [N, H, W] in one file with functional groups. options: per_frame (list of dicts of tags), and tags."""
    per_frame = options.pop("per_frame", [{} for _ in frames])
    data = image(frames, SOPClassUID=ENHANCED_MR, NumberOfFrames=len(frames), **options)
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing = AXIAL, [0.5, 0.75]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for position, extra in zip(positions, per_frame, strict=True):
        group, place, content, rescale = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = position
        group.PlanePositionSequence = [place]
        for keyword, value in extra.items():
            setattr(rescale if keyword.startswith("Rescale") else content, keyword, value)
        group.FrameContentSequence = [content]
        if len(rescale):
            group.PixelValueTransformationSequence = [rescale]
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    return save(path, data)
