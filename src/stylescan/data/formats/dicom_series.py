"""Where the slices of a DICOM series lie in the patient, and the volume in RAS that they make up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.data.formats.dicom_header import Dataset, frame_count, frame_group, numbers, tag_error, text
from stylescan.errors import DataError

GAP = 0.05  # a step between slices that differs from the median by more than this share means a missing slice
_SAME_ANGLE = 2e-3  # largest difference between direction cosines of one series
_NOT_A_STACK = "leave the series out with --skip-corrupt, or convert it to NIfTI, for instance with dcm2niix"


@dataclass(frozen=True)
class Place:
    """Where one slice lies: mm in the patient's coordinates (left, back, top; PS3.3 C.7.6.2).

    position: of the centre of its first pixel. orientation: direction of a row, then of a column. spacing_mm: (row,
    column). frame: its number in the file, from 0.
    """

    path: Path
    frame: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    rows: int
    columns: int

    @property
    def normal(self) -> NDArray[np.float64]:
        return normal_of(self.orientation)

    @property
    def depth(self) -> float:
        """mm along the slice normal."""
        return float(np.dot(self.normal, self.position))


def normal_of(orientation: Sequence[float]) -> NDArray[np.float64]:
    """The slice normal of six direction cosines."""
    return np.cross(orientation[:3], orientation[3:])


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal. affine: (column, row, slice) to mm in RAS. spacing_mm: along these three."""

    places: tuple[Place, ...]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    notes: tuple[str, ...] = ()


def place_of(path: Path, dataset: Dataset, frame: int = 0) -> Place:
    """The place of a frame. Raises DataError naming the tag that is missing or cannot be."""
    found: dict[str, tuple[float, ...]] = {}
    for keyword, group, count in (
        ("ImagePositionPatient", "PlanePositionSequence", 3),
        ("ImageOrientationPatient", "PlaneOrientationSequence", 6),
        ("PixelSpacing", "PixelMeasuresSequence", 2),
    ):
        value = numbers(path, frame_group(dataset, frame, group), keyword, count)
        if value is None:
            raise DataError(f"{path}: a slice of a volume without the tag {keyword}", remedy=_NOT_A_STACK)
        found[keyword] = value
    orientation = np.array(found["ImageOrientationPatient"])
    lengths, angle = np.linalg.norm(orientation.reshape(2, 3), axis=1), float(orientation[:3] @ orientation[3:])
    if np.abs(lengths - 1).max() > 1e-2 or abs(angle) > 1e-2:
        raise tag_error(path, "ImageOrientationPatient", "no two directions at a right angle", "six direction cosines")
    if not all(1e-4 <= step <= 1e3 for step in found["PixelSpacing"]):
        raise tag_error(path, "PixelSpacing", f"{found['PixelSpacing']}", "millimetres between 0.0001 and 1000")
    position, cosines, spacing = found.values()
    return Place(path, frame, position, cosines, spacing, int(dataset.Rows), int(dataset.Columns))


def frame_places(path: Path, dataset: Dataset) -> list[Place]:
    """The places of all frames of a file of several. Raises DataError where they are no single stack."""
    count, groups = frame_count(path, dataset), dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        raise DataError(f"{path}: {count} frames without positions (a film, such as an ultrasound loop, or tiles)",
                        remedy="save the frames that you want as single images, or a volume as NIfTI")  # fmt: skip
    if len(groups) != count:
        raise DataError(f"{path}: {count} frames and {len(groups)} descriptions of frames", remedy=_NOT_A_STACK)
    for keyword, name in (("StackID", "stacks"), ("TemporalPositionIndex", "time points")):
        kinds = {text(frame_group(dataset, k, "FrameContentSequence"), keyword) for k in range(count)}
        if len(kinds) > 1:
            raise DataError(f"{path}: holds {len(kinds)} {name}, expected one volume",
                            remedy="write each as a series of its own, or convert the file with dcm2niix")  # fmt: skip
    return [place_of(path, dataset, k) for k in range(count)]


