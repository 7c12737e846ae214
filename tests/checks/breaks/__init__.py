"""The failing examples, one module per group of rules, with the name of the group's module in ``checks/rules``."""

from __future__ import annotations

from importlib import import_module

from mflux_port.checks.engine.registry import GROUPS

from tests.checks.breaking import Break


def all_breaks() -> list[Break]:
    modules = [import_module(f"{__name__}.{module}") for module in GROUPS.values()]
    return [one for module in modules for one in module.BREAKS]
