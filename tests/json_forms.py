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


def form_of(printed: str) -> str:
    """The form of a command that documents what was printed: the one with these fields."""
    facts = json.loads(printed)
    fields = facts.keys() - {"schema", "command"}
    fits = [form for form in FIELDS if form.split()[0] == facts["command"] and FIELDS[form].keys() == fields]
    assert facts["schema"] == SCHEMA and fits, f"{facts['command']} prints {sorted(fields)}, which no form documents"
    return fits[0]
