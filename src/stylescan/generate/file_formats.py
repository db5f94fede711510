"""The files in which generated images leave: PNG, TIFF, NIfTI and DICOM, each saying of itself that it is synthetic."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from stylescan.errors import ConfigError
from stylescan.generate.nifti_file import encode_nifti
from stylescan.generate.value_range import ValueRange, in_source_values

FormatName = Literal["png", "tiff", "nifti", "dicom"]
_CM = 10.0  # millimetres
_INCH = 25.4


@dataclass(frozen=True)
class Output:
    """One image on its way to a file: `image` uint8 or uint16 [C, H, W], and everything that is said of it.

    text : provenance. seed : what made it. spacing_mm : (row, column). plane : how it is cut. values : what the integers
    stand for.
    """

    image: NDArray[Any]
    text: Mapping[str, str]
    seed: int = 0
    spacing_mm: tuple[float, float] | None = None
    plane: str | None = None
    values: ValueRange | None = None

    @property
    def bits(self) -> int:
        """8 or 16."""
        return int(self.image.dtype.itemsize) * 8


@dataclass(frozen=True)
class FileFormat:
    """encode : an Output as the bytes of one file. together : whether one file holds any number of channels (others hold
    one, or three of 8 bits as colour). sidecar : whether the provenance also goes beside it, as JSON."""

    suffix: str
    encode: Callable[[Output], bytes]
    together: bool = False
    sidecar: bool = False


def encode_png(image: NDArray[Any], text: Mapping[str, str], spacing_mm: tuple[float, float] | None = None) -> bytes:
    """One image [1, H, W] (uint8 or uint16) or [3, H, W] (uint8) as a PNG with `text` in its tEXt/iTXt chunks.

    spacing_mm (row, column) goes into the pHYs chunk, in whole pixels a metre. Equal arguments give equal bytes.
    ValueError for other shapes and types: PNG through Pillow holds no other.
    """
    grey, colour = image.ndim == 3 and image.shape[0] == 1, image.ndim == 3 and image.shape[0] == 3
    if not (grey and image.dtype in (np.uint8, np.uint16)) and not (colour and image.dtype == np.uint8):
        raise ValueError(f"no PNG for shape {image.shape}, {image.dtype}: expected [1, H, W], or [3, H, W] of uint8")
    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    pixels = image[0] if grey else image.transpose(1, 2, 0)
    dpi = (_INCH / spacing_mm[1], _INCH / spacing_mm[0]) if spacing_mm else None
    stream = io.BytesIO()
    # Filtered scans hold runs but no repeated patterns: looking for runs alone takes a third of the time, and the files
    # are no larger.
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        stream, "PNG", pnginfo=info, compress_level=6, compress_type=zlib.Z_RLE, dpi=dpi
    )
    return stream.getvalue()


def encode_tiff(output: Output) -> bytes:
    """A TIFF of one page: float32 in source values where these are known and are not the integers themselves.

    `text` is the ImageDescription, as JSON; the spacing is in the resolution tags, in pixels a centimetre.
    """
    import tifffile

    image, values = output.image, output.values
    if values is not None and not values.is_plain(output.bits):
        image = in_source_values(image, values)
    resolution = None
    if output.spacing_mm is not None:
        resolution = _CM / output.spacing_mm[1], _CM / output.spacing_mm[0]
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)),
        byteorder="<",
        photometric="minisblack" if len(image) == 1 else "rgb",
        description=json.dumps(dict(output.text), ensure_ascii=True),
        software=output.text.get("Software", "stylescan"),
        metadata=None,
        resolution=resolution,
        resolutionunit="CENTIMETER" if resolution else "NONE",
    )
    return stream.getvalue()


def _png(output: Output) -> bytes:
    return encode_png(output.image, output.text, output.spacing_mm)


def _nifti(output: Output) -> bytes:
    return encode_nifti(
        output.image, output.text, spacing_mm=output.spacing_mm, plane=output.plane, values=output.values
    )


def _dicom(output: Output) -> bytes:
    """Each (model, seed) is a person who does not exist, with one study; each way of drawing it is a series of that."""
    from stylescan.generate.dicom_file import encode_dicom, make_uid

    values, text = output.values, output.text
    model = text.get("model_hash", "")
    # A series' description shows 64 bytes: what tells images apart comes first.
    keys = sorted(text, key=lambda key: (key != "Title", key not in ("class", "seed", "psi")))
    said = [text[key] if key == "Title" else f"{key} {text[key]}" for key in keys]
    return encode_dicom(
        output.image,
        spacing_mm=output.spacing_mm,
        seed=output.seed,
        model_hash=model,
        description="; ".join(said),
        plane=output.plane,
        series_uid=make_uid(json.dumps(dict(text), sort_keys=True), output.bits, *output.image.shape),
        study_uid=make_uid(model, output.seed),
        number=1,
        value_range=(values.low, values.high) if values is not None and len(output.image) == 1 else None,
        units=values.units if values is not None else None,
    )


FORMATS: dict[FormatName, FileFormat] = {
    "png": FileFormat(".png", _png),
    "tiff": FileFormat(".tif", encode_tiff),
    "nifti": FileFormat(".nii.gz", _nifti, together=True, sidecar=True),
    "dicom": FileFormat(".dcm", _dicom),
}


def require_format(name: str) -> FileFormat:
    """The row of FORMATS; ConfigError for other names, and where the package that writes the format is missing."""
    if name not in FORMATS:
        raise ConfigError(f"format {name!r}: not known", remedy=f"give one of {', '.join(FORMATS)}")
    if name == "dicom":
        try:
            import pydicom  # noqa: F401
        except ImportError:
            raise ConfigError(
                "format dicom: the package pydicom is not installed",
                remedy="install it with `pip install 'stylescan[dicom]'`, or use --format nifti",
            ) from None
    return FORMATS[name]


def is_one_picture(channels: int, bits: int) -> bool:
    """Whether a picture format holds so many channels together: one, or three of 8 bits as colour."""
    return channels == 1 or (channels == 3 and bits == 8)


def parts_of(output: Output, together: bool) -> list[Output]:
    """What goes into one file each: everything, or every channel alone where a format cannot hold them together."""
    channels = len(output.image)
    if together or is_one_picture(channels, output.bits):
        return [output]
    return [
        replace(
            output,
            image=output.image[k : k + 1],
            text={**output.text, "channel": str(k)},
            values=output.values.only(k) if output.values is not None else None,
        )
        for k in range(channels)
    ]


def encode_sidecar(output: Output) -> bytes:
    """The provenance as a JSON file beside the image, as BIDS has it."""
    record: dict[str, Any] = {"Description": output.text.get("Title", ""), "Provenance": dict(output.text)}
    if output.spacing_mm is not None:
        record["PixelSpacing"] = list(output.spacing_mm)
    if output.values is not None:
        record["Values"] = output.values.model_dump(mode="json")
    return (json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
