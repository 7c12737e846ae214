"""The pinned commit of each checkpoint's repo (since mflux 0.23)."""

from __future__ import annotations

import ast
import json

from mflux_port.port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.literals import Table, entries, entry_blocks, require_table
from mflux_port.wiring.source import Source, UnknownShape

ID = "model_revisions"
FILE = "src/mflux/models/common/resolution/model_revisions.py"
REQUIRED = False


def not_applicable(port: Port) -> str | None:
    known = any(checkpoint.revision for checkpoint in port.checkpoints)
    return None if known else "no checkpoint has a revision in the answers; `mflux-port inspect` finds it"


def blocks(source: Source, port: Port) -> list[Block]:
    pins = {c.hf_repo: f"{json.dumps(c.hf_repo)}: {json.dumps(c.revision)}" for c in port.checkpoints if c.revision}
    return entry_blocks(source, _table(source), pins)


def read_back(source: Source, port: Port, wired: bool) -> str | None:
    pins = entries(source, _table(source))
    for checkpoint in port.checkpoints:
        found = [getattr(value, "value", None) for repo, value in pins if repo == checkpoint.hf_repo]
        if checkpoint.revision and found != ([checkpoint.revision] if wired else []):
            return f"{checkpoint.hf_repo} would be pinned to {found}"
    return None


def _table(source: Source) -> Table:
    classes = [node for node in source.tree.body if isinstance(node, ast.ClassDef) and node.name == "ModelRevisions"]
    if len(classes) != 1:
        raise UnknownShape(f"{source.path}: looked for one class ModelRevisions, found {len(classes)}; restore it")
    return require_table(source, "PINNED", classes[0].body)
