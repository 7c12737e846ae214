"""Shell completions: the command and the code that fills its parser (until mflux 0.19.0; later versions find both)."""

from __future__ import annotations

import ast
import json
import re

from mflux_port.port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.chains import branches
from mflux_port.wiring.imports import bindings
from mflux_port.wiring.literals import entries, entry_blocks
from mflux_port.wiring.source import Source, UnknownShape

ID = "completions"
FILE = "src/mflux/cli/completions/generator.py"
REQUIRED = False
# A file that does not match has neither the list nor the recipe of mflux's first command.
_LISTING = re.compile(rb"commands\s*=[\s(\\]*\[|[\"']mflux-generate[\"']")


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    if not _LISTING.search(source.data):
        return []  # mflux 0.19.1 or later
    table = _commands(source)
    if not _lists_commands(source):
        return []
    chain = _only(source, _chains(source))
    if table is None:
        raise UnknownShape(f"{source.path}: looked for one list self.commands, found none; wire the port there by hand")
    listed = entry_blocks(source, table, {name: json.dumps(name) for name in port.scripts})
    return [*listed, *(_recipe(source, chain, port, name) for name in port.scripts)]


def read_back(source: Source, port: Port, wired: bool) -> str | None:
    listed = [name for name, _ in entries(source, _commands(source) or ast.List([]))]
    recipes = [branch for chain in _chains(source) for branch in chain]
    wired = wired and _lists_commands(source)
    for name in port.scripts:
        own = [branch for branch in recipes if _command(branch) == name]
        if listed.count(name) != wired or len(own) != wired:
            return f"{name} would be listed {listed.count(name)} times and would have {len(own)} recipes"
        if any(_parser(branch) != _parser(recipes[0]) for branch in own):
            return f"the recipe of {name} would fill a different parser from the others"
    return None


def _lists_commands(source: Source) -> bool:
    # Later versions read the commands from the entry points and the parsers from their modules. Merging such a version
    # can leave the recipes of ports behind, but not that of mflux's first command.
    recipes = [_command(branch) for chain in _chains(source) for branch in chain]
    return _commands(source) is not None or "mflux-generate" in recipes


def _commands(source: Source) -> ast.List | None:
    for node in (statement for function in source.functions for statement in function.body):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
            target = node.targets[0]
            if isinstance(target, ast.Attribute) and target.attr == "commands":
                return node.value
    return None


def _recipe(source: Source, chain: list[ast.If], port: Port, name: str) -> Block:
    lead = source.lead(chain[0])
    parser = _parser(chain[0])
    if parser is None:
        raise UnknownShape(
            f"{source.path} line {chain[0].lineno}: a recipe fills no parser; wire the port there by hand"
        )
    body = "".join(f"{lead}    {parser}.{call}\n" for call in _calls(source, port, name))
    text = f"elif command == {json.dumps(name)}:\n{body}\n{lead}"
    commands = [_command(branch) for branch in chain]
    if name in commands:
        index = commands.index(name)
        if index + 1 >= len(chain):
            raise UnknownShape(f"{source.path}: the recipe of {name} is the last one; move it up")
        return Block(f"recipe of {name}", text, 0, (source.start(chain[index]), source.start(chain[index + 1])))
    return Block(f"recipe of {name}", text, source.start(chain[-1]))


def _calls(source: Source, port: Port, name: str) -> list[str]:
    edits = port.scripts[name].endswith("_edit_generate:main")
    calls = ["add_general_arguments()", "add_model_arguments(require_model_arg=False)"]
    calls += ["add_lora_arguments()"] if port.lora else []
    calls += ["add_image_generator_arguments(supports_metadata_config=True, supports_dimension_scale_factor=True)"]
    calls += ["add_image_to_image_arguments(required=False)"] if port.img2img and not edits else []
    if edits:
        if "pathlib" not in bindings(source.tree.body).get("Path", ()):
            raise UnknownShape(f"{source.path} does not import Path, which {name} needs; import it from pathlib")
        calls += ['add_argument("--image-paths", type=Path, nargs="+", required=True, help="The images to edit.")']
    return [*calls, "add_output_arguments()"]


def _parser(branch: ast.If) -> str | None:
    # The name of the variable that a recipe fills.
    statement = branch.body[0]
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return getattr(getattr(statement.value.func, "value", None), "id", None)
    return None


def _chains(source: Source) -> list[list[ast.If]]:
    found = []
    for function in source.functions:
        chains = [branches(node) for node in function.body if isinstance(node, ast.If)]
        found += [chain for chain in chains if len(chain) > 2 and all(_command(branch) for branch in chain[1:])]
    return found


def _only(source: Source, found: list[list[ast.If]]) -> list[ast.If]:
    if len(found) != 1 or not source.data[source.start(found[0][-1]) :].startswith(b"elif"):
        raise UnknownShape(
            f"{source.path}: looked for one chain of parser recipes (command == …), found {len(found)}; "
            "wire the port there by hand"
        )
    return found[0]


def _command(branch: ast.If) -> str | None:
    test = branch.test
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "command":
        right = test.comparators[0]
        if isinstance(right, ast.Constant):
            return str(right.value)
        return "an expression"
    return None
