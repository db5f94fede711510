"""Where a report comes from: the configuration of the run that is judged, and the command that makes it again."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from stylescan.generate.snapshot import META_NAME

MAX_BYTES = 2**17
MAX_DEPTH = 16
_OPENING = (
    yaml.BlockMappingStartToken
    | yaml.BlockSequenceStartToken
    | yaml.FlowMappingStartToken
    | yaml.FlowSequenceStartToken
)
_CLOSING = yaml.BlockEndToken | yaml.FlowMappingEndToken | yaml.FlowSequenceEndToken
CONFIG_NAME = "config.yaml"
# A report is passed on: it names no folder of the machine that made it.
_PATH = re.compile(r"^(?:/|~|\\\\|[A-Za-z]:[\\/]|file:)")
_HIDDEN = "(a path, left out)"


def read_configuration(target: Path) -> dict[str, Any] | None:
    """The resolved configuration of the run `target`, else the record of a snapshot, as JSON values without paths.

    None where there is neither (a folder of images), or where the file is none that `train` writes: the report then
    says nothing of it. The numbers judged never depend on this.
    """
    for file in (target / CONFIG_NAME, target / META_NAME, target.parent / CONFIG_NAME):
        is_run = file.name == CONFIG_NAME
        if file.parent != target and not (target / META_NAME).is_file():
            continue
        if file.is_file():
            values = _read_plain(file)
            if values is not None and ("train" in values if is_run else "spec" in values):
                return values
    return None


def _read_plain(file: Path) -> dict[str, Any] | None:
    """YAML (JSON is some) of plain values; None for anything else: tags, anchors, deep nesting, a huge file."""
    try:
        if file.stat().st_size > MAX_BYTES:
            return None
        text = file.read_text("utf-8")
        depth = 0
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            # Aliases make a small file a huge value, and nesting takes quadratic time; train writes neither.
            if depth > MAX_DEPTH or isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken):
                return None
        values = _plain(yaml.safe_load(text))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _plain(value: Any) -> Any:
    """`value` in JSON's types, keys as text, paths left out, no nan."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = str(value)
    return _HIDDEN if _PATH.match(text) else text


def configuration_text(configuration: dict[str, Any] | None) -> str | None:
    """The configuration as YAML, in the order of the file."""
    if not configuration:
        return None
    return yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True, width=100)


def command_again(report: dict[str, Any]) -> str:
    """The command that makes the report again from the same target and data, whose folders the reader fills in."""
    subject = report["subject"]
    target = {"run": "RUN", "snapshot": "SNAPSHOT"}.get(subject["kind"], "FOLDER")
    name = str(report["extractor"]["name"])
    extractor = name if re.fullmatch(r"[\w.-]+", name) else "EXTRACTOR"
    words = [f"stylescan evaluate {target} --data DATA --out REPORT --extractor {extractor}"]
    words.append(f"--count {report['metrics']['n']} --seed {subject['seed']}")
    if "psi" in subject:
        words.append(f"--psi {subject['psi']:g}")
    if report.get("full"):
        words.append("--full")
    return " ".join(words)
