"""Sizes as expressions of a config's names, seen from how a reference's tree changes when one number changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from mflux_port.checkpoint.nodes import LIST, Node


@dataclass(frozen=True)
class Observation:
    """The trees that the reference has with ``name`` at two and at four times its ``value``."""

    name: str
    value: int
    twice: Node
    again: Node


def express(base: Node, observations: list[Observation]) -> Node:
    """``base`` with every size that is a product of observed names written as such, in place. Others stay numbers.

    Blocks of a list whose length follows a name get the expression ``count`` among the list's arguments.
    """
    usable = [seen for seen in observations if _same(base, seen.twice) and _same(base, seen.again)]
    _express(base, [(seen.name, seen.value, seen.twice, seen.again) for seen in usable])
    return base


def _same(base: Node, other: Node) -> bool:
    if (
        (base.kind, base.base) != (other.kind, other.base)
        or base.class_name != other.class_name
        or base.parameters.keys() != other.parameters.keys()
    ):
        return False
    if base.kind == LIST and len(base.children) != len(other.children) and _is_row(base) and _is_row(other):
        return _same(base.children["0"], other.children["0"])
    return base.children.keys() == other.children.keys() and all(
        _same(child, other.children[name]) for name, child in base.children.items()
    )


def _is_row(node: Node) -> bool:
    return "0" in node.children and len({child.class_name or child.kind for child in node.children.values()}) == 1


def _express(node: Node, seen: list[tuple[str, int, Node, Node]]) -> None:
    for name, text in node.arguments.items():
        views = [(key, value, a.arguments.get(name), b.arguments.get(name)) for key, value, a, b in seen]
        node.arguments[name] = _product(text, views)
    for name, shape in node.parameters.items():
        node.parameters[name] = tuple(
            _product(size, [(key, value, _at(a, name, i), _at(b, name, i)) for key, value, a, b in seen])
            for i, size in enumerate(shape)
        )
    if node.kind == LIST and _is_row(node):
        count = str(len(node.children))
        views = [(key, value, str(len(a.children)), str(len(b.children))) for key, value, a, b in seen]
        node.arguments["count"] = _product(count, views)
    for name, child in node.children.items():
        inner = [(key, value, a.children.get(name), b.children.get(name)) for key, value, a, b in seen]
        _express(child, [view for view in inner if view[2] is not None and view[3] is not None])


def _at(node: Node, name: str, index: int) -> str:
    return node.parameters[name][index] if index < len(node.parameters[name]) else ""


def _product(text: str, views: list[tuple[str, int, str | None, str | None]]) -> str:
    if not text.isdigit() or int(text) == 0:
        return text
    size, up, down = int(text), [], []
    for name, value, twice, again in views:
        if twice == text and again == text:
            continue
        if not (twice or "").isdigit() or not (again or "").isdigit():
            return text
        if (int(twice), int(again)) == (2 * size, 4 * size):
            up.append((name, value))
        elif size == 2 * int(twice) == 4 * int(again):
            down.append((name, value))
        else:
            return text
    if not up:
        return text
    factor = Fraction(size * prod(value for _, value in down), prod(value for _, value in up))
    names = " * ".join(re.sub(r"\s", "", name) for name, _ in up)
    times = f"{factor.numerator} * {names}" if factor.numerator != 1 else names
    divisors = [str(factor.denominator)] if factor.denominator != 1 else []
    # Whole division loses nothing here: the reference itself has whole sizes.
    return " // ".join([times, *divisors, *(name for name, _ in down)])
