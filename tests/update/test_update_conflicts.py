"""Edits that cannot be merged become conflicts like git's own, reported with file and line. Nothing else is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mflux_port.update.port_state import Conflict, conflicts

from tests.json_forms import facts_of
from tests.update.second_version import CONVENTION, change_conventions
from tests.update.template_versions import BESIDE, Scene, copy, git, releases, status, tree, update
from tests.update.test_update_migrations import TESTS, move

INITIALIZER = "src/mflux/models/nova/nova_initializer.py"
COMMAND = "src/mflux/models/nova/cli/nova_generate.py"
VARIANT = "src/mflux/models/nova/variants/txt2img/nova.py"
REMOVED = "porting/nova/make_tiny_checkpoint.py"
MOVED = TESTS.format("_own")
MINE = "# Mine, where the template has something to say.\n"
BINARY = b"\x00\x01mine\xff"


def collide(root: Path, *names: str) -> None:
    for name in names:
        (root / name).write_text((root / name).read_text().rstrip("\n") + "\n" + MINE)


def line_of(root: Path, name: str) -> int:
    lines = (root / name).read_text().splitlines()
    return 1 + next(number for number, line in enumerate(lines) if line.startswith("<<<<<<<"))


@pytest.fixture(scope="module")
def torn(begin, mflux_port):
    """A port with every kind of conflict, and the output of the update."""
    scene = begin()
    collide(scene.root, INITIALIZER, REMOVED, TESTS.format(""))
    (scene.root / COMMAND).write_bytes(BINARY)
    (scene.root / VARIANT).write_text(MINE + (scene.root / VARIANT).read_text())
    releases.commit(scene.root, "Edits")
    change_conventions(scene.template)
    move(scene.template, TESTS.format(""), MOVED, "v0.2.0")
    scene.template.tag("v0.2.0")
    return scene.root, mflux_port("update", "nova", cwd=scene.root)


def test_every_conflict_is_named(torn):
    root, done = torn
    assert done.returncode == 1, done.stderr
    for name in (INITIALIZER, MOVED):
        assert f"conflict: {name}:{line_of(root, name)}\n" in done.stdout
    assert f"conflict: {REMOVED}:1 (you edited it, and the template no longer has it)" in done.stdout
    assert f"conflict: {COMMAND}:1 (it is not text here" in done.stdout
    assert f"nova has conflicts in {REMOVED}, {COMMAND}, {INITIALIZER}, {MOVED};" in done.stderr


def test_nothing_is_lost(torn):
    root, _ = torn
    text = (root / INITIALIZER).read_text()
    assert MINE in text and CONVENTION in text
    assert MINE in (root / MOVED).read_text() and "# From v0.2.0.\n" in (root / MOVED).read_text()
    assert (root / REMOVED).read_text() == git(root, "show", f"HEAD:{REMOVED}")
    assert (root / COMMAND).read_bytes() == BINARY
    variant = (root / VARIANT).read_text()
    assert variant.startswith(MINE) and variant.endswith(CONVENTION)
    assert "(v2)" in (root / "CHANGELOG.md").read_text()


def test_index_has_the_three_texts_of_each_conflict(torn):
    root, _ = torn
    unmerged = {line[3:]: line[:2] for line in status(root).splitlines() if "U" in line[:2]}
    assert unmerged == {INITIALIZER: "UU", MOVED: "UU", REMOVED: "UD", COMMAND: "UU"}
    assert MINE in git(root, "show", f":2:{MOVED}") and MINE not in git(root, "show", f":3:{MOVED}")
    assert git(root, "show", f":3:{COMMAND}").endswith(CONVENTION)


def test_later_commands_report_the_conflicts(torn, mflux_port):
    root, _ = torn
    again = mflux_port("update", "nova", cwd=root)
    assert again.returncode == 2 and "conflicts left" in again.stderr and "resolve them, commit" in again.stderr
    shown = mflux_port("status", cwd=root)
    assert shown.returncode == 1
    assert f"conflict: {INITIALIZER}:{line_of(root, INITIALIZER)}\n" in shown.stdout
    assert f"conflict: {COMMAND}:1 (git lists it as unmerged)" in shown.stdout
    (port,) = json.loads(mflux_port("status", "--json", cwd=root).stdout)["ports"]
    assert len(port["conflicts"]) == 4


def test_rejected_part_is_a_conflict(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a.py").write_text("a = 1\n<<<<<<< mine\n")
    (tmp_path / "b.py.rej").write_text("")
    (tmp_path / "c.py").write_text('"""\n <<<<<<< no marker\n"""\n')
    found = conflicts(tmp_path, ["b.py.rej", "a.py", "c.py", "gone.py"])
    assert found == [Conflict("a.py", 2), Conflict("b.py.rej", 1, "a part was rejected")]


@pytest.mark.full
def test_copier_alone_names_conflicts_too_and_committed_markers_stay_named(scene, mflux_port):
    collide(scene.root, COMMAND)
    releases.commit(scene.root, "Edits")
    change_conventions(scene.template)
    scene.template.tag("v0.2.0")
    done = update(scene.root, "nova")
    assert done.returncode == 0
    assert f"conflict: {COMMAND}:{line_of(scene.root, COMMAND)}" in done.stdout
    releases.commit(scene.root, "Markers and all")
    done = mflux_port("update", "nova", cwd=scene.root)
    assert done.returncode == 1 and "up to date" not in done.stdout
    assert f"nova has conflicts in {COMMAND};" in done.stderr


@pytest.fixture(scope="module")
def three(begin) -> Scene:
    """The port in the middle has conflicts once v0.2.0 exists."""
    scene = begin()
    for model in ("lyra", "vega"):
        copy(BESIDE, scene.root, model, "v0.1.0")
    collide(scene.root, INITIALIZER)
    releases.commit(scene.root, "Edits")
    change_conventions(scene.template)
    scene.template.tag("v0.2.0")
    return scene


@pytest.mark.full
def test_conflict_stops_update_all_and_the_remaining_ports_are_named(three, tmp_path, mflux_port):
    root = shutil.copytree(three.root.parent, tmp_path / "scene") / "mflux"
    done = mflux_port("update", "--all", "--json", cwd=root)
    assert done.returncode == 1
    first, second = facts_of("update", done.stdout)["updates"]
    assert (first["model"], first["committed"], second["model"], second["committed"]) == ("lyra", True, "nova", False)
    assert second["conflicts"] == [{"file": INITIALIZER, "line": line_of(root, INITIALIZER), "why": ""}]
    assert "not updated yet: vega" in done.stderr
    text = (root / INITIALIZER).read_text()
    (root / INITIALIZER).write_text("".join(line for line in text.splitlines(True) if line[:7] not in _MARKS))
    releases.commit(root, "Resolve")
    done = mflux_port("update", "--all", "--json", cwd=root)
    assert done.returncode == 0, done.stderr
    assert [report["committed"] for report in facts_of("update", done.stdout)["updates"]] == [False, False, True]
    assert status(root) == ""


@pytest.mark.full
def test_refused_port_does_not_stop_the_others(three, tmp_path, mflux_port):
    root = shutil.copytree(three.root.parent, tmp_path / "scene") / "mflux"
    answers = root / "porting/nova/answers.yml"
    answers.write_text(answers.read_text().replace("steps: ", "steps: many "))
    hook = root / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\nif git diff --cached --name-only | grep -q lyra; then echo lint failed >&2; exit 1; fi\n"
    )
    releases.commit(root, "Answers edited by hand")
    hook.chmod(0o755)
    before = tree(root)
    done = mflux_port("update", "--all", "--json", cwd=root)
    assert done.returncode == 2
    lyra, nova, vega = facts_of("update", done.stdout)["updates"]
    assert "lint failed" in lyra["refused"] and "mflux-port update lyra" in lyra["refused"]
    assert "steps" in nova["refused"] and vega["committed"]
    assert [line.split()[1] for line in done.stderr.splitlines() if "was not updated" in line] == ["lyra", "nova"]
    after = tree(root)
    assert status(root) == ""
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed and {name for name in changed if "vega" not in name} == {"CHANGELOG.md"}


_MARKS = ("<<<<<<<", "=======", ">>>>>>>")
