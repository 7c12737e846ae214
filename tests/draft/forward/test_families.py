"""Forward passes of real references, drafted from their configs alone: every class proven, within the time limit."""

from __future__ import annotations

import json

import pytest

from tests.draft.forward import families
from tests.draft.forward.running import run_where_torch_is

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def drafts() -> dict[str, dict]:
    lines = run_where_torch_is("run_families.py", *families.KNOWN).splitlines()
    return {draft["name"]: draft for draft in map(json.loads, filter(lambda line: line.startswith("{"), lines))}


@pytest.mark.parametrize("name", families.KNOWN)
def test_every_class_is_proven(drafts, name):
    draft = drafts[name]
    open_ends = {group: line for group, line in draft["states"].items() if not line.startswith("verified")}
    assert draft["whole"], draft["reason"] or open_ends
