"""A drafted family on inputs that no recording had, with changes in its text, and in bfloat16.

``unrecorded.py``, ``mutants.py`` and ``bfloat16.py`` take the figures of any family.
"""

from __future__ import annotations

import json

import pytest

from tests.draft.forward.running import run_where_torch_is

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def trials() -> dict:
    return json.loads(run_where_torch_is("trials.py", "ernie_image").splitlines()[-1])


def test_unrecorded_inputs_give_no_wrong_result(trials):
    assert trials["wrong"] == [] and trials["outcomes"]["right"] > 60


def test_replay_detects_nearly_every_change(trials):
    assert trials["mutants"] > 60 and len(trials["missed"]) <= 0.05 * trials["mutants"], trials["missed"]


def test_bfloat16_is_as_accurate_as_the_reference(trials):
    assert trials["bfloat16"] < 1.5
