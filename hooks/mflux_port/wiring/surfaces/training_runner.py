"""``mflux-train``: which adapter trains a model."""

from __future__ import annotations

import ast
import json

from mflux_port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.chains import assigned_name, branches, second_branch_block
from mflux_port.wiring.imports import import_block
from mflux_port.wiring.source import Source, UnknownShape

ID = "training_runner"
FILE = "src/mflux/models/common/training/runner.py"
REQUIRED = False


def not_applicable(port: Port) -> str | None:
    return None if port.training else "training is off in the answers"


def blocks(source: Source, port: Port) -> list[Block]:
    adapter = f"{port.class_name}TrainingAdapter"
    module = f"{port.package}.training_adapter.{port.model}_training_adapter"
    chain = _chain(source)
    lead = source.lead(chain[0])
    keys = ", ".join(json.dumps(c.key) for c in port.checkpoints if c.variant == "txt2img")
    condition = f"model_config.aliases[0] in {{{keys}}}"
    if len(f"{lead}elif {condition}:") > 120:
        listed = "".join(f"{lead}    {key},\n" for key in keys.split(", "))
        condition = f"model_config.aliases[0] in {{\n{listed}{lead}}}"
    arguments = ("model_config=model_config", "quantize=training_spec.quantize", "model_path=training_spec.model_path")
    call = "".join(f"{lead}        {argument},\n" for argument in arguments)
    body = f"{lead}    adapter = {adapter}(\n{call}{lead}    )\n"
    classes = [assigned_name(branch, "adapter") for branch in chain]
    index = classes.index(adapter) if adapter in classes else None
    return [import_block(source, module, adapter), second_branch_block(source, chain, adapter, condition, body, index)]


def _chain(source: Source) -> list[ast.If]:
    found = []
    for function in source.functions:
        chains = [branches(node) for node in function.body if isinstance(node, ast.If)]
        found += [chain for chain in chains if all(assigned_name(branch, "adapter") for branch in chain)]
    if len(found) != 1:
        raise UnknownShape(
            f"{source.path}: looked for one if/elif chain that chooses the training adapter, found {len(found)}; "
            "wire the port there by hand"
        )
    return found[0]
