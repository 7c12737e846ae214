"""Every rule there is: the modules of ``checks/rules`` register theirs when they are imported. A new file needs no entry."""

from __future__ import annotations

import importlib
import pkgutil

from mflux_port.checks import rules
from mflux_port.checks.engine.rule import ALWAYS, MERGE, RULES, RUN, Rule

# The guide's order: layout, wiring, weights, LoRA, command, training, tests, documents, style, merge; then what runs.
GROUPS = ("LAY", "REG", "TAB", "WGT", "TOK", "LOR", "CLI", "FEA", "TRN", "TST", "DOC", "STY", "MRG", "RUN")
_ON_REQUEST = {"merge": MERGE, "run": RUN}  # modules that a plain check does not pay for


def all_rules() -> dict[str, Rule]:
    """Every rule by its id."""
    return {rule.id: rule for rule in rules_when(MERGE, RUN)}


def rules_when(*also: str) -> list[Rule]:
    """The rules that always apply and those of the kinds in ``also`` (MERGE, RUN), group by group."""
    for module in pkgutil.iter_modules(rules.__path__):
        if _ON_REQUEST.get(module.name, ALWAYS) in (ALWAYS, *also):
            importlib.import_module(f"{rules.__name__}.{module.name}")
    wanted = [rule for rule in RULES.values() if rule.when in (ALWAYS, *also)]
    return sorted(wanted, key=lambda rule: (GROUPS.index(rule.id[:3]), rule.id))
