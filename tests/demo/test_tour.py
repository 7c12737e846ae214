"""The README's run, repeated."""

from __future__ import annotations

import importlib.util

import pytest

from tests.conftest import PROJECT


def _record():
    spec = importlib.util.spec_from_file_location("record", PROJECT / "docs/tour/record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.full
def test_the_readme_shows_what_the_commands_print(tmp_path):
    record = _record()
    blocks = record.play(tmp_path)
    text = record.README.read_text(encoding="utf-8")
    assert set(blocks) == {match["name"] for match in record.BLOCK.finditer(text)}
    for match in record.BLOCK.finditer(text):
        shown = record.without_figures(match["body"])
        assert record.without_figures(blocks[match["name"]]) == shown, "run `uv run python docs/tour/record.py`"
