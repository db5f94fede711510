"""How web pages are rendered: values escaped, a missing one is an error, templates from packages of the project alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def render(package: str, template: str, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """The page of `template`, in the folder templates/ of `package`, with `values`, which may pass through `filters`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(values)
