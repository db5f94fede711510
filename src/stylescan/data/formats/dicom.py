"""DICOM: one image file is a picture; the files of a series, or one file of many frames, are a volume.

Nothing of a header but numbers leaves: no text of it gets into a result, a note or an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.formats.checks import check_values, grey_if_equal
from stylescan.data.formats.dicom_apart import Apart
from stylescan.data.formats.dicom_header import (
    Dataset,
    blaming,
    check_image,
    frame_count,
    frame_group,
    numbers,
    open_dicom,
    quiet,
    tag_error,
)
from stylescan.data.formats.dicom_pixels import Frame, read_frames
from stylescan.data.formats.dicom_series import Place, Stack, frame_places, place_of, stack_places, to_ras
from stylescan.data.formats.scans import Picture, Volume
from stylescan.data.formats.voxels import MAX_VOXELS
from stylescan.errors import DataError

_GRID_TAGS = ("SOPClassUID", "Rows", "Columns", "BitsAllocated", "NumberOfFrames", "SamplesPerPixel", "ImageType",
              "BurnedInAnnotation", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")  # fmt: skip


def read_dicom(paths: Sequence[Path]) -> Picture | Volume:
    """The picture in one file of one frame; the volume in several files of a series, or in one file of many frames.

    Values after the modality LUT ('HU' for CT); MONOCHROME1 inverted; palettes and YBR as 8-bit RGB, or grey where the
    channels are equal; padding set to the lowest real value; `window` the first one in the header. Slices are ordered
    and spaced by their positions along the normal, never by name or thickness; oblique ones keep their grid, turned to
    the closest axes.

    Raises DataError naming file and tag where a file is damaged, no image, packed in a way that nothing installed
    unpacks, has text burned in, or where the files are no single even stack.
    """
    if not paths:
        raise ValueError("no paths")
    with quiet(), closing(Apart()) as apart:
        if len(paths) > 1:
            return _read_series(paths, apart)
        with blaming(paths[0]):
            dataset = open_dicom(paths[0], pixels=True)
            check_image(paths[0], dataset)
            if frame_count(paths[0], dataset) == 1:
                return _picture(paths[0], dataset, apart)
            stack = stack_places(frame_places(paths[0], dataset))
            _check_grey(paths[0], dataset)
            return _volume(stack, enumerate(read_frames(paths[0], dataset, apart)))


def _picture(path: Path, dataset: Dataset, apart: Apart) -> Picture:
    frames = list(read_frames(path, dataset, apart))
    if len(frames) != 1:
        raise DataError(f"{path}: {len(frames)} frames, the header says 1", remedy="leave it out with --skip-corrupt")
    frame = frames[0]
    if frame.values.ndim == 3:
        return Picture(grey_if_equal(check_values(path, frame.values)), "DICOM colour", _spacing(path, dataset)[0])
    values, notes = frame.values, frame.notes
    if frame.padding is not None:
        values = np.where(frame.padding, _lowest(path, values[~frame.padding]), values)
        notes = (*notes, f"{frame.padding.mean():.0%} of the image is padding, set to the lowest real value")
    spacing, more = _spacing(path, dataset)
    mode = f"DICOM {8 * values.dtype.itemsize}-bit {'float' if values.dtype.kind == 'f' else 'integer'}"
    pixels = np.ascontiguousarray(check_values(path, values)[None])
    return Picture(pixels, mode, spacing, frame.window, frame.units, notes + more)


def _lowest(path: Path, real: NDArray[Any]) -> Any:
    if real.size == 0:
        raise DataError(f"{path}: holds nothing but padding", remedy="leave it out with --skip-corrupt")
    return real.min()


def _spacing(path: Path, dataset: Dataset) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """(row, column) mm of a single image, in the patient or else at the detector, and a note on the latter."""

    group = frame_group(dataset, 0, "PixelMeasuresSequence")
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = numbers(path, group, keyword, 2)
        if found is None:
            continue
        if not all(1e-4 <= step <= 1e3 for step in found):
            raise tag_error(path, keyword, f"{found}", "millimetres between 0.0001 and 1000")
        at_detector = keyword == "ImagerPixelSpacing"
        return (found[0], found[1]), ("the spacing is that at the detector, magnified",) * at_detector
    return None, ()


def _check_grey(path: Path, dataset: Dataset) -> None:
    if (numbers(path, dataset, "SamplesPerPixel", 1) or (1.0,))[0] != 1:
        raise DataError(f"{path}: a colour image among the slices of a volume, expected one value a voxel",
                        remedy="leave the series out with --skip-corrupt, or save its slices as single images")  # fmt: skip


def _read_series(paths: Sequence[Path], apart: Apart) -> Volume:
    places = []
    for path in paths:
        with blaming(path):
            header = open_dicom(path, tags=_GRID_TAGS)
            check_image(path, header)
            _check_grey(path, header)
            if frame_count(path, header) > 1:
                raise DataError(f"{path}: many frames, in a series of {len(paths)} files",
                                remedy="prepare each file of many frames as a volume of its own")  # fmt: skip
            places.append(place_of(path, header))
    stack = stack_places(places)
    if len(paths) * places[0].rows * places[0].columns > MAX_VOXELS:
        raise DataError(f"{paths[0]}: a series of more than {MAX_VOXELS} voxels", remedy="leave it out")
    return _volume(stack, enumerate(_first_frames(stack.places, apart)))


def _first_frames(places: Sequence[Place], apart: Apart) -> Iterator[Frame]:
    for place in places:
        with blaming(place.path):
            dataset = open_dicom(place.path, pixels=True)
            check_image(place.path, dataset)
            frame = next(read_frames(place.path, dataset, apart))
        yield frame


def _volume(stack: Stack, frames: Iterator[tuple[int, Frame]]) -> Volume:
    """The volume of the stack; `frames` come numbered by file, or by their own number within one file."""
    places = stack.places
    slot = {place.frame: k for k, place in enumerate(places)} if len({p.path for p in places}) == 1 else None
    slices = np.empty((len(places), places[0].rows, places[0].columns), np.float32)
    windows: list[tuple[float, float]] = []
    notes, units, done, padded = dict.fromkeys(stack.notes), set(), 0, False
    for number, frame in frames:
        k = number if slot is None else slot[number]
        slices[k] = frame.values
        if frame.padding is not None:
            slices[k][frame.padding] = np.nan
            padded = True
        windows += [frame.window] if frame.window is not None else []
        notes.update(dict.fromkeys(frame.notes))
        units.add(frame.units)
        done += 1
    if done != len(places):
        raise DataError(f"{places[0].path}: {done} frames, expected {len(places)}", remedy="replace the file")
    if padded:
        empty = np.isnan(slices)
        slices[empty] = _lowest(places[0].path, slices[~empty])
        notes[f"{empty.mean():.0%} of the volume is padding, set to the lowest real value"] = None
    if len(units) > 1:
        raise DataError(f"{places[0].path}: some slices of its series are in Hounsfield units, some are not",
                        remedy="leave the series out with --skip-corrupt")  # fmt: skip
    voxels, spacing = to_ras(slices, stack)
    # Slices may each ask for a window of their own: the volume takes the middle one.
    window = (float(np.median([w[0] for w in windows])), float(np.median([w[1] for w in windows]))) if windows else None
    return Volume(voxels, spacing, tuple(notes), window, units.pop())
