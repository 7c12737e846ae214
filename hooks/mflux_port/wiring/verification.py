"""Read the planned text back before it is written: does it parse, and does it say what it should?

By syntax tree alone; mflux is not imported.
"""

from __future__ import annotations

import ast

from mflux_port.checkout import Checkout
from mflux_port.errors import PortError
from mflux_port.parsing import console_scripts, parse_toml
from mflux_port.port import Checkpoint, Port
from mflux_port.wiring.chains import assigned_name, find_chain
from mflux_port.wiring.record import read_record
from mflux_port.wiring.source import Source, source_of
from mflux_port.wiring.surfaces import defaults, model_config, pyproject, save
from mflux_port.wiring.tables import find_table, require_table


def verify(checkout: Checkout, files: dict[str, bytes | None], port: Port, wired: bool, edited: set[str]) -> None:
    """Parse every planned file again and read the registry, the steps and the save route back.

    ``edited`` are surfaces that hold somebody's own text for this port: they are not held against the answers. Raises
    PortError; nothing is written yet.
    """
    planned = {file: Source(file, data) for file, data in files.items() if data is not None}
    for file, source in planned.items():
        try:
            if file.endswith(".py"):
                _ = source.tree
            elif file.endswith(".toml"):
                parse_toml(source.data)
        except (PortError, ValueError) as error:
            raise _wrong(file, error) from None
    record = read_record(checkout, port)
    for surface, table, read in _READ_BACK:
        after = planned.get(surface.FILE)
        if after is None:
            continue
        own = {name for checkpoint in port.checkpoints for name in checkpoint.aliases} | set(record.get(surface.ID, ()))
        problem = table and _others_differ(table, source_of(checkout, surface.FILE), after, own)
        if not problem and surface.ID not in edited:
            problem = read(after, port, wired)
        if problem:
            raise _wrong(surface.FILE, problem)


def _wrong(file: str, problem: object) -> PortError:
    return PortError(f"{file} would not be right after the edit ({problem}); wire the port there by hand")


def _others_differ(name: str, before: Source, after: Source, own: set[str]) -> str | None:
    # What the file said of every other model it still has to say.
    old, new = _entries(before, name, own), _entries(after, name, own)
    changed = next((key for key, text in [*old, *new] if ((key, text) in old) != ((key, text) in new)), None)
    return f"{name} would change for {changed}" if changed else None


def _entries(source: Source, name: str, own: set[str]) -> list[tuple[str, bytes]]:
    table = find_table(source, name)
    pairs = zip(table.keys, table.values, strict=True) if isinstance(table, ast.Dict) else ()
    return [
        (key.value, source.data[source.start(value) : source.end(value)])
        for key, value in pairs
        if isinstance(key, ast.Constant) and key.value not in own
    ]


def _registry(source: Source, port: Port, wired: bool) -> str | None:
    table = require_table(source, model_config.TABLE)
    keys = [getattr(key, "value", None) for key in table.keys]
    returned = _factories(source)
    for checkpoint in port.checkpoints:
        count = keys.count(checkpoint.key)
        if count != wired:
            return f"{checkpoint.key} would be listed {count} times"
        if returned.get(checkpoint.factory) != (checkpoint.key if wired else None):
            return f"ModelConfig.{checkpoint.factory}() would return {returned.get(checkpoint.factory)!r}"
        if wired:
            fields = {k.arg: k.value for k in table.values[keys.index(checkpoint.key)].keywords}
            aliases, repo = ast.literal_eval(fields["aliases"]), ast.literal_eval(fields["model_name"])
            if (aliases, repo) != (list(checkpoint.aliases), checkpoint.hf_repo):
                return f"{checkpoint.key} would have the names {aliases} and the repo {repo}"
    return None


def _factories(source: Source) -> dict[str, str]:
    # Every method that returns AVAILABLE_MODELS[<key>], with the key.
    owner = model_config.owner(source)
    made = {}
    for node in owner.body:
        value = (
            node.body[-1].value if isinstance(node, ast.FunctionDef) and isinstance(node.body[-1], ast.Return) else 0
        )
        if isinstance(value, ast.Subscript) and getattr(value.value, "id", "") == model_config.TABLE:
            made[node.name] = getattr(value.slice, "value", "")
    return made


def _steps(source: Source, port: Port, wired: bool) -> str | None:
    choices = find_table(source, "MODEL_CHOICES")
    table = require_table(source, "MODEL_INFERENCE_STEPS")
    listed = [(getattr(k, "value", k), getattr(v, "value", v)) for k, v in zip(table.keys, table.values, strict=True)]
    for checkpoint in port.checkpoints:
        for name in (checkpoint.key,) if choices is None else checkpoint.aliases:
            found = [value for key, value in listed if key == name]
            if found != ([checkpoint.steps] if wired else []):
                return f"{name} would have the steps {found}"
            if choices is not None and sum(getattr(item, "value", 0) == name for item in choices.elts) != wired:
                return f"{name} would not be listed once in MODEL_CHOICES"
    return None


def _saved(source: Source, port: Port, wired: bool) -> str | None:
    table = find_table(source, "MODEL_CLASSES")
    imported = {
        alias.asname or alias.name: node.module
        for node in source.tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for checkpoint in port.checkpoints:
        name = port.variant_class(checkpoint.variant)
        routes = _routes_in_table(table, checkpoint) if table else _routes_in_chain(source, checkpoint)
        if routes != {name if wired else None}:
            return (
                f"{checkpoint.key} would be saved by {', '.join(sorted(str(route or 'nothing') for route in routes))}"
            )
        if wired and imported.get(name) != port.variant_module(checkpoint.variant):
            return f"{name} would come from {imported.get(name)}"
    return None


def _routes_in_table(table: ast.Dict, checkpoint: Checkpoint) -> set[str | None]:
    pairs = zip(table.keys, table.values, strict=True)
    return {getattr(value, "id", "?") for key, value in pairs if getattr(key, "value", 0) == checkpoint.key} or {None}


def _routes_in_chain(source: Source, checkpoint: Checkpoint) -> set[str | None]:
    # Branches that list names come first, so that none of the others is asked before.
    chain = find_chain(source, save.main(source).body, "model_class", "the class to save")
    routes: dict[str, str | None] = {name.lower(): None for name in (*checkpoint.aliases, checkpoint.hf_repo)}
    others = False
    for branch in chain:
        names = save.listed_names(branch)
        others = others or names is None
        for name in routes.keys() & (names or set()):
            routes[name] = routes[name] or (
                "a branch behind another's" if others else assigned_name(branch, "model_class")
            )
    return set(routes.values())


def _scripts(source: Source, port: Port, wired: bool) -> str | None:
    scripts = console_scripts(source.data)
    wrong = next(
        (name for name, target in port.scripts.items() if scripts.get(name) != (target if wired else None)), None
    )
    return f"the command {wrong} would be {scripts.get(wrong)}" if wrong else None


_READ_BACK = (
    (pyproject, None, _scripts),
    (model_config, model_config.TABLE, _registry),
    (defaults, "MODEL_INFERENCE_STEPS", _steps),
    (save, "MODEL_CLASSES", _saved),
)
