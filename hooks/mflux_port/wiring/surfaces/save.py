"""``mflux-save``: which class owns the weights of a model."""

from __future__ import annotations

import ast
import json

from mflux_port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.chains import assigned_name, find_chain, first_branch_block
from mflux_port.wiring.imports import import_block
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.tables import entry_blocks, find_table

ID = "save"
FILE = "src/mflux/models/common/cli/save.py"
REQUIRED = True


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    variants = list(dict.fromkeys(checkpoint.variant for checkpoint in port.checkpoints))
    modules = sorted((port.variant_module(name), port.variant_class(name)) for name in variants)
    imports = [import_block(source, module, name) for module, name in modules]
    table = find_table(source, "MODEL_CLASSES")
    if table is not None:
        classes = {c.key: f"{json.dumps(c.key)}: {port.variant_class(c.variant)}" for c in port.checkpoints}
        return [*imports, *entry_blocks(source, table, classes)]
    return [*imports, *(_branch(source, port, variant) for variant in variants)]


def _branch(source: Source, port: Port, variant: str) -> Block:
    # By exact name, so that the branch captures no other model; first, so that no other branch captures this one.
    function = main(source)
    chain = find_chain(source, function.body, "model_class", "the class to save (or the table MODEL_CLASSES)")
    lead = source.lead(chain[0])
    class_name = port.variant_class(variant)
    own = [checkpoint for checkpoint in port.checkpoints if checkpoint.variant == variant]
    names = {name.lower() for checkpoint in own for name in (*checkpoint.aliases, checkpoint.hf_repo)}
    listed = "".join(f"{lead}    {json.dumps(name)},\n" for name in sorted(names))
    tested = [name for name in ("model_name_lower", "base_model_lower") if _assigns(function, name)]
    if not tested:
        raise UnknownShape(f"{source.path}: main() has no model_name_lower to look at; wire the port there by hand")
    condition = f"{{{', '.join(tested)}}} & {{\n{listed}{lead}}}"
    classes = [assigned_name(branch, "model_class") for branch in chain]
    index = classes.index(class_name) if class_name in classes else None
    return first_branch_block(source, chain, class_name, condition, f"{lead}    model_class = {class_name}\n", index)


def listed_names(branch: ast.If) -> set[str] | None:
    """The names that a branch lists, when it is of the form that wiring writes."""
    if isinstance(branch.test, ast.BinOp) and isinstance(branch.test.right, ast.Set):
        return {getattr(node, "value", "") for node in branch.test.right.elts}
    return None


def main(source: Source) -> ast.FunctionDef:
    """The function that chooses the class to save. Raises UnknownShape when there is not exactly one."""
    found = [node for node in source.tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"]
    if len(found) != 1:
        raise UnknownShape(
            f"{source.path}: looked for the table MODEL_CLASSES or one function main(), found neither; "
            "restore the file, or wire the port there by hand"
        )
    return found[0]


def _assigns(function: ast.FunctionDef, name: str) -> bool:
    targets = [target for node in function.body if isinstance(node, ast.Assign) for target in node.targets]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)
