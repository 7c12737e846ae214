"""Packages follow the flow of data: a module imports from its own package or lower ones, and never in a cycle."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
HOOKS = (
    "errors", "process", "files", "checkout", "template", "port", "checkpoint", "draft", "ledger", "wiring",
    "checks/engine", "checks/rules", "checks", "update", "guide", "json_output", "commands", "cli", "__main__",
)  # fmt: skip
PARITY = (
    "files", "devices", "errors", "answers", "metrics", "needs", "progress", "waivers", "float32_floor", "latent_orders", "memo", "record", "compare", "run", "explain",
)  # fmt: skip
PACKAGES = {
    "mflux_port": (PROJECT / "hooks/mflux_port", HOOKS),
    "parity": (PROJECT / "template/porting/{{ model }}/parity", PARITY),
}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_from_a_higher_room(package: str):
    folder, order = PACKAGES[package]
    rank = {room: place for place, room in enumerate(order)}
    upward = [
        f"{module} imports {imported}"
        for module, names in _imports(folder).items()
        for imported in names
        if rank[_room(imported, order)] > rank[_room(module, order)]
    ]
    assert upward == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_cycle(package: str):
    folder, _ = PACKAGES[package]
    TopologicalSorter(_imports(folder)).prepare()  # raises CycleError with the names of the modules


def _imports(folder: Path) -> dict[str, set[str]]:
    """Each module (``room/module``; a package is its ``__init__.py``) with its imports, also those within functions."""
    paths = {_module(path.relative_to(folder)): path for path in folder.rglob("*.py")}
    return {module: _imported(path, paths.keys()) - {module} for module, path in paths.items() if module != "."}


def _imported(path: Path, modules: Iterable[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [(alias.name,) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} line {node.lineno}: a relative import"
            names = [(f"{node.module}.{alias.name}", node.module) for alias in node.names]
        # `from package import name`: the module of that name, or else the package itself.
        known = [[_local(name) for name in either if _local(name) in modules] for either in names]
        found |= {either[0] for either in known if either}
    return found


def _module(path: Path) -> str:
    return (path.parent if path.name == "__init__.py" else path.with_suffix("")).as_posix()


def _local(name: str) -> str:
    package, _, rest = name.partition(".")
    return rest.replace(".", "/") if package in PACKAGES else ""


def _room(module: str, order: tuple[str, ...]) -> str:
    return next(room for room in sorted(order, key=len, reverse=True) if f"{module}/".startswith(f"{room}/"))
