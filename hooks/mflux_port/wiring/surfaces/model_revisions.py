"""The pinned commit of each checkpoint's repo (since mflux 0.23)."""

from __future__ import annotations

import ast
import json

from mflux_port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.tables import entry_blocks, require_table

ID = "model_revisions"
FILE = "src/mflux/models/common/resolution/model_revisions.py"
REQUIRED = False


def not_applicable(port: Port) -> str | None:
    known = any(checkpoint.revision for checkpoint in port.checkpoints)
    return None if known else "no checkpoint has a revision in the answers; mflux-port inspect finds it"


def blocks(source: Source, port: Port) -> list[Block]:
    classes = [node for node in source.tree.body if isinstance(node, ast.ClassDef) and node.name == "ModelRevisions"]
    if len(classes) != 1:
        raise UnknownShape(f"{source.path}: looked for one class ModelRevisions, found {len(classes)}; restore it")
    table = require_table(source, "PINNED", classes[0].body)
    pins = {c.hf_repo: f"{json.dumps(c.hf_repo)}: {json.dumps(c.revision)}" for c in port.checkpoints if c.revision}
    return entry_blocks(source, table, pins)
