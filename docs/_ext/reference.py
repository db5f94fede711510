"""Directives that read the references from the code: configuration keys with their meaning, and presets.

Both build reStructuredText and let Sphinx parse it, so that a changed field or preset changes the page by itself.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterable, Sequence

from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from stylescan.config import DataFingerprint, RunConfig
from stylescan.presets import PRESETS, build_config
from stylescan.recipes.common import Machine

PRESET_SECTIONS = ("model", "objective", "augment", "growth", "burn_in", "train")
EXAMPLES = ((64, "cpu"), (256, "cuda"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """Lines of a list-table."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in (head, *rows):
        lines += [f"   {'* -' if k == 0 else '  -'} {' '.join(cell.split())}".rstrip() for k, cell in enumerate(row)]
    return [*lines, ""]


def literal(value: object) -> str:
    return f"``{value}``" if str(value) else ""


def plain(text: str) -> str:
    """Text as it stands: stars, bars and underscores mean nothing."""
    for sign in "\\*|_":
        text = text.replace(sign, "\\" + sign)
    return text


def type_words(annotation: object) -> str:
    """A type as users write it in YAML: choices by name, None as 'none'."""
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(literal(choice) for choice in typing.get_args(annotation))
    if annotation is type(None):
        return "none"
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return "list of " + type_words(parts[0])
    if parts and not isinstance(annotation, type):
        return " or ".join(type_words(part) for part in parts)
    words = {int: "integer", float: "number", str: "text", bool: "true or false"}
    return words.get(annotation, str(annotation))  # type: ignore[call-overload]


def bounds(field: FieldInfo) -> str:
    """The range that the field's constraints leave, such as '0 to 1' or 'above 0'."""
    found = {}
    for limit in field.metadata:
        found |= {name: getattr(limit, name) for name in ("ge", "gt", "le", "lt") if hasattr(limit, name)}
    words = {"ge": "from {:g}", "gt": "above {:g}", "le": "to {:g}", "lt": "below {:g}"}
    return " ".join(words[name].format(value) for name, value in found.items())


def default_words(field: FieldInfo) -> str:
    if field.is_required():
        return "from the preset"
    value = field.get_default(call_default_factory=True)
    return "none" if value is None else literal(list(value) if isinstance(value, tuple) else value)


def inner_models(annotation: object) -> list[type[BaseModel]]:
    """The sections that a field's type names: several for a choice of families."""
    candidates = (annotation, *typing.get_args(annotation))
    return [each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)]


def config_lines(model: type[BaseModel], prefix: str = "") -> list[str]:
    """The keys of `model` in one table, then a heading and a table for each section in it."""
    leaves = {name: field for name, field in model.model_fields.items() if not inner_models(field.annotation)}
    rows = [
        (
            literal(prefix + name),
            ", ".join(filter(None, (type_words(field.annotation), bounds(field)))),
            default_words(field) if prefix != "data." else "from the data",
            plain(field.description or ""),
        )
        for name, field in leaves.items()
    ]
    lines = table(("Key", "Value", "Default", "Meaning"), rows, (24, 22, 14, 40))
    for name, field in model.model_fields.items():
        choices = inner_models(field.annotation)
        for inner in choices:
            title = (
                f"{prefix}{name}" if len(choices) == 1 else f"{prefix}{name}, {inner.model_fields['family'].default}"
            )
            words = plain(inspect.cleandoc(inner.__doc__ or ""))
            lines += [title, "-" * len(title), "", words, "", *config_lines(inner, f"{prefix}{name}.")]
    return lines


def example_data(side: int) -> DataFingerprint:
    """What a preset is shown for the tables: 2,000 grey training images of two classes."""
    return DataFingerprint(
        content_hash="", preparation_hash="", resolution=side, channels=1, bits=8, class_names=("a", "b"),
        class_images=(1000, 1000), train_images=2000, select_images=300, holdout_images=600, plane="axial",
    )  # fmt: skip


def preset_lines() -> list[str]:
    """All presets with whatever their records say, then what each makes of the example datasets."""
    first = next(iter(PRESETS.values()))
    columns = [field.name for field in dataclasses.fields(first) if isinstance(getattr(first, field.name), str)]
    rows = [[literal(name), *(plain(getattr(preset, c)) for c in columns)] for name, preset in PRESETS.items()]
    lines = table(["Preset", *map(str.capitalize, columns)], rows, [13, *([87 // len(columns)] * len(columns))])
    head = ("Key", *(f"{side} pixels, {device.upper()}" for side, device in EXAMPLES))
    for name, preset in PRESETS.items():
        made = [
            chosen_values(build_config(name, example_data(side), machine=Machine(device))) for side, device in EXAMPLES
        ]
        rows = [[literal(key), *(literal(values.get(key, "")) for values in made)] for key in {**made[0], **made[1]}]
        words = inspect.getdoc(inspect.unwrap(getattr(preset.values, "func", preset.values))) or ""
        lines += [name, "-" * len(name), "", plain(words), "", *table(head, rows, (40, 30, 30))]
    return lines


def chosen_values(config: RunConfig) -> dict[str, object]:
    """The dotted keys in which `config` says more than the defaults do."""
    made = config.model_dump(mode="json", exclude_defaults=True, include=set(PRESET_SECTIONS))
    return {f"{part}.{key}": value for part, values in made.items() for key, value in values.items()}


class ConfigReference(SphinxDirective):
    """``.. config-reference::`` - every key of a run's configuration."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(config_lines(RunConfig)), allow_section_headings=True)


class PresetReference(SphinxDirective):
    """``.. preset-reference::`` - every preset."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(preset_lines()), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("config-reference", ConfigReference)
    app.add_directive("preset-reference", PresetReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