def same_grid(one: Place, other: Place) -> str | None:
    """The tag in which two slices differ though those of one volume may not; None where they agree."""
    if (one.rows, one.columns) != (other.rows, other.columns):
        return "Rows or Columns"
    if not np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3, atol=0):
        return "PixelSpacing"
    if not np.allclose(one.orientation, other.orientation, rtol=0, atol=_SAME_ANGLE):
        return "ImageOrientationPatient"
    return None


def stack_places(places: Sequence[Place]) -> Stack:
    """The slices ordered along their normal, and where the volume lies.

    Raises DataError naming the files where two differ in their grid, share a position, leave a gap or lie out of line.
    """
    first = places[0]
    for place in places[1:]:
        differs = same_grid(first, place)
        if differs:
            raise DataError(f"{_name(place)}: another {differs} than {_name(first)} of the same series",
                            remedy=_NOT_A_STACK)  # fmt: skip
    ordered = sorted(places, key=lambda place: place.depth)
    depths = np.array([place.depth for place in ordered])
    step = _even_step(ordered, np.diff(depths))
    positions = np.array([place.position for place in ordered])
    direction = (positions[-1] - positions[0]) / (len(ordered) - 1)
    _check_line(ordered, positions, direction)
    across = np.array(first.orientation).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([across[0] * first.spacing_mm[1], across[1] * first.spacing_mm[0], direction], axis=1)
    affine[:3, 3] = positions[0]
    tilt = float(np.degrees(np.arccos(min(1.0, float(direction @ first.normal) / float(np.linalg.norm(direction))))))
    notes = (f"slices lie {tilt:.1f} degrees askew (gantry tilt): kept as they are",) * (tilt > 1)
    spacing = (first.spacing_mm[1], first.spacing_mm[0], step)
    # Left and back of DICOM are right and front in RAS.
    return Stack(tuple(ordered), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, spacing, notes)


def _name(place: Place) -> str:
    return str(place.path) + (f" (frame {place.frame + 1})" if place.frame else "")


def _even_step(ordered: Sequence[Place], steps: NDArray[np.float64]) -> float:
    """mm from slice to slice. Raises DataError where a position occurs twice, or a slice is missing."""
    apart = steps[steps > 1e-3]
    if len(apart) < len(steps):
        k = int(np.argmin(steps))
        raise DataError(f"{_name(ordered[k])} and {_name(ordered[k + 1])}: two slices of one series at one place (time "
                        "points, echoes or copies?)", remedy="keep one of each, or convert it with dcm2niix")  # fmt: skip
    median = float(np.median(apart))
    k = int(np.argmax(np.abs(steps - median)))
    if abs(steps[k] - median) > GAP * median:
        raise DataError(f"{_name(ordered[k])} and {_name(ordered[k + 1])}: {steps[k]:.4g} mm apart, the other slices "
                        f"{median:.4g} mm: a slice is missing or the spacing uneven",
                        remedy="fetch the missing slices, or leave the series out with --skip-corrupt")  # fmt: skip
    return float(steps.mean())


def _check_line(ordered: Sequence[Place], positions: NDArray[np.float64], direction: NDArray[np.float64]) -> None:
    """DataError where slices are moved sideways by more than half a pixel."""
    aside = positions - (positions[0] + np.arange(len(positions))[:, None] * direction)
    aside -= np.outer(aside @ ordered[0].normal, ordered[0].normal)
    shift = np.linalg.norm(aside, axis=1)
    k = int(np.argmax(shift))
    if shift[k] > 0.5 * min(ordered[0].spacing_mm):
        raise DataError(f"{_name(ordered[k])}: lies {shift[k]:.3g} mm beside the line of the other slices",
                        remedy=_NOT_A_STACK)  # fmt: skip


def to_ras(slices: NDArray[np.float32], stack: Stack) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """`slices` [n, H, W] in the stack's order as voxels [X, Y, Z] with axes closest to RAS, a view; and their spacing."""
    from nibabel import orientations

    axes: Any = orientations  # which states no types
    kinds = axes.io_orientation(stack.affine)
    voxels: NDArray[np.float32] = axes.apply_orientation(slices.transpose(2, 1, 0), kinds)
    spacing = [0.0, 0.0, 0.0]
    for axis, (target, _) in enumerate(kinds):
        spacing[int(target)] = stack.spacing_mm[axis]
    return voxels, (spacing[0], spacing[1], spacing[2])
