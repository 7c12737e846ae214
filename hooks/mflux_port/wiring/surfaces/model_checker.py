"""``mflux-check``: the weight definition of a model (since mflux 0.24)."""

from __future__ import annotations

import ast

from mflux_port.port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.imports import bindings
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.wrapping import condition, import_line

ID = "model_checker"
FILE = "src/mflux/models/common/checking/model_checker.py"
REQUIRED = False
_NAME = "_definition_for"


def not_applicable(port: Port) -> str | None:
    return None if port.checkpoints else "the port does not have its own checkpoint"


def classes(port: Port) -> dict[str, str]:
    """The class that the port adds to this file, with its module."""
    return {f"{port.class_name}WeightDefinition": f"{port.package}.weights.{port.model}_weight_definition"}


def blocks(source: Source, port: Port) -> list[Block]:
    ((definition, module),) = classes(port).items()
    function = _function(source)
    last = function.body[-1]
    if not (isinstance(last, ast.Return) and isinstance(last.value, ast.Constant) and last.value.value is None):
        raise UnknownShape(f"{source.path}: {_NAME} does not end in `return None`; wire the port there by hand")
    lead = source.lead(last)
    text = condition("if", _parameter(source, function), [c.key for c in port.checkpoints], lead)
    text += f"{import_line(module, definition, f'{lead}    ')}\n{lead}    return {definition}\n"
    span = next((source.lines_of(node) for node in function.body if _returned(node) == definition), None)
    return [Block(definition, text, source.line_start(last), span)]


def read_back(source: Source, port: Port, wired: bool) -> str | None:
    ((definition, module),) = classes(port).items()
    function = _function(source)
    branches = [node for node in function.body if _returned(node) == definition]
    if len(branches) != wired:
        return f"{definition} would be returned {len(branches)} times"
    for branch in branches:
        asked = {node.value for node in ast.walk(branch.test) if isinstance(node, ast.Constant)}
        if asked != {checkpoint.key for checkpoint in port.checkpoints}:
            return f"{definition} would be that of {', '.join(map(str, sorted(asked, key=str)))}"
        if bindings(branch.body).get(definition) != {module}:
            return f"{definition} would come from another module"
    return None


def _returned(node: ast.stmt) -> str | None:
    # The name of the definition that a branch returns.
    if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return):
        return getattr(node.body[-1].value, "id", None)
    return None


def _parameter(source: Source, function: ast.FunctionDef) -> str:
    names = [argument.arg for argument in function.args.args if argument.arg not in ("self", "cls")]
    if len(names) != 1:
        raise UnknownShape(f"{source.path}: {_NAME} takes {len(names)} keys, not one; wire the port there by hand")
    return names[0]


def _function(source: Source) -> ast.FunctionDef:
    found = [node for node in source.functions if node.name == _NAME]
    if len(found) != 1:
        raise UnknownShape(f"{source.path}: looked for one function {_NAME}, found {len(found)}; restore it")
    return found[0]
