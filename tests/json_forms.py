"""Compare the output of ``--json`` with the list of its fields."""

from __future__ import annotations

import json

from mflux_port.json_output import FIELDS, SCHEMA


def facts_of(form: str, printed: str) -> dict:
    """The object that a form of a command printed. It must have the documented fields and no others."""
    facts = json.loads(printed)
    assert facts["schema"] == SCHEMA and facts["command"] == form.split()[0]
    assert facts.keys() - {"schema", "command"} == FIELDS[form].keys(), form
    return facts
