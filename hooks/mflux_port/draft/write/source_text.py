"""Python source that a formatter leaves alone: expressions on one line if they fit, else one part per line."""

from __future__ import annotations

import json
from dataclasses import dataclass

WIDTH = 120


@dataclass(frozen=True)
class Call:
    """``name(positional, key=value)``; ``arguments`` are (key or '', expression)."""

    name: str
    arguments: tuple[tuple[str, Expression], ...] = ()


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Table:
    """A dict with text keys."""

    items: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True)
class Row:
    """A list of ``count`` equal items."""

    item: Expression
    count: str


@dataclass(frozen=True)
class Run(Row):
    """``count`` equal items inside a list."""


Expression = str | Call | Items | Table | Row


def write(expression: Expression, indent: int, before: int, after: int = 0) -> str:
    """The source of an expression.

    ``before`` and ``after``: the numbers of characters before and after it on its line.
    """
    flat = _flat(expression)
    if isinstance(expression, str) or indent + before + len(flat) + after <= WIDTH:
        return flat
    inner = indent + 4
    if isinstance(expression, Row):
        lines = [f"{_flat(expression.item)} for _ in range({expression.count})"]
        if inner + len(lines[0]) > WIDTH:
            lines = [write(expression.item, inner, 0), f"for _ in range({expression.count})"]
        return "[\n" + "".join(f"{' ' * inner}{line}\n" for line in lines) + " " * indent + "]"
    start, end = {Call: "()", Items: "[]", Table: "{}"}[type(expression)]
    name = expression.name if isinstance(expression, Call) else ""
    parts = [f"{key}{write(value, inner, len(key), 1)}" for key, value in _parts(expression)]
    return f"{name}{start}\n" + "".join(f"{' ' * inner}{part},\n" for part in parts) + " " * indent + end


def statement(target: str, expression: Expression, indent: int = 8) -> str:
    """``target = expression`` at an indentation, with a line break."""
    return f"{' ' * indent}{target} = {write(expression, indent, len(target) + 3)}\n"


def signature(name: str, parameters: list[str], returns: str = "") -> str:
    """``def name(self, …):`` of a method, on one line or with one parameter per line."""
    end = f"{' -> ' + returns if returns else ''}:"
    line = f"    def {name}({', '.join(['self', *parameters])}){end}"
    if len(line) <= WIDTH:
        return line + "\n"
    return f"    def {name}(\n" + "".join(f"        {part},\n" for part in ["self", *parameters]) + f"    ){end}\n"


def text(value: str) -> str:
    """A string literal in double quotes, for any text."""
    return json.dumps(value)


def _flat(expression: Expression) -> str:
    if isinstance(expression, str):
        return expression
    if isinstance(expression, Row):
        return f"[{_flat(expression.item)} for _ in range({expression.count})]"
    start, end = {Call: "()", Items: "[]", Table: "{}"}[type(expression)]
    name = expression.name if isinstance(expression, Call) else ""
    return f"{name}{start}{', '.join(key + _flat(value) for key, value in _parts(expression))}{end}"


def _parts(expression: Call | Items | Table) -> list[tuple[str, Expression]]:
    if isinstance(expression, Items):
        return [("*" if isinstance(item, Run) else "", item) for item in expression.items]
    if isinstance(expression, Table):
        return [(f"{text(key)}: ", value) for key, value in expression.items]
    return [(f"{key}=" if key else "", value) for key, value in expression.arguments]
