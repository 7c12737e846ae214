"""The text of one function of the reference, parsed, with a number for each node: facts are kept under it."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap


class Source:
    """``key``: module and qualified name; ``file``: path below the library; ``first``: its first line in the file."""

    def __init__(self, function):
        code = function.__code__
        self.function, self.key = function, key_of(function)
        lines, self.first = inspect.getsourcelines(code)
        self.path = code.co_filename
        self.file = library_path(self.path)
        self.text = textwrap.dedent("".join(lines))
        self.tree = _Whole().visit(ast.parse(self.text).body[0])
        # Contexts such as ast.Load() are shared objects: only what can be recorded gets a number.
        numbered = (node for node in ast.walk(self.tree) if isinstance(node, (ast.expr, ast.arg, ast.stmt)))
        for number, node in enumerate(numbered):
            node.number = number

    def where(self, node) -> str:
        """``file:line`` of a node."""
        return f"{self.file}:{self.first + getattr(node, 'lineno', 1) - 1}"

    def line(self, node) -> str:
        """The source line of a node."""
        lines, place = self.text.splitlines(), getattr(node, "lineno", 1) - 1
        return lines[place].strip() if place < len(lines) else ""

    @property
    def parameters(self) -> list[ast.arg]:
        args = self.tree.args
        return [*args.posonlyargs, *args.args, *args.kwonlyargs]

    @property
    def defaults(self) -> dict[str, ast.expr]:
        args = self.tree.args
        plain = [*args.posonlyargs, *args.args]
        found = {arg.arg: value for arg, value in zip(reversed(plain), reversed(args.defaults), strict=False)}
        pairs = zip(args.kwonlyargs, args.kw_defaults, strict=True)
        return found | {arg.arg: value for arg, value in pairs if value is not None}

    @property
    def is_method(self) -> bool:
        parameters = self.parameters
        return bool(parameters) and parameters[0].arg == "self"


class _Whole(ast.NodeTransformer):
    """transformers' ``apply_chunking_to_forward(function, size, axis, x)`` as ``function(x)``: the same, at once."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "apply_chunking_to_forward" and not node.keywords:
            return ast.copy_location(ast.Call(node.args[0], node.args[3:], []), node)
        return node


def key_of(function) -> str:
    """``module.qualified name`` of a function, below its decorators."""
    function = undecorated(function)
    module = getattr(function, "__module__", None) or type(function).__module__
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{module}.{name}"


def undecorated(function):
    """The function below ``functools.wraps``, and below a bound method."""
    function = getattr(function, "__func__", function)
    seen = set()
    while hasattr(function, "__wrapped__") and id(function) not in seen:
        seen.add(id(function))
        function = function.__wrapped__
    return getattr(function, "__func__", function)


def library_path(path: str) -> str:
    """A file's path below the folder of its library, with forward slashes."""
    return re.sub(r".*/(?:site-packages|dist-packages)/", "", path.replace("\\", "/"))
