"""The facts about models that mflux's CI extracts: a row of ``OVERLAY`` per model, where the script exists."""

from __future__ import annotations

import ast
import json

from mflux_port.port.port import Checkpoint, Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.imports import bindings
from mflux_port.wiring.literals import entries, entry_blocks, require_table
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.wrapping import WIDTH, wrapped

ID = "ci_extract"
FILE = "scripts/ci_extract_models.py"
REQUIRED = False
_QUANTS = "STANDARD_QUANTS"
_FIELDS = 7  # type, family, sub-family, commands, tools, status, quantizations


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    table = require_table(source, "OVERLAY")
    for key, value in entries(source, table):
        if not (isinstance(value, ast.Tuple) and len(value.elts) == _FIELDS):
            raise UnknownShape(
                f"{source.path} line {value.lineno}: the row of {key!r} does not have {_FIELDS} fields; wire the port there "
                "by hand"
            )
    if _QUANTS not in bindings(source.tree.body):
        raise UnknownShape(f"{source.path}: looked for {_QUANTS}, found none; wire the port there by hand")
    return entry_blocks(source, table, {checkpoint.key: _row(port, checkpoint) for checkpoint in port.checkpoints})


def read_back(source: Source, port: Port, wired: bool) -> str | None:
    rows = entries(source, require_table(source, "OVERLAY"))
    for checkpoint in port.checkpoints:
        found = [ast.literal_eval(row.elts[3]) for key, row in rows if key == checkpoint.key]
        if found != ([_commands(port, checkpoint)] if wired else []):
            return f"{checkpoint.key} would have the commands {found}"
    return None


def _row(port: Port, checkpoint: Checkpoint) -> str:
    # As in the script's own rows, the family is the package's name with hyphens, and the sub-family is the checkpoint.
    commands = "[" + ", ".join(map(json.dumps, _commands(port, checkpoint))) + "]"
    family = port.model.replace("_", "-")
    fields = [*map(json.dumps, ("image", family, checkpoint.key)), commands, "[]", json.dumps("active"), _QUANTS]
    return wrapped(f"{json.dumps(checkpoint.key)}: (", fields, ")", width=WIDTH - 5)


def _commands(port: Port, checkpoint: Checkpoint) -> list[str]:
    if checkpoint.cli_name:
        return [f"mflux-generate-{checkpoint.cli_name}"]
    module = f".{port.model}{'_edit' if checkpoint.variant == 'edit' else ''}_generate:main"
    return [name for name, target in port.scripts.items() if target.endswith(module)]
