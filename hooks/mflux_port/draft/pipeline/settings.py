"""What a drafted transformer must have besides its forward pass, because of how its pipeline calls it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.of_config import NAME


@dataclass(frozen=True)
class Settings:
    """``tables``: the settings that the pipeline passes, by argument.

    ``attributes``: what the glue reads of the transformer.
    """

    tables: dict[str, dict] = field(default_factory=dict)
    attributes: frozenset[str] = frozenset()


NONE = Settings()


def settings(facts: list[Fact]) -> Settings:
    """The settings that the facts about a pipeline name."""
    rules = next((fact.value for fact in facts if fact.name == "arguments"), None) or {}
    tables = {name: rule["items"] for name, rule in rules.items() if rule and rule["is"] == "table"}
    plain = {
        name: {key: item["value"] for key, item in items.items()}
        for name, items in tables.items()
        if all(item["is"] == "constant" for item in items.values())
    }
    plain = {name: values for name, values in plain.items() if any(value is not None for value in values.values())}
    return Settings(plain, frozenset(_attributes(rules)))


def _attributes(rules) -> set[str]:
    """The names that formulas and rules take from the transformer."""
    if isinstance(rules, dict):
        own = {rules["width"]} if rules.get("is") == "rotary" else set()
        own |= {NAME} if re.search(rf"\b{NAME}\b", str(rules.get("of", ""))) else set()
        return own.union(*map(_attributes, rules.values()))
    return set().union(*map(_attributes, rules)) if isinstance(rules, list) else set()
