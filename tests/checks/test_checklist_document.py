"""docs/checklist.md lists every rule, and only rules that exist."""

from __future__ import annotations

import re

from mflux_port.checks.engine.registry import all_rules

from tests.checks.complete_port import PROJECT

TEXT = (PROJECT / "docs/checklist.md").read_text()


def test_every_rule_is_in_the_document():
    named = set(re.findall(r"\b[A-Z]{3}\d\d\b", TEXT))
    assert named == set(all_rules())


def test_every_row_names_a_rule():
    table = TEXT[TEXT.index("## From the porting guide") : TEXT.index("## All rules")]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| Row")]
    assert len(rows) > 60
    assert all(re.search(r"\| ([A-Z]{3}\d\d(, )?)+ \|$", row) for row in rows)
    assert [row for row in rows if "TODO" in row] == [], "write what the guide or an issue asks"
