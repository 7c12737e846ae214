"""Class names that a port could not have: with them a rendered module would bind one name twice."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path


def clashing(path: Path, model: str, class_name: str) -> set[str]:
    """The values that ``class_name`` must not have in ``path``, a module of a port rendered with another value."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own, others = _bound(tree, model)
    found = set()
    for name in own:
        around = re.fullmatch(f"(.*?){class_name}(.*)", name)
        if around:
            pattern = f"{around[1]}([A-Z][A-Za-z0-9]*){around[2]}"
            found |= {match[1] for other in others if (match := re.fullmatch(pattern, other))}
    return found


def _bound(tree: ast.Module, model: str) -> tuple[set[str], set[str]]:
    """Names in the module that come from the port, and names from elsewhere, including builtins."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    others = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and hasattr(builtins, node.id)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            ours = re.search(rf"\b{model}\b|_{model}_", getattr(node, "module", None) or "")
            names = {alias.asname or alias.name for alias in node.names}
            own, others = (own | names, others) if ours else (own, others | names)
    return own, others
