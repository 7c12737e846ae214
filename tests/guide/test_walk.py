"""``status`` leads from the copy to the end: a porter who does only what it says finishes the port."""

from __future__ import annotations

import shutil

import pytest
from mflux_port.checks.engine.evidence import CLAIM_FLAGS, STAGES

from tests.checks import complete_port
from tests.checks.complete_port import MODEL, git
from tests.guide.walk import Walk


@pytest.fixture(scope="module")
def walked(pristine, tmp_path_factory) -> Walk:
    root = complete_port.render(shutil.copytree(pristine(), tmp_path_factory.mktemp("walk") / "mflux"))
    walk = Walk(root)
    walk.run()
    return walk


def test_walk_finishes_the_port(walked):
    assert walked.next() is None
    assert not (walked.root / f"porting/{MODEL}").exists()
    assert git(walked.root, "status", "--porcelain") == ""


def test_every_action_has_a_command_and_a_reason(walked):
    for action in walked.taken:
        assert action["command"] and action["reason"], action


def test_order_of_actions_follows_the_guide(walked):
    commands = [action["command"] for action in walked.taken]
    parts = ("make_tiny_checkpoint", " draft ", " ledger ", "run_reference.py", "run_mflux.py", "finish")
    first = [next(n for n, command in enumerate(commands) if part in command) for part in parts]
    assert first == sorted(first)
    log = git(walked.root, "log", "--format=%s", "--reverse", "main..HEAD").splitlines()
    done = [line for line in log if line.endswith(" done")]
    assert done == ["VAE done", "transformer done", "text encoder done"]


def test_claims_are_recorded_from_the_checkpoint_of_the_stages(walked):
    claims = [action["command"] for action in walked.taken if action["command"].endswith(tuple(CLAIM_FLAGS.values()))]
    assert claims
    twin = f"run_reference.py --model porting/{MODEL}/artifacts/tiny "
    others = [command for command in claims if "run_reference.py" in command and twin not in command]
    # Its edit variant has a checkpoint of its own.
    assert set(others) == {
        f"uv run porting/{MODEL}/run_reference.py --edit && uv run python porting/{MODEL}/run_mflux.py --edit"
    }


def test_person_is_asked_only_when_no_command_can_continue(walked):
    edits = [action["edit"] for action in walked.taken if action["edit"]]
    assert sum(edit.endswith("weight_mapping.py") for edit in edits) == 1
    assert sum(edit.endswith("unresolved.yml") for edit in edits) == 1
    assert sum(edit == f"src/mflux/models/{MODEL}" for edit in edits) <= len(STAGES)
