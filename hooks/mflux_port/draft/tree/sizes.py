"""Sizes as expressions of a config's names, inferred from how a reference's tree changes when one number changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from mflux_port.draft.tree.nodes import LIST, Node
from mflux_port.draft.tree.scalars import scalar

NEAR, FAR = (2, 4), 16
SPARE = 3, Fraction(1, 2), Fraction(1, 4)  # for references that refuse a near factor, such as for their number of heads
LESS = tuple(Fraction(1, divisor) for divisor in (2, 4, 8, 16, 32))
_Factor = int | Fraction


@dataclass(frozen=True)
class Observation:
    """The reference's trees with ``name`` at a multiple of its ``value``, by the factor."""

    name: str
    value: int
    trees: dict[_Factor, Node]


def express(base: Node, observations: list[Observation]) -> Node:
    """Write every size in ``base`` that follows from observed names as such, in place. Others stay numbers.

    A size is a product of names, one divided by others, a sum of products or ``min`` of a name and a number, and only
    when it is that in every tree.

    Blocks of a list whose length follows a name get the expression ``count`` among the list's arguments; where the list
    has runs of blocks that are built alike, each run has its own, ``count_0`` and so on.
    """
    usable = []
    for seen in observations:
        trees = {factor: tree for factor, tree in seen.trees.items() if _same(base, tree)}
        near = {factor for factor in NEAR if factor in seen.trees}
        if len(trees) >= len(NEAR) and trees.keys() >= near:
            usable.append((seen.name, seen.value, trees))
    _express(base, usable)
    return base


def grows_evenly(base: Node, trees: dict[_Factor, Node]) -> bool:
    """Whether no size grows faster than a name, so that the name may be made much larger to reveal a limit."""
    if not all(_same(base, tree) for tree in trees.values()):
        return False
    grown = False
    for text, found in _sizes(base, trees):
        if not text.isdigit() or all(other == text for other in found.values()):
            continue
        numbers = {factor: int(other) for factor, other in found.items() if (other or "").isdigit()}
        if len(numbers) < len(found) or any(number > factor * (int(text) + 1) for factor, number in numbers.items()):
            return False
        grown = grown or all(number > int(text) for number in numbers.values())
    return grown


def _sizes(node: Node, trees: dict[_Factor, Node]) -> Iterator[tuple[str, dict[_Factor, str | None]]]:
    if node.kind == LIST and any(len(tree.children) != len(node.children) for tree in trees.values()):
        yield "1", dict.fromkeys(trees)  # the tree has more blocks: their number is not a size
    for name, text in node.arguments.items():
        yield text, {factor: tree.arguments.get(name) for factor, tree in trees.items()}
    for name, shape in node.parameters.items():
        for place, size in enumerate(shape):
            yield size, {factor: _at(tree, name, place) for factor, tree in trees.items()}
    for name, child in node.children.items():
        below = {factor: tree.children.get(name) for factor, tree in trees.items()}
        if None not in below.values():
            yield from _sizes(child, below)


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


def _express(node: Node, seen: list[tuple[str, int, dict[_Factor, Node]]]) -> None:
    def views(read) -> list[tuple[str, int, dict[_Factor, str | None]]]:
        return [(key, value, {factor: read(tree) for factor, tree in trees.items()}) for key, value, trees in seen]

    for name, text in node.arguments.items():
        others = views(lambda tree, name=name: tree.arguments.get(name))
        # A convolution's sizes may differ by axis.
        node.arguments[name] = scalar(text, others, _expression) if text[:1] == "(" else _expression(text, others)
    for name, shape in node.parameters.items():
        node.parameters[name] = tuple(
            _expression(size, views(lambda tree, name=name, place=place: _at(tree, name, place)))
            for place, size in enumerate(shape)
        )
    for name, text in node.scalars.items():
        node.scalars[name] = scalar(text, views(lambda tree, name=name: tree.scalars.get(name)), _expression)
    if node.kind == LIST and _is_row(node):
        node.arguments["count"] = _expression(str(len(node.children)), views(lambda tree: str(len(tree.children))))
        for place, length in enumerate(runs := _runs(node)):
            if len(runs) > 1:
                read = lambda tree, place=place: str((_runs(tree) + [0] * place)[place])  # noqa: E731
                node.arguments[f"count_{place}"] = _expression(str(length), views(read))
    for name, child in node.children.items():
        inner = [
            (k, value, {f: _counterpart(node, tree, name) for f, tree in trees.items()}) for k, value, trees in seen
        ]
        _express(child, [view for view in inner if None not in view[2].values()])


def _runs(row: Node) -> list[int]:
    """The lengths of the runs of blocks that are built alike."""
    blocks = list(row.children.values())
    starts = [place for place, block in enumerate(blocks) if not place or not _same(blocks[place - 1], block)]
    return [end - start for start, end in zip(starts, [*starts[1:], len(blocks)], strict=True)]


def _counterpart(node: Node, tree: Node, name: str) -> Node | None:
    """The child of ``tree`` that corresponds to ``node``'s child of that name; the last block of a list corresponds to
    the last one of a longer list.
    """
    child = tree.children.get(name)
    if node.kind != LIST or len(node.children) == len(tree.children):
        return child
    from_end = str(int(name) - len(node.children) + len(tree.children))
    found = (other for other in (child, tree.children.get(from_end)) if other and _same(node.children[name], other))
    return next(found, None)


