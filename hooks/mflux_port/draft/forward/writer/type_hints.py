"""Type hints from what was recorded."""

from __future__ import annotations

import ast

from mflux_port.draft.forward.record.facts import Fact

_NAMES = {"tensor": "mx.array", "int": "int", "float": "float", "bool": "bool", "str": "str", "none": "None",
          "dtype": "mx.Dtype", "size": "tuple[int, ...]", "module": "nn.Module"}  # fmt: skip


def hint(fact: Fact | None) -> str:
    """The type of what a fact holds, '' if it is unknown."""
    if fact is None:
        return ""
    found = []
    for kind in sorted(fact.kinds, key=lambda kind: (kind == "none", kind)):
        name = _container(kind, fact) if kind in ("tuple", "list", "dict") else _NAMES.get(kind)
        if name is None:
            return ""
        found.append(name)
    if "float" in found and "int" in found:
        found.remove("int")
    return " | ".join(dict.fromkeys(found))


def _container(kind: str, fact: Fact) -> str:
    parts = {_NAMES.get(part) for part in fact.elements}
    if len(parts) != 1 or None in parts:
        return kind
    part = parts.pop()
    if kind == "list":
        return f"list[{part}]"
    if kind == "dict":
        return f"dict[str, {part}]"
    if len(fact.lengths) == 1 and (length := next(iter(fact.lengths))) <= 4:
        return f"tuple[{', '.join([part] * length)}]"
    return f"tuple[{part}, ...]"


def return_hint(writer) -> str:
    """The return type of a function, from the recorded values; '' if they differ."""
    hints = set()
    for node in ast.walk(writer.source.tree):
        if isinstance(node, ast.Return) and node.value is not None and writer.ran(node.value):
            hints.add(_returned(writer, node.value))
    return hints.pop() if len(hints) == 1 else ""


def inner_hint(writer, node: ast.FunctionDef) -> str:
    """The return type of a function inside another, '' if it is unknown."""
    returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None]
    hints = {_returned(writer, value) for value in returned if writer.ran(value)}
    return hints.pop() if len(hints) == 1 else ""


def _returned(writer, node: ast.expr) -> str:
    if writer.is_output(node):
        values = writer.output_values(node)
        return _returned(writer, values[0]) if len(values) == 1 else ""
    verdict = writer.truth(node.test) if isinstance(node, ast.IfExp) else None
    if verdict is not None:
        return _returned(writer, node.body if verdict else node.orelse)
    if isinstance(node, ast.Tuple):
        parts = [_returned(writer, part) for part in node.elts]
        if len(parts) == 1 and writer.project.is_entry(writer.place):
            return parts[0]
        return f"tuple[{', '.join(parts)}]" if all(parts) else ""
    return hint(writer.fact(node))
