"""The direction of imports, read from the source: a room may only look down."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "stylescan"
BASE = {"columns", "errors", "files", "pages", "randomness"}
MAY_IMPORT = {
    "errors": set(),
    "files": {"errors"},
    "randomness": set(),
    "allocator": set(),
    "pages": set(),
    "columns": set(),
    "runtime": BASE,
    "ops": BASE,
    "data": BASE,
    "nets": BASE | {"ops", "data"},
    "config": BASE | {"nets"},
    "recipes": BASE | {"config"},
    "presets": BASE | {"config", "nets", "recipes"},
    "advice": BASE | {"data"},
    "generate": BASE | {"data", "nets", "ops", "runtime"},
    "train": BASE | {"config", "data", "generate", "nets", "ops", "runtime"},
    "evaluate": BASE | {"data", "generate", "nets", "ops", "runtime"},
    "bench": BASE | {"config", "data", "evaluate", "generate", "nets", "presets", "recipes", "runtime", "train"},
    "runs": BASE | {"config", "data", "evaluate", "generate", "presets", "recipes", "runtime", "train"},
    "api": BASE | {"advice", "data", "evaluate", "generate", "runs", "train"},
    "__init__": {"errors", "data", "generate", "runs", "api"},
}
ONLY_IN = {
    "cyclopts": {"cli"},
    "rich": {"cli"},
    "argparse": {"cli"},
    "lightning_fabric": {"runtime"},
    "torch.distributed": {"runtime"},
    "pickle": set(),
}
MODULES = sorted(SOURCE.rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down_and_only_the_command_line_prints(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    tree = ast.parse(path.read_text("utf-8"))
    names = imported(tree)
    if room in MAY_IMPORT:
        rooms = {name.split(".")[1] for name in names if name.startswith("stylescan.")}
        rooms &= {item.stem for item in SOURCE.iterdir()}
        assert rooms <= MAY_IMPORT[room] | {room}, f"{path.name} looks up"
    for package, allowed in ONLY_IN.items():
        uses = any(name == package or name.startswith(package + ".") for name in names)
        assert not uses or room in allowed, f"{path.name} imports {package}"
    calls = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert room == "cli" or "print" not in calls
    assert not calls & {"eval", "exec"}


def test_every_room_is_known() -> None:
    rooms = {p.relative_to(SOURCE).parts[0].removesuffix(".py") for p in MODULES}
    assert rooms == set(MAY_IMPORT) | {"cli", "__main__"}
