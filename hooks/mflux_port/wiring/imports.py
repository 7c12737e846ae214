"""Import lines in mflux's source, in the order that its import sorter wants."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from mflux_port.wiring.block import Block
from mflux_port.wiring.source import DEFINITIONS, Source, UnknownShape, once
from mflux_port.wiring.wrapping import import_line

_NAME = "import of "
_IMPORTS = (ast.ImportFrom, ast.Import)


def import_block(source: Source, module: str, name: str) -> Block:
    """The line ``from module import name``, placed among the other ``mflux`` imports."""
    line = import_line(module, name)
    imports = [node for node in source.tree.body if isinstance(node, ast.ImportFrom) and _of_mflux(node)]
    if not imports:
        raise UnknownShape(f"{source.path} imports nothing from mflux; wire the port there by hand")
    naming = [node for node in imports if any(alias.name == name for alias in node.names)]
    for node in naming:
        if node.module == module:
            return Block(f"{_NAME}{name}", line, 0, source.lines_of(node))
    before = [node for node in imports if node.module.lower() < module.lower()]
    at = source.lines_of(before[-1])[1] if before else source.lines_of(imports[0])[0]
    return Block(f"{_NAME}{name}", line, at, rewritten=source.lines_of(naming[0]) if naming else None)


def imported_name(block: str) -> str | None:
    """The name that a block of this name imports, None for a block of another kind."""
    return block.removeprefix(_NAME) if block.startswith(_NAME) else None


@once
def module_bindings(source: Source) -> dict[str, set[str]]:
    """``bindings`` of a module."""
    return bindings(source.tree.body)


def bindings(nodes: Iterable[ast.AST]) -> dict[str, set[str]]:
    """Names that statements bind, each with the modules it is imported from (an empty string: defined here)."""
    bound: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, _IMPORTS):
            for alias in node.names:
                module = getattr(node, "module", None) or alias.name
                bound.setdefault(alias.asname or alias.name.split(".")[0], set()).add(module)
        elif isinstance(node, DEFINITIONS):
            bound.setdefault(node.name, set()).add("")
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    bound.setdefault(target.id, set()).add("")
    return bound


def _of_mflux(node: ast.ImportFrom) -> bool:
    return not node.level and (node.module or "").split(".")[0] == "mflux"
