"""Dict and list literals in mflux's source: find one by name, find entries in it, and place new ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from mflux_port.wiring.block import Block
from mflux_port.wiring.source import DEFINITIONS, Source, UnknownShape, once

Table = ast.Dict | ast.List
Entry = tuple[ast.Constant, ast.expr]


def find_table(source: Source, name: str, body: list[ast.stmt] | None = None) -> Table | None:
    """The literal assigned to ``name`` at module level (or in ``body``), None without an assignment.

    Raises UnknownShape when the name is assigned twice, is not assigned a literal, or is changed later.
    """
    facts = _module_facts(source) if body is None else _Facts(body)
    found = facts.assigned.get(name, [])
    if len(found) > 1:
        lines = ", ".join(str(value.lineno) for value in found)
        raise UnknownShape(f"{source.path} assigns {name} more than once (lines {lines}); keep one of them")
    if found and not isinstance(found[0], Table):
        raise UnknownShape(
            f"{source.path} line {found[0].lineno}: {name} is not a literal table; wire the port there by hand"
        )
    if found and name in facts.changed:
        raise UnknownShape(
            f"{source.path} line {facts.changed[name].lineno} changes {name} outside its literal; move that into the literal"
        )
    return found[0] if found else None


def require_table(source: Source, name: str, body: list[ast.stmt] | None = None) -> Table:
    """Like ``find_table``, but raises UnknownShape for a missing table."""
    table = find_table(source, name, body)
    if table is None:
        raise UnknownShape(f"{source.path} has no table {name}; restore it, or wire the port there by hand")
    return table


def entry_blocks(source: Source, table: Table, wanted: dict[str, str]) -> list[Block]:
    """A Block for each of ``wanted``, which maps keys to the source of an entry without indentation and comma."""
    existing = _entries(source, table)
    present = [key.value for key, _ in existing]
    duplicates = sorted({key for key in wanted if present.count(key) > 1})
    if duplicates:
        raise UnknownShape(f"{source.path} lists {duplicates[0]!r} twice in one table; keep one of them")
    others = [index for index, key in enumerate(present) if key not in wanted]
    in_order = _is_sorted([present[index] for index in others])
    lead = source.lead(existing[0][0]) if existing else "    "
    made = []
    for key in sorted(wanted, key=str.lower) if in_order else wanted:
        text = "\n".join(lead + line if line else line for line in wanted[key].split("\n"))
        if key in present:
            made.append(_existing_block(source, table, existing, present.index(key), text))
        else:
            made.append(Block(key, f"{text},\n", _place(source, table, existing, others, key if in_order else None)))
    return made


def _existing_block(source: Source, table: Table, existing: list[Entry], index: int, text: str) -> Block:
    key, value = existing[index]
    _gap(source, table, existing, index - 1)
    if _gap(source, table, existing, index) or not index or index + 1 < len(existing):
        return Block(key.value, f"{text},\n", 0, (source.line_start(key), source.line_end(source.end(value))))
    # The last entry, if no comma follows it, is removed together with the comma before it.
    tail = source.end(existing[index - 1][1]), source.end(value)
    return Block(key.value, f",\n{text}", tail[0], tail)


def _place(source: Source, table: Table, existing: list[Entry], others: list[int], key: str | None) -> int:
    # The place after the last entry that is not the port's; with a ``key``, after the last one that sorts before it.
    before = _predecessor(existing, key) if key else max(others, default=None)
    if before is None:
        _gap(source, table, existing, -1)
        return source.line_end(source.start(table) + 1)
    if not _gap(source, table, existing, before):
        _gap(source, table, existing, before - 1)
        return _above(source, existing[before][0])
    return source.line_end(source.end(existing[before][1]))


def _predecessor(existing: list[Entry], key: str) -> int | None:
    before = None
    for index, (other, _) in enumerate(existing):
        if other.value.lower() > key.lower():
            break
        before = index
    return before


def _gap(source: Source, table: Table, existing: list[Entry], index: int) -> bytes:
    # The comma after an entry, or nothing; -1 is the place before the first. An entry in parentheses ends later than
    # its node, so anything else is refused.
    start = source.end(existing[index][1]) if index >= 0 else source.start(table) + 1
    stop = source.start(existing[index + 1][0]) if index + 1 < len(existing) else source.end(table) - 1
    between = re.sub(rb"#[^\n]*", b"", source.data[start:stop]).strip()
    if between not in (b"", b","):
        line = source.data.count(b"\n", 0, start) + 1
        raise UnknownShape(
            f"{source.path} line {line} has more than a comma between two entries of the table; remove the rest"
        )
    return between


def entries(source: Source, table: Table) -> list[tuple[str, ast.expr]]:
    """The keys with their values (of a list, each item as both). Raises UnknownShape for a key that is not a string."""
    return [(key.value, value) for key, value in _entries(source, table)]


def _entries(source: Source, table: Table) -> list[Entry]:
    pairs = (
        list(zip(table.keys, table.values, strict=True))
        if isinstance(table, ast.Dict)
        else [(e, e) for e in table.elts]
    )
    for key, _ in pairs:
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            line = getattr(key, "lineno", table.lineno)
            raise UnknownShape(
                f"{source.path} line {line}: a table entry is not a plain string; wire the port there by hand"
            )
    return pairs


def _above(source: Source, key: ast.expr) -> int:
    # The place before an entry without a comma, and before the comments above it.
    at = source.line_start(key)
    while at:
        line = source.data.rfind(b"\n", 0, at - 1) + 1
        if not source.data[line:at].lstrip().startswith(b"#"):
            break
        at = line
    return at


def _is_sorted(keys: list[str]) -> bool:
    # A table that people keep sorted has one or two keys out of order; one that is not has many.
    lowered = [key.lower() for key in keys]
    misplaced = sum(left > right for left, right in zip(lowered, lowered[1:], strict=False))
    return len(keys) > 2 and misplaced <= len(keys) // 12


class _Facts:
    """The values that a body assigns to each name, and the first statement that changes the value of each."""

    def __init__(self, body: list[ast.stmt]):
        self.assigned: dict[str, list[ast.expr]] = {}
        self.changed: dict[str, ast.stmt] = {}
        for statement in body:
            for name in _assigned(statement):
                self.assigned.setdefault(name, []).append(statement.value)
        for statement in _statements(body):
            for name in _changed(statement):
                self.changed.setdefault(name, statement)


@once
def _module_facts(source: Source) -> _Facts:
    return _Facts(source.tree.body)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    # Everything that runs on import: also in an ``if`` or a loop, but not in functions and classes.
    for statement in body:
        if not isinstance(statement, DEFINITIONS):
            yield statement
            for inner in ("body", "orelse", "handlers", "cases", "finalbody"):
                yield from _statements(getattr(statement, inner, ()))


def _assigned(statement: ast.stmt) -> set[str | None]:
    if isinstance(statement, ast.Assign):
        return {_name(target) for target in statement.targets}
    return {_name(statement.target)} if isinstance(statement, ast.AnnAssign) and statement.value is not None else set()


def _changed(statement: ast.stmt) -> set[str | None]:
    if isinstance(statement, ast.Expr):
        method = getattr(statement.value, "func", None)
        return {_name(method.value)} if isinstance(method, ast.Attribute) else set()
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    changed = {_name(target.value) for target in targets if isinstance(target, ast.Subscript)}
    return changed | {_name(statement.target)} if isinstance(statement, ast.AugAssign) else changed


def _name(target: ast.expr) -> str | None:
    return getattr(target, "id", None) or getattr(target, "attr", None)
