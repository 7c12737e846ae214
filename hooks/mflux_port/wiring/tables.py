"""Dict and list literals in mflux's source: find one by name, find and place entries in it."""

from __future__ import annotations

import ast

from mflux_port.wiring.block import Block
from mflux_port.wiring.source import Source, UnknownShape


def find_table(source: Source, name: str, body: list[ast.stmt] | None = None) -> ast.Dict | ast.List | None:
    """The literal assigned to ``name`` at the top of the module (or of ``body``). None when nothing is.

    Raises UnknownShape when the name is assigned twice, or to something that is no literal.
    """
    found = []
    for statement in source.tree.body if body is None else body:
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        else:
            continue
        if any(_is_named(target, name) for target in targets):
            found.append(statement.value)
    if len(found) > 1:
        lines = ", ".join(str(value.lineno) for value in found)
        raise UnknownShape(f"{source.path} assigns {name} more than once (lines {lines}); leave one of them")
    if found and not isinstance(found[0], ast.Dict | ast.List):
        raise UnknownShape(
            f"{source.path} line {found[0].lineno}: {name} is no literal table; wire the port there by hand"
        )
    return found[0] if found else None


def require_table(source: Source, name: str, body: list[ast.stmt] | None = None) -> ast.Dict | ast.List:
    """As ``find_table``, but a missing table is an UnknownShape."""
    table = find_table(source, name, body)
    if table is None:
        raise UnknownShape(f"{source.path} has no table {name}; restore it, or wire the port there by hand")
    return table


def keys_of(source: Source, table: ast.Dict | ast.List) -> list[str]:
    """The string keys (or list items), in order."""
    return [node.value for node, _ in _entries(source, table)]


def entry_blocks(source: Source, table: ast.Dict | ast.List, entries: dict[str, str]) -> list[Block]:
    """A Block for each of ``entries``: key to the entry's source without indentation and comma."""
    existing = _entries(source, table)
    present = [node.value for node, _ in existing]
    twice = sorted({key for key in entries if present.count(key) > 1})
    if twice:
        raise UnknownShape(f"{source.path} lists {twice[0]!r} twice in one table; leave one of them")
    others = [(node, value) for node, value in existing if node.value not in entries]
    in_order = _is_sorted([node.value for node, _ in others])
    keys = sorted(entries, key=str.lower) if in_order else list(entries)
    return [_entry_block(source, table, existing, others, key, entries[key], in_order) for key in keys]


def _entry_block(source, table, existing, others, key, text, in_order) -> Block:
    lead = source.lead(existing[0][0]) if existing else "    "
    indented = "\n".join(lead + line if line else line for line in text.split("\n"))
    for index, (node, value) in enumerate(existing):
        if node.value == key:
            if index and index == len(existing) - 1 and not _has_comma(source, value):
                tail = (source.end(existing[index - 1][1]), source.end(value))
                return Block(key, f",\n{indented}", tail[0], tail)
            return Block(key, f"{indented},\n", 0, (source.line_start(node), source.line_end(source.end(value))))
    if not others:
        return Block(key, f"{indented},\n", source.line_end(source.start(table) + 1))
    before = _predecessor(others, key) if in_order else others[-1]
    if before is None:
        return Block(key, f"{indented},\n", source.line_end(source.start(table) + 1))
    if before is others[-1] and not _has_comma(source, before[1]):
        return Block(key, f"{indented},\n", _above(source, before[0]))
    return Block(key, f"{indented},\n", source.line_end(source.end(before[1])))


def _entries(source: Source, table: ast.Dict | ast.List) -> list[tuple[ast.Constant, ast.expr]]:
    pairs = (
        list(zip(table.keys, table.values, strict=True))
        if isinstance(table, ast.Dict)
        else [(e, e) for e in table.elts]
    )
    for key, _ in pairs:
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            line = getattr(key, "lineno", table.lineno)
            raise UnknownShape(
                f"{source.path} line {line}: a table entry is no plain string; wire the port there by hand"
            )
    return pairs


def _above(source: Source, key: ast.expr) -> int:
    # Before an entry that has no comma behind it, and before the comments on top of that entry.
    at = source.line_start(key)
    while at:
        line = source.data.rfind(b"\n", 0, at - 1) + 1
        if not source.data[line:at].lstrip().startswith(b"#"):
            break
        at = line
    return at


def _predecessor(others, key: str):
    before = None
    for entry in others:
        if entry[0].value.lower() > key.lower():
            return before
        before = entry
    return before


def _is_sorted(keys: list[str]) -> bool:
    # A table that people keep sorted has a slip or two; one in order of arrival has many.
    lowered = [key.lower() for key in keys]
    slips = sum(left > right for left, right in zip(lowered, lowered[1:], strict=False))
    return len(keys) > 2 and slips <= len(keys) // 12


def _has_comma(source: Source, value: ast.expr) -> bool:
    return source.data[source.end(value) :].lstrip().startswith(b",")


def _is_named(target: ast.expr, name: str) -> bool:
    return (isinstance(target, ast.Name) and target.id == name) or (
        isinstance(target, ast.Attribute) and target.attr == name
    )
