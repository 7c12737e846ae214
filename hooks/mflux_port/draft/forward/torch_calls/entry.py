"""One line of the table: the parameters of a torch call in torch's order, and how it is written in MLX.

A specification names the parameters: ``x`` is needed, ``dim=0`` has torch's default as MLX source, ``dim?`` may be left
out, ``largest:True`` is refused with any other value, ``~device`` has no meaning in MLX and is left out,
``*sizes`` takes what follows, as numbers or as one tuple. A keyword that a specification does not name is refused.

The text is MLX source with the parameters' names. If an optional one was not given, the keyword or the ``.astype``
that holds it is left out.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable
from dataclasses import dataclass

_EVERYWHERE = {"device", "non_blocking", "memory_format", "layout", "pin_memory", "requires_grad"}


class Refused(Exception):
    """A construct that the writer does not support. ``node``: where it is in the reference."""

    def __init__(self, node: ast.AST, reason: str):
        super().__init__(reason)
        self.node, self.reason = node, reason


@dataclass(frozen=True)
class Entry:
    """A line of the table: ``spec`` and either ``text`` or a function that builds the expression."""

    spec: str
    text: str | Callable

    @property
    def names(self) -> list[str]:
        return [re.match(r"[~*]?(\w+)", word)[1] for word in self.spec.split()]

    def word(self, name: str) -> str:
        return self.spec.split()[self.names.index(name)]


class Arguments:
    """The arguments of one call, by torch's names. ``raw`` are nodes of the reference, translated on demand."""

    def __init__(self, writer, node: ast.Call, entry: Entry, values: list[ast.expr], called: str):
        self.writer, self.node, self.entry, self.called = writer, node, entry, called
        self.raw: dict[str, ast.expr] = {}
        self.rest: list[ast.expr] = []
        self._bind(values)
        self._refuse_fixed()

    def _bind(self, values: list[ast.expr]) -> None:
        names = self.entry.names
        star = next((name for name in names if self.entry.word(name).startswith("*")), None)
        plain = names[: names.index(star)] if star else names
        for place, value in enumerate(values):
            if place < len(plain) and not isinstance(value, ast.Starred):
                self.raw[plain[place]] = value
            elif star:
                self.rest.append(value)
            else:
                self.refuse("more arguments than the table reads")
        for keyword in self.node.keywords:
            if keyword.arg is None:
                self.refuse("** in a torch call")
            if star and keyword.arg in (star, "size", "dims", "shape") and keyword.arg not in names:
                self.rest = [keyword.value]
            elif keyword.arg in names:
                self.raw[keyword.arg] = keyword.value
            elif keyword.arg == "split_size" and "split_size_or_sections" in names:
                self.raw["split_size_or_sections"] = keyword.value
            elif keyword.arg == "input" and names[:1] == ["x"]:
                self.raw["x"] = keyword.value
            elif keyword.arg == "axis" and "dim" in names:
                self.raw["dim"] = keyword.value
            elif keyword.arg not in _EVERYWHERE:
                self.refuse(f"the keyword {keyword.arg} is not read")

    def _refuse_fixed(self) -> None:
        for name in self.entry.names:
            word = self.entry.word(name)
            if ":" in word and name in self.raw:
                wanted = ast.literal_eval(word.split(":")[1])
                if self.value(name) != wanted:
                    self.refuse(f"{name} other than {wanted}")
            elif not re.search(r"[=?:~*]", word) and name not in self.raw:
                self.refuse(f"{name} is not given")

    def refuse(self, reason: str):
        raise Refused(self.node, f"{self.called}: {reason}")

    def has(self, name: str) -> bool:
        """Whether an optional argument was given and is not None."""
        raw = self.raw.get(name)
        fact = self.writer.fact(raw) if raw is not None else None
        return raw is not None and not (fact is not None and fact.always("none"))

    def value(self, name: str, default=None):
        """The argument's value if the config decides it. Refuses one that is unknown."""
        return self.writer.known(self.raw[name], self.node) if name in self.raw else default

    def fact(self, name: str):
        return self.writer.fact(self.raw[name]) if name in self.raw else None

    def rank(self, name: str = "x") -> int:
        fact = self.fact(name)
        if fact is None or fact.rank is None:
            self.refuse(f"the rank of {name} differs between calls")
        return fact.rank

    def get(self, name: str) -> ast.expr | None:
        """The argument in MLX, or its default; None if it is optional and not given."""
        if name in self.raw and (self.has(name) or "=" not in self.entry.word(name)):
            if name in ("dtype", "dtype_"):
                return self.writer.dtype(self.raw[name]) if self.has(name) else None
            return self.writer.expr(self.raw[name])
        word = self.entry.word(name)
        return ast.parse(word.split("=", 1)[1], mode="eval").body if "=" in word else None

    def sizes(self) -> ast.expr:
        """The arguments that ``*sizes`` took, as one tuple expression."""
        if len(self.rest) == 1 and not isinstance(self.rest[0], ast.Starred):
            fact = self.writer.fact(self.rest[0])
            sequence = isinstance(self.rest[0], (ast.Tuple, ast.List))
            if sequence or fact is not None and fact.always("tuple", "list", "size"):
                return self.writer.expr(self.rest[0])
        return ast.Tuple([self.writer.expr(value) for value in self.rest], ast.Load())

    def write(self) -> ast.expr:
        if callable(self.entry.text):
            return self.entry.text(self)
        values = {name: self.get(name) for name in self.entry.names if self.entry.word(name)[0] not in "~*"}
        if any(word.startswith("*") for word in self.entry.spec.split()):
            values["sizes"] = self.sizes()
        return filled(self.entry.text, values)


def filled(text: str, values: dict[str, ast.expr | None]) -> ast.expr:
    """The expression ``text`` with its names replaced; the parts that contain a missing one are left out."""
    return _Fill(values).visit(ast.parse(text, mode="eval").body)


class _Fill(ast.NodeTransformer):
    def __init__(self, values: dict[str, ast.expr | None]):
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self.values.get(node.id, node)
        return node if value is node else copy.copy(value)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "astype" and self._missing(node.args[0]):
            return self.visit(node.func.value)
        node.args = [value for value in node.args if not self._missing(value)]
        node.keywords = [keyword for keyword in node.keywords if not self._missing(keyword.value)]
        node = self.generic_visit(node)
        node.args = [part for value in node.args for part in _spread(value)]
        return node

    def _missing(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self.values and self.values[node.id] is None


def _spread(value: ast.expr) -> list[ast.expr]:
    # f(*(a, b)) is f(a, b).
    if isinstance(value, ast.Starred) and isinstance(value.value, (ast.Tuple, ast.List)):
        return list(value.value.elts)
    return [value]


def raising(kind: str, text: str) -> ast.stmt:
    """``raise kind(text)``."""
    return ast.Raise(filled(f"{kind}(text)", {"text": ast.Constant(text)}))


def already_written(node: ast.expr) -> ast.expr:
    """A node of MLX source instead of the reference's: it is used unchanged."""
    node.is_written, node.number = True, -1
    return node
