"""JPEG by libjpeg-turbo through kornia-rs: the pixels that Pillow gives, and a refusal where Pillow fills in grey.

JPEG has no checksums. A header of another size, a flipped or a missing byte make libjpeg warn and go on; here that counts
as damage.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\xff\xd8\xff"
MODES = {"L": "mono", "RGB": "rgb"}  # Pillow's modes that are decoded here


def decode_jpeg(data: bytes, mode: str) -> NDArray[np.uint8]:
    """Pixels uint8 [H, W] for mode 'L', [H, W, 3] for 'RGB', before any EXIF rotation. ValueError for damaged data."""
    from kornia_rs import io

    try:
        pixels: NDArray[Any] = np.asarray(io.decode_image_jpegturbo(data, MODES[mode]))
    except Exception:
        raise ValueError("its data are damaged, or do not fit the size that its header states") from None
    return pixels[..., 0] if mode == "L" else pixels
