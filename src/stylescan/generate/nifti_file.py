"""A generated image as a NIfTI file that any viewer hangs as `planes.py` does."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylescan.generate.value_range import ValueRange, in_source_values

_ALIGNED, _UNKNOWN = 2, 0  # NIFTI_XFORM codes: anatomical directions, no place in a scanner; or nothing at all
_COMMENT = 6  # NIFTI_ECODE_COMMENT
# (RAS axis and direction) in which the columns, the rows from the bottom, and the slices of a picture run (planes.py).
_DIRECTIONS = {
    "axial": ((0, -1), (1, 1), (2, 1)),
    "coronal": ((0, -1), (2, 1), (1, 1)),
    "sagittal": ((1, -1), (2, 1), (0, 1)),
}


def encode_nifti(
    image: NDArray[Any],
    text: Mapping[str, str],
    *,
    spacing_mm: tuple[float, float] | None = None,
    plane: str | None = None,
    values: ValueRange | None = None,
) -> bytes:
    """One image [C, H, W] (uint8 or uint16) as the bytes of a .nii.gz of shape [W, H, 1], or [W, H, 1, C].

    The first voxel is the picture's lower left: viewers that know no orientation show it upright, the others by the
    affine, which hangs it as `planes.plane_slices` does. The picture's centre is the origin: a synthetic slice has no
    place in a scanner. Integers are kept and scaled to source values by scl_slope and scl_inter (float32 in the header,
    so to about 7 digits); float32 values where channels have ranges of their own. `text` is a comment in the header.

    spacing_mm : (row, column); the file says that its units are unknown where this is None. The slice's own thickness is
    never known: 1. plane : axial, coronal, sagittal, or None: no orientation is stated then.

    Equal arguments give equal bytes. Source: NIfTI-1 (nifti1.h of the NIfTI Data Format Working Group).
    """
    import nibabel as nib

    scaled = bool(values and values.further)
    stored = in_source_values(image, values) if values and scaled else image
    voxels = stored.transpose(2, 1, 0)[:, ::-1, None, :]  # [W, H, 1, C], rows from the bottom
    if len(image) == 1:
        voxels = voxels[..., 0]
    new_header: Any = nib.nifti1.Nifti1Header  # nibabel gives it no type
    header = new_header(endianness="<")
    header.set_data_dtype(voxels.dtype.newbyteorder("<"))
    header.set_data_shape(voxels.shape)
    _orient(header, voxels.shape[:2], spacing_mm, plane)
    header["descrip"] = f"{text.get('Title', 'SYNTHETIC')}; model {text.get('model_hash', '')[:12]}".encode()[:79]
    if values and not scaled:
        header["scl_slope"] = (values.high - values.low) / np.iinfo(image.dtype).max
        header["scl_inter"] = values.low
        header["cal_min"], header["cal_max"] = values.low, values.high
    comment = json.dumps(dict(text), ensure_ascii=True, indent=1).encode()
    header.extensions.append(nib.nifti1.Nifti1Extension(_COMMENT, comment))
    stream = io.BytesIO()
    header.write_to(stream)
    stream.write(voxels.astype(voxels.dtype.newbyteorder("<")).tobytes(order="F"))
    return gzip.compress(stream.getvalue(), 6, mtime=0)


def _orient(header: Any, size: tuple[int, ...], spacing_mm: tuple[float, float] | None, plane: str | None) -> None:
    """Voxel sizes and the affine; `size`: (columns, rows)."""
    rows, columns = spacing_mm or (1.0, 1.0)
    steps = (columns, rows, 1.0)
    header.set_xyzt_units("mm" if spacing_mm else "unknown")
    if plane is None:
        header["pixdim"][1:4] = steps
        header["sform_code"] = header["qform_code"] = _UNKNOWN
        return
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for voxel, (axis, direction) in enumerate(_DIRECTIONS[plane]):
        affine[axis, voxel] = direction * steps[voxel]
    centre = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2, 0.0])
    affine[:3, 3] = -affine[:3, :3] @ centre
    header.set_qform(affine, code=_ALIGNED)
    header.set_sform(affine, code=_ALIGNED)
