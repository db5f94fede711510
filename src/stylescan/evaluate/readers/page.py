"""A reader's page: one file with all images inside, which asks no server for anything and does not know the truth."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

from stylescan.evaluate.readers.records import LEVEL_NAMES


def png_data_uri(content: bytes) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _source_hash(text: str) -> str:
    """The word by which a Content-Security-Policy allows exactly this inline text."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def render_page(pack_id: str, reader: int, images: Sequence[tuple[str, bytes]]) -> str:
    """The page for `reader` with `images` (id, PNG bytes) in the order they are shown."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("stylescan.evaluate", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    script, style = (loader.get_source(environment, name)[0] for name in ("reader.js", "reader.css"))
    data = json.dumps(
        {"pack": pack_id, "reader": reader, "images": [{"id": name, "src": png_data_uri(c)} for name, c in images]}
    )
    return environment.get_template("reader.html.j2").render(
        reader=reader,
        count=len(images),
        levels=list(enumerate(LEVEL_NAMES, start=1)),
        script=Markup(script),
        style=Markup(style),
        script_hash=_source_hash(script),
        style_hash=_source_hash(style),
        data=Markup(data.replace("<", "\\u003c")),
    )
