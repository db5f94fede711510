"""What the DICOM layout knows of each file, and how files make up series, volumes and single images."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stylescan.data.formats.dicom_header import (
    blaming,
    frame_count,
    frame_group,
    not_an_image,
    open_dicom,
    quiet,
    text,
    words,
)
from stylescan.data.formats.dicom_series import Place, place_of, same_grid
from stylescan.errors import DataError

FEWEST = 3  # slices that make a volume; fewer, beside volumes, are a scout
# Tags that tell apart slices at one place, in the order in which they are tried: echoes, time, diffusion, repeats.
_REPEATS = ("EchoTime", "TemporalPositionIdentifier", "DiffusionBValue", "TriggerTime", "InversionTime",
            "AcquisitionNumber", "ImageType")  # fmt: skip
_TAGS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber",
         "SeriesDescription", "Modality", "PatientID", "IssuerOfPatientID", "Laterality", "ImageLaterality",
         "Rows", "Columns", "NumberOfFrames", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
         "PerFrameFunctionalGroupsSequence", *_REPEATS)  # fmt: skip


@dataclass(frozen=True)
class FileHeader:
    """One DICOM file. `other`: what it is where it is no image. `stacked`: says where it lies in the patient.

    `place`: where, of a file of one frame. `repeats`: values of the tags that tell apart slices at one place.
    """

    path: Path
    study: str
    series: str
    instance: str
    series_number: int
    instance_number: int
    modality: str
    patient: str
    issuer: str
    side: str
    kinds: tuple[str, ...]
    description: str
    frames: int
    stacked: bool
    place: Place | None
    repeats: tuple[str, ...]
    other: str | None


def read_header(path: Path) -> FileHeader:
    """The header of a file, without its pixels. Raises DataError where it is damaged."""
    with quiet(), blaming(path):
        data = open_dicom(path, tags=_TAGS)
        frames = frame_count(path, data)
        group = frame_group(data, 0, "PlanePositionSequence")
        stacked = bool(words(group, "ImagePositionPatient"))
        place = None
        if stacked and frames == 1:
            with suppress(DataError):  # the reader will say so, of the series
                place = place_of(path, data)
        return FileHeader(
            path, text(data, "StudyInstanceUID"), text(data, "SeriesInstanceUID"), text(data, "SOPInstanceUID"),
            _whole(text(data, "SeriesNumber")), _whole(text(data, "InstanceNumber")), text(data, "Modality").upper(),
            text(data, "PatientID"), text(data, "IssuerOfPatientID"),
            text(data, "ImageLaterality") or text(data, "Laterality"),
            tuple(word.upper() for word in words(data, "ImageType")), text(data, "SeriesDescription"),
            frames, stacked, place, tuple("\\".join(words(data, tag)) for tag in _REPEATS), not_an_image(data),
        )  # fmt: skip


def _whole(number: str) -> int:
    return int(number) if number.lstrip("-").isdecimal() and len(number) < 10 else 0


def short_hash(uid: str) -> str:
    """12 hexadecimal digits that stand for a UID in names."""
    return hashlib.sha256(uid.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Part:
    """Files of one scan, in order. `number`: of the part within its series, None for the only one."""

    headers: tuple[FileHeader, ...]
    volume: bool
    number: int | None = None

    @property
    def name(self) -> str:
        """Study, series, and what else it takes to be unique: no file name, no text of the header."""
        first = self.headers[0]
        name = f"{short_hash(first.study)}/{first.series_number}-{short_hash(first.series)}"
        if self.number is not None:
            name += f"-{self.number}"
        if len(self.headers) == 1:
            name += f"/{first.instance_number}-{short_hash(first.instance or str(first.path))}"
        return name


def parts_of(series: Sequence[FileHeader]) -> list[Part]:
    """The volumes and single images of one series: files of many frames, single images, stacks of slices.

    Slices part where their grid or orientation differs, and where positions repeat by echo, time, b-value and so on.
    """
    alone = [h for h in series if h.frames > 1]
    slices = [h for h in series if h.frames == 1]
    parts = [Part((h,), h.stacked) for h in alone]
    if not any(h.stacked for h in slices):
        return parts + [Part((h,), False) for h in slices]
    found: list[list[FileHeader]] = []
    for header in sorted(slices, key=_rank):
        home = next((group for group in found if _fits(group, header)), None)
        if home is None:
            found.append([header])
        else:
            home.append(header)
    stacks = [part for group in found for part in _unrepeated(group, range(len(_REPEATS)))]
    for number, stack in enumerate(stacks, 1):
        ordered = tuple(sorted(stack, key=_rank))
        label = number if len(stacks) > 1 else None
        if len(ordered) >= FEWEST:
            parts.append(Part(ordered, True, label))
        else:
            parts += [Part((h,), False, label) for h in ordered]
    return parts


def _rank(header: FileHeader) -> tuple[float, int, str]:
    """Along the slice normal, never by file name."""
    return (header.place.depth if header.place else 0.0, header.instance_number, header.instance)


def _fits(group: Sequence[FileHeader], header: FileHeader) -> bool:
    reference = next((h.place for h in group if h.place is not None), None)
    return reference is None or header.place is None or same_grid(reference, header.place) is None


def _spots(group: Sequence[FileHeader]) -> Counter[float]:
    """How many slices lie at each depth (to a hundredth of a millimetre)."""
    return Counter(round(h.place.depth, 2) for h in group if h.place is not None)


def _unrepeated(group: list[FileHeader], tags: Sequence[int]) -> list[list[FileHeader]]:
    """`group` parted until no position occurs twice, or no tag tells the slices apart (then reading will refuse it)."""
    spots = _spots(group)
    most = max(spots.values(), default=1)
    if most == 1 or not tags:
        return [group]
    by_value: dict[str, list[FileHeader]] = defaultdict(list)
    for header in group:
        by_value[header.repeats[tags[0]]].append(header)
    # A tag of another value in every slice (a time, a counter) tells slices apart, but not volumes.
    helps = 1 < len(by_value) <= 2 * most and all(
        max(_spots(part).values(), default=1) < most for part in by_value.values()
    )
    if not helps:
        return _unrepeated(group, tags[1:])
    ordered = sorted(by_value.items(), key=lambda item: (_number(item[0]), item[0]))
    return [part for _, members in ordered for part in _unrepeated(members, tags[1:])]


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0
