"""Decide whether a registry entry belongs to the port or to another model with the same key."""

from __future__ import annotations

from mflux_port.checkout.tree import Checkout
from mflux_port.port.port import Checkpoint, Port
from mflux_port.wiring.imports import module_bindings
from mflux_port.wiring.record import read_record
from mflux_port.wiring.source import UnknownShape, source_of
from mflux_port.wiring.surfaces import model_config, pyproject, save


def owned_keys(checkout: Checkout, port: Port) -> set[str]:
    """The registry's keys that belong to the port, including those of older answers.

    An entry belongs to the port when wiring recorded it, or when it has the port's repo and mflux-save has a class of
    the port for it. Raises UnknownShape when the registry cannot be read.
    """
    registry = model_config.registry(source_of(checkout, model_config.FILE))
    recorded = set(read_record(checkout, port).get(model_config.ID, ()))
    evident = {
        checkpoint.key
        for checkpoint in port.checkpoints
        if checkpoint.key in registry.keys() - recorded
        and registry[checkpoint.key].repo.lower() == checkpoint.hf_repo.lower()
        and _is_routed(checkout, port, checkpoint, not recorded)
    }
    return (recorded | evident) & registry.keys()


def own_part(checkout: Checkout, port: Port) -> tuple[Port, list[str]]:
    """Return the port without the checkpoints whose keys belong to another model, and those keys."""
    try:
        registry = model_config.registry(source_of(checkout, model_config.FILE))
        foreign = {checkpoint.key for checkpoint in port.checkpoints} & (registry.keys() - owned_keys(checkout, port))
    except UnknownShape:
        return port, []  # the surface itself reports the error
    own = tuple(checkpoint for checkpoint in port.checkpoints if checkpoint.key not in foreign)
    return port._replace(checkpoints=own), sorted(foreign)


def _is_routed(checkout: Checkout, port: Port, checkpoint: Checkpoint, record_lost: bool) -> bool:
    source = source_of(checkout, save.FILE)
    try:
        routed = save.routes(source).get(checkpoint.key)
        commands = pyproject.scripts(source_of(checkout, pyproject.FILE))
    except UnknownShape:
        return False
    bound = module_bindings(source)
    if routed is not None:
        modules = {port.variant_module(variant) for variant in port.variants}
        return bool(bound.get(routed, set()) & modules)
    # If the file was restored and the record is lost, only the port's commands are left as evidence.
    restored = bound.keys().isdisjoint(save.classes(port))
    return record_lost and restored and port.scripts.items() <= commands.items()
