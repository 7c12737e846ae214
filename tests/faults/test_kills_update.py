"""SIGKILL at random points of an update; ``mflux-port update --restore`` restores the tree, byte for byte."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from mflux_port.checkout.lock import under_way
from mflux_port.update.tree import KEPT

from tests.faults.kills import (
    KILLED,
    LEFT,
    TIMES,
    Command,
    assert_settled,
    kill_half_done,
    kill_often,
    without_temporary,
)
from tests.faults.runs import Outcome, mflux_port, run
from tests.faults.tree import Tree, different
from tests.faults.updates import ACTS, give_back
from tests.update.template_versions import git

pytestmark = pytest.mark.full
_RESTORE = mflux_port("update", "--restore")


@pytest.fixture(scope="module")
def stopped(behind, reference, tmp_path_factory) -> Path:
    """A checkout in the middle of an update: after the rendering, before the porter's edits are merged back."""
    root = shutil.copytree(behind, tmp_path_factory.mktemp("stopped") / "mflux")
    assert run(ACTS["update"], root, at=reference.runs["update"].counted * 3 // 4).killed
    KILLED["update"] += 1
    assert git(root, "status", "--porcelain") and under_way(root)
    return root


@pytest.fixture
def half_way(stopped, tmp_path) -> Tree:
    """A writable copy of it."""
    return Tree(shutil.copytree(stopped, tmp_path / "mflux"))


@pytest.mark.parametrize(("name", "number"), [("update", 4 * TIMES), ("copier update", 3 * TIMES)])
def test_killed_update_is_restored(name, number, behind_tree, reference):
    root = behind_tree.root
    head = git(root, "rev-parse", "HEAD").strip()
    command = Command(name, behind_tree, ACTS[name], is_updated, reset=lambda: give_back(root, head))
    command.before, command.after = reference.states[()], reference.states[(name,)]
    command.touches, command.seconds = reference.runs[name].counted, reference.runs[name].seconds
    kill_often(command, number, is_restored)
    if not LEFT[f"{name}: half"]:
        kill_half_done(command, is_restored)


def is_updated(name: str) -> bool:
    return "nova" in name or name == "CHANGELOG.md"


def is_restored(command: Command, outcome: Outcome, where: str) -> None:
    """Check that tree and git are as before, or that the update had finished, and that the next update completes."""
    now, noted = without_temporary(command.tree.state()), under_way(command.root) is not None
    assert [name for name in different(command.before, now) if not command.own(name)] == [], where
    left = "after" if now == command.after else "before" if now == command.before else "half"
    LEFT[f"{command.name}: {left}"] += 1
    head = git(command.root, "rev-parse", "HEAD")
    done = run(_RESTORE, command.root)
    assert done.status == (0 if noted else 2) and "Traceback" not in done.err, where + done.err
    now = command.tree.state()
    wanted = command.after if left == "after" and not noted else command.before
    assert now == wanted, f"{where}: {different(now, wanted)}"
    assert git(command.root, "rev-parse", "HEAD") == head
    assert_settled(command.root, where)
    if wanted is command.before:
        assert git(command.root, "status", "--porcelain") == "", where
        if KILLED[command.name] % 3 == 0:  # only sometimes, because it takes seconds
            assert run(command.act, command.root).status == 0
            assert command.tree.state() == command.after, where


def test_killed_restore_is_completed(half_way, reference):
    """Restoring may be killed too, at every disk access: running the same command again completes it."""
    kept = ""
    for at in itertools.count():
        outcome = run(_RESTORE, half_way.root, at=at)
        if not outcome.killed:
            break
        KILLED["update --restore"] += 1
        kept = kept or git(half_way.root, "for-each-ref", KEPT)
    assert outcome.status == 0, outcome.err
    assert at > 10 and half_way.state() == reference.states[()]
    assert git(half_way.root, "status", "--porcelain") == "" and kept
    assert_settled(half_way.root, "restore")


def test_work_since_the_kill_is_kept(half_way, reference):
    mine = ("src/mflux/models/nova/README.md", "new.md")
    for name in mine:
        (half_way.root / name).write_text("since then\n")
    done = run(_RESTORE, half_way.root)
    assert done.status == 0 and "not changed, because an update does not write them" in done.out
    assert sorted(different(half_way.state(), reference.states[()])) == sorted(mine)
    for name in mine:
        assert (half_way.root / name).read_text() == "since then\n"


def test_killed_update_all_is_committed_or_rolled_back(behind_tree, reference):
    """Kill the run around the commit that ``--all`` makes: the update is either committed or rolled back."""
    root, head = behind_tree.root, git(behind_tree.root, "rev-parse", "HEAD").strip()
    act = mflux_port("update", "--all")
    touches = run(act, root).counted
    for back, committed in ((1, True), (2, False)):
        git(root, "reset", "--hard", "--quiet", head)
        assert run(act, root, at=touches - back).killed
        KILLED["update --all"] += 1
        for lock in ("index.lock", "HEAD.lock", "refs/heads/main.lock"):
            (root / ".git" / lock).touch()  # left by a git process that was killed too
        done = run(_RESTORE, root)
        assert done.status == 0, done.err
        assert behind_tree.state() == reference.states[("update",) if committed else ()]
        assert (git(root, "rev-parse", "HEAD~1" if committed else "HEAD").strip()) == head
        assert git(root, "status", "--porcelain") == ""
        git(root, "commit", "--quiet", "--allow-empty", "--message", "Go on")
        assert_settled(root, f"{back} touches before the end")


def test_refused_update_rolls_back_the_commit_that_points_to_another_template(behind_tree, small_template, tmp_path):
    root = behind_tree.root
    path = root / "src/mflux/models/common/cli/save.py"
    path.write_text("def main():\n    pass\n")
    git(root, "commit", "--quiet", "--all", "--message", "mflux's save.py has changed")
    before, head = behind_tree.state(), git(root, "rev-parse", "HEAD")
    moved = shutil.copytree(small_template.home, tmp_path / "moved")
    done = run(mflux_port("update", "nova", "--template", moved), root)
    assert done.status == 2 and "save.py" in done.err
    assert behind_tree.state() == before and git(root, "rev-parse", "HEAD") == head
    assert_settled(root, "refused")
