"""A network in a TorchScript archive, the file that `torch.jit.save` writes.

How far such a file is trusted. Its values are read by TorchScript's own reader, which makes tensors, numbers and
classes of the archive and calls no Python: Python's pickle is never used, and a pickle of `torch.save` is refused. But
a TorchScript file is a program: it runs in TorchScript's interpreter, whose operators include writing a tensor to a
file, and PyTorch's own advice is to run one only if you trust who made it ("there is no safe mode"). Before loading,
the code in the archive is therefore parsed, never run, and refused if it names an operator that reads or writes files,
or one outside TorchScript's own namespaces. That stops accidents and plain malice; it is not a sandbox. An ONNX file
needs no such trust.
"""

from __future__ import annotations

import ast
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from stylescan.errors import ConfigError
from stylescan.evaluate.extractors.from_file import NetworkFaultError
from stylescan.files import file_sha256

LARGEST_CODE_BYTES = 32 * 2**20
_NAMESPACES = {"aten", "prim", "quantized"}
# Operators of these namespaces that touch files, or start something beside the network.
_REFUSED = {"save", "from_file", "load", "fork", "wait", "awaitable", "rpc_async", "rpc_sync", "rpc_remote", "PythonOp"}
_EXPORT = "Export the network to ONNX (torch.onnx.export) or with torch.jit.save, and give that file."


class TorchScriptNetwork:
    """A checked TorchScript file on the CPU, in evaluation mode. It does not say what shape it takes."""

    input_shape = (None, None, None, None)

    def __init__(self, path: Path) -> None:
        check_archive(path)
        self.sha256 = file_sha256(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit as a whole; files of it stay
                self._module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            self._module.eval()
        except (RuntimeError, ValueError, OSError, AttributeError) as problem:
            raise ConfigError(f"{path}: TorchScript cannot load it: {_said(problem)}", remedy=_EXPORT) from None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        try:
            found = self._module(x)
        except RuntimeError as problem:
            raise NetworkFaultError(_said(problem)) from None
        if not isinstance(found, torch.Tensor):
            raise NetworkFaultError(f"it returns a {type(found).__name__}, expected one tensor")
        return found


def check_archive(path: Path) -> None:
    """Refuse, by ConfigError, what is no TorchScript archive or whose code names an operator that it must not."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            # TorchScript finds its files whatever their case, and takes the first of two of one name: look at all.
            names = [member.filename.lower().split("/", 1)[-1] for member in members]
            code = [member for member in members if member.filename.lower().endswith(".py")]
            if "constants.pkl" not in names or not code:
                found = "a pickle of torch.save, which can run any program" if "data.pkl" in names else "a ZIP archive"
                raise ConfigError(f"{path}: {found}, expected a TorchScript file", remedy=_EXPORT)
            if sum(member.file_size for member in code) > LARGEST_CODE_BYTES:
                raise ConfigError(f"{path}: holds more than {LARGEST_CODE_BYTES >> 20} MB of code", remedy=_EXPORT)
            sources = [archive.read(member).decode() for member in code]
    except (zipfile.BadZipFile, UnicodeDecodeError, EOFError, OSError, NotImplementedError, RuntimeError) as problem:
        raise ConfigError(f"{path}: not a TorchScript file ({_said(problem)})", remedy=_EXPORT) from None
    for source in sources:
        try:
            refused = next(refused_operators(source), None)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ConfigError(f"{path}: holds code that cannot be checked", remedy=_EXPORT) from None
        if refused is not None:
            raise ConfigError(
                f"{path}: its code calls {refused}, which no feature extractor needs",
                remedy="Do not use this file unless you know why; export the network to ONNX instead.",
            )


def refused_operators(source: str) -> Iterator[str]:
    """The operators in TorchScript source that reach beyond tensors, as written (`torch.save`, `ops.c10d.send`)."""
    for node in ast.walk(ast.parse(source)):
        parts = _dotted(node)
        if (parts[0] == "torch" and len(parts) == 2 and parts[1] in _REFUSED) or (
            parts[0] == "ops" and len(parts) >= 2 and (parts[1] not in _NAMESPACES or _REFUSED & set(parts[2:]))
        ):
            yield ".".join(parts)
        elif parts[0] in ("fork", "awaitable") and len(parts) == 1:
            yield parts[0]


def _dotted(node: ast.AST) -> list[str]:
    """['a', 'b', 'c'] of a.b.c; [''] of anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if isinstance(node, ast.Name) else [""]


def _said(problem: Exception) -> str:
    """The telling line of a runtime's many: the last that is no frame of a stack."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("File ", "~", "frame", "at ", "<---"))]
    return (telling or lines or [type(problem).__name__])[-1][:300]
