"""Refuse names that clash with names of mflux, before anything is written."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from mflux_port.port.port import Port
from mflux_port.wiring.imports import bindings
from mflux_port.wiring.ownership import owned_keys
from mflux_port.wiring.record import read_record
from mflux_port.wiring.source import source_of
from mflux_port.wiring.surfaces import model_checker, model_config, pyproject, save, training_runner

_SHORTEST = 3
Registry = dict[str, model_config.Entry]
_PREFIX = re.compile(rb"startswith\(\s*[\"']([a-z0-9][a-z0-9._-]*-)[\"']\s*\)")


def verify_free(checkout: Checkout, port: Port) -> None:
    """Raise PortError when a name, repo, class or command of the port belongs to another model of this checkout."""
    own = owned_keys(checkout, port)
    registry = model_config.registry(source_of(checkout, model_config.FILE))
    others = {key: entry for key, entry in registry.items() if key not in own}
    _verify_names(port, others)
    _verify_factories(port, others)
    _verify_repos(port, others)
    _verify_theirs_are_found(port, others)
    _verify_ours_are_found(port, others)
    _verify_prefixes(checkout, port)
    _verify_classes(checkout, port)
    _verify_scripts(checkout, port)


def _verify_names(port: Port, others: Registry) -> None:
    seen: dict[str, str] = {}
    for checkpoint in port.checkpoints:
        for name in checkpoint.aliases:
            if name in seen:
                raise PortError(f"{name!r} names both {seen[name]} and {checkpoint.key}; give each its own alias")
            seen[name] = checkpoint.key
            if len(name) < _SHORTEST:
                raise PortError(
                    f"{name!r} is too short for a model name: mflux would find it inside others; use at least 3 characters"
                )
    for key, entry in others.items():
        for name in (key, *entry.aliases):
            if name in seen:
                raise PortError(f"{name!r} of {seen[name]} is taken by mflux's {key}; choose another key or alias")


def _verify_factories(port: Port, others: Registry) -> None:
    factories = {re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_"): key for key in others}
    for checkpoint in port.checkpoints:
        if checkpoint.factory in factories:
            other = factories[checkpoint.factory]
            raise PortError(f"ModelConfig.{checkpoint.factory}() belongs to mflux's {other}; choose another key")


def _verify_repos(port: Port, others: Registry) -> None:
    # Entries of one family may share a repo, as mflux's own do; a repo of another family may not be used.
    repos = {entry.repo.lower(): key for key, entry in others.items()}
    revisions: dict[str, str] = {}
    for checkpoint in port.checkpoints:
        repo = checkpoint.hf_repo.lower()
        if repo in repos:
            raise PortError(
                f"{checkpoint.hf_repo} is already mflux's {repos[repo]}; port another repo, or extend {repos[repo]}"
            )
        if revisions.setdefault(repo, checkpoint.revision) != checkpoint.revision:
            raise PortError(
                f"{checkpoint.hf_repo} has two revisions, and mflux pins one for a repo; give both the same"
            )


def _verify_theirs_are_found(port: Port, others: Registry) -> None:
    # For a local folder or an unknown repo, mflux picks the model with the longest alias that its name contains.
    theirs, ours = _aliases(others), _own_aliases(port)
    for name in [*theirs, *others, *(entry.repo.split("/")[-1].lower() for entry in others.values())]:
        for spelling in (name, f"{name}-q4", f"{name}-mflux-4bit"):
            if not any(alias in spelling for alias in ours):
                continue
            before, after = _inferred(spelling, theirs), _inferred(spelling, {**theirs, **ours})
            if before and before != after:
                alias = max((item for item in ours if item in spelling), key=len)
                raise PortError(
                    f"the alias {alias!r} would take {spelling!r} away from mflux's {before}; make it longer"
                )


def _verify_ours_are_found(port: Port, others: Registry) -> None:
    aliases = {**_aliases(others), **_own_aliases(port)}
    for checkpoint in port.checkpoints:
        owner, base = checkpoint.hf_repo.lower().split("/")
        fixes = {base: f"add {base!r} to its aliases", f"{owner}/{base}": f"add {owner!r} to its aliases"}
        fixes |= dict.fromkeys(checkpoint.aliases, "choose another key or alias")
        for name, fix in fixes.items():
            found = _inferred(f"{name}-q4", aliases)
            if found in others:
                raise PortError(f"{name}-q4 of {checkpoint.key} would be read as mflux's {found}; {fix}")


def _aliases(others: Registry) -> dict[str, str]:
    return {alias.lower(): key for key, entry in others.items() for alias in entry.aliases}


def _own_aliases(port: Port) -> dict[str, str]:
    return {alias.lower(): checkpoint.key for checkpoint in port.checkpoints for alias in checkpoint.aliases}


def _inferred(name: str, aliases: dict[str, str]) -> str | None:
    inside = [alias for alias in aliases if alias in name]
    return aliases[max(inside, key=len)] if inside else None


def _verify_prefixes(checkout: Checkout, port: Port) -> None:
    for path in _command_files(checkout.root / "src/mflux/models", {port.model, "common"}):
        for prefix in {match.decode() for match in _PREFIX.findall(path.read_bytes())}:
            taken = next((c.key for c in port.checkpoints if c.key.startswith(prefix)), None)
            if taken:
                raise PortError(
                    f"the key {taken!r} starts with {prefix!r}, which {path.name} treats as its own; rename it"
                )


def _command_files(models: Path, without: set[str]) -> list[Path]:
    return sorted(path for path in models.glob("*/cli/*.py") if path.parent.parent.name not in without)


def _verify_classes(checkout: Checkout, port: Port) -> None:
    # The port's import would come after mflux's and replace it.
    record = read_record(checkout, port)
    for surface in (save, training_runner, model_checker):
        known = {
            block.split()[-1] for block in record.get(surface.ID, ())
        }  # inserted by wiring; the report shows any edit
        for name, module in surface.classes(port).items():
            if hasattr(builtins, name):
                raise PortError(f"{name} is a Python built-in; choose another class_name")
            source = source_of(checkout, surface.FILE)
            if name in known or name.encode() not in source.data:
                continue
            others = bindings(ast.walk(source.tree)).get(name, set()) - {module}
            if others:
                binds = f"imports {name} from {min(others)}" if min(others) else f"defines {name}"
                raise PortError(f"{surface.FILE} already {binds}; choose another class_name")


def _verify_scripts(checkout: Checkout, port: Port) -> None:
    source = source_of(checkout, pyproject.FILE)
    if not any(name.encode() in source.data for name in port.scripts):
        return
    scripts = pyproject.scripts(source)
    for name, target in port.scripts.items():
        own = str(scripts.get(name, target)).startswith(f"{port.package}.")  # edited by hand: the report says so
        if not own:
            raise PortError(f"the command {name} is taken by {scripts[name]}; choose another cli_name")
