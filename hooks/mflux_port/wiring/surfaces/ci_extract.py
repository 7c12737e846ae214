"""The model facts that mflux's CI extracts: a row of ``OVERLAY`` per model, where the script exists."""

from __future__ import annotations

import json

from mflux_port.port import Checkpoint, Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.source import Source
from mflux_port.wiring.tables import entry_blocks, require_table

ID = "ci_extract"
FILE = "scripts/ci_extract_models.py"
REQUIRED = False


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    rows = {checkpoint.key: _row(port, checkpoint) for checkpoint in port.checkpoints}
    return entry_blocks(source, require_table(source, "OVERLAY"), rows)


def _row(port: Port, checkpoint: Checkpoint) -> str:
    # (model type, family, sub-family, commands, tools, status, quantizations)
    kind = "image-edit" if checkpoint.variant == "edit" else "text-to-image"
    own = [name for name, target in port.scripts.items() if _runs(checkpoint, name, target, port)]
    commands = "[" + ", ".join(json.dumps(name) for name in own) + "]"
    fields = [json.dumps(kind), json.dumps(port.display_name), json.dumps(checkpoint.key), commands]
    fields += ["[]", json.dumps("supported"), "STANDARD_QUANTS"]
    line = f"{json.dumps(checkpoint.key)}: ({', '.join(fields)})"
    if len(line) + 5 <= 120:
        return line
    return "\n".join([f"{json.dumps(checkpoint.key)}: (", *(f"    {field}," for field in fields), ")"])


def _runs(checkpoint: Checkpoint, name: str, target: str, port: Port) -> bool:
    if checkpoint.cli_name:
        return name == f"mflux-generate-{checkpoint.cli_name}"
    return target.endswith(f".{port.model}{'_edit' if checkpoint.variant == 'edit' else ''}_generate:main")
