"""Import lines in mflux's source, kept in the order of its import sorter."""

from __future__ import annotations

import ast

from mflux_port.wiring.block import Block
from mflux_port.wiring.source import Source, UnknownShape

_WIDTH = 120


def import_block(source: Source, module: str, name: str) -> Block:
    """The line ``from module import name``, among the other ``mflux`` imports."""
    line = f"from {module} import {name}\n"
    if len(line) - 1 > _WIDTH:
        line = f"from {module} import (\n    {name},\n)\n"
    imports = [node for node in source.tree.body if isinstance(node, ast.ImportFrom) and _of_mflux(node)]
    if not imports:
        raise UnknownShape(f"{source.path} imports nothing from mflux; wire the port there by hand")
    for node in imports:
        if node.module == module and any(alias.name == name for alias in node.names):
            return Block(f"import of {name}", line, 0, source.lines_of(node))
    before = [node for node in imports if node.module.lower() < module.lower()]
    at = source.lines_of(before[-1])[1] if before else source.lines_of(imports[0])[0]
    return Block(f"import of {name}", line, at)


def _of_mflux(node: ast.ImportFrom) -> bool:
    return not node.level and (node.module or "").split(".")[0] == "mflux"
