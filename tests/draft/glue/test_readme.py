"""Notes that draft adds to the port's README."""

from __future__ import annotations

from mflux_port.draft.glue import readme


def test_notes_are_written_once():
    facts = {
        "guidance": {"value": {"formula": "unconditional + guidance * (conditional - unconditional)"}},
        "negative": {"value": {"guided": "guidance > 1", "default": None}},
    }
    page = "## Notes\n- Width and height are multiples of 16.\n- More.\n"
    once = readme.with_notes(page, facts, 32)
    assert "multiples of 32.\n- Guidance is" in once and "with a negative prompt" in once
    assert readme.with_notes(once, facts, 32) == once
