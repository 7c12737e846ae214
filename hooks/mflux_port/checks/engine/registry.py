"""All rules: each group of ids is one module of ``checks/rules``, which registers its rules when it is imported."""

from __future__ import annotations

from importlib import import_module

from mflux_port.checks.engine.rule import ALWAYS, MERGE, RULES, RUN, Rule

# The module of each group: LAY01 is in rules/layout.py. The order is the porting guide's.
GROUPS = {
    "LAY": "layout",
    "REG": "registration",
    "TAB": "tables",
    "WGT": "weights",
    "TOK": "tokenizers",
    "LOR": "lora",
    "CLI": "cli",
    "FEA": "features",
    "TRN": "training",
    "TST": "tests",
    "DOC": "docs",
    "STY": "style",
    "MRG": "merge",
    "RUN": "run",
}


def all_rules() -> dict[str, Rule]:
    """Every rule by its id."""
    return {rule.id: rule for rule in rules_when(MERGE, RUN)}


def rules_when(*also: str) -> list[Rule]:
    """The rules that always run and those of the kinds in ``also`` (MERGE, RUN), group by group."""
    for module in GROUPS.values():
        import_module(f"mflux_port.checks.rules.{module}")
    groups = list(GROUPS)
    wanted = [rule for rule in RULES.values() if rule.when in (ALWAYS, *also)]
    return sorted(wanted, key=lambda rule: (groups.index(rule.id[:3]), rule.id))
