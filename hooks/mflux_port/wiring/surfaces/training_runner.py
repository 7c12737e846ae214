"""``mflux-train``: the adapter that trains a model."""

from __future__ import annotations

import ast

from mflux_port.port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.chains import (
    assigned_name,
    branch_index,
    branch_listing,
    find_chain,
    listed_names,
    second_branch_block,
)
from mflux_port.wiring.imports import import_block, module_bindings
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.wrapping import condition

ID = "training_runner"
FILE = "src/mflux/models/common/training/runner.py"
REQUIRED = False
_ARGUMENTS = ("model_config", "quantize", "model_path")


def not_applicable(port: Port) -> str | None:
    if not port.training:
        return "training is off in the answers"
    return None if _keys(port) else "no checkpoint can be trained: all of them are for editing"


def classes(port: Port) -> dict[str, str]:
    """The class that the port adds to this file, with its module."""
    if not_applicable(port):
        return {}
    return {f"{port.class_name}TrainingAdapter": f"{port.package}.training_adapter.{port.model}_training_adapter"}


def blocks(source: Source, port: Port) -> list[Block]:
    ((adapter, module),) = classes(port).items()
    chain = _chain(source)
    lead = source.lead(chain[0])
    arguments = _arguments(source, chain)
    call = "".join(f"{lead}        {name}={arguments[name]},\n" for name in _ARGUMENTS)
    branch = condition("elif", f"{arguments['model_config']}.aliases[0]", _keys(port), lead)
    branch += f"{lead}    adapter = {adapter}(\n{call}{lead}    )\n"
    block = second_branch_block(source, chain, adapter, branch, branch_index(chain, "adapter", adapter))
    if not block.span:
        block = block._replace(rewritten=branch_listing(source, chain, set(_keys(port))))
    return [import_block(source, module, adapter), block]


def read_back(source: Source, port: Port, wired: bool) -> str | None:
    imported = module_bindings(source)
    for adapter, module in classes(port).items():
        asked = [listed_names(branch) for branch in _chain(source) if assigned_name(branch, "adapter") == adapter]
        if asked != ([set(_keys(port))] if wired else []):
            return f"{adapter} would train {asked}"
        if wired and imported.get(adapter) != {module}:
            return f"{adapter} would come from {' and '.join(sorted(imported.get(adapter, ['nowhere'])))}"
    return None


def _keys(port: Port) -> list[str]:
    return [checkpoint.key for checkpoint in port.checkpoints if checkpoint.variant != "edit"]


def _arguments(source: Source, chain: list[ast.If]) -> dict[str, str]:
    # Pass the variables that the other adapters get, under any name.
    for branch in chain:
        for node in ast.walk(branch):
            if isinstance(node, ast.Call) and {keyword.arg for keyword in node.keywords}.issuperset(_ARGUMENTS):
                values = {keyword.arg: keyword.value for keyword in node.keywords}
                return {name: source.code(values[name]) for name in _ARGUMENTS}
    raise UnknownShape(
        f"{source.path}: looked for an adapter created with {', '.join(_ARGUMENTS)}, found none; wire the port there by hand"
    )


def _chain(source: Source) -> list[ast.If]:
    return find_chain(source, source.functions, "adapter", "the training adapter")
