"""Every line of the table of torch calls, written in MLX and replayed against torch; and what the table refuses."""

from __future__ import annotations

import json

import pytest
from mflux_port.draft.forward.torch_calls.table import CALLS

from tests.draft.forward import table_cases
from tests.draft.forward.running import run_where_torch_is


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory) -> dict[str, dict]:
    """The result of each case, by its name."""
    return json.loads(run_where_torch_is("run_table.py", tmp_path_factory.mktemp("table")).splitlines()[-1])


@pytest.mark.parametrize("name", table_cases.WRITTEN)
def test_every_call_equals_torch(outcomes, name):
    outcome = outcomes[name]
    assert outcome["state"] == "verified", f"{outcome['line']}\n{outcome['text']}"


@pytest.mark.parametrize("name", table_cases.REFUSED)
def test_unsupported_call_is_refused(outcomes, name):
    outcome = outcomes[name]
    assert outcome["state"] == "raises" and table_cases.REFUSED[name][1] in " ".join(outcome["reasons"]), outcome


def test_every_line_has_a_case():
    texts = " ".join(
        [*table_cases.WRITTEN.values(), *(text for text, _ in table_cases.REFUSED.values()), table_cases.HEAD]
    )
    aliases: dict[int, list[str]] = {}
    for name, entry in CALLS.items():
        aliases.setdefault(id(entry), []).append(name)
    untested = {"/".join(names) for names in aliases.values() if not any(f"{name}(" in texts for name in names)}
    assert untested == set()
