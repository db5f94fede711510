"""How web pages are rendered: values escaped, a missing one is an error, templates from this package alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def render(template: str, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """The page of `template` with `values`, which it may pass through `filters`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("stylescan.evaluate", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(values)
