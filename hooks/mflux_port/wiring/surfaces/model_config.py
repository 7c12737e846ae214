"""The registry: a ``ModelConfig`` factory and an ``AVAILABLE_MODELS`` entry per checkpoint."""

from __future__ import annotations

import ast
import json
import math
from typing import NamedTuple

from mflux_port.port.port import Checkpoint, Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.literals import entries, entry_blocks, require_table
from mflux_port.wiring.source import Source, UnknownShape, once
from mflux_port.wiring.wrapping import WIDTH, wrapped

ID = "model_config"
FILE = "src/mflux/models/common/config/model_config.py"
REQUIRED = True
TABLE = "AVAILABLE_MODELS"
_DEFAULTS = {"num_train_steps": 1000, "max_sequence_length": 512, "requires_sigma_shift": False}


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    listed = registry(source)
    accepted = _accepted_fields(source)
    free = max((entry.priority for entry in listed.values()), default=0) + 1
    wanted = {}
    for checkpoint in port.checkpoints:
        if checkpoint.key in listed:
            priority = listed[checkpoint.key].priority
        else:
            priority, free = free, free + 1
        wanted[checkpoint.key] = _entry(checkpoint, priority, accepted)
    return [*_factories(source, port), *entry_blocks(source, require_table(source, TABLE), wanted)]


def read_back(source: Source, port: Port, wired: bool) -> str | None:
    listed = registry(source)
    keys = [key for key, _ in entries(source, require_table(source, TABLE))]
    returned = {node.name: _returned(node) for node in owner(source).body if _is_factory(node)}
    for checkpoint in port.checkpoints:
        if keys.count(checkpoint.key) != wired:
            return f"{checkpoint.key} would be listed {keys.count(checkpoint.key)} times"
        if returned.get(checkpoint.factory) != (checkpoint.key if wired else None):
            return f"ModelConfig.{checkpoint.factory}() would return {returned.get(checkpoint.factory)!r}"
        if wired:
            entry = listed[checkpoint.key]
            if (entry.aliases, entry.repo) != (list(checkpoint.aliases), checkpoint.hf_repo):
                return f"{checkpoint.key} would have the names {entry.aliases} and the repo {entry.repo}"
    return None


class Entry(NamedTuple):
    """The names of a model and its place in the order, from its entry of the registry."""

    aliases: list[str]
    repo: str
    priority: int


@once
def registry(source: Source) -> dict[str, Entry]:
    """Every entry by its key. Raises UnknownShape for an entry whose names are not plain literals."""
    table = require_table(source, TABLE)
    if not isinstance(table, ast.Dict):
        raise UnknownShape(f"{source.path}: {TABLE} is not a dict; wire the port there by hand")
    return {key: _read(source, key, value) for key, value in entries(source, table)}


def _read(source: Source, key: str, value: ast.expr) -> Entry:
    fields = {keyword.arg: keyword.value for keyword in getattr(value, "keywords", [])}
    aliases = [getattr(node, "value", None) for node in getattr(fields.get("aliases"), "elts", [None])]
    repo = getattr(fields.get("model_name"), "value", None)
    priority = getattr(fields.get("priority"), "value", 0)
    if not all(isinstance(name, str) for name in [*aliases, repo]) or type(priority) is not int:
        raise UnknownShape(
            f"{source.path} line {value.lineno}: aliases, model_name or priority of the entry {key!r} is not a plain "
            "value; write it out there"
        )
    return Entry(aliases, repo, priority)


def _factories(source: Source, port: Port) -> list[Block]:
    existing = {node.name: node for node in owner(source).body if _is_factory(node)}
    others = [node for name, node in existing.items() if name not in {c.factory for c in port.checkpoints}]
    if not others:
        raise UnknownShape(f"{source.path}: class ModelConfig has no factory; restore it")
    at = source.line_end(source.end(others[-1]))
    lead = source.lead(others[-1])
    blocks = []
    for checkpoint in port.checkpoints:
        name = checkpoint.factory
        text = f'\n{lead}@staticmethod\n{lead}@lru_cache\n{lead}def {name}() -> "ModelConfig":\n'
        text += f'{lead}    return {TABLE}["{checkpoint.key}"]\n'
        blocks.append(Block(f"factory {name}", text, at, _factory_span(source, existing.get(name))))
    return blocks


def _factory_span(source: Source, node: ast.FunctionDef | None) -> tuple[int, int] | None:
    if node is None:
        return None
    start = source.starts[node.decorator_list[0].lineno - 1]
    blank = source.data.rfind(b"\n", 0, start - 1) + 1
    return (blank if not source.data[blank:start].strip() else start), source.line_end(source.end(node))


def _entry(checkpoint: Checkpoint, priority: int, accepted: set[str]) -> str:
    fields = {
        "priority": priority,
        "aliases": list(checkpoint.aliases),
        "model_name": checkpoint.hf_repo,
        "base_model": None,
        "controlnet_model": None,
        "custom_transformer_model": None,
        "num_train_steps": _DEFAULTS["num_train_steps"],
        "max_sequence_length": _DEFAULTS["max_sequence_length"],
        "supports_guidance": checkpoint.supports_guidance,
        "requires_sigma_shift": _DEFAULTS["requires_sigma_shift"],
        **checkpoint.config,
    }
    unknown = sorted(set(fields) - accepted)
    if unknown:
        raise UnknownShape(
            f"ModelConfig in {FILE} has no {unknown[0]!r}; delete it from the answers of {checkpoint.key}"
        )
    if fields["base_model"] is not None:
        raise UnknownShape(
            f"mflux does not find {checkpoint.key} by name when it has a base_model; delete it from the answers"
        )
    return "\n".join([f"{json.dumps(checkpoint.key)}: ModelConfig(", *map(_field, fields, fields.values()), ")"])


def _field(name: str, value: object) -> str:
    # The table adds 4 columns of indentation.
    if isinstance(value, dict):
        items = [f"{literal(key)}: {literal(item)}" for key, item in value.items()]
        return wrapped(f"{name}={{", items, "},", "    ", WIDTH - 4)
    if isinstance(value, list | tuple):
        return wrapped(f"{name}=[", [literal(item) for item in value], "],", "    ", WIDTH - 4)
    return f"    {name}={literal(value)},"


def literal(value: object) -> str:
    """Python source of an answer, with double quotes and escaped strings."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    raise UnknownShape(f"an answer holds {value!r}, which is not a plain value; fix the answers file")


def owner(source: Source) -> ast.ClassDef:
    """The class ModelConfig. Raises UnknownShape unless there is exactly one."""
    found = [node for node in source.tree.body if isinstance(node, ast.ClassDef) and node.name == "ModelConfig"]
    if len(found) != 1:
        raise UnknownShape(f"{source.path}: looked for one class ModelConfig, found {len(found)}; restore it")
    return found[0]


def _is_factory(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.FunctionDef)
        and any(isinstance(item, ast.Name) and item.id == "lru_cache" for item in node.decorator_list)
        and isinstance(node.body[-1], ast.Return)
        and isinstance(node.body[-1].value, ast.Subscript)
        and getattr(node.body[-1].value.value, "id", "") == TABLE
    )


def _returned(factory: ast.FunctionDef) -> str | None:
    return getattr(factory.body[-1].value.slice, "value", None)


def _accepted_fields(source: Source) -> set[str]:
    for node in owner(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return {argument.arg for argument in node.args.args + node.args.kwonlyargs} - {"self"}
    raise UnknownShape(f"{source.path}: ModelConfig has no __init__ to read its fields from; restore it")
