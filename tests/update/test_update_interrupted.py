"""An update killed in the middle: the printed command restores the tree, byte for byte, and removes nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mflux_port.checkout.lock import under_way
from mflux_port.update.tree import COMMITTED, KEPT, amend
from mflux_port.update.tree import begin as begin_update

from tests.update.second_version import change_conventions
from tests.update.template_versions import Template, git, releases, status, tree, update

# Kills the process that updates, not the shell that runs this.
KILL = ["sh", "-c", "kill -9 $PPID"]
INITIALIZER = "src/mflux/models/nova/nova_initializer.py"
README = "src/mflux/models/nova/README.md"


def kill_at(template: Template, moment: str) -> None:
    change_conventions(template)
    if moment == "after the render":  # before the porter's edits are merged back in: the worst moment
        tasks = '  - command: ["sh", "-c", "test ! -d .git || kill -9 $PPID"]\n'
        template.edit("copier.yml", "_tasks:\n", f"_tasks:\n{tasks}")
    else:
        template.add_migration("after", KILL)
    template.tag("v0.2.0")


@pytest.fixture
def edited(port) -> Path:
    path = port / INITIALIZER
    path.write_text("# Mine.\n" + path.read_text())
    releases.commit(port, "Edit")
    return port


@pytest.mark.parametrize("moment", ["after the render", pytest.param("after the merge", marks=pytest.mark.full)])
def test_restore_restores_the_tree_and_keeps_other_files(edited, template, mflux_port, moment):
    kill_at(template, moment)
    before = tree(edited)
    killed = mflux_port("update", "nova", cwd=edited)
    assert killed.returncode == -9
    assert "`mflux-port update --restore` restores the tree" in killed.stdout
    refused = mflux_port("update", "nova", cwd=edited)
    assert status(edited) != "" and refused.returncode == 2
    assert "an update of nova was interrupted" in refused.stderr and "--restore" in refused.stderr
    mine = {"notes.md": b"since then\n", README: b"since then\n"}
    for name, data in mine.items():
        (edited / name).write_bytes(data)
    (edited / ".git/index.lock").touch()  # left by a git process that was killed too
    restored = mflux_port("update", "--restore", cwd=edited)
    assert restored.returncode == 0, restored.stderr
    assert f"not changed, because an update does not write them: notes.md, {README}" in restored.stdout
    assert tree(edited) == before | mine
    assert f"git show {KEPT}" in restored.stdout
    assert git(edited, "show", f"{KEPT}:porting/nova/answers.yml") != before["porting/nova/answers.yml"].decode()


@pytest.mark.full
def test_keyboard_interrupt_rolls_back(edited, template, mflux_port):
    change_conventions(template)
    template.add_migration("after", ["sh", "-c", "kill -INT $PPID; sleep 9"])
    template.tag("v0.2.0")
    before = tree(edited)
    # Tests that a shell runs in the background ignore this signal, so it is reset.
    stopped = mflux_port("update", "nova", cwd=edited, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert stopped.returncode == 130 and stopped.stderr.endswith("mflux-port: interrupted\n")
    assert tree(edited) == before and status(edited) == "" and under_way(edited) is None


@pytest.mark.full
def test_git_alone_restores_the_tree_after_copier(edited, template, mflux_port):
    kill_at(template, "after the render")
    before = tree(edited)
    killed = update(edited, "nova")
    assert killed.returncode == -9
    command = "git reset --hard && git clean -fd"
    assert f"`{command}`" in killed.stderr
    subprocess.run(command, shell=True, cwd=edited, check=True, capture_output=True)
    assert tree(edited) == before and status(edited) == ""
    (edited / INITIALIZER).write_text("# A week of work.\n")
    for arguments in (["update", "nova"], ["update", "--restore"]):
        assert mflux_port(*arguments, cwd=edited).returncode == 2
        assert (edited / INITIALIZER).read_text() == "# A week of work.\n"


@pytest.mark.full
def test_restore_after_copier_alone_was_killed(edited, template, mflux_port):
    kill_at(template, "after the render")
    before = tree(edited)
    assert update(edited, "nova").returncode == -9
    assert mflux_port("update", "--restore", cwd=edited).returncode == 0
    assert tree(edited) == before


@pytest.mark.full
def test_restore_also_restores_the_template_address(edited, template, mflux_port, tmp_path):
    kill_at(template, "after the merge")
    moved = template.home.rename(tmp_path / "elsewhere")
    head, before = git(edited, "rev-parse", "HEAD"), tree(edited)
    assert mflux_port("update", "nova", "--template", moved, cwd=edited).returncode == -9
    assert git(edited, "rev-parse", "HEAD") != head
    assert mflux_port("update", "--restore", cwd=edited).returncode == 0
    assert (git(edited, "rev-parse", "HEAD"), tree(edited)) == (head, before)


# These tests need no real update: only the note of an update whose process has ended, and a file that it wrote.


@pytest.fixture
def half_way(lent) -> Path:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    begin_update(lent, "nova", ended.pid)
    ended.wait()
    (lent / INITIALIZER).write_text("# Half an update.\n")
    return lent


def test_restore_removes_new_files_of_the_port_and_empty_folders(half_way, mflux_port):
    new = half_way / "src/mflux/models/nova/new/of_the_update.py"
    new.parent.mkdir()
    new.write_text("new\n")
    done = mflux_port("update", "--restore", cwd=half_way)
    assert done.returncode == 0, done.stderr
    assert status(half_way) == "" and not new.parent.exists()
    assert git(half_way, "show", f"{KEPT}:{new.relative_to(half_way).as_posix()}") == "new\n"


def test_restore_removes_new_files_that_git_ignores(half_way, mflux_port):
    new = "src/mflux/models/nova/new.py"
    amend(half_way, writes=[new])
    (half_way / new).write_text("new\n")
    (half_way / ".git/info").mkdir(exist_ok=True)
    (half_way / ".git/info/exclude").write_text("new.py\n")
    done = mflux_port("update", "--restore", cwd=half_way)
    (half_way / ".git/info/exclude").unlink()
    assert done.returncode == 0 and status(half_way) == "" and not (half_way / new).exists()
    assert git(half_way, "show", f"{KEPT}:{new}") == "new\n"


@pytest.mark.parametrize("act", ["commit", "reset"])
def test_later_work_is_kept(half_way, mflux_port, act):
    if act == "commit":
        releases.commit(half_way, "Go on from here")
    else:
        git(half_way, "reset", "--hard", "--quiet")
    (half_way / INITIALIZER).write_text("# Mine.\n")
    head = git(half_way, "rev-parse", "HEAD")
    refused = mflux_port("update", "--restore", cwd=half_way)
    assert refused.returncode == 2 and "something was committed or reset" in refused.stderr
    assert git(half_way, "rev-parse", "HEAD") == head and (half_way / INITIALIZER).read_text() == "# Mine.\n"
    assert under_way(half_way) is None


def test_complete_update_is_left_as_it_is(half_way, mflux_port):
    releases.commit(half_way, COMMITTED.format(model="nova", to="v0.2.0"))
    done = mflux_port("update", "--restore", cwd=half_way)
    assert done.returncode == 0 and "was complete and is committed" in done.stdout
    assert (half_way / INITIALIZER).read_text() == "# Half an update.\n" and under_way(half_way) is None


def test_running_update_and_running_git_are_left_alone(lent, mflux_port):
    begin_update(lent, "nova", os.getpid())
    (lent / INITIALIZER).write_text("# Half an update.\n")
    for arguments in (["--restore"], ["nova"]):
        refused = mflux_port("update", *arguments, cwd=lent)
        assert refused.returncode == 2 and f"an update of nova (process {os.getpid()}) is active" in refused.stderr
    begin_update(lent, "nova", 2**22 + 1)  # an unused process id
    lock = lent / ".git/index.lock"
    lock.touch()
    with subprocess.Popen(["git", "cat-file", "--batch"], cwd=lent, stdin=subprocess.PIPE) as foreign:
        refused = mflux_port("update", "--restore", cwd=lent)
        foreign.stdin.close()
    assert refused.returncode == 2 and "another git process is running" in refused.stderr and lock.exists()
    assert mflux_port("update", "--restore", cwd=lent).returncode == 0
    assert status(lent) == "" and not lock.exists()
