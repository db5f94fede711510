"""A network in an ONNX file, run by onnxruntime on the CPU (`pip install "stylescan[onnx]"`).

An ONNX file is a graph of known operators: running it needs less trust than a program. Its weights may lie in further
files, which it names: those must lie in its own folder, or it could read any file of this machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from stylescan.errors import ConfigError
from stylescan.evaluate.extractors.from_file import NetworkFaultError
from stylescan.files import file_sha256, require_file

_EXPORT = "Export the network again with torch.onnx.export."
_DEEPEST = 100
# Where tensors can lie in an ONNX message: message -> {field number: message inside} (onnx.proto of the standard).
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {13: "external"},
}


class OnnxNetwork:
    """A checked ONNX file: one float32 input [N, C, H, W], and the output `output` (None = the only one)."""

    def __init__(self, path: Path, output: str | None) -> None:
        files = {location: external_file(path, location) for location in sorted(set(_locations(path)))}
        parts = [file_sha256(path), *(f"{name} {file_sha256(file)}" for name, file in files.items())]
        self.sha256 = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        self._session = _session(path)
        self._input, self.input_shape = _only_input(path, self._session)
        self._output = _chosen_output(path, self._session, output)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        try:
            found = self._session.run([self._output], {self._input: x.numpy()})[0]
        except Exception as problem:  # onnxruntime's errors have no public base class
            raise NetworkFaultError(_said(problem)) from None
        return torch.from_numpy(found)


def external_file(path: Path, location: str) -> Path:
    """The file of weights `location` that the ONNX file `path` names; ConfigError where it leads out of the folder."""
    remedy = f"Put the file beside {path.name}, or export the network into one file (external_data=False)."
    folder = path.parent.resolve()
    try:
        file = (folder / location).resolve()
        inside = not Path(location).is_absolute() and file.is_relative_to(folder)
    except (OSError, ValueError, RuntimeError):  # a null byte, a loop of links
        inside = False
    if not inside:
        raise ConfigError(f"{path}: its weights lie in {location!r}, outside its folder", remedy=remedy)
    require_file(file, ConfigError, remedy=remedy)
    return file


def _locations(path: Path) -> Iterator[str]:
    try:
        data = path.read_bytes()
        found = list(_external_locations(memoryview(data), "model", _DEEPEST))
        if not any(number == 7 for number, _ in _fields(memoryview(data))):
            raise ValueError("it holds no graph")
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{path}: not an ONNX file ({problem})", remedy=_EXPORT) from None
    yield from found


def _external_locations(data: memoryview, message: str, depth: int) -> Iterator[str]:
    """Every file that a tensor in the message names as the place of its values."""
    if depth == 0:
        raise ValueError("nested too deeply")
    if message == "external":
        entry = {number: value for number, value in _fields(data) if isinstance(value, memoryview)}
        if bytes(entry.get(1, b"")) == b"location":
            yield bytes(entry.get(2, b"")).decode()
        return
    for number, value in _fields(data):
        inside = _INSIDE[message].get(number)
        if inside is not None:
            if not isinstance(value, memoryview):
                raise ValueError(f"field {number} of a {message} is no message")
            yield from _external_locations(value, inside, depth - 1)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(number, value) of the fields of one Protocol Buffers message; ValueError where the bytes are none."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == 2:
            length, position = _varint(data, position)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("no Protocol Buffers message")
        if number == 0 or length > len(data) - position:
            raise ValueError("cut short, or no Protocol Buffers message")
        yield number, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("cut short, or no Protocol Buffers message")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("no Protocol Buffers message")


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as problem:
        raise ConfigError(
            f"{path}: reading an ONNX file needs onnxruntime, which cannot be imported ({problem})",
            remedy='Run `pip install "stylescan[onnx]"`, or give a TorchScript file.',
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what matters comes as an exception
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's errors have no public base class
        raise ConfigError(f"{path}: onnxruntime cannot load it: {_said(problem)}", remedy=_EXPORT) from None


def _only_input(path: Path, session: Any) -> tuple[str, tuple[int | None, int | None, int | None, int | None]]:
    inputs = session.get_inputs()
    text = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs) or "none"
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        raise ConfigError(f"{path}: inputs are {text}, expected one of float32 [N, C, H, W]", remedy=_EXPORT)
    batch, channels, height, width = (side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape)
    return inputs[0].name, (batch, channels, height, width)


def _chosen_output(path: Path, session: Any, wanted: str | None) -> str:
    names = [str(one.name) for one in session.get_outputs()]
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return str(wanted)
    found = f"its sidecar asks for output {wanted!r}" if wanted else "which of them holds the features is not said"
    raise ConfigError(
        f"{path}: outputs are {', '.join(names)}; {found}",
        remedy=f'Write {{"output": "{names[0]}"}}, or the one you mean, into {path.with_suffix(".json").name}.',
    )


def _said(problem: Exception) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return (lines or [type(problem).__name__])[0][:300]
