"""SIGKILL at random points of every command that writes; the documented command completes what was left."""

from __future__ import annotations

import shutil

import pytest

from tests.faults.commands import NAMES, is_wired, prepared
from tests.faults.kills import LEFT, TIMES, Command, kill_half_done, kill_often, recovers
from tests.faults.runs import Outcome, copier
from tests.faults.tree import Tree

_MINE = ("notes.md", "tests/cli/test_nova_notes.py", "src/mflux/models/notes.py")


@pytest.mark.parametrize("number", [2, pytest.param(12 * TIMES, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "name", [name if name != "draft" else pytest.param(name, marks=pytest.mark.full) for name in NAMES]
)
def test_killed_command_is_completed_or_undone(name, number, tree, checkpoint):
    command, check = prepared(name, tree, checkpoint).measure(), finishes if name == "finish" else recovers
    kill_often(command, number, check)
    if number > 10 and name != "inspect -o" and not LEFT[f"{name}: half"]:  # inspect writes one file
        kill_half_done(command, check)


def finishes(command: Command, outcome: Outcome, where: str) -> None:
    """Check that the description was written, too."""
    recovers(command, outcome, where)
    assert (command.root / "pr.md").read_text().startswith("# Port Nova"), where


@pytest.mark.full
def test_killed_copy_is_completed(pristine, small_template, tmp_path):
    # The copy goes into a checkout with untracked work of the porter.
    root = shutil.copytree(pristine(), tmp_path / "mflux")
    (root / "README.md").write_text("The porter's own line.\n" + (root / "README.md").read_text())
    for name in _MINE:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("mine\n")
    options = ["--trust", "--defaults", "--overwrite", "--quiet", "--vcs-ref", "v0.1.0"]
    options += [word for answer in ("model=nova", "hf_repo=acme/Nova", "scheduler=own") for word in ("-d", answer)]
    act = copier("copy", *options, str(small_template.home), ".")
    command = Command("copier copy", Tree(root), act, is_copied, whole_files=False).measure()
    kill_often(command, 5 * TIMES)
    if not LEFT["copier copy: half"]:
        kill_half_done(command)


def is_copied(name: str) -> bool:
    return is_wired(name) or "nova" in name and name not in _MINE
