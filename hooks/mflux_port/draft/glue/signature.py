"""What a drafted transformer takes and returns, read from its source."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from mflux_port.draft.forward.writer.step_constants import ARGUMENT, METHOD
from mflux_port.files.parsing import imported_from, parse_python


@dataclass(frozen=True)
class Signature:
    """``arguments``: the names of ``__call__``, with whether each has a default. ``returns``: its annotation.

    Without an annotation, ``returns`` is that of a written tuple, such as ``tuple[mx.array, mx.array]``.
    ``of_rotary``: the arguments of the method that computes rotary embeddings once per image; none without that method.
    """

    arguments: dict[str, bool]
    returns: str
    of_rotary: tuple[str, ...] = ()

    @property
    def first(self) -> str:
        """The suffix of a call that selects its only result."""
        return "[0]" if self.returns.startswith(("list", "tuple")) else ""

    @property
    def results(self) -> int:
        """The number of results of a call."""
        return self.returns.count(",") + 1 if self.returns.startswith("tuple") else 1


def call_signature(source: str) -> Signature | None:
    """The signature of the last class's ``__call__``; None when it is not written yet."""
    classes = [node for node in ast.walk(parse_python(source)) if isinstance(node, ast.ClassDef)]
    methods = [node for node in (classes[-1].body if classes else []) if isinstance(node, ast.FunctionDef)]
    call = next((node for node in methods if node.name == "__call__"), None)
    if call is None or any(isinstance(node, ast.Raise) for node in call.body[:1]):
        return None
    names = [argument.arg for argument in call.args.args[1:]]
    plain = len(names) - len(call.args.defaults)
    found = {name: place >= plain for place, name in enumerate(names)}
    found |= {
        argument.arg: default is not None
        for argument, default in zip(call.args.kwonlyargs, call.args.kw_defaults, strict=True)
    }
    of_rotary = _of_rotary(methods) if found.pop(ARGUMENT, False) else ()
    return Signature(found, ast.unparse(call.returns) if call.returns else _written(call), of_rotary)


def _of_rotary(methods: list[ast.FunctionDef]) -> tuple[str, ...]:
    found = (one.args.args[1:] for one in methods if one.name == METHOD and not isinstance(one.body[0], ast.Raise))
    return tuple(argument.arg for argument in next(found, ()))


def _written(call: ast.FunctionDef) -> str:
    last = call.body[-1]
    if isinstance(last, ast.Return) and isinstance(last.value, ast.Tuple):
        return f"tuple[{', '.join(['mx.array'] * len(last.value.elts))}]"
    return ""


def handed_down(source: str) -> str:
    """The module of the child, if the last class's ``__call__`` only calls that child; otherwise empty."""
    tree = parse_python(source)
    imported = imported_from(tree)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    nodes = list(ast.walk(classes[-1])) if classes else []
    call = next((node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == "__call__"), None)
    last = call.body[-1] if call else None
    if not (isinstance(last, ast.Return) and isinstance(last.value, ast.Call)):
        return ""
    child = ast.unparse(last.value.func)
    made = (node for node in nodes if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call))
    names = {ast.unparse(node.targets[0]): ast.unparse(node.value.func) for node in made}
    return imported.get(names.get(child, ""), "") if child.startswith("self.") else ""


def constructor_arguments(source: str) -> list[str]:
    """The names that the last class's constructor takes; none without a class."""
    functions = [node for node in ast.walk(parse_python(source)) if isinstance(node, ast.FunctionDef)]
    constructor = next((node for node in functions if node.name == "__init__"), None)
    return [argument.arg for argument in constructor.args.args[1:]] if constructor else []


def without_method(source: str, name: str) -> str:
    """The source without the method of that name, if it only raises."""
    nodes = [node for node in ast.walk(parse_python(source)) if isinstance(node, ast.FunctionDef) and node.name == name]
    raising = [node for node in nodes if len(node.body) == 1 and isinstance(node.body[0], ast.Raise)]
    if not raising:
        return source
    lines = source.splitlines(keepends=True)
    del lines[raising[0].lineno - 1 : raising[0].end_lineno]
    return "".join(lines)
