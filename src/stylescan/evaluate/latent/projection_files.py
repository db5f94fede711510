"""A projection as files: a picture, the styles, and the numbers. No time, path or host inside.

```
OUT/projection.png    real images, reconstructions and error maps
OUT/ws.safetensors    `w`, `w+` as asked for: float32 [n, num_ws, w_dim]; metadata `projection`: the record as JSON
OUT/projection.json   which images, how near, how far out
```
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stylescan.evaluate.latent.error_map import ERROR_SCALE, columns, sheet
from stylescan.evaluate.latent.project import Projection, Space
from stylescan.evaluate.latent.projection_search import NOISE
from stylescan.files import write_bytes_atomic, write_json_atomic
from stylescan.generate.snapshot import Snapshot

PICTURE, STYLES, NUMBERS = "projection.png", "ws.safetensors", "projection.json"
NOTICE = (
    "Reconstructions and styles are SYNTHETIC - not for diagnosis. They stand for real images, which the picture shows: "
    "the terms of the data hold for all of them."
)


def write_projection(
    out: Path,
    snapshot: Snapshot,
    real: Any,
    found: Mapping[Space, Projection],
    *,
    source: Mapping[str, Any],
    steps: int,
    seed: int,
) -> list[Path]:
    """Write the three files; their paths. `source`: JSON values that say which images these are, without a path."""
    record = {
        "notice": NOTICE,
        "model_hash": snapshot.model_hash,
        **source,
        "space": ",".join(found),
        "noise": NOISE,
        "steps": steps,
        "seed": seed,
        "perceptual": "feature maps of efficientnet-lite0",
    }
    files = [out / PICTURE, out / STYLES, out / NUMBERS]
    write_bytes_atomic(files[0], _picture(real, found))
    write_bytes_atomic(files[1], _styles(found, record))
    scores = {space: _scores(projection) for space, projection in found.items()}
    write_json_atomic(files[2], {**record, "error_scale": ERROR_SCALE, "scores": scores})
    return files


def _picture(real: Any, found: Mapping[Space, Projection]) -> bytes:
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "REAL images beside SYNTHETIC reconstructions, not for diagnosis")
    made = [(space.upper(), projection.images) for space, projection in found.items()]
    stream = io.BytesIO()
    Image.fromarray(sheet(columns(real, made))).save(stream, "PNG", pnginfo=text, optimize=True)
    return stream.getvalue()


def _styles(found: Mapping[Space, Projection], record: Mapping[str, Any]) -> bytes:
    from safetensors.numpy import save

    # One entry: the library writes several in an order of its own choice, and equal content shall be equal bytes.
    text = {"projection": json.dumps(record, sort_keys=True)}
    return save({space: projection.ws for space, projection in found.items()}, metadata=text)


def _scores(found: Projection) -> dict[str, Sequence[float]]:
    values = {"perceptual": found.perceptual, "rmse": found.rmse, "share_farther": found.share_farther}
    return {name: [round(float(v), 6) for v in value] for name, value in values.items()}
