"""Write the statements with which a module's ``__init__`` computes its own arrays, and nothing else."""

from __future__ import annotations

import ast
import copy

from mflux_port.draft.forward.record.sources import undecorated
from mflux_port.draft.forward.torch_calls.entry import Refused
from mflux_port.draft.forward.writer.function import FunctionWriter
from mflux_port.draft.forward.writer.names import argument_name, table_name


class InitialWriter(FunctionWriter):
    """Writes the part of an ``__init__`` that makes ``names``. Its parameters are read as attributes of the module."""

    def __init__(self, project, place, group: str, names: set[str]):
        super().__init__(project, place)
        self.group, self.names = group, set(names)
        self.arguments = {arg.arg for arg in self.source.parameters[1:]}

    def write(self):
        self.out.is_static = False
        try:
            self.out.body = self.block(self._slice())
        except Refused as refusal:
            self.out.body = [self.problem(refusal.node, refusal.reason)]
        return self.out

    def _slice(self) -> list[ast.stmt]:
        needed, body = set(self.names), []
        for node in reversed(self.source.tree.body):
            kept = _kept(node, needed)
            if kept is not None:
                body.append(kept)
                needed |= _reads(kept)
        return body[::-1]

    def _Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.arguments and node.id not in self.stored and node.id not in self.inner:
            name = self._kept_as(node.id)
            self.out.reads.add((self.group, name))
            return ast.Attribute(ast.Name("self", ast.Load()), name, ast.Load())
        return super()._Name(node)

    def _kept_as(self, name: str) -> str:
        """The port's attribute for an argument: a different one if the module keeps another value under its name."""
        for module in self.project.recording.instances.get(self.group, ()):
            given = vars(module).get("_arguments", {})
            if name in given and vars(module).get(name, given[name]) != given[name]:
                return argument_name(name)
        return name

    def _is_global(self, name: str) -> bool:
        return name not in self.arguments and super()._is_global(name)

    def _of_module(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            if node.attr in self.names or self.fact(node) is not None and self.fact(node).always("tensor"):
                return ast.Attribute(ast.Name("self", ast.Load()), table_name(node.attr), ast.Load())
            self.out.reads.add((self.group, node.attr))
            return ast.Attribute(ast.Name("self", ast.Load()), node.attr, ast.Load())
        return super()._of_module(node)

    def store(self, target: ast.expr) -> ast.expr:
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
            return ast.Attribute(ast.Name("self", ast.Load()), table_name(target.attr), ast.Store())
        return super().store(target)

    def _do_Expr(self, node: ast.Expr) -> list[ast.stmt]:
        name = registered(node)
        if name is None:
            return super()._do_Expr(node)
        value = node.value.args[1] if len(node.value.args) > 1 else _keyword(node.value, "tensor")
        target = ast.Attribute(ast.Name("self", ast.Load()), table_name(name), ast.Store())
        return [ast.Assign([target], self.expr(value))]


def registered(node: ast.stmt) -> str | None:
    """The name in ``self.register_buffer("name", …)``, None for another statement."""
    call = node.value if isinstance(node, ast.Expr) else None
    if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "self.register_buffer"):
        return None
    first = call.args[0] if call.args else _keyword(call, "name")
    if not isinstance(first, ast.Constant):
        raise Refused(node, "register_buffer with a name that is computed")
    return first.value


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _kept(node: ast.stmt, needed: set[str]) -> ast.stmt | None:
    # The statement, or the part of it, that stores something needed.
    if isinstance(node, (ast.If, ast.For, ast.With)):
        # Earlier statements of the block compute what later ones need: two passes are enough for a loop.
        names = set(needed)
        for _ in range(2):
            kept = copy.copy(node)
            kept.body = _block(node.body, names)
            kept.orelse = _block(getattr(node, "orelse", []), names)
            names |= _reads(kept)
        return kept if kept.body or kept.orelse else None
    if isinstance(node, ast.FunctionDef):
        return node if node.name in needed else None
    name = registered(node)
    if name is not None:
        return node if name in needed else None
    return node if _stores(node) & needed else None


def _block(body: list[ast.stmt], needed: set[str]) -> list[ast.stmt]:
    found, names = [], set(needed)
    for node in reversed(body):
        kept = _kept(node, names)
        if kept is not None:
            found.append(kept)
            names |= _reads(kept)
    needed |= names
    return found[::-1]


def _stores(node: ast.stmt) -> set[str]:
    found = set()
    for part in ast.walk(node):
        if isinstance(getattr(part, "ctx", None), ast.Store):
            while isinstance(part, ast.Subscript):
                part = part.value
            found.add(part.id if isinstance(part, ast.Name) else getattr(part, "attr", ""))
        elif (
            isinstance(part, ast.Call)
            and isinstance(part.func, ast.Attribute)
            and part.func.attr in ("append", "extend")
        ):
            owner = part.func.value
            found.add(owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", ""))
    return found


def _reads(node: ast.stmt) -> set[str]:
    found = set()
    for part in ast.walk(node):
        if isinstance(getattr(part, "ctx", None), ast.Load):
            if isinstance(part, ast.Name):
                found.add(part.id)
            elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self":
                found.add(part.attr)
    return found


def initial_place(project, module):
    """The recorded ``__init__`` of a module's class, or None."""
    from mflux_port.draft.forward.record.init_arrays import initial_group
    from mflux_port.draft.forward.record.sources import key_of

    place = (key_of(undecorated(type(module).__init__)), initial_group(type(module)))
    return place if place in project.recording.facts else None
