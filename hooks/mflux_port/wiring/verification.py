"""Read the planned files back before they are written: do they parse, and do they have the right content?

Only syntax trees are read; mflux is not imported.
"""

from __future__ import annotations

import ast

from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from mflux_port.port.port import Port
from mflux_port.wiring.imports import module_bindings
from mflux_port.wiring.literals import find_table
from mflux_port.wiring.ownership import own_part
from mflux_port.wiring.record import read_record
from mflux_port.wiring.source import Source, source_of
from mflux_port.wiring.surfaces import SURFACES, defaults, model_config, pyproject, save

_TABLES = {
    model_config.FILE: model_config.TABLE,
    defaults.FILE: "MODEL_INFERENCE_STEPS",
    save.FILE: save.TABLE,
}


def verify(checkout: Checkout, files: dict[str, bytes | None], port: Port, wired: bool, edited: set[str]) -> None:
    """Parse every planned file. The port's entries must match the answers; entries of other models must not change.

    ``edited`` are the surfaces whose text for this port was edited: these are not compared with the answers. Raises
    PortError; nothing is written yet.
    """
    planned = {file: Source(file, data) for file, data in files.items() if data is not None}
    own, _ = own_part(checkout, port)
    for file, source in planned.items():
        try:
            problem = _problem(source_of(checkout, file), source, _own_names(checkout, port))
            for surface in SURFACES:
                if surface.FILE == file and surface.ID not in edited and hasattr(surface, "read_back"):
                    expected = wired and not surface.not_applicable(own)
                    problem = problem or surface.read_back(source, own, expected)
        except (PortError, ValueError) as error:
            _verify_readable(source_of(checkout, file))
            problem = error
        if problem:
            raise PortError(f"{file} would be wrong after the edit ({problem}); wire the port there by hand")


def _verify_readable(source: Source) -> None:
    # An error that was there before the edit is reported for the unedited file.
    if source.path == pyproject.FILE:
        pyproject.scripts(source)
    elif source.path.endswith(".py"):
        _ = source.tree


def _own_names(checkout: Checkout, port: Port) -> set[str]:
    # Every name that a table may have for the port, from these answers or older ones.
    recorded = [name for texts in read_record(checkout, port).values() for name in texts]
    return {name for checkpoint in port.checkpoints for name in checkpoint.aliases}.union(recorded)


def _problem(before: Source, after: Source, own: set[str]) -> str | None:
    if after.path.endswith(".toml"):
        pyproject.scripts(after)
    if not after.path.endswith(".py"):
        return None
    return _names_differ(before, after) or _others_differ(before, after, own)


def _names_differ(before: Source, after: Source) -> str | None:
    # An imported name that is still used must stay imported, and no name may come from two modules.
    old, new = module_bindings(before), module_bindings(after)
    lost = old.keys() - new.keys()
    used = {node.id for node in ast.walk(after.tree) if isinstance(node, ast.Name)} if lost else set()
    for name in sorted(lost & used):
        return f"{name} would be used but not imported"
    for name, modules in new.items():
        if len(modules) > max(1, len(old.get(name, ()))):
            return f"{name} would come from {' and '.join(sorted(modules))}"
    return None


def _others_differ(before: Source, after: Source, own: set[str]) -> str | None:
    # The table must have the same entries for every other model.
    name = _TABLES.get(after.path)
    if name is None:
        return None
    old, new = _entries(before, name, own), _entries(after, name, own)
    changed = next((key for key in [*old, *new] if old.get(key) != new.get(key)), None)
    return f"{name} would change for {changed}" if changed else None


def _entries(source: Source, name: str, own: set[str]) -> dict[str, bytes]:
    table = find_table(source, name)
    pairs = zip(table.keys, table.values, strict=True) if isinstance(table, ast.Dict) else ()
    return {
        key.value: source.data[source.start(value) : source.end(value)]
        for key, value in pairs
        if isinstance(key, ast.Constant) and key.value not in own
    }
