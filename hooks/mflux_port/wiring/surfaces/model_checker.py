"""``mflux-check``: the weight definition of a model (since mflux 0.24)."""

from __future__ import annotations

import ast
import json

from mflux_port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.source import Source, UnknownShape

ID = "model_checker"
FILE = "src/mflux/models/common/checking/model_checker.py"
REQUIRED = False


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    function = _function(source)
    last = function.body[-1]
    if not (isinstance(last, ast.Return) and isinstance(last.value, ast.Constant) and last.value.value is None):
        raise UnknownShape(f"{source.path}: _definition_for does not end in `return None`; wire the port there by hand")
    lead = source.lead(last)
    definition = f"{port.class_name}WeightDefinition"
    module = f"{port.package}.weights.{port.model}_weight_definition"
    line = f"{lead}    from {module} import {definition}\n"
    if len(line) - 1 > 120:
        line = f"{lead}    from {module} import (\n{lead}        {definition},\n{lead}    )\n"
    text = f"{_condition(port, lead)}{line}\n{lead}    return {definition}\n"
    return [Block(definition, text, source.line_start(last), _present(source, function, definition))]


def _condition(port: Port, lead: str) -> str:
    keys = [json.dumps(checkpoint.key) for checkpoint in port.checkpoints]
    if len(keys) == 1:
        return f"{lead}if key == {keys[0]}:\n"
    line = f"{lead}if key in {{{', '.join(keys)}}}:\n"
    if len(line) - 1 <= 120:
        return line
    return f"{lead}if key in {{\n" + "".join(f"{lead}    {key},\n" for key in keys) + f"{lead}}}:\n"


def _present(source: Source, function: ast.FunctionDef, definition: str) -> tuple[int, int] | None:
    for node in function.body:
        if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return):
            value = node.body[-1].value
            if isinstance(value, ast.Name) and value.id == definition:
                return source.lines_of(node)
    return None


def _function(source: Source) -> ast.FunctionDef:
    found = [node for node in source.functions if node.name == "_definition_for"]
    if len(found) != 1:
        raise UnknownShape(f"{source.path}: looked for one function _definition_for, found {len(found)}; restore it")
    return found[0]