def _at(node: Node, name: str, index: int) -> str:
    return node.parameters[name][index] if index < len(node.parameters[name]) else ""


def _expression(text: str, views: list[tuple[str, int, dict[_Factor, str | None]]]) -> str:
    """A size as an expression of the observed names, or ``text`` itself when no rule explains every change."""
    if not text.isdigit() or int(text) == 0:
        return text
    effects = _Effects(int(text))
    for name, value, found in views:
        unchanged = all(other == text for other in found.values())
        if not unchanged and not effects.explain(re.sub(r"\s", "", name), value, found):
            return text
    return effects.expression() or text


class _Effects:
    """How each name affects one size: as a factor, a divisor, a term of a sum, or up to a limit."""

    def __init__(self, size: int):
        self.size = size
        self.factors: list[tuple[str, int]] = []
        self.divisors: list[tuple[str, int]] = []
        self.terms: list[tuple[str, int, int]] = []
        self.limits: list[str] = []

    def explain(self, name: str, value: int, found: dict[_Factor, str | None]) -> bool:
        """Add the effect of ``name``; ``found``: the size by the factor of the name. False when no rule fits."""
        if not all((other or "").isdigit() for other in found.values()):
            return False
        # With a far factor, integer division can turn a small number into zero: that shows nothing.
        sizes = {factor: int(other) for factor, other in found.items() if factor in NEAR or other != "0"}
        if limit := _limit(self.size, value, sizes):
            self.limits.append(limit.format(name))
        elif power := _power(self.size, sizes):
            self.factors += [(name, value)] * power
        elif _divides(self.size, sizes):
            self.divisors.append((name, value))
        elif step := _step(self.size, sizes):
            self.terms.append((name, value, step))
        else:
            return False
        return True

    def expression(self) -> str:
        """The source of the size, or '' when the effects do not combine into one form."""
        if self.limits:
            alone = len(self.limits) == 1 and not (self.factors or self.divisors or self.terms)
            return self.limits[0] if alone else ""
        if self.terms:
            return "" if self.divisors else _sum(self.size, self.factors, self.terms)
        return _product(self.size, self.factors, self.divisors) if self.factors else ""


def _limit(size: int, value: int, numbers: dict[_Factor, int]) -> str:
    # min(name, limit), seen on both sides of the limit: below it once at least, at it or above twice.
    points = {value: size} | {int(value * factor): number for factor, number in numbers.items()}
    limit, least = max(points.values()), min(points)
    times = Fraction(points[least], least)
    reached = [number for at, number in points.items() if times * at >= limit]
    if times.denominator != 1 or len(points) < 4 or not 2 <= len(reached) < len(points):
        return ""
    if any(number != min(times * at, limit) for at, number in points.items()):
        return ""
    return f"min({'{}' if times == 1 else f'{times} * {{}}'}, {limit})"


def _power(size: int, numbers: dict[_Factor, int]) -> int:
    # How many times a name is a factor of the size, 0 for any other relation.
    for power in (1, 2, 3):
        expected = {factor: size * factor**power for factor in numbers}
        if all(number == expected[factor] or expected[factor].denominator != 1 for factor, number in numbers.items()):
            return power
    return 0


def _divides(size: int, numbers: dict[_Factor, int]) -> bool:
    # A size divided by 16 is seldom an integer.
    return all(size == factor * numbers[factor] for factor in numbers if factor != FAR or size % factor == 0)


def _step(size: int, numbers: dict[_Factor, int]) -> int:
    # What each further multiple of the name's value adds, 0 if that varies.
    step = numbers.get(NEAR[0], 0) - size
    return step if step > 0 and all(n == size + (factor - 1) * step for factor, n in numbers.items()) else 0


def _product(size: int, up: list[tuple[str, int]], down: list[tuple[str, int]]) -> str:
    factor = Fraction(size * prod(value for _, value in down), prod(value for _, value in up))
    names = " * ".join(name for name, _ in up)
    times = f"{factor.numerator} * {names}" if factor.numerator != 1 else names
    divisors = [str(factor.denominator)] if factor.denominator != 1 else []
    # Integer division loses nothing here: the reference has integer sizes.
    return " // ".join([times, *divisors, *(name for name, _ in down)])


def _sum(size: int, up: list[tuple[str, int]], added: list[tuple[str, int, int]]) -> str:
    # Terms of one name each, and a remainder; all multiplied by the names that the whole size grows with.
    whole = prod(value for _, value in up)
    rest = size - sum(step for _, _, step in added)
    counts = [Fraction(step, value * whole) for _, value, step in added] + [Fraction(rest, whole)]
    if any(count.denominator != 1 for count in counts):
        return ""
    text = ""
    for name, count in zip([*(name for name, _, _ in added), ""], counts, strict=True):
        size = str(abs(count)) if abs(count) != 1 else ""
        term = " * ".join([part for part in (size, name, *(name for name, _ in up)) if part] or ["1"])
        text += (f" {'-' if count < 0 else '+'} {term}" if text else term) if count else ""
    return text
