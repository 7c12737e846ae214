"""The registry: a ``ModelConfig`` factory and an ``AVAILABLE_MODELS`` entry per checkpoint."""

from __future__ import annotations

import ast
import json
import re

from mflux_port.port import Checkpoint, Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.source import Source, UnknownShape
from mflux_port.wiring.tables import entry_blocks, require_table

ID = "model_config"
FILE = "src/mflux/models/common/config/model_config.py"
REQUIRED = True
TABLE = "AVAILABLE_MODELS"
_DEFAULTS = {"num_train_steps": 1000, "max_sequence_length": 512, "requires_sigma_shift": False}


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    table = require_table(source, TABLE)
    if not isinstance(table, ast.Dict):
        raise UnknownShape(f"{source.path}: {TABLE} is no dict; wire the port there by hand")
    accepted = _accepted_fields(source)
    present = _priorities(table)
    free = max(present.values(), default=0) + 1
    entries = {}
    for checkpoint in port.checkpoints:
        priority = present.get(checkpoint.key)
        if priority is None:
            priority, free = free, free + 1
        entries[checkpoint.key] = _entry(checkpoint, priority, accepted)
    return [*_factories(source, port), *entry_blocks(source, table, entries)]


def _factories(source: Source, port: Port) -> list[Block]:
    existing = {node.name: node for node in owner(source).body if _is_factory(node)}
    others = [node for name, node in existing.items() if name not in {c.factory for c in port.checkpoints}]
    if not others:
        raise UnknownShape(f"{source.path}: class ModelConfig has no factory to follow; restore it")
    at = source.line_end(source.end(others[-1]))
    lead = source.lead(others[-1])
    made = []
    for checkpoint in port.checkpoints:
        name = checkpoint.factory
        text = f'\n{lead}@staticmethod\n{lead}@lru_cache\n{lead}def {name}() -> "ModelConfig":\n'
        text += f'{lead}    return {TABLE}["{checkpoint.key}"]\n'
        made.append(Block(f"factory {name}", text, at, _factory_span(source, existing.get(name))))
    return made


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
            f"ModelConfig in {FILE} takes no {unknown[0]!r}; take it out of the answers of {checkpoint.key}"
        )
    lines = [f"    {name}={literal(value)}," for name, value in fields.items()]
    return "\n".join([f"{json.dumps(checkpoint.key)}: ModelConfig(", *_exploded(lines), ")"])


def literal(value: object) -> str:
    """Python source of an answer, with double quotes. Strings are escaped, never pasted."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    raise UnknownShape(f"an answer holds {value!r}, which is no plain value; mend the answers file")


def _exploded(lines: list[str]) -> list[str]:
    # As mflux's formatter wraps them: one item a line where the line would be over 120 columns (4 for the table).
    made = []
    for line in lines:
        match = re.fullmatch(r"    (\w+)=([\[{])(.*)([\]}]),", line)
        if len(line) + 4 <= 120 or not match:
            made.append(line)
            continue
        name, opening, _, closing = match.groups()
        items = ast.parse(line.strip().rstrip(",").split("=", 1)[1], mode="eval").body
        made += [f"    {name}={opening}", *(f"        {item}," for item in _items(items)), f"    {closing},"]
    return made


def _items(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return [f"{literal(ast.literal_eval(key))}: {literal(ast.literal_eval(value))}" for key, value in pairs]
    return [literal(ast.literal_eval(item)) for item in node.elts]


def owner(source: Source) -> ast.ClassDef:
    """The class ModelConfig. Raises UnknownShape when there is not exactly one."""
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
        and isinstance(node.body[-1].value.value, ast.Name)
        and node.body[-1].value.value.id == TABLE
    )


def _accepted_fields(source: Source) -> set[str]:
    for node in owner(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return {argument.arg for argument in node.args.args + node.args.kwonlyargs} - {"self"}
    raise UnknownShape(f"{source.path}: ModelConfig has no __init__ to read its fields from; restore it")


def _priorities(table: ast.Dict) -> dict[str, int]:
    priorities = {}
    for key, value in zip(table.keys, table.values, strict=True):
        for keyword in getattr(value, "keywords", []):
            number = getattr(keyword.value, "value", None)
            if keyword.arg == "priority" and type(number) is int and isinstance(key, ast.Constant):
                priorities[key.value] = number
    return priorities
