"""Masks that come with scans: small whole numbers on the scan's own grid, which no step may blend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stylescan.data.formats.scans import Kind, Picture, Volume
from stylescan.data.formats.table import format_of
from stylescan.data.laterality import canonical_scan
from stylescan.data.planes import plane_slices
from stylescan.data.sources import Source, read_source
from stylescan.errors import DataError

_REMEDY = "correct the mask, or leave it out of the folder"


def read_mask(path: Path, kind: Kind, plane: str | None, turned_side: str | None = None) -> NDArray[np.uint8]:
    """The mask in `path`, uint8 [n, H, W]: one of a picture, one a slice of a volume cut in `plane`.

    turned_side : the side that its scan shows, where sides are made one (laterality.py). Raises DataError for values other
    than whole numbers from 0 to 255, and for colour.
    """
    scan = read_source(Source(path.name, (path,), kind, format_of(path.name)))
    if isinstance(scan, Picture) != (kind == "picture"):
        raise DataError(f"{path}: a mask of another kind than its scan, a {kind}", remedy=_REMEDY)
    scan = canonical_scan(scan, turned_side, plane) if turned_side else scan
    if isinstance(scan, Volume):
        if scan.voxels.ndim != 3:
            raise DataError(f"{path}: shape {scan.voxels.shape}, expected a mask [X, Y, Z]", remedy=_REMEDY)
        values = plane_slices(scan.voxels, plane or "axial")
    elif len(scan.pixels) != 1:
        raise DataError(f"{path}: a colour image, expected a grey mask", remedy=_REMEDY)
    else:
        values = scan.pixels
    if values.dtype != np.uint8:
        if values.min() < 0 or values.max() > 255 or not np.array_equal(values, np.round(values)):
            raise DataError(f"{path}: values from {values.min():g} to {values.max():g}, expected whole numbers 0 to 255",
                            remedy=_REMEDY)  # fmt: skip
        values = values.astype(np.uint8)
    return values
