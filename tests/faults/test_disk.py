"""With a full disk or missing permissions: one line, nothing half-written, and the next run completes."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable

import pytest
from mflux_port.checkout.lock import under_way

from tests.faults.commands import NAMES, prepared
from tests.faults.kills import SEED, TIMES, Command, assert_settled
from tests.faults.runs import Outcome, copier, mflux_port, run
from tests.faults.tree import Tree, different
from tests.update.template_versions import git

_UNTOUCHED = ("nothing was changed", "it is unchanged")


@pytest.mark.parametrize(
    ("name", "where", "number", "tries"),
    [
        ("inspect -o", "write", errno.ENOSPC, 1),
        *(pytest.param(name, "write", errno.ENOSPC, 6 * TIMES, marks=pytest.mark.full) for name in NAMES),
        *(pytest.param(name, "touch", errno.ENOSPC, 3 * TIMES, marks=pytest.mark.full) for name in NAMES[2:]),
        *(pytest.param(name, "touch", errno.EACCES, 3 * TIMES, marks=pytest.mark.full) for name in NAMES[2:]),
    ],
)
def test_failing_disk(name, where, number, tries, tree, checkpoint):
    command = prepared(name, tree, checkpoint).measure()
    rng = random.Random(f"{SEED} {name} {where} {number}")
    points = range(command.writes if where == "write" else command.touches)
    for at in sorted(rng.sample(points, min(tries, len(points)))):
        for lasting in (True, False):
            outcome = run(command.act, command.root, where=where, at=at, how=number, lasting=lasting)
            _assert_one_line(command, outcome, number)
            again = run(command.act, command.root)
            assert again.status == 0 or again.status == 2 and outcome.status == 0, again.err
            assert command.tree.state() == command.after, (
                f"{outcome.hits}: {different(command.tree.state(), command.after)}"
            )
            assert_settled(command.root, str(outcome.hits))
            command.give_back()


def _assert_one_line(command: Command, outcome: Outcome, number: int) -> None:
    where = f"seed {SEED}, {outcome.hits}: {outcome.err}"
    if outcome.status == 0:  # the folder exists already, or the read needs no lock
        assert command.tree.state() == command.after, where
        return
    lines = outcome.err.splitlines()
    assert outcome.status == 2 and len(lines) == 1 and os.strerror(number) in lines[0], where
    if any(words in lines[0] for words in _UNTOUCHED):
        assert _without_temporary(command.tree) == command.before, where


def _without_temporary(tree: Tree) -> dict:
    # Without write permission, temporary files cannot be removed either.
    return {name: mark for name, mark in tree.state().items() if ".mflux-port" not in name}


@pytest.mark.full
@pytest.mark.parametrize("kilobytes", [4, 24, 80])
def test_disk_full_while_an_update_runs(kilobytes, behind_tree):
    # The kernel does not let any file grow beyond the limit, including git's.
    before, head = behind_tree.state(), git(behind_tree.root, "rev-parse", "HEAD")
    outcome = run(_limited(mflux_port("update", "nova"), kilobytes * 1024), behind_tree.root)
    lines = [line for line in outcome.err.splitlines() if line.startswith("mflux-port: ")]
    assert outcome.status == 2 and len(lines) == 1 and "Traceback" not in outcome.err, outcome.err
    if under_way(behind_tree.root):
        assert "`mflux-port update --restore` restores the tree" in lines[0]
        restored = run(mflux_port("update", "--restore"), behind_tree.root)
        assert restored.status == 0, restored.err
    assert behind_tree.state() == before, different(behind_tree.state(), before)
    assert git(behind_tree.root, "status", "--porcelain") == "" and git(behind_tree.root, "rev-parse", "HEAD") == head
    assert_settled(behind_tree.root, f"{kilobytes} kB")


@pytest.mark.full
def test_disk_full_while_a_copy_renders(pristine, small_template, tmp_path):
    # Copier reports the error; running the same copy again completes it.
    tree = Tree(shutil.copytree(pristine(), tmp_path / "mflux"))
    options = ["--trust", "--defaults", "--overwrite", "--quiet", "--vcs-ref", "v0.1.0", "-d", "model=nova"]
    act = copier("copy", *options, "-d", "hf_repo=acme/Nova", str(small_template.home), ".")
    outcome = run(act, tree.root, where="write", at=20, how=errno.ENOSPC, lasting=True)
    assert outcome.status != 0 and os.strerror(errno.ENOSPC) in outcome.err
    again = run(act, tree.root)
    assert again.status == 0, again.err
    completed = tree.state()
    subprocess.run("git reset --hard -q && git clean -fdq", shell=True, cwd=tree.root, check=True)
    assert run(act, tree.root).status == 0
    assert tree.state() == completed, different(tree.state(), completed)


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES[:4])
def test_disk_full_while_a_file_is_written(name, tree, checkpoint):
    # The kernel refuses in the middle of a write, as on a full disk.
    command = prepared(name, tree, checkpoint).measure()
    statuses = []
    for size in (256, 4_096, 20_000, 80_000):
        outcome = run(_limited(command.act, size), command.root)
        _assert_one_line(command, outcome, errno.EFBIG)
        assert run(command.act, command.root).status == 0 or outcome.status == 0
        assert command.tree.state() == command.after
        command.give_back()
        statuses.append(outcome.status)
    assert 2 in statuses, "no file was larger than the limits"


def _limited(act: Callable[[], int], size: int) -> Callable[[], int]:
    def limited() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        return act()

    return limited
