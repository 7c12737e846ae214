"""Killed in the middle: the command that was printed gives back the tree, byte for byte."""

from __future__ import annotations

import subprocess

import pytest

from tests.update.second_version import change_conventions
from tests.update.template_versions import Template, git, host, status, tree, update

# Kills the process that updates, not the shell that runs this.
KILL = ["sh", "-c", "kill -9 $PPID"]


def kill_at(template: Template, moment: str) -> None:
    change_conventions(template)
    if moment == "after the render":  # before the porter's edits are merged back in: the worst moment
        tasks = '  - command: ["sh", "-c", "test ! -d .git || kill -9 $PPID"]\n'
        template.edit("copier.yml", "_tasks:\n", f"_tasks:\n{tasks}")
    else:
        template.add_migration("before" if moment == "before the merge" else "after", KILL)
    template.tag("v0.2.0")


@pytest.fixture
def edited(port):
    path = port / "src/mflux/models/nova/nova_initializer.py"
    path.write_text("# Mine.\n" + path.read_text())
    host.commit(port, "Edit")
    return port


@pytest.mark.parametrize("moment", ["before the merge", "after the render", "after the merge"])
def test_restore_gives_back_the_tree(edited, template, mflux_port, moment):
    kill_at(template, moment)
    before = tree(edited)
    killed = mflux_port("update", "nova", cwd=edited)
    assert killed.returncode == -9
    assert "`mflux-port update --restore` gives back the tree" in killed.stdout
    if moment != "before the merge":
        assert status(edited) != ""
        refused = mflux_port("update", "nova", cwd=edited)
        assert refused.returncode == 2
        assert "an update of nova stopped half-way" in refused.stderr and "--restore" in refused.stderr
    (edited / ".git/index.lock").touch()  # as a git that was killed along leaves it
    restored = mflux_port("update", "--restore", cwd=edited)
    assert restored.returncode == 0, restored.stderr
    assert tree(edited) == before and status(edited) == ""


def test_git_alone_gives_back_the_tree_after_copier(edited, template):
    kill_at(template, "after the render")
    before = tree(edited)
    killed = update(edited, "nova")
    assert killed.returncode == -9
    command = "git reset --hard && git clean -fd"
    assert f"`{command}`" in killed.stderr
    subprocess.run(command, shell=True, cwd=edited, check=True, capture_output=True)
    assert tree(edited) == before and status(edited) == ""


def test_restore_after_copier_alone_was_killed(edited, template, mflux_port):
    kill_at(template, "after the render")
    before = tree(edited)
    assert update(edited, "nova").returncode == -9
    assert mflux_port("update", "--restore", cwd=edited).returncode == 0
    assert tree(edited) == before


def test_restore_also_takes_back_the_other_template(edited, template, mflux_port, tmp_path):
    kill_at(template, "after the merge")
    moved = template.home.rename(tmp_path / "elsewhere")
    head, before = git(edited, "rev-parse", "HEAD"), tree(edited)
    assert mflux_port("update", "nova", "--template", moved, cwd=edited).returncode == -9
    assert mflux_port("update", "--restore", cwd=edited).returncode == 0
    assert (git(edited, "rev-parse", "HEAD"), tree(edited)) == (head, before)


def test_nothing_to_restore(port, template, mflux_port):
    refused = mflux_port("update", "--restore", cwd=port)
    assert refused.returncode == 2 and "nothing to restore" in refused.stderr
    change_conventions(template)
    template.tag("v0.2.0")
    assert mflux_port("update", "nova", cwd=port).returncode == 0
    assert mflux_port("update", "--restore", cwd=port).returncode == 2
    assert "v0.2.0" in (port / "porting/nova/answers.yml").read_text()


def test_commits_since_then_are_not_thrown_away(edited, template, mflux_port):
    kill_at(template, "after the merge")
    assert mflux_port("update", "nova", cwd=edited).returncode == -9
    host.commit(edited, "Go on from here")
    (edited / "README.md").write_text("mine\n")
    head = git(edited, "rev-parse", "HEAD")
    refused = mflux_port("update", "--restore", cwd=edited)
    assert refused.returncode == 2 and "new commits since" in refused.stderr
    assert git(edited, "rev-parse", "HEAD") == head and (edited / "README.md").read_text() == "mine\n"
