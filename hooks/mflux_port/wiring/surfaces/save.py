"""``mflux-save``: the class that owns the weights of a model."""

from __future__ import annotations

import ast
import json

from mflux_port.port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.chains import (
    assigned_name,
    branch_index,
    branch_listing,
    find_chain,
    first_branch_block,
    listed_names,
)
from mflux_port.wiring.imports import bindings, import_block, module_bindings
from mflux_port.wiring.literals import entries, entry_blocks, find_table
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.wrapping import condition

ID = "save"
FILE = "src/mflux/models/common/cli/save.py"
REQUIRED = True
TABLE = "MODEL_CLASSES"


def not_applicable(port: Port) -> str | None:
    return None


def classes(port: Port) -> dict[str, str]:
    """The classes that the port adds to this file, each with its module."""
    variants = dict.fromkeys(checkpoint.variant for checkpoint in port.checkpoints)
    return {port.variant_class(variant): port.variant_module(variant) for variant in variants}


def blocks(source: Source, port: Port) -> list[Block]:
    modules = sorted((module, name) for name, module in classes(port).items())
    imports = [import_block(source, module, name) for module, name in modules]
    table = find_table(source, TABLE)
    if table is not None:
        wanted = {c.key: f"{json.dumps(c.key)}: {port.variant_class(c.variant)}" for c in port.checkpoints}
        return [*imports, *entry_blocks(source, table, wanted)]
    keys = {name: [c.key for c in port.checkpoints if port.variant_class(c.variant) == name] for name in classes(port)}
    return [*imports, *(_branch(source, name, keys[name]) for name in keys)]


def routes(source: Source) -> dict[str, str]:
    """Each key in the file with its class."""
    table = find_table(source, TABLE)
    if table is not None:
        return {key: getattr(value, "id", "an expression") for key, value in entries(source, table)}
    found: dict[str, str] = {}
    captured = False
    for branch in _chain(source):
        names = listed_names(branch)
        captured = captured or names is None  # an earlier branch with another condition matches it
        for name in (names or set()) - found.keys():
            found[name] = (
                "a branch after one with another condition" if captured else assigned_name(branch, "model_class")
            )
    return found


def read_back(source: Source, port: Port, wired: bool) -> str | None:
    found = routes(source)
    imported = module_bindings(source)
    for checkpoint in port.checkpoints:
        name = port.variant_class(checkpoint.variant)
        if found.get(checkpoint.key) != (name if wired else None):
            return f"{checkpoint.key} would be saved by {found.get(checkpoint.key, 'nothing')}"
        if wired and imported.get(name) != {port.variant_module(checkpoint.variant)}:
            return f"{name} would come from {' and '.join(sorted(imported.get(name, ['nowhere'])))}"
    return None


def _branch(source: Source, class_name: str, keys: list[str]) -> Block:
    # The condition is on mflux's resolved name, so that it matches no other model. The branch comes first, so that no
    # other branch matches it.
    chain = _chain(source)
    lead = source.lead(chain[0])
    subject = f"{_resolved(source, chain)}.aliases[0]"
    branch = f"{condition('if', subject, keys, lead)}{lead}    model_class = {class_name}\n"
    index = branch_index(chain, "model_class", class_name)
    block = first_branch_block(source, chain, class_name, branch, index)
    return block if block.span else block._replace(rewritten=branch_listing(source, chain, set(keys)))


def _resolved(source: Source, chain: list[ast.If]) -> str:
    # The call with which main() resolves the model, if the names in it are defined above the chain.
    function = _main(source)
    above = [*source.tree.body, *(node for node in function.body if node.lineno < chain[0].lineno)]
    known = bindings(above)
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "from_name":
            if all(name.id in known for name in ast.walk(node) if isinstance(name, ast.Name)):
                return source.code(node)
    raise UnknownShape(
        f"{source.path}: looked in main() for a ModelConfig.from_name(…) that the chain can call, found none; "
        "wire the port there by hand"
    )


def _chain(source: Source) -> list[ast.If]:
    return find_chain(source, [_main(source)], "model_class", f"the class to save (or the table {TABLE})")


def _main(source: Source) -> ast.FunctionDef:
    found = [node for node in source.tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"]
    if len(found) != 1:
        raise UnknownShape(
            f"{source.path}: looked for the table {TABLE} or one function main(), found {len(found)} of these; "
            "restore the file, or wire the port there by hand"
        )
    return found[0]
