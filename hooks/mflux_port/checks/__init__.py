"""The integration checklist: one rule per row. A module per table of the guide; importing them fills ``RULES``.

Here are the rules that are always asked; ``catalogue`` has the others, too.
"""

from mflux_port.checks import (  # noqa: F401
    cli_options,
    cli_rules,
    docs_rules,
    features,
    layout,
    lora,
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
