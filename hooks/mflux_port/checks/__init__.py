"""The integration checklist: one rule per row. A module per table of the guide; importing them fills ``RULES``."""

from mflux_port.checks import (  # noqa: F401
    cli_options,
    cli_rules,
    docs_rules,
    executing,
    features,
    layout,
    lora,
    merge,
    readme_examples,
    readme_rules,
    registration,
    style,
    tables,
    tests_rules,
    tokenizers,
    training,
    weights,
)
from mflux_port.checks.rule import RULES

__all__ = ["RULES"]
